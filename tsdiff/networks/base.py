"""The contract of a denoising network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tsdiff.networks.embedding import TimeEmbedding

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What a network's matrix products may be computed in; weights are single precision in any case."""


class Kept(dict[Any, Any]):
    """What functions of a single time gave, so that it is computed once for each."""

    def recall(self, function: Callable[[Tensor], Any], t: Tensor) -> Any:
        """``function(t)``, of which nothing but ``t`` may change while it is kept."""
        # To ask another device for its number would take longer than to compute.
        if t.numel() > 1 or t.device.type != "cpu":
            return function(t)
        key = (function, t.item(), t.dtype, t.shape)
        if key not in self:
            self[key] = function(t)
        return self[key]


class Network(nn.Module):
    """``(x [B, T, D], t [B, 1, 1], context [B, T, H]) -> [B, T, D]``.

    ``t`` may also be ``[1, 1, 1]``, one time for all rows. The output starts at exactly zero,
    so that a preconditioned decoder begins as the Gaussian it is preconditioned on.

    Its last layer is ``outlet``. Parameters of every subclass: ``target_dim`` (D) and
    ``context_dim`` (H), then its own.

    Attributes
    ----------
    precision
        One of :data:`PRECISIONS`.
    compiled
        Whether samplers have PyTorch compile the network, where a compiler can be had.
    over_steps
        Whether it sees the steps of an event together; to others each is an event of its own.
    kept
        Where it keeps what depends on the time alone, while nothing of it changes; or None.
    """

    over_steps: ClassVar[bool] = False
    outlet: nn.Linear | nn.Conv1d
    precision: str = "fp32"
    compiled: bool = False
    kept: Kept | None = None

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.bind(context)(x, t)

    @staticmethod
    def start_at_zero(*layers: nn.Linear | nn.Conv1d) -> None:
        """Set weights and biases to zero."""
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def clear_output(self) -> None:
        """Be zero again, and keep all weights but the last layer's, which is called ``outlet``."""
        self.start_at_zero(self.outlet)

    def limit_frequencies(self, max_frequency: float) -> None:
        """Let the output depend on ``t`` through slow waves alone, up to so many turns over [0, 1].

        For objectives in which its derivative by ``t`` takes part: of fast waves that is large, and
        noise.
        """
        for module in self.modules():
            if isinstance(module, TimeEmbedding):
                module.limit(max_frequency)

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """``(x, t) -> prediction`` for one context.

        What depends on the context alone is computed here, once for a whole run of a solver.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no bind(context)")

    def bind_to_chain(self, context: Tensor, num_times: int) -> Callable[[Tensor, Tensor], Tensor]:
        """As :meth:`bind`, for times that are all ``n / num_times``, ``n = 1 … num_times``.

        In training, events outnumber them: what depends on the time alone may be computed once
        for each.
        """
        return self.bind(context)

    def bind_to_sample(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """As :meth:`bind`, compiled if that is asked for."""
        predict = self.bind(context)
        return _compiled(predict) if self.compiled else predict

    def once(self, function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        """``function(t)``, from :attr:`kept` if it is there: at all steps times are the same."""
        # A compiler can't look into it, and a derivative may be taken twice.
        if self.kept is None or self.compiled or torch.is_grad_enabled():
            return function(t)
        return self.kept.recall(function, t)

    def products(self, device: torch.device) -> AbstractContextManager[object]:
        """What networks put their layers into: matrix products are in :attr:`precision`."""
        reduced = PRECISIONS[self.precision]
        return torch.autocast(device.type, reduced, enabled=reduced != torch.float32)


@contextmanager
def keeping(module: nn.Module) -> Iterator[Kept]:
    """All networks of a module, which is left as it is, keep what depends on the time alone."""
    networks = [part for part in module.modules() if isinstance(part, Network)]
    kept = Kept()
    try:
        for network in networks:
            network.kept = kept
        yield kept
    finally:
        for network in networks:
            # Not what was before: threads that draw by turns would leave each other's.
            network.kept = None


@contextmanager
def computing_in(module: nn.Module, precision: str | None) -> Iterator[None]:
    """All networks of a module in that precision for a while; None leaves them alone."""
    networks = [part for part in module.modules() if isinstance(part, Network)]
    before = [network.precision for network in networks]
    try:
        for network in networks:
            network.precision = precision or network.precision
        yield
    finally:
        for network, own in zip(networks, before, strict=True):
            network.precision = own


def _compiled(predict: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """``predict`` compiled for any number of rows, or itself where that can't be done."""
    fast = torch.compile(predict, dynamic=True)

    def attempt(x: Tensor, t: Tensor) -> Tensor:
        nonlocal fast
        try:
            return fast(x, t)
        except Exception as error:  # whatever compilers and their tools raise
            if fast is predict:
                raise
            fast = predict
            result = predict(x, t)  # an error of its own is no matter of compilation
            warnings.warn(
                f"the network can't be compiled here ({type(error).__name__}), and is run as it "
                "is; compile=False says nothing",
                stacklevel=2,
            )
            return result

    return attempt
