r"""Coordinates in which a simple forecast is already known: ``z_i = L^{-1} (y_i - ŷ_i)``.

The reference ``ŷ_i`` is zero, the level of the context window, the last value or the value one
season ago, with a linear correction if that helps (:mod:`tsdiff.transforms.linear`). The spread
``L`` is one, a number per dimension, or a Cholesky factor of the shrunk covariance of recent
residuals; of wide data, whose windows have fewer steps than dimensions, the scales are recent and
the correlation is that of all training data ("pooled"). In these coordinates data are close to
``N(0, I)``: noise *is* the simple forecast (the joint random walk, for ``"whitened"``), and a
model has only to learn what it gets wrong.

Scale and correlation are those of the residuals in the context window, shrunk towards the ones
that are typical of the training data, as a posterior mean under ``pseudo_count`` typical steps
would be. Everything is float64: prices of a million with movements of a cent are no trouble.
Shapes: ``B`` windows, ``R = B · N`` rows (N samples of one window adjacent), ``D`` dimensions,
``W`` steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from tsdiff.transforms.linear import LinearCorrection

Reference = Literal["zero", "level", "last", "season"]
Spread = Literal["one", "mean", "std", "covariance", "pooled"]

SCALINGS: dict[str, tuple[Reference, Spread]] = {
    "none": ("zero", "one"),
    "mean": ("zero", "mean"),
    "standard": ("level", "std"),
    "increment": ("last", "std"),
    "seasonal": ("season", "std"),
    "whitened": ("last", "covariance"),
    "whitened_seasonal": ("season", "covariance"),
    "whitened_level": ("level", "covariance"),
    "pooled": ("last", "pooled"),
    "pooled_seasonal": ("season", "pooled"),
    "pooled_level": ("level", "pooled"),
}
"""Scalings by the names that estimators understand: (reference, spread)."""

UNREFERRED = tuple(name for name, (reference, _) in SCALINGS.items() if reference == "zero")
"""Scalings without a simple forecast, in the window's own units or none."""

RESIDUAL_SPREADS: tuple[Spread, ...] = ("std", "covariance", "pooled")
"""Spreads that are those of residuals."""

_LIMIT = 6.0


def reference_reach(reference: Reference, season: int) -> int:
    """How many steps back the plain reference of a step lies."""
    return {"zero": 0, "level": 0, "last": 1, "season": season}[reference]


@dataclass(frozen=True)
class Frame:
    """The coordinates of a batch of windows.

    Attributes
    ----------
    level
        Mean of the context, ``[B, 1, D]``.
    scale
        Spread per dimension, ``[B, 1, D]``.
    factor
        Lower Cholesky factor of the residuals' correlation, ``[B, D, D]``, or ``[1, D, D]`` where
        all windows share one, or None.
    """

    level: Tensor
    scale: Tensor
    factor: Tensor | None

    def spread(self, z: Tensor) -> Tensor:
        """``L z`` for ``z [R, T, D]``."""
        z = z.to(self.scale.dtype)
        windows, dims = self.scale.shape[0], self.scale.shape[-1]
        rows = z.reshape(windows, -1, dims)
        if self.factor is not None:
            shared = len(self.factor) == 1
            rows = rows @ (self.factor[0].T if shared else self.factor.mT)
        return (rows * self.scale).reshape(z.shape)

    def matrix(self) -> Tensor:
        """``L``, ``[B, D, D]``."""
        if self.factor is None:
            return torch.diag_embed(self.scale.squeeze(1))
        return self.scale.mT * self.factor

    def whiten(self, residual: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """``L^{-1} r`` for ``r [B, W, D]``; a shared factor is solved for in ``dtype``."""
        residual = residual / self.scale
        if self.factor is None:
            return residual
        if len(self.factor) == 1:
            rows, factor = residual.to(dtype).flatten(0, 1), self.factor[0].to(dtype)
            white = torch.linalg.solve_triangular(factor.T, rows, upper=True, left=False)
            return white.view_as(residual)
        return torch.linalg.solve_triangular(self.factor, residual.mT, upper=False).mT

    @property
    def log_volume(self) -> Tensor:
        """``log |det L|``: log-densities of values are those of residuals less this, ``[B]``."""
        volume = self.scale.log().sum((1, 2))
        if self.factor is None:
            return volume
        return volume + self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def widened(self, factor: Tensor) -> Frame:
        """The frame of a spread that is ``factor []`` times as large."""
        return replace(self, scale=self.scale * factor)

    def level_rows(self, rows: int) -> Tensor:
        """The level once per row, ``[R, 1, D]``."""
        return self.level.repeat_interleave(rows // self.level.shape[0], dim=0)


class Coordinates(nn.Module):
    """The map between values and whitened residuals, and back.

    Parameters
    ----------
    reference, spread
        See :data:`SCALINGS`.
    target_dim
        D.
    season
        Steps between a value and its seasonal reference.
    linear
        A correction of the reference, or None.

    Attributes
    ----------
    typical_scale, typical_correlation
        Of the residuals over the training data, ``[D]`` and ``[D, D]``.
    typical_factor
        Lower Cholesky factor of the correlation, ``[D, D]``, where windows have none of their own.
    pseudo_count
        How many typical steps a window's own residuals are weighed against, ``[]``.
    centre, size
        Mean and standard deviation of the training data, ``[D]``.
    """

    typical_scale: Tensor
    typical_correlation: Tensor
    typical_factor: Tensor | None
    pseudo_count: Tensor
    centre: Tensor
    size: Tensor

    def __init__(
        self,
        reference: Reference,
        spread: Spread,
        target_dim: int,
        season: int = 1,
        linear: LinearCorrection | None = None,
    ):
        super().__init__()
        self.reference: Reference = reference
        self.spread_kind: Spread = spread
        self.season = season
        self.linear = linear
        for name, value in (("typical_scale", 1.0), ("centre", 0.0), ("size", 1.0)):
            self.register_buffer(name, torch.full((target_dim,), value, dtype=torch.float64))
        identity = torch.eye(target_dim, dtype=torch.float64)
        self.register_buffer("typical_correlation", identity)
        self.register_buffer("typical_factor", identity.clone() if spread == "pooled" else None)
        self.register_buffer("pseudo_count", torch.tensor(float(target_dim), dtype=torch.float64))

    def limited(self, z: Tensor) -> Tensor:
        """Residuals as training and encoder take them: beyond six spreads counts as six.

        A currency let go after years of a fixed rate moves by a thousand of its own spreads;
        left alone, that one day would outweigh all others in a squared loss. Forecasts are not
        limited, nor is anything where the spread isn't one of residuals.
        """
        return z.clamp(-_LIMIT, _LIMIT) if self.spread_kind in RESIDUAL_SPREADS else z

    @property
    def reach(self) -> int:
        """How many steps back the reference of a step looks."""
        plain = reference_reach(self.reference, self.season)
        return plain if self.linear is None else max(plain, self.linear.reach)

    @property
    def num_signals(self) -> int:
        """Signals per dimension: residuals, and standardised values beside seasonal ones.

        A residual from yesterday's value doesn't tell where the series stands; for a random
        walk, on the other hand, where it stands tells nothing, and would only mislead.
        """
        return 2 if self.reference == "season" else 1

    def frame(
        self,
        context: Tensor,
        observed: Tensor,
        features: Tensor,
        plain: tuple[Tensor, Tensor] | None = None,
        typical: Tensor | None = None,
    ) -> Frame:
        """Fit the coordinates to context windows.

        Parameters
        ----------
        context
            Values ``[B, reach + C, D]``, the last C of which are the context.
        observed
            1 where a value was observed, 0 where it was filled in; same shape.
        features
            ``[B, reach + C, F]``.
        plain
            :meth:`residuals` of the context, if they are known.
        typical
            The spread ``[B, 1, D]`` that windows are shrunk towards; None is :attr:`typical_scale`.
        """
        typical = self.typical_scale if typical is None else typical
        weight, values = observed[:, self.reach :], context[:, self.reach :]
        count = weight.sum(1, keepdim=True)
        level = (values * weight).sum(1, keepdim=True) / count.clamp_min(1.0)
        level = torch.where(count > 0, level, values[:, -1:])
        if self.spread_kind == "one":
            return Frame(level, torch.ones_like(level), None)
        floor = 1e-13 * level.abs() + 1e-12
        if self.spread_kind == "mean":
            size = (values.abs() * weight).sum(1, keepdim=True) / count.clamp_min(1.0)
            size = torch.where(count > 0, size, typical)
            return Frame(level, torch.maximum(size, torch.maximum(floor, 1e-3 * typical)), None)

        residual, known = plain or self.residuals(context, observed, features, level)
        prior = self.pseudo_count
        total = known.sum(1, keepdim=True) + prior
        square = residual.square().sum(1, keepdim=True)
        scale = ((square + prior * typical.square()) / total).sqrt()
        scale = torch.maximum(scale, floor)
        if self.spread_kind == "std":
            return Frame(level, scale, None)
        if self.typical_factor is not None:
            return Frame(level, scale, self.typical_factor.unsqueeze(0))
        # Products of unit vectors are positive semi-definite, whatever is missing.
        unit = residual / square.sqrt().clamp_min(1e-300)
        count = known.sum(1, keepdim=True).mean(-1, keepdim=True)
        correlation = count * (unit.transpose(1, 2) @ unit) + prior * self.typical_correlation
        correlation = correlation / (count + prior)
        # Ones on the diagonal, exactly, also where a constant dimension left less.
        identity = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
        correlation = correlation * (1.0 - identity) + identity
        return Frame(level, scale, torch.linalg.cholesky(correlation))

    def set_typical(self, scale: Tensor, correlation: Tensor, pseudo_count: float) -> None:
        """Set what windows are shrunk towards, and how strongly."""
        self.typical_scale.copy_(scale)
        self.typical_correlation.copy_(correlation)
        if self.typical_factor is not None:
            self.typical_factor.copy_(torch.linalg.cholesky(correlation))
        self.pseudo_count.fill_(pseudo_count)

    @property
    def spread_follows(self) -> bool:
        """Whether residuals are the same in any window, so that all of a history tells of them."""
        residual = self.spread_kind in RESIDUAL_SPREADS
        return residual and self.reference in ("last", "season")

    def recent_scale(
        self, values: Tensor, observed: Tensor, features: Tensor, half_life: float
    ) -> Tensor:
        r"""Spread of a history's residuals, ``[B, 1, D]``, by weights that halve so often.

        .. math:: s^2 = (1 - 2^{-1/h}) \sum_{k \ge 0} 2^{-k/h} r_{n-k}^2

        the exponentially weighted mean of RiskMetrics (J.P. Morgan 1996, sec. 5.2), where steps
        that weren't observed, or lie before the history, count as :attr:`typical_scale`.

        Parameters
        ----------
        values, observed, features
            ``[B, reach + n, ·]``.
        half_life
            h, in steps.
        """
        level = torch.zeros_like(values[:, :1])
        residual, known = self.residuals(values, observed, features, level)
        typical = self.typical_scale
        ago = torch.arange(residual.shape[1] - 1, -1, -1, device=residual.device)
        weight = torch.exp2(-ago.double() / half_life) * (1.0 - 2.0 ** (-1.0 / half_life))
        limit = _LIMIT * typical
        square = residual.clamp(-limit, limit).square() * known
        recent, told = (torch.einsum("n,bnd->bd", weight, part) for part in (square, known))
        return (recent + (1.0 - told) * typical.square()).sqrt().unsqueeze(1)

    def products(self, context: Tensor, observed: Tensor, features: Tensor) -> Tensor:
        """Sums of products of residuals in units of their spread in each window, ``[D, D]``.

        Arguments are those of :meth:`frame`.
        """
        frame = self.frame(context, observed, features)
        residual, _ = self.residuals(context, observed, features, frame.level)
        unit = self.limited(residual / frame.scale).flatten(0, 1)
        return unit.T @ unit

    def forward(
        self,
        values: Tensor,
        observed: Tensor,
        features: Tensor,
        frame: Frame,
        plain: tuple[Tensor, Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> tuple[Tensor, Tensor]:
        """Whitened residuals of all but the first ``reach`` steps.

        Parameters
        ----------
        values, observed, features
            ``[B, reach + W, ·]``.
        plain
            :meth:`residuals` of these, if they are known.
        dtype
            What a correlation that all windows share is whitened in; it is well conditioned.

        Returns
        -------
        z, known
            ``[B, W, D]`` each; ``known`` is 1 where value and reference were both observed,
            and ``z`` is 0 where it is 0, so that filled-in values can't be seen.
        """
        residual, known = plain or self.residuals(values, observed, features, frame.level)
        return frame.whiten(residual, dtype) * known, known

    def inverse(
        self, z: Tensor, frame: Frame, value_at: Callable[[int], Tensor], features: Tensor
    ) -> Tensor:
        """Values of one step from residuals ``z [R, 1, D]``.

        Parameters
        ----------
        value_at
            ``lag -> [R, 1, D]``, the values ``lag`` steps before.
        features
            ``[R, 1, F]``.
        """
        reference = self.reference_at(value_at, features, frame.level_rows(z.shape[0]))
        return frame.spread(z) if reference is None else reference + frame.spread(z)

    def reference_at(
        self, value_at: Callable[[int], Tensor], features: Tensor, level: Tensor
    ) -> Tensor | None:
        """The simple forecast of steps whose past ``value_at`` gives; None is zero."""
        plain = self.plain_at(value_at, level)
        if plain is None or self.linear is None:
            return plain
        return plain + self.size * self.linear(self.regressor(value_at, level), features)

    def plain_at(self, value_at: Callable[[int], Tensor], level: Tensor) -> Tensor | None:
        """The reference without its linear correction."""
        if self.reference == "zero":
            return None
        if self.reference == "level":
            return level
        return value_at(1 if self.reference == "last" else self.season)

    def regressor(
        self, value_at: Callable[[int], Tensor], level: Tensor
    ) -> Callable[[int], Tensor]:
        """What the linear correction is a function of: ``lag -> x_{i - lag}``.

        Increments for random walks, which have no level to return to; deviations from the
        window's level or, for seasonal series, from the training data's mean.
        """
        if self.reference == "last":
            return lambda lag: (value_at(lag) - value_at(lag + 1)) / self.size
        origin = level if self.reference == "level" else self.centre
        return lambda lag: (value_at(lag) - origin) / self.size

    def signals(
        self, z: Tensor, values: Tensor, known: Tensor, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """What an encoder may see of past steps, ``[R, W, num_signals · D]``.

        Parameters
        ----------
        z, values, known
            Residuals, values and their mask, ``[R, W, D]`` each.
        dtype
            Of the result.
        """
        z = self.limited(z).to(dtype)
        if self.num_signals == 1:
            return z
        standing = (values - self.centre) / self.size * known
        return torch.cat([z, standing.to(dtype)], dim=-1)

    def residuals(
        self, values: Tensor, observed: Tensor, features: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Residuals before whitening, and their mask, of all but the first ``reach`` steps.

        Of ``level [B, 1, D]`` they are a function for the reference "level" alone.
        """
        reach, steps = self.reach, values.shape[1] - self.reach

        def back(tensor: Tensor, lag: int) -> Tensor:
            return tensor[:, reach - lag : reach - lag + steps]

        reference = self.reference_at(lambda lag: back(values, lag), back(features, 0), level)
        known = back(observed, 0) * back(observed, reference_reach(self.reference, self.season))
        now = back(values, 0)
        # Whitening mixes dimensions: an unknown residual counts as its expectation, zero.
        return (now if reference is None else now - reference) * known, known
