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
from typing import Literal

import torch
from torch import Tensor, nn

Structure = Literal["own", "all"]


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
    # Normal equations dimension by dimension; what all have in common is multiplied once.
    common_gram, common_moment = common.T @ common / n, common.T @ target / n
    own = regressors.permute(2, 0, 1)  # [D, n, num_lags]
    mixed = common.T @ own / n
    gram = torch.cat(
        [
            torch.cat([common_gram.expand(dims, -1, -1), mixed], dim=2),
            torch.cat([mixed.transpose(1, 2), own.transpose(1, 2) @ own / n], dim=2),
        ],
        dim=1,
    )
    own_moment = own.transpose(1, 2) @ target.T.unsqueeze(-1) / n
    moment = torch.cat([common_moment.T.unsqueeze(-1), own_moment], dim=1)
    first = 1 + features.shape[1]
    order = [*range(first), *range(common.shape[1], gram.shape[1]), *range(first, common.shape[1])]
    return [_solve(gram, moment, penalty)[order] for penalty in penalties]


def _solve(gram: Tensor, moment: Tensor, penalty: float) -> Tensor:
    """Solutions ``[p, D]`` of ``gram [D, p, p]`` and ``moment [D, p, 1]``."""
    weight = torch.full((gram.shape[-1],), penalty, dtype=gram.dtype)
    weight[0] = 1e-9  # the intercept is free, up to what keeps the system solvable
    return torch.linalg.solve(gram + torch.diag(weight), moment).squeeze(-1).T
