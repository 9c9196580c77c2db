"""Which noise goes with which data within a batch.

A path needs pairs ``(x_0, ε)``; any joint law with the right marginals will do. Independent pairs
are the safe choice. Pairs by *optimal transport* over a batch (Pooladian et al. 2023; Tong et al.
2024) cross less and need fewer steps, but only velocities follow from them: ``-ε/b`` is no longer
the score. Where rows have *different conditions*, plain transport also ties noise to the condition,
which sampling, that draws noise of its own, then misses: the conditional law comes out biased. A
cost on moving between conditions (Kerrigan et al. 2024; Cheng & Schwing 2025) holds that back; what
is paired within equal conditions has no bias at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coupling:
    """Chooses a row of noise for every row of data: here, its own."""

    @property
    def independent(self) -> bool:
        """Whether noise stays independent of data."""
        return type(self) is Coupling

    def __call__(self, data: Tensor, noise: Tensor, context: Tensor) -> Tensor:
        """Rows of ``noise``, a permutation ``[B]``, for rows of ``data``.

        Parameters
        ----------
        data, noise
            ``[B, T, D]`` each, in the same units.
        context
            What each row is conditioned by, ``[B, T, H]``.
        """
        return torch.arange(len(data), device=data.device)


@dataclass(frozen=True)
class Rectified(Coupling):
    """Pairs that a flow has made of its own noise: they come coupled, and stay as they are."""


@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """The pairs of least cost, by ``scipy.optimize.linear_sum_assignment``, on the CPU.

    Parameters
    ----------
    condition_weight
        Cost of pairing data with another row's noise, in units of the mean squared distance
        between data and noise for contexts as far apart as they are on average. 0 is plain
        transport, biased unless there is nothing to condition on; infinity keeps noise within rows
        of equal context.
    block
        Rows that are assigned to one another; time grows with its square per row.
    """

    condition_weight: float = 1000.0
    block: int = 256

    def __post_init__(self) -> None:
        if not self.condition_weight >= 0.0:
            raise ValueError(f"condition_weight must not be negative, got {self.condition_weight}")
        if self.block < 2:
            raise ValueError(f"block must be at least 2, got {self.block}")

    @torch.no_grad()
    def __call__(self, data: Tensor, noise: Tensor, context: Tensor) -> Tensor:
        from scipy.optimize import linear_sum_assignment

        chosen = []
        for first in range(0, len(data), self.block):
            rows = slice(first, first + self.block)
            cost = _distances(data[rows], noise[rows])
            if self.condition_weight > 0.0:
                apart = _distances(context[rows], context[rows])
                # Infinite times zero is zero here: rows of one context may always be exchanged.
                weight = min(self.condition_weight, 1e9)
                cost = cost + weight * cost.mean() * apart / apart.mean().clamp_min(1e-30)
            _, order = linear_sum_assignment(cost.cpu().numpy())
            chosen.append(first + torch.from_numpy(order))
        return torch.cat(chosen).to(data.device)


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances between rows, ``[B, B]``, float64."""
    return torch.cdist(one.flatten(1).double(), other.flatten(1).double()).square()


COUPLINGS: dict[str, Coupling] = {
    "independent": Coupling(),
    "optimal_transport": OptimalTransport(),
    "plain_optimal_transport": OptimalTransport(condition_weight=0.0),
}
"""Couplings by name."""


def as_coupling(coupling: str | Coupling) -> Coupling:
    """A coupling from its name, or the coupling itself; else a ValueError."""
    if isinstance(coupling, Coupling):
        return coupling
    if coupling not in COUPLINGS:
        raise ValueError(f"unknown coupling {coupling!r}: expected one of {', '.join(COUPLINGS)}")
    return COUPLINGS[coupling]
