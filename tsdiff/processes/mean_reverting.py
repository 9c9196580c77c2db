r"""Mean-reverting processes with noise that need not be Gaussian.

.. math:: X_t = \mathrm{decay}(t)\,X_0 + Y_{\mathrm{clock}(t)}, \qquad
   \mathrm{decay}(0) = 1,\; \mathrm{clock}(0) = 0,\; Y_0 = 0,

component by component, with ``decay(t) = 1 - t`` and ``clock(t) = t^p``. The displacement
``Y_τ`` is a process with a velocity field ``v^Y_τ``: its law ``p_τ`` obeys the continuity equation
``∂_τ p + ∂_y(p v^Y) = 0``. Given ``X_0``, the velocity of ``X`` is therefore

.. math:: \mathrm{decay}'(t)\,x_0 + \mathrm{clock}'(t)\,v^Y_{\mathrm{clock}(t)}(Y),
   \qquad Y = x - \mathrm{decay}(t)\,x_0,

and its conditional expectation carries the marginal laws, which is what flow matching regresses
on (Lipman et al. 2023, thm. 2; Chemseddine, Kornhardt, Duong & Steidl 2025, *Adapting noise to
data: generative flows from 1D processes*). With Brownian ``Y`` this is
:class:`~tsdiff.processes.affine.AffinePath`.

The source is ``Y_1`` itself, simulated. There is a velocity and no score: laws of bounded support
have none outside it, and fronts none at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsdiff.processes.affine import AffinePath, Coefficients, PathSample, check_prediction
from tsdiff.random import Randomness, drawn


class MeanReverting(AffinePath):
    """Base of ``X_t = (1 - t) X_0 + Y_{t^p}``; a subclass gives :meth:`spread`, :meth:`simulate`.

    Parameters
    ----------
    clock_power
        ``p > 0``. At 1 the displacement spreads evenly over noise time; at 2 it waits, and data
        are noised later.

    Attributes
    ----------
    gaussian
        Whether :meth:`sample` draws Gaussian noise. It does not here, nor is the source Gaussian.
    linear
        Whether ``v^Y_τ(y)`` is a multiple of ``y``. Only then does a predicted velocity follow
        from predicted data, since expectations pass through linear maps alone.
    atoms
        Whether the source has point masses, and so no density.
    """

    t_max = 1.0 - 1e-4
    gaussian: bool = False
    linear: bool = False
    atoms: bool = False

    def __init__(self, clock_power: float = 1.0):
        super().__init__()
        self.clock_power = check_positive("clock_power", clock_power)
        # clock' diverges at t = 0 for powers below 1.
        self.smooth = clock_power >= 1.0

    def decay(self, t: Tensor) -> Tensor:
        """What is left of the data at ``t``: ``1 - t``."""
        return 1.0 - t

    def clock(self, t: Tensor) -> Tensor:
        """How long the displacement has run at ``t``: ``t^p``."""
        return t**self.clock_power

    def clock_rate(self, t: Tensor) -> Tensor:
        """``clock'(t) = p t^{p-1}``, finite at 0."""
        # It diverges at t = 0 for powers below 1; the floor changes nothing beyond.
        floor = torch.finfo(t.dtype).tiny
        return self.clock_power * t.clamp_min(floor) ** (self.clock_power - 1.0)

    def spread(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Standard deviation of ``Y_τ`` and its derivative in ``τ``, shaped like ``tau``."""
        raise NotImplementedError(f"{type(self).__name__} defines no spread(tau)")

    def simulate(self, tau: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A draw of ``Y_τ`` and ``v^Y_τ(Y)`` for every element of ``tau``, independently."""
        raise NotImplementedError(f"{type(self).__name__} defines no simulate(tau, generator)")

    def coefficients(self, t: Tensor) -> Coefficients:
        """``a = decay(t)``, ``b`` the standard deviation of ``Y_{clock(t)}``, and derivatives.

        A Gaussian process with these coefficients has the same first two moments at every ``t``.
        """
        std, slope = self.spread(self.clock(t))
        return Coefficients(self.decay(t), std, -torch.ones_like(t), slope * self.clock_rate(t))

    def displacement(
        self, like: Tensor, t: Tensor, generator: Randomness = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ``Y_{clock(t)}`` exactly, with its velocity in ``t``.

        Parameters
        ----------
        like
            ``[B, T, D]``; gives shape, dtype and device.
        t
            Times in [0, 1], ``[B, 1, 1]`` or ``[1, 1, 1]``.
        generator
            Where randomness comes from. :class:`~tsdiff.random.Matched` lends its generator:
            there is no Gaussian here whose moments could be matched.

        Returns
        -------
        tuple of Tensor
            ``Y`` and ``clock'(t) v^Y(Y)``, both ``[B, T, D]``.
        """
        t = t.to(like)
        # Times go with their rows when these are split among generators.
        y, velocity = drawn(self.clock(t).expand(like.shape), generator, self.simulate)
        return y, self.clock_rate(t) * velocity

    def sample(self, x0: Tensor, t: Tensor, *, generator: Randomness = None) -> PathSample:
        """Draw ``x_t`` given data; noise is ``Y / b``, of unit variance and not Gaussian.

        Parameters
        ----------
        x0
            Data, ``[B, T, D]``.
        t
            Times in [0, 1], ``[B, 1, 1]``; row ``i`` of ``t`` belongs to row ``i`` of ``x0``.
        """
        y, velocity = self.displacement(x0, t, generator)
        k = self.coefficients(t.to(x0))
        # At t = 0 there is no displacement to be told apart from none.
        noise = y / k.b.clamp_min(torch.finfo(x0.dtype).tiny)
        return PathSample(k.a * x0 + y, noise, k.da * x0 + velocity)

    def draw_source(self, like: Tensor, generator: Randomness = None) -> Tensor:
        """``X_1 = Y_1``, where sampling starts, of the shape of ``like [B, T, D]``."""
        return self.displacement(like, like.new_ones(1, 1, 1), generator)[0]

    def source_log_density(self, x: Tensor) -> Tensor:
        """Log-density of every component of the source at ``x [B, T, D]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no source_log_density(x)")

    def diffusion(self, t: Tensor) -> Tensor:
        """Raise a ValueError: no diffusion has these marginals."""
        raise ValueError(
            f"{type(self).__name__} has a velocity and no score, hence no diffusion coefficient: "
            "sample it with a solver of ordinary differential equations"
        )

    def convert(self, value: Tensor, x: Tensor, t: Tensor, *, given: str, wanted: str) -> Tensor:
        """Turn one prediction at ``(x, t)`` into another, where one follows from the other.

        Parameters
        ----------
        value, x
            The prediction and the point it was made at, ``[B, T, D]``.
        given, wanted
            Two of :data:`~tsdiff.processes.affine.PREDICTIONS`.

        Raises
        ------
        ValueError
            For a score, which the process does not have, and between a velocity and data or noise
            unless the process is :attr:`linear`.
        """
        name = type(self).__name__
        pair = {check_prediction(given), check_prediction(wanted)}
        if "score" in pair:
            raise ValueError(
                f"{name} has a velocity and no score: predict the velocity, and sample with a "
                "solver that asks for nothing else"
            )
        if len(pair) == 1:
            return value
        if "velocity" in pair and not self.linear:
            raise ValueError(
                f"on {name} the velocity is not linear in the displacement, so that "
                f"{wanted} does not follow from {given}: predict the {wanted} itself"
            )
        return super().convert(value, x, t, given=given, wanted=wanted)


def check_positive(name: str, value: float) -> float:
    """``value`` itself if it is positive and finite, else a ValueError that names it."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value
