"""What an estimate leaves open of the data along the axes of a path, followed over training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Share of a batch's figures in the running ones.
_FOLLOW = 0.1
# Events from which a batch's figures count in full.
_ENOUGH = 100
# Quantiles are kept at standard normal ones, evenly from minus to plus this.
_REACH = 3.0
_KNOTS = 65
# Beyond, correlations cost more than they tell.
_MOST_JOINT = 128


class ResidualLaw(nn.Module):
    """Running moments and quantiles of residuals, joined by a Gaussian copula.

    Of more than 128 dimensions, axes are taken as independent. At first the law is a Gaussian.

    Parameters
    ----------
    dim
        D.

    Attributes
    ----------
    variance
        Mean square along each axis, ``[D]``.
    correlation
        Of normal scores between axes, ``[D, D]``; empty where they are taken as independent.
    quantiles
        Of residuals of unit mean square, ``[65, D]``, at the probabilities of standard normal
        quantiles from -3 to 3.
    """

    variance: Tensor
    correlation: Tensor
    quantiles: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("correlation", torch.eye(dim if dim <= _MOST_JOINT else 0))
        self.register_buffer("quantiles", torch.zeros(_KNOTS, dim))
        self.reset(self.variance)

    def reset(self, variance: Tensor) -> None:
        """Start from independent Gaussians of this variance, ``[D]``."""
        self.variance.copy_(variance)
        self.correlation.copy_(torch.eye(len(self.correlation)))
        self.quantiles.copy_(self._levels(self.quantiles).unsqueeze(-1).expand_as(self.quantiles))

    def follow(self, residuals: Tensor, most: Tensor) -> None:
        """Take in residuals of events, ``[N, T, D]``, whose mean square is ``most [D]`` at most.

        (An estimate that is worse than none tells of the estimate, not of the data.)
        """
        share = _FOLLOW * min(1.0, len(residuals) / _ENOUGH)
        residuals = residuals.flatten(0, 1)
        rows, variance = len(residuals), residuals.square().mean(0)
        self.variance.lerp_(torch.minimum(variance, most), share)
        unit = residuals / variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
        rising, order = unit.sort(0)
        if len(self.correlation):
            ranks = torch.arange(rows, dtype=unit.dtype, device=unit.device)
            scores = torch.special.ndtri((ranks + 0.5) / rows)
            scores = torch.zeros_like(unit).scatter(0, order, scores.unsqueeze(-1).expand_as(unit))
            square = scores.square().mean(0).clamp_min(torch.finfo(unit.dtype).tiny)
            self.correlation.lerp_(scores.mT @ scores / (rows * square), share)
        place = torch.special.ndtr(self._levels(rising)) * rows - 0.5
        below = place.floor().clamp(0, max(rows - 2, 0)).long()
        weight = (place - below).clamp(0.0, 1.0).unsqueeze(-1)
        above = (below + 1).clamp_max(rows - 1)
        self.quantiles.lerp_(torch.lerp(rising[below], rising[above], weight), share)

    def draw(self, noise: Tensor) -> Tensor:
        """Residuals ``[..., D]`` from standard normal noise of that shape."""
        if len(self.correlation):
            joint = self.correlation.double()
            # An axis without residuals has none to correlate, and rounding may take from the rest.
            joint = joint + torch.diag(1.0 + 1e-6 - joint.diagonal())
            noise = noise @ torch.linalg.cholesky(joint).mT.to(noise.dtype)
        place = (noise + _REACH) * ((_KNOTS - 1) / (2.0 * _REACH))
        below = place.floor().clamp(0, _KNOTS - 2)
        rows, dims = below.long(), torch.arange(noise.shape[-1], device=noise.device)
        table = self.quantiles.to(noise.dtype)
        unit = torch.lerp(table[rows, dims], table[rows + 1, dims], place - below)
        return self.variance.to(noise.dtype).sqrt() * unit

    def turn(self, rotation: Tensor) -> None:
        """See moments along turned axes, columns of ``rotation [D, D]``; quantiles follow later.

        (Exact of a Gaussian; else a guess, from which batches lead away.)
        """
        spread = self.variance.sqrt().to(rotation)
        joint = self.correlation if len(self.correlation) else torch.eye(len(spread))
        joint = rotation.mT @ (torch.outer(spread, spread) * joint.to(rotation)) @ rotation
        self.variance.copy_(joint.diagonal())
        if len(self.correlation):
            spread = joint.diagonal().clamp_min(torch.finfo(joint.dtype).tiny).sqrt()
            self.correlation.copy_(joint / torch.outer(spread, spread))

    @staticmethod
    def _levels(like: Tensor) -> Tensor:
        return torch.linspace(-_REACH, _REACH, _KNOTS, dtype=like.dtype, device=like.device)
