"""Weighted samples: how many they are worth, and how they are made equal again.

A guided sampler draws from a law that is only near the one that is wanted, and gives each sample
the ratio of the two as a weight. Samples of one series lie together, ``[B, N]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def effective_size(log_weights: Tensor) -> Tensor:
    """``(Σ w)² / Σ w²`` of ``[B, N]``, per series ``[B]``: between 1 and N (Kong et al. 1994).

    0 where no sample has a weight at all.
    """
    weights = normalised(log_weights)
    return weights.sum(1) / weights.square().sum(1).clamp_min(1e-300)


def normalised(log_weights: Tensor) -> Tensor:
    """Weights ``[B, N]`` that sum to one per series; all are 0 where all log-weights are -inf."""
    log_weights = log_weights.double()
    largest = log_weights.amax(1, keepdim=True).clamp_min(-1e300)
    weights = (log_weights - largest).exp()
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-300)


def resample(log_weights: Tensor, count: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Which samples to keep, how often: systematic resampling (Carpenter et al. 1999).

    Parameters
    ----------
    log_weights
        ``[B, N]``.
    count
        Samples to keep per series.
    generators
        One per series.

    Returns
    -------
    Tensor
        Rows of ``B · N``, ``[B · count]``, series by series. Equal weights keep every sample once
        where ``count`` is N.
    """
    series, particles = log_weights.shape
    device = log_weights.device
    offsets = [torch.rand(1, generator=g, device=device, dtype=torch.float64) for g in generators]
    steps = torch.arange(count, device=device, dtype=torch.float64)
    points = (torch.cat(offsets).unsqueeze(1) + steps) / count
    reached = normalised(log_weights).cumsum(1)
    reached = reached / reached[:, -1:].clamp_min(1e-300)
    chosen = torch.searchsorted(reached, points).clamp_max(particles - 1)
    first = particles * torch.arange(series, device=device).unsqueeze(1)
    return (first + chosen).flatten()
