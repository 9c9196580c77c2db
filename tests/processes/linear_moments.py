"""Moments of VSDM's simulated trajectories where everything is Gaussian: no network, no noise."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiff.processes import LinearSDE
from tsdiff.processes.variational import TrajectoryMoments

_STEPS = 24  # of Runge-Kutta, per cell


def exact_moments(sde: LinearSDE, mean: Tensor, covariance: Tensor) -> TrajectoryMoments:
    """Of trajectories from N(0, I) backward along ``sde`` with the exact score of N(mean, cov).

    The reversed diffusion is linear, so that mean ``n`` and covariance ``C`` of its state obey
    ordinary differential equations, ``score = -M⁻¹ (x - m)`` with the forward moments ``m, M``.
    """
    dim = len(mean)
    identity = torch.eye(dim).double()
    moments = TrajectoryMoments(sde.cells, dim)
    drifts, shifts = sde.drift_matrix(), sde.shift

    def forward_law(t: Tensor) -> tuple[Tensor, Tensor]:
        m, spread = sde.marginal(mean, covariance, t.view(1, 1, 1))
        return m[0, 0], torch.linalg.inv(spread[0])

    def slopes(cell: int, t: Tensor, n: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        m, precision = forward_law(t)
        half = 0.5 * sde.decay * identity - drifts[cell]
        beta = sde.schedule.rate(t)
        k = half - precision
        return (
            -beta * (half @ n - shifts[cell] - precision @ (n - m)),
            -beta * (k @ c + c @ k.mT + identity),
        )

    n, c = torch.zeros(dim).double(), identity
    for cell in reversed(range(sde.cells)):
        high, low = sde.edges[cell + 1], sde.edges[cell]
        grid = torch.linspace(0, 1, _STEPS + 1).double() * (low - high) + high
        values = []
        for i, t in enumerate(grid):
            m, precision = forward_law(t.clamp_min(1e-9))
            score = -precision @ (n - m)
            score_x = -precision @ c + torch.outer(score, n)
            values.append((n, score, c + torch.outer(n, n), score_x))
            if i == _STEPS:
                break
            h, (mid, end) = grid[i + 1] - t, (0.5 * (t + grid[i + 1]), grid[i + 1])
            end = end.clamp_min(1e-9)
            k1 = slopes(cell, t, n, c)
            k2 = slopes(cell, mid, n + 0.5 * h * k1[0], c + 0.5 * h * k1[1])
            k3 = slopes(cell, mid, n + 0.5 * h * k2[0], c + 0.5 * h * k2[1])
            k4 = slopes(cell, end, n + h * k3[0], c + h * k3[1])
            n = n + h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
            c = c + h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
        # Simpson's rule in t, with β as weight.
        simpson = torch.tensor([1.0] + [4.0, 2.0] * (_STEPS // 2 - 1) + [4.0, 1.0]).double()
        weights = simpson / 3.0 * (high - low) / _STEPS * sde.schedule.rate(grid)
        moments.weight[cell] = weights.sum()
        columns = zip(*values, strict=True)
        for name, column in zip(("x", "score", "xx", "score_x"), columns, strict=True):
            pooled = torch.stack(column)
            shape = (-1,) + (1,) * (pooled.ndim - 1)
            getattr(moments, name)[cell] = (weights.view(shape) * pooled).sum(0)
    return moments
