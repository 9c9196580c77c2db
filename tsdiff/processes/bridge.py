r"""Bridges of the variance-preserving diffusion, and iterative proportional fitting.

Reference ``dx = -½ β x dt + \sqrt{β} dw``, whose stationary law is ``N(0, I)`` and which is
reversible. With ``a = \exp(-½∫_0^t β)``, ``b^2 = 1 - a^2``, and from ``t`` to the end
``c = \exp(-½∫_t^1 β)``, ``d^2 = 1 - c^2``, its law between two known ends is

.. math:: x_t \mid x_0, x_1 \sim
   N\Bigl(\frac{a d^2 x_0 + c b^2 x_1}{b_1^2},\ \frac{b^2 d^2}{b_1^2} I\Bigr).

Seen from the data, ``x_t = a x_0 + b ε_t`` as without the bridge, but its noise knows that of the
end, ``ε_1 = (x_1 - a_1 x_0) / b_1``; and likewise from the source, with ``c`` and ``d``:

.. math:: ε_t = \frac{c\,b\,ε_1 + d\,ε}{b_1}, \qquad ε \sim N(0, I).

A Schrödinger bridge, and every step of the fitting that leads to it, is such a bridge between ends
of some joint law (Léonard 2014, *A survey of the Schrödinger problem*, prop. 2.3), so that a step
changes that law alone: it is Sinkhorn's algorithm. For Gaussian ends this is arithmetic:
:class:`GaussianCoupling`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsdiff.processes.affine import VariancePreserving, _VPBase
from tsdiff.processes.linear_sde import Schedule

_LEAST = 1e-12


class OrnsteinUhlenbeck(_VPBase):
    """The reference: the variance-preserving path of any schedule, and its bridges.

    Parameters
    ----------
    schedule
        Where ``β`` comes from; None is ``VariancePreserving()``.

    Raises
    ------
    TypeError
        If the schedule isn't one.
    """

    def __init__(self, schedule: Schedule | None = None):
        super().__init__()
        if not isinstance(schedule, Schedule | None):
            raise TypeError(
                "schedule must have rate(t) and integrated_rate(t), as VariancePreserving has, "
                f"got {type(schedule).__name__}"
            )
        self.schedule: Any = VariancePreserving() if schedule is None else schedule

    def rate(self, t: Tensor) -> Tensor:
        return self.schedule.rate(t)

    def integrated_rate(self, t: Tensor) -> Tensor:
        return self.schedule.integrated_rate(t)

    def to_end(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``c, d``: what is left of ``x_t`` at ``t = 1``, and the noise added on the way."""
        left = (self.integrated_rate(torch.ones_like(t)) - self.integrated_rate(t)).clamp_min(0.0)
        return torch.exp(-0.5 * left), torch.sqrt(-torch.expm1(-left))

    def ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """``a_1, b_1``, of no dimension."""
        reach = self.integrated_rate(torch.ones((), dtype=like.dtype, device=like.device))
        return torch.exp(-0.5 * reach), torch.sqrt(-torch.expm1(-reach))

    def noise_from_data(self, x0: Tensor, x1: Tensor, t: Tensor, fresh: Tensor) -> Tensor:
        """``ε_t`` with ``x_t = a x_0 + b ε_t`` on the bridge between two ends, ``[B, T, D]``.

        Parameters
        ----------
        x0, x1
            The ends, ``[B, T, D]``.
        t
            ``[B, 1, 1]``.
        fresh
            Standard normal noise ``[B, T, D]``.
        """
        a_end, b_end = self.ends(t)
        (c, d), b = self.to_end(t), self.coefficients(t).b
        return (c * b * ((x1 - a_end * x0) / b_end) + d * fresh) / b_end

    def noise_from_end(self, x0: Tensor, x1: Tensor, t: Tensor, fresh: Tensor) -> Tensor:
        """``ε_t`` with ``x_t = c x_1 + d ε_t``: the same, seen from the source."""
        a_end, b_end = self.ends(t)
        (_, d), k = self.to_end(t), self.coefficients(t)
        return (k.a * d * ((x0 - a_end * x1) / b_end) + k.b * fresh) / b_end

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``k_0, k_1`` and the variance of ``x_t - k_0 x_0 - k_1 x_1`` on the bridge."""
        k, (c, d) = self.coefficients(t), self.to_end(t)
        whole = self.ends(t)[1].square()
        near, far = k.b.square() / whole, d.square() / whole
        return k.a * far, c * near, whole * near * far


class GaussianCoupling(NamedTuple):
    """A Gaussian law of the ends ``(x_0, x_1)``, axis by axis, joined by the reference's bridges.

    Each is ``[D]``, float64. The reference and the source are isotropic, so that the axes in which
    the data are uncorrelated stay so, and dense covariances are these in the eigenbasis.
    """

    mean_0: Tensor
    mean_1: Tensor
    variance_0: Tensor
    variance_1: Tensor
    cross: Tensor
    """``Cov(x_0, x_1)``."""

    def source_half(self) -> GaussianCoupling:
        """The closest law whose ``x_1`` is ``N(0, I)``: as this one backward, from there."""
        slope = self.cross / self.variance_1
        return GaussianCoupling(
            self.mean_0 - slope * self.mean_1,
            torch.zeros_like(self.mean_1),
            self.variance_0 + slope.square() * (1.0 - self.variance_1),
            torch.ones_like(self.variance_1),
            slope,
        )

    def data_half(self, mean: Tensor, variance: Tensor) -> GaussianCoupling:
        """The closest law whose ``x_0`` is the data's: as this one forward, from there."""
        slope = self.cross / self.variance_0
        return GaussianCoupling(
            mean,
            self.mean_1 + slope * (mean - self.mean_0),
            variance,
            self.variance_1 + slope.square() * (variance - self.variance_0),
            slope * variance,
        )

    def at(self, process: OrnsteinUhlenbeck, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of ``x_t`` along every axis, ``[..., D]`` for times ``[..., 1]``."""
        k0, k1, level = process.weights(t)
        between = 2.0 * k0 * k1 * self.cross
        spread = k0**2 * self.variance_0 + k1**2 * self.variance_1 + between + level
        return k0 * self.mean_0 + k1 * self.mean_1, spread

    def open_data(self, process: OrnsteinUhlenbeck, t: Tensor) -> Tensor:
        """``Var(x_0 | x_t)``, ``[..., D]`` for times ``[..., 1]``."""
        k0, k1, _ = process.weights(t)
        known = k0 * self.variance_0 + k1 * self.cross
        return (self.variance_0 - known.square() / self._spread(process, t)).clamp_min(0.0)

    def open_end(self, process: OrnsteinUhlenbeck, t: Tensor) -> Tensor:
        """``Var(x_1 | x_t)``, likewise."""
        k0, k1, _ = process.weights(t)
        known = k0 * self.cross + k1 * self.variance_1
        return (self.variance_1 - known.square() / self._spread(process, t)).clamp_min(0.0)

    def _spread(self, process: OrnsteinUhlenbeck, t: Tensor) -> Tensor:
        return self.at(process, t)[1].clamp_min(_LEAST)


def fitted(
    process: OrnsteinUhlenbeck, mean: Tensor, variance: Tensor, halves: int
) -> GaussianCoupling:
    """Iterative proportional fitting for Gaussian data, exactly.

    Parameters
    ----------
    process
        The reference.
    mean, variance
        Of the data along axes on which they are uncorrelated, ``[D]`` each.
    halves
        Half bridges after the first, which is the reference started at the data (a score-based
        model): odd ones start from the source ``N(0, I)``, even ones from the data.

    Examples
    --------
    >>> process = OrnsteinUhlenbeck(VariancePreserving(2.0, 2.0))
    >>> mean, variance = torch.zeros(1).double(), torch.tensor([4.0]).double()
    >>> [round(fitted(process, mean, variance, n).variance_1.item(), 3) for n in (0, 2, 4)]
    [1.406, 1.039, 1.004]
    """
    mean, variance = mean.double(), variance.double().clamp_min(_LEAST)
    a, b = process.ends(mean)
    coupling = GaussianCoupling(mean, a * mean, variance, a**2 * variance + b**2, a * variance)
    for half in range(1, halves + 1):
        step = half % 2 == 1
        coupling = coupling.source_half() if step else coupling.data_half(mean, variance)
    return coupling
