"""Weighted samples: how many they are worth, and how they are made equal again.

A guided sampler draws from a law that is only near the one that is wanted, and gives each sample
the ratio of the two as a weight.
"""

from __future__ import annotations

import torch
from torch import Tensor


def effective_size(log_weights: Tensor) -> Tensor:
    """``(Σ w)² / Σ w²`` of ``[N]``: between 1 and N (Kong, Liu & Wong 1994).

    0 where no sample has a weight at all.
    """
    weights = normalised(log_weights)
    return weights.sum() / weights.square().sum().clamp_min(1e-300)


def normalised(log_weights: Tensor) -> Tensor:
    """Weights ``[N]`` that sum to one, float64; all are 0 where all log-weights are -inf."""
    log_weights = log_weights.double()
    weights = (log_weights - log_weights.max().clamp_min(-1e300)).exp()
    return weights / weights.sum().clamp_min(1e-300)


def resample(log_weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Which samples to keep, how often, ``[count]``: systematic resampling.

    Carpenter, Clifford & Fearnhead (1999). Equal weights keep every one of ``count`` samples once.
    """
    weights = normalised(log_weights)
    offset = torch.rand(1, generator=generator, device=weights.device, dtype=torch.float64)
    points = (offset + torch.arange(count, device=weights.device)) / count
    reached = weights.cumsum(0)
    return torch.searchsorted(reached / reached[-1].clamp_min(1e-300), points).clamp_max(
        len(weights) - 1
    )
