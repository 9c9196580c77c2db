r"""A ridge regression in closed form: what a simple forecast misses and a line can tell.

.. math:: \frac{y_i - \text{plain}_i}{\text{size}}
   ≈ c + V^⊤ f_i + W^⊤ x_{i-1} + \sum_{ℓ} w_ℓ ⊙ x_{i-ℓ}

with calendar and covariates ``f`` and lagged regressors ``x``, standardised values or, for
random walks, increments. Dimensions speak to one another, if at all, through the shortest lag
only: all lags of all dimensions would be more columns than most series have steps for. The
penalty shrinks towards the plain reference (last value, seasonal value, level), so that a
series without linear structure is left alone. For a vector autoregression around a seasonal
mean this *is* the law's mean, and all that remains for a network is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Structure = Literal["own", "all"]
_OUTLIER = 6.0


class LinearCorrection(nn.Module):
    """The correction above, in units of ``size``.

    Parameters
    ----------
    target_dim, num_features
        D and F.
    lags
        In steps, shortest first.
    structure
        ``"own"``: each dimension is regressed on its own lags; ``"all"``: on its own lags, and
        on all dimensions at the shortest.

    Attributes
    ----------
    intercept, feature_weight
        ``[D]`` and ``[F, D]``.
    lag_weight
        Weights of a dimension's own lags, ``[num_lags, D]``.
    cross_weight
        Weights of all dimensions at the shortest lag, ``[D, D]``, or None for "own".
    """

    intercept: Tensor
    feature_weight: Tensor
    lag_weight: Tensor
    cross_weight: Tensor | None

    def __init__(
        self, target_dim: int, num_features: int, lags: Sequence[int], structure: Structure
    ):
        super().__init__()
        self.lags = tuple(lags)
        self.structure: Structure = structure
        cross = torch.zeros(target_dim, target_dim, dtype=torch.float64)
        for name, rows in (("feature_weight", num_features), ("lag_weight", len(self.lags))):
            self.register_buffer(name, torch.zeros(rows, target_dim, dtype=torch.float64))
        self.register_buffer("intercept", torch.zeros(target_dim, dtype=torch.float64))
        self.register_buffer("cross_weight", cross if structure == "all" else None)

    @property
    def reach(self) -> int:
        """Steps back that are looked at; one more than the longest lag, for increments."""
        return max(self.lags) + 1

    def forward(self, regressor: Callable[[int], Tensor], features: Tensor) -> Tensor:
        """The correction ``[R, W, D]``.

        Parameters
        ----------
        regressor
            ``lag -> x_{i - lag} [R, W, D]``.
        features
            ``[R, W, F]``.
        """
        total = self.intercept + features.to(self.feature_weight.dtype) @ self.feature_weight
        for lag, weight in zip(self.lags, self.lag_weight, strict=True):
            total = total + regressor(lag) * weight
        if self.cross_weight is not None:
            total = total + regressor(self.lags[0]) @ self.cross_weight
        return total

    def set_weights(self, solution: Tensor) -> None:
        """Take over a solution of :func:`ridge_path`, ``[p, D]``."""
        sizes = [1, len(self.feature_weight), len(self.lags)]
        rest = len(solution) - sum(sizes)
        intercept, feature, lag, cross = solution.split([*sizes, rest])
        self.intercept.copy_(intercept[0])
        self.feature_weight.copy_(feature)
        self.lag_weight.copy_(lag)
        if self.cross_weight is not None:
            self.cross_weight.copy_(cross)


def limited_to_spread(target: Tensor, seen: Tensor | None = None) -> Tensor:
    """Values ``[n, ...]`` within six spreads: a break in one series must not set all weights.

    The spread is that of what was ``seen``; None is all.
    """
    square = target.square()
    mean = square.mean(0) if seen is None else (square * seen).sum(0) / seen.sum(0).clamp_min(1)
    spread = mean.sqrt().clamp_min(1e-12)
    return torch.maximum(torch.minimum(target, _OUTLIER * spread), -_OUTLIER * spread)


def ridge_path(
    features: Tensor,
    regressors: Tensor,
    target: Tensor,
    structure: Structure,
    penalties: Sequence[float],
) -> list[Tensor]:
    """Ridge solutions for several penalties.

    Parameters
    ----------
    features
        ``[n, F]``.
    regressors
        ``[n, num_lags, D]``, shortest lag first.
    target
        ``[n, D]``.
    structure
        Which regressors each dimension may use.
    penalties
        In units of the mean square of a unit-variance column.

    Returns
    -------
    list of Tensor
        For each penalty ``[p, D]``: intercept, features, own lags and, for "all", all
        dimensions at the shortest lag.
    """
    n, dims = target.shape
    shared = [torch.ones(n, 1, dtype=target.dtype), features.to(target.dtype)]
    if structure == "all":
        shared.append(regressors[:, 0])
    common = torch.cat(shared, dim=1)
    columns, lags = common.shape[1], regressors.shape[1]
    own = regressors.permute(2, 1, 0)  # [D, num_lags, n]
    equations = _NormalEquations(
        gram=common.T @ common / n,
        moment=common.T @ target / n,
        mixed=(common.T @ regressors.flatten(1) / n).view(columns, lags, dims),
        own_gram=own @ own.mT / n,
        own_moment=(own @ target.T.unsqueeze(-1)).squeeze(-1) / n,
    )
    first = 1 + features.shape[1]
    order = [*range(first), *range(columns, columns + lags), *range(first, columns)]
    return [equations.solve(penalty)[order] for penalty in penalties]


class _NormalEquations(NamedTuple):
    """Those of all dimensions, whose columns are in part the same.

    Attributes
    ----------
    gram, moment
        Of the ``c`` columns that all have in common, ``[c, c]`` and ``[c, D]``.
    mixed
        Products of common columns and own lags, ``[c, num_lags, D]``.
    own_gram, own_moment
        Of each dimension's own lags, ``[D, num_lags, num_lags]`` and ``[D, num_lags]``.
    """

    gram: Tensor
    moment: Tensor
    mixed: Tensor
    own_gram: Tensor
    own_moment: Tensor

    def solve(self, penalty: float) -> Tensor:
        """Solutions ``[c + num_lags, D]``, the common columns first.

        The common block is factored once, and what is left of each dimension's lags (its Schur
        complement) is a system of a few equations: O(c³ + c² D) instead of O(c³ D).
        """
        columns, lags, dims = self.mixed.shape
        weight = torch.full((columns,), penalty, dtype=self.gram.dtype)
        weight[0] = 1e-9  # the intercept is free, up to what keeps the system solvable
        right = torch.cat([self.moment, self.mixed.flatten(1)], dim=1)
        solved = torch.linalg.solve(self.gram + torch.diag(weight), right)
        alone, pulled = solved[:, :dims], solved[:, dims:].view(columns, lags, dims)
        by_dim, pulled_by_dim = self.mixed.permute(2, 1, 0), pulled.permute(2, 0, 1)
        identity = torch.eye(lags, dtype=self.gram.dtype)
        left = self.own_gram + penalty * identity - by_dim @ pulled_by_dim
        rest = self.own_moment - (by_dim @ alone.T.unsqueeze(-1)).squeeze(-1)
        own = torch.linalg.solve(left, rest)
        common = alone - (pulled_by_dim @ own.unsqueeze(-1)).squeeze(-1).T
        return torch.cat([common, own.T])
