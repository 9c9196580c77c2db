r"""Where a path runs: events centred, scaled, and seen along fixed axes.

A path acts on every axis by itself. The axes may be the event's own dimensions, each in units of
its own standard deviation; or the principal axes of the data in one common unit, so that what is
long stays long, and what is narrow, narrow. The *spread* is what the data's standard deviation
along each axis then is: a Gaussian law with these axes and spreads is what a preconditioned decoder
starts from.

===============  ============================================  ==========================
name             unit                                          axes
===============  ============================================  ==========================
``"own"``        each dimension's standard deviation           the dimensions
``"common"``     root mean square of the standard deviations   the dimensions
``"principal"``  the same                                      all principal axes
``"leading"``    the same                                      the first K, and any others
``"raw"``        1, and nothing is centred                     the dimensions
===============  ============================================  ==========================

Without ``rescale`` the unit is 1 for all of them: events are centred, and stay in the data's units.

``"leading"`` completes the first K principal axes by Householder reflections, so that a change of
axes costs O(D K).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_NARROWEST = 0.02

AXES = ("own", "common", "principal", "leading", "raw")
"""Names of the axes, see the module."""


class Axes(nn.Module):
    """The affine map between events ``[B, T, D]`` and what a path runs on.

    Parameters
    ----------
    kind
        One of :data:`AXES`.
    dim
        D.
    rank
        K, between 1 and D - 1; for ``"leading"`` only.
    rescale
        Whether events are divided by the unit.
    common_spread
        Whether the spread is one number for all axes: needed where axes may be turned later.

    Attributes
    ----------
    mean, unit
        ``[D]`` each; an event is centred by the first and divided by the second.
    variance
        Of the data along each axis, in these units, ``[D]``.
    spread
        Its root, as a decoder is preconditioned on it: pooled where axes share one, and for an
        axis narrower than a fiftieth of the widest, that fiftieth. (Solvers of few steps can't
        follow an axis that is all but flat, and would end with noise on it.)
    centre, covariance
        Mean ``[D]`` and covariance ``[D, D]`` of the data in these units, by dimension.
    """

    mean: Tensor
    unit: Tensor
    variance: Tensor
    spread: Tensor
    basis: Tensor
    centre: Tensor
    covariance: Tensor

    def __init__(
        self,
        kind: str,
        dim: int,
        *,
        rank: int = 0,
        rescale: bool = True,
        common_spread: bool = False,
    ):
        super().__init__()
        if kind not in AXES:
            raise ValueError(f"unknown axes {kind!r}: expected one of {', '.join(AXES)}")
        if (kind == "leading") != (0 < rank < dim) or rank < 0:
            raise ValueError(
                "rank must lie between 1 and D - 1 for leading axes and be 0 otherwise, got "
                f"rank={rank}, D={dim}, axes={kind!r}"
            )
        self.kind, self.dim, self.rank = kind, dim, rank
        self.rescale, self.common_spread = rescale, common_spread
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("unit", torch.ones(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim))
        columns = {"principal": dim, "leading": rank}.get(kind, 0)
        # Orthonormal columns of principal axes; for leading ones, V of I - V T Vᵀ.
        self.register_buffer("basis", torch.eye(dim, columns))
        self._core = torch.zeros(0)

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Choose them for data of this mean ``[D]`` and covariance ``[D, D]``, float64."""
        std = covariance.diagonal().clamp_min(0.0).sqrt()
        least = max(1e-6 * float(std.max()), 1e-12)
        unit = torch.ones_like(std)
        if not self.rescale or self.kind == "raw":
            pass
        elif self.kind == "own":
            unit = std.clamp_min(least)
        else:
            unit = unit * std.square().mean().sqrt().clamp_min(1e-12)
        scaled = covariance / torch.outer(unit, unit)
        zero = torch.zeros_like(mean)
        self.mean.copy_(zero if self.kind == "raw" else mean)
        self.unit.copy_(unit)
        self.centre.copy_(mean if self.kind == "raw" else zero)
        self.covariance.copy_(scaled)
        if self.basis.shape[1]:
            _, vectors = torch.linalg.eigh(scaled)
            self.turn(vectors.flip(-1)[:, : self.basis.shape[1]])
        else:
            self._measure()
        variance = self.variance.double()
        if self.rank:
            rest = variance[self.rank :].mean()
            variance = torch.cat([variance[: self.rank], rest.expand(self.dim - self.rank)])
        if self.common_spread:
            variance = variance.mean().expand(self.dim)
        least = max(_NARROWEST * float(variance.max().sqrt()), 1e-6)
        self.spread.copy_(variance.sqrt().clamp_min(least))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and covariance ``[D, D]`` of the data along the axes, float64."""
        covariance = self.along(self.along(self.covariance.double()).mT)
        return self.along(self.centre.double()), covariance

    def data_moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and covariance ``[D, D]`` of the data in their own units, float64."""
        unit = self.unit.double()
        mean = self.mean.double() + unit * self.centre.double()
        return mean, torch.outer(unit, unit) * self.covariance.double()

    def turn(self, columns: Tensor) -> None:
        """Set the axes: orthonormal columns ``[D, D]``, or ``[D, K]`` for leading ones."""
        if self.kind == "principal":
            self.basis.copy_(columns)
        else:
            packed, _ = torch.geqrf(columns.double())
            reflectors = packed.tril(-1)
            reflectors.diagonal().fill_(1.0)
            self.basis.copy_(reflectors)
            self._core = _householder_core(self.basis)
        self._measure()

    def _measure(self) -> None:
        self.variance.copy_(self.moments()[1].diagonal().clamp_min(0.0))

    def complete(self, events: Tensor, known: Tensor) -> Tensor:
        """Events whose unknown values are the likeliest given the known ones, ``[B, T, D]``.

        Along axes that mix dimensions, any other filling would be felt by the known ones. The law
        is the Gaussian of the data's mean and covariance. ``known`` is 1 or 0.
        """
        missing = (known < 1.0).any(-1)
        if not self.basis.shape[1] or not bool(missing.any()):
            return events
        seen, z = known[missing], ((events - self.mean) / self.unit)[missing]
        covariance = self.covariance.to(z.dtype)
        ridge = 1e-4 * torch.eye(self.dim, dtype=z.dtype, device=z.device)
        within = seen.unsqueeze(-1) * (covariance + ridge) * seen.unsqueeze(-2)
        within = within + torch.diag_embed(1.0 - seen)
        weights = torch.linalg.solve(within, (seen * z).unsqueeze(-1))
        guess = self.mean + self.unit * (covariance @ weights).squeeze(-1)
        filled = events.clone()
        filled[missing] = torch.where(seen > 0.0, events[missing], guess)
        return filled

    def enter(self, events: Tensor) -> Tensor:
        """Events ``[B, T, D]`` as the path sees them."""
        return self.along((events - self.mean) / self.unit)

    def leave(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`enter`."""
        return self.mean + self.unit * self.across(x)

    def along(self, scaled: Tensor) -> Tensor:
        """Coordinates along the axes of scaled, centred events ``[..., D]``."""
        if not self.basis.shape[1]:
            return scaled
        basis = self.basis.to(scaled.dtype)
        if self.kind == "principal":
            return scaled @ basis
        return scaled - (scaled @ basis @ self._core.to(scaled.dtype)) @ basis.mT

    def across(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`along`."""
        if not self.basis.shape[1]:
            return x
        basis = self.basis.to(x.dtype)
        if self.kind == "principal":
            return x @ basis.mT
        return x - (x @ basis @ self._core.mT.to(x.dtype)) @ basis.mT

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.rank:
            self._core = _householder_core(self.basis)

    def _apply(self, *args, **kwargs) -> Axes:
        super()._apply(*args, **kwargs)
        if self.rank:
            self._core = _householder_core(self.basis)
        return self


def _householder_core(reflectors: Tensor) -> Tensor:
    """``T`` of the orthogonal ``I - V T Vᵀ`` for reflectors ``V``: ``T + Tᵀ = T Vᵀ V Tᵀ``.

    Puglisi (1992): ``T^{-1}`` is the upper triangle of ``Vᵀ V`` with half its diagonal.
    """
    if not bool(reflectors.any()):
        return torch.zeros(reflectors.shape[1], reflectors.shape[1], device=reflectors.device)
    v = reflectors.double()
    gram = v.mT @ v
    inverse = gram.triu(1) + 0.5 * torch.diag(gram.diagonal())
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_triangular(inverse, identity, upper=True)
