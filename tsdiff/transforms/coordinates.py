r"""Coordinates in which a simple forecast is already known: ``z_i = L^{-1} (y_i - ref_i)``.

The reference is zero, the level of the context window, the last value or the value one season
ago; the spread ``L`` is one, a number per dimension, or a Cholesky factor of the shrunk
covariance of recent residuals. In these coordinates data are close to ``N(0, I)``: noise *is*
the simple forecast (the joint random walk, for ``"whitened"``), and a model has only to learn
what that forecast gets wrong.

All statistics come from the context window alone, in float64: prices of a million with
movements of a cent are no trouble. Shapes: ``B`` windows, ``D`` dimensions, ``W`` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Reference = Literal["zero", "level", "last", "season"]
Spread = Literal["one", "mean", "std", "covariance"]

SCALINGS: dict[str, tuple[Reference, Spread]] = {
    "none": ("zero", "one"),
    "mean": ("zero", "mean"),
    "standard": ("level", "std"),
    "increment": ("last", "std"),
    "seasonal": ("season", "std"),
    "whitened": ("last", "covariance"),
    "whitened_seasonal": ("season", "covariance"),
    "whitened_level": ("level", "covariance"),
}
"""Scalings by the names that estimators understand: (reference, spread)."""


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
        Lower Cholesky factor of the residuals' correlation, ``[B, D, D]``, or None.
    """

    level: Tensor
    scale: Tensor
    factor: Tensor | None

    def spread(self, z: Tensor) -> Tensor:
        """``L z`` for ``z [B · N, T, D]``, the rows of one window being adjacent."""
        z = z.to(self.scale.dtype)
        windows, dims = self.scale.shape[0], self.scale.shape[-1]
        rows = z.reshape(windows, -1, dims)
        if self.factor is not None:
            rows = rows @ self.factor.transpose(1, 2)
        return (rows * self.scale).reshape(z.shape)

    def whiten(self, residual: Tensor) -> Tensor:
        """``L^{-1} r`` for ``r [B, W, D]``."""
        residual = residual / self.scale
        if self.factor is None:
            return residual
        return torch.linalg.solve_triangular(
            self.factor, residual.transpose(1, 2), upper=False
        ).transpose(1, 2)


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

    Attributes
    ----------
    typical_scale
        Spread of the residuals over the training data, ``[D]``; stands in for a window's own
        where nothing was observed, and a thousandth of it is the floor for constant windows.
    """

    typical_scale: Tensor

    def __init__(self, reference: Reference, spread: Spread, target_dim: int, season: int = 1):
        super().__init__()
        self.reference, self.spread_kind, self.season = reference, spread, season
        self.register_buffer("typical_scale", torch.ones(target_dim, dtype=torch.float64))

    @property
    def limit(self) -> float:
        """Residuals beyond this many spreads count as this many, in training and as inputs.

        A currency let go after years of a fixed rate moves by a thousand of its own spreads;
        left alone, that one day would outweigh all others in a squared loss. Forecasts are not
        limited.
        """
        return 6.0 if self.spread_kind in ("std", "covariance") else float("inf")

    @property
    def reach(self) -> int:
        """How many steps back the reference of a step lies."""
        return {"zero": 0, "level": 0, "last": 1, "season": self.season}[self.reference]

    @property
    def num_signals(self) -> int:
        """Signals per dimension: residuals, and deviations from the level beside seasonal ones.

        A residual from last week's value doesn't tell where the series stands; for a random
        walk, on the other hand, where it stands tells nothing, and would only mislead.
        """
        return 2 if self.reference == "season" else 1

    def signals(self, z: Tensor, values: Tensor, known: Tensor, frame: Frame) -> Tensor:
        """What an encoder may see of past steps, ``[B · N, W, num_signals · D]``.

        Parameters
        ----------
        z, values, known
            Residuals, values and their mask, ``[B · N, W, D]`` each.
        """
        z = z.clamp(-self.limit, self.limit)
        if self.num_signals == 1:
            return z
        rows = values.shape[0] // frame.level.shape[0]
        level = frame.level.repeat_interleave(rows, dim=0)
        scale = frame.scale.repeat_interleave(rows, dim=0)
        return torch.cat([z, (values - level) / scale * known], dim=-1)

    def frame(self, context: Tensor, observed: Tensor) -> Frame:
        """Fit the coordinates to context windows.

        Parameters
        ----------
        context
            Values ``[B, reach + C, D]``, the last C of which are the context.
        observed
            1 where a value was observed, 0 where it was filled in; same shape.
        """
        reach = self.reach
        weight = observed[:, reach:]
        count = weight.sum(1, keepdim=True)
        values = context[:, reach:]
        level = (values * weight).sum(1, keepdim=True) / count.clamp_min(1.0)
        level = torch.where(count > 0, level, values[:, -1:])
        if self.spread_kind == "one":
            return Frame(level, torch.ones_like(level), None)
        if self.spread_kind == "mean":
            size = (values.abs() * weight).sum(1, keepdim=True) / count.clamp_min(1.0)
            return Frame(level, self._floored(size, count, level), None)

        residual, known = self._residuals(context, observed, level)
        residual = residual * known
        count = known.sum(1, keepdim=True)
        size = (residual.square().sum(1, keepdim=True) / count.clamp_min(1.0)).sqrt()
        scale = self._floored(size, count, level)
        factor = self._factor(residual, count) if self.spread_kind == "covariance" else None
        return Frame(level, scale, factor)

    def forward(self, values: Tensor, observed: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        """Whitened residuals of all but the first ``reach`` steps.

        Parameters
        ----------
        values, observed
            ``[B, reach + W, D]``.

        Returns
        -------
        z, known
            ``[B, W, D]`` each; ``known`` is 1 where value and reference were both observed,
            and ``z`` is 0 where it is 0, so that filled-in values can't be seen. ``z`` is kept
            within :attr:`limit`.
        """
        residual, known = self._residuals(values, observed, frame.level)
        if frame.factor is not None:
            # Whitening mixes dimensions: an unknown residual counts as its expectation, zero.
            residual = residual * known
        return (frame.whiten(residual) * known).clamp(-self.limit, self.limit), known

    def inverse(self, z: Tensor, frame: Frame, reference: Tensor | None) -> Tensor:
        """Values from residuals ``z [B · N, T, D]``.

        ``reference`` is the value ``reach`` steps earlier, ``[B · N, T, D]``; it is not used
        where the reference is zero or the level.
        """
        change = frame.spread(z)
        if self.reference == "zero":
            return change
        if self.reference == "level":
            rows = change.shape[0] // frame.level.shape[0]
            return change + frame.level.repeat_interleave(rows, dim=0)
        assert reference is not None
        return reference + change

    def _residuals(self, values: Tensor, observed: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        reach = self.reach
        if reach:
            known = observed[:, reach:] * observed[:, :-reach]
            return values[:, reach:] - values[:, :-reach], known
        return (values - level if self.reference == "level" else values), observed

    def _floored(self, size: Tensor, count: Tensor, level: Tensor) -> Tensor:
        typical = self.typical_scale
        floor = torch.maximum(1e-3 * typical, 1e-9 * level.abs() + 1e-12)
        return torch.where(count > 0, torch.maximum(size, floor), typical.clamp_min(1e-12))

    def _factor(self, residual: Tensor, count: Tensor) -> Tensor:
        # Cross-products of unit vectors: positive semi-definite whatever is missing. Shrunk
        # towards independence like a posterior mean under D pseudo-observations.
        dims = residual.shape[-1]
        unit = residual / residual.square().sum(1, keepdim=True).sqrt().clamp_min(1e-300)
        correlation = unit.transpose(1, 2) @ unit
        n = count.mean(-1, keepdim=True)
        correlation = correlation * (n / (n + dims))
        # Ones on the diagonal, exactly, also where a constant dimension left a zero.
        identity = torch.eye(dims, dtype=residual.dtype, device=residual.device)
        correlation = correlation * (1.0 - identity) + identity
        return torch.linalg.cholesky(correlation)
