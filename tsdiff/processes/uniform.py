r"""Uniform noise that spreads as the gradient flow of a maximum mean discrepancy.

.. math:: Y_τ = s\, h\, (1 - e^{-τ/h})\, U, \qquad U \text{ uniform on } [-1, 1],

the Wasserstein gradient flow, from a point mass, of half the squared maximum mean discrepancy with
kernel ``-|x - y|`` to the uniform law on ``[-h, h]``, times a scale ``s`` (Hertrich, Beinert, Gräf
& Steidl 2023, *Wasserstein gradient flows of the discrepancy with distance kernel on the line*;
Chemseddine, Kornhardt, Duong & Steidl 2025). The law stays uniform and is dilated, so that it is
carried by

.. math:: v_τ(y) = \frac{y}{h\,(e^{τ/h} - 1)}.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsdiff.processes.mean_reverting import MeanReverting, check_positive


class Uniform(MeanReverting):
    """``X_t = (1 - t) X_0 + Y_{t^p}`` with a uniform ``Y`` in every component.

    Parameters
    ----------
    half_width
        ``h``, to which the unscaled half-width ``h(1 - e^{-τ/h})`` tends. It is also the flow's
        time constant: a small one spends noise early, a large one spreads it evenly.
    scale
        ``s``. None gives the source ``Y_1`` unit variance, as data in standard units have. No
        half-width alone can: that of the unscaled source, ``h(1 - e^{-1/h})``, is below 1 for
        every ``h``, where a variance of one needs √3. So ``s = √3 / (h(1 - e^{-1/h}))``.
    clock_power
        ``p``; see :class:`~tsdiff.processes.mean_reverting.MeanReverting`.

    Examples
    --------
    >>> import torch
    >>> from tsdiff.processes.uniform import Uniform
    >>> source = Uniform().draw_source(torch.zeros(4, 1, 2))
    >>> source.shape, bool((source.abs() <= 3.0**0.5).all())
    (torch.Size([4, 1, 2]), True)
    """

    linear = True

    def __init__(
        self, half_width: float = 1.0, scale: float | None = None, clock_power: float = 1.0
    ):
        super().__init__(clock_power)
        self.half_width = h = check_positive("half_width", half_width)
        if scale is None:
            scale = math.sqrt(3.0) / (-h * math.expm1(-1.0 / h))
        self.scale = check_positive("scale", scale)

    def extent(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Half-width of the law of ``Y_τ`` and its derivative in ``τ``."""
        h = self.half_width
        return -self.scale * h * torch.expm1(-tau / h), self.scale * torch.exp(-tau / h)

    def spread(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """``√Var Y_τ`` and its derivative: those of the half-width over √3."""
        extent, growth = self.extent(tau)
        return extent / math.sqrt(3.0), growth / math.sqrt(3.0)

    def simulate(self, tau: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """``Y_τ`` and its velocity, both as multiples of ``U``, hence regular at ``τ = 0``."""
        u = torch.rand(tau.shape, dtype=tau.dtype, device=tau.device, generator=generator)
        extent, growth = self.extent(tau)
        u = 2.0 * u - 1.0
        return extent * u, growth * u

    def velocity(self, y: Tensor, tau: Tensor) -> Tensor:
        """``v_τ(y) = y / (h (e^{τ/h} - 1))``; 0, its mean, for ``y = 0`` at ``τ = 0``."""
        growth = self.half_width * torch.expm1(tau / self.half_width)
        return y / growth.clamp_min(torch.finfo(growth.dtype).tiny)

    def density(self, y: Tensor, tau: Tensor) -> Tensor:
        """Density of ``Y_τ`` at ``y``; 0 beyond the half-width."""
        extent, _ = self.extent(tau)
        return torch.where(y.abs() <= extent, 0.5 / extent, 0.0)

    def source_log_density(self, x: Tensor) -> Tensor:
        return self.density(x, torch.ones_like(x)).log()
