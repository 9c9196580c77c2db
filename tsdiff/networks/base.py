"""The contract of a denoising network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from tsdiff.networks.embedding import TimeEmbedding


class Network(nn.Module):
    """``(x [B, T, D], t [B, 1, 1], context [B, T, H]) -> [B, T, D]``.

    ``t`` may also be ``[1, 1, 1]``, one time for all rows. The output starts at exactly zero,
    so that a preconditioned decoder begins as the Gaussian it is preconditioned on.

    Its last layer is ``outlet``. Parameters of every subclass: ``target_dim`` (D) and
    ``context_dim`` (H), then its own.
    """

    outlet: nn.Linear | nn.Conv1d

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
