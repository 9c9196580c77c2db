r"""A ridge regression of sizes: how large errors will be, by what is known in advance.

.. math:: \log \mathrm{E}\, y_i = c + x_i^⊤ b

with ``y`` positive, of a standard deviation in proportion to its mean: a gamma law's (McCullagh &
Nelder, Generalized Linear Models, 1989, ch. 8). Under its logarithmic link every row weighs the
same, so Fisher scoring is a few ridge regressions with one and the same matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS, _TOLERANCE = 30, 1e-5
_BLOCKS = 5
# Logarithms are kept within this, and one row's surprise below that many means.
_LARGEST_LOG, _LARGEST_SURPRISE = 4.0, 5.0


def gamma_regression(design: Tensor, target: Tensor, prior: float, overlap: float = 1.0) -> Tensor:
    """Weights ``b [G]``, those most likely under a normal law around zero.

    Parameters
    ----------
    design
        Standardised columns, ``[n, G]``.
    target
        Positive sizes, ``[n]``.
    prior
        Standard deviation of a weight; none at all where it is zero.
    overlap
        Rows that say what one independent row would.
    """
    if prior == 0.0:
        return torch.zeros(design.shape[1], dtype=design.dtype)
    target = target / target.mean().clamp_min(1e-300)
    design = torch.cat([torch.ones_like(design[:, :1]), design], dim=1)
    gram = design.T @ design
    penalised = torch.ones(len(gram), dtype=design.dtype)
    penalised[0] = 1e-9  # the intercept is free, up to what keeps the system solvable
    weight = torch.zeros(len(gram), dtype=design.dtype)
    for _ in range(_ROUNDS):
        log = (design @ weight).clamp(-_LARGEST_LOG, _LARGEST_LOG)
        surprise = target / log.exp() - 1.0
        penalty = float(surprise.square().mean()) * overlap / prior**2
        working = log + surprise.clamp_max(_LARGEST_SURPRISE)
        found = torch.linalg.solve(gram + penalty * torch.diag(penalised), design.T @ working)
        change, weight = float((found - weight).abs().max()), found
        if change < _TOLERANCE:
            break
    return weight[1:]


def held_out_loss(design: Tensor, target: Tensor, prior: float, overlap: float = 1.0) -> Tensor:
    """``log μ + y / μ`` of rows that :func:`gamma_regression` wasn't given, ``[n]``.

    Blocks of rows that follow one another are held out in turn: what only tells one time from
    another, as the season does where there is less than a year of it, says nothing of the next.
    """
    losses, target = [], target / target.mean().clamp_min(1e-300)
    for block in torch.arange(len(target)).tensor_split(_BLOCKS):
        kept = torch.ones(len(target), dtype=torch.bool)
        kept[block] = False
        weight = gamma_regression(design[kept], target[kept], prior, overlap)
        shape = (design @ weight).clamp(-_LARGEST_LOG, _LARGEST_LOG).exp()
        mean = shape[block] * (target / shape)[kept].mean().clamp_min(1e-12)
        losses.append(mean.log() + target[block] / mean)
    return torch.cat(losses)
