"""What a decoder is: a conditional law of events that can be learned, sampled and asked.

Its parts are called by the estimators, in this order: moments of the data are told, losses are
minimised with phases in between, samples are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tsdiff.random import Randomness
from tsdiff.solvers import Grid, Solver


@dataclass(frozen=True)
class Phase:
    """What a decoder does between updates, apart from its loss.

    All that changes must be in buffers, and depend on weights, context and generator alone: then a
    run that was interrupted between two phases, or in the middle of one's wait, resumes exactly.

    Attributes
    ----------
    name
        What messages call it.
    every
        Updates between two runs.
    run
        ``(x0 [B, T, D], context [B, T, H], generator)``: events and contexts of a batch of
        training windows; what is missing of an event is NaN.
    """

    name: str
    every: int
    run: Callable[[Tensor, Tensor, torch.Generator | None], None]

    def due(self, update: int) -> bool:
        """Whether it runs before update number ``update`` (0, 1, …)."""
        return update > 0 and update % self.every == 0


class Decoder(nn.Module):
    """A conditional law of events ``[T, D]`` given a context ``[T, H]``.

    Attributes
    ----------
    loss_in_nats
        Whether losses are negative log-densities, of which differences mean something; of others,
        which are never negative, ratios do.
    """

    loss_in_nats: ClassVar[bool] = False

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Elementwise training loss ``[B, T, D]``; masks are applied outside, once."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def untrained_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor | None:
        """What :meth:`loss` was before the first update, in the decoder's present state.

        A decoder whose process adapts has another loss to reach after each phase; what can be
        compared over training is the ratio of the two. None: the loss is comparable as it is.
        """

    def sample(
        self,
        context: Tensor,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        generator: Randomness = None,
    ) -> Tensor:
        """One event ``[B, T, D]`` for each row of ``context [B, T, H]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no sample")

    def drawing(self) -> AbstractContextManager[object]:
        """In this context nothing of the decoder changes, and it may keep what it computes."""
        return nullcontext()

    def log_prob(
        self,
        x0: Tensor,
        context: Tensor,
        *,
        num_steps: int = 48,
        trace: str = "auto",
        num_probes: int = 16,
        source_draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """Log-density of events ``x0 [B, T, D]`` in nats, joint over ``T`` and ``D``, ``[B]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no log_prob")

    def elbo(
        self,
        x0: Tensor,
        context: Tensor,
        *,
        num_draws: int = 64,
        source_draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """Lower bound of the log-density of events ``x0 [B, T, D]`` in nats, ``[B]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no elbo")

    def validation_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """What is to fall on held-out data, ``[B, T, D]``: the loss, for most.

        It is compared with :meth:`untrained_loss`, or else with its own first value.
        """
        return self.loss(x0, context, generator=generator)

    def check_solver(self, solver: str | Solver, context: Tensor) -> None:
        """Raise :class:`~tsdiff.solvers.MissingFieldError` if ``solver`` can't sample this process.

        Parameters
        ----------
        context
            Any, ``[B, T, H]``.
        """

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Tell the mean ``[D]`` and covariance ``[D, D]`` of the data; called before training."""

    def complete(self, x0: Tensor, known: Tensor) -> Tensor:
        """Events ``[B, T, D]`` with something in place of what is not known (``known`` is 0).

        Their loss is masked in any case; what must not suffer is that of the known values.
        """
        return x0

    def phases(self) -> tuple[Phase, ...]:
        """What is to be done between updates; nothing, for most."""
        return ()
