r"""A ridge regression in closed form: what a simple forecast misses and a line can tell.

.. math:: \frac{y_i - \text{plain}_i}{\text{size}} ≈ c + V^⊤ f_i + \sum_{ℓ} W_ℓ^⊤ x_{i-ℓ}

with calendar and covariates ``f`` and lagged regressors ``x``, standardised values or, for
random walks, increments. The penalty shrinks towards the plain reference (last value, seasonal
value, level), so that a series without linear structure is left alone. For a vector
autoregression around a seasonal mean this *is* the law's mean, and all that remains for a
network is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Structure = Literal["own", "all"]


class LinearCorrection(nn.Module):
    """``c + V^⊤ f + Σ W_ℓ^⊤ x_{i-ℓ}`` in units of ``size``.

    Parameters
    ----------
    target_dim, num_features
        D and F.
    lags
        In steps.
    structure
        ``"own"``: each dimension is regressed on its own lags; ``"all"``: on all dimensions'.

    Attributes
    ----------
    intercept, feature_weight
        ``[D]`` and ``[F, D]``.
    lag_weight
        ``[num_lags, D]`` for "own", ``[num_lags, D, D]`` for "all".
    """

    intercept: Tensor
    feature_weight: Tensor
    lag_weight: Tensor

    def __init__(
        self, target_dim: int, num_features: int, lags: Sequence[int], structure: Structure
    ):
        super().__init__()
        self.lags, self.structure = tuple(lags), structure
        shape = (len(self.lags), *([target_dim] * (2 if structure == "all" else 1)))
        options = {"dtype": torch.float64}
        self.register_buffer("intercept", torch.zeros(target_dim, **options))
        self.register_buffer("feature_weight", torch.zeros(num_features, target_dim, **options))
        self.register_buffer("lag_weight", torch.zeros(shape, **options))

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
            x = regressor(lag)
            total = total + (x @ weight if self.structure == "all" else x * weight)
        return total

    def set_weights(self, solution: Tensor) -> None:
        """Take over the solution of :func:`ridge_path` for this structure, ``[p, D]``."""
        num_features, dims = self.feature_weight.shape
        self.intercept.copy_(solution[0])
        self.feature_weight.copy_(solution[1 : 1 + num_features])
        lags = solution[1 + num_features :]
        self.lag_weight.copy_(lags.reshape(self.lag_weight.shape))


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
        ``[n, num_lags, D]``.
    target
        ``[n, D]``.
    structure
        Which regressors each dimension may use.
    penalties
        In units of the mean square of a unit-variance column.

    Returns
    -------
    list of Tensor
        For each penalty ``[p, D]``: intercept, features, then lags (``num_lags`` rows for
        "own", ``num_lags · D`` for "all").
    """
    n, _, dims = regressors.shape
    common = torch.cat([torch.ones(n, 1, dtype=target.dtype), features.to(target.dtype)], dim=1)
    if structure == "all":
        design = torch.cat([common, regressors.flatten(1)], dim=1)
        gram, moment = design.T @ design / n, design.T @ target / n
        return [_solve(gram, moment, penalty) for penalty in penalties]
    design = torch.cat(
        [common.expand(dims, -1, -1), regressors.permute(2, 0, 1)], dim=2
    )  # [D, n, p]
    gram = design.transpose(1, 2) @ design / n
    moment = design.transpose(1, 2) @ target.T.unsqueeze(-1) / n
    return [_solve(gram, moment, penalty).squeeze(-1).T for penalty in penalties]


def _solve(gram: Tensor, moment: Tensor, penalty: float) -> Tensor:
    weight = torch.full((gram.shape[-1],), penalty, dtype=gram.dtype)
    weight[0] = 1e-9  # the intercept is free, up to what keeps the system solvable
    return torch.linalg.solve(gram + torch.diag(weight), moment)
