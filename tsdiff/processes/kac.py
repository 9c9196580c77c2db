r"""The telegraph process of Goldstein and Kac as noise.

.. math:: Y_τ = \pm c \int_0^τ (-1)^{N(s)}\, ds,

a particle of speed ``c`` that starts in either direction with equal chance and turns round at the
events of a Poisson process ``N`` of rate ``λ`` (Goldstein 1951; Kac 1974, *A stochastic model
related to the telegrapher's equation*; Duong, Chemseddine, Friz & Steidl 2025, *Telegrapher's
generative model via Kac flows*). Unlike Brownian motion it has a finite speed, so that velocities
stay bounded as ``t → 0``. With ``κ = λ/c`` and ``r = √(c²τ² - y²)`` its law is

.. math:: \tfrac12 e^{-λτ} (δ_{cτ} + δ_{-cτ}) + \tfrac12 κ e^{-λτ}
   \Bigl(I_0(κr) + cτ \frac{I_1(κr)}{r}\Bigr) 1_{|y| < cτ},

two fronts that have not turned yet and a density between them, and the velocity that carries it is

.. math:: v_τ(y) = \frac{y}{τ + \dfrac{r}{c}\, \dfrac{I_0(κr)}{I_1(κr)}}
   \quad \text{inside}, \qquad \pm c \quad \text{on the fronts},

the mean of ``± c`` given ``Y_τ = y``. Just inside the fronts it is ``cτ/(τ + 2/λ) < c``: the field
jumps there. With falling ``τ``, as in sampling, the front overtakes particles and takes them along,
so that its mass grows to one; with rising ``τ`` the solution from a front is not unique, since
mass is shed from it at the rate ``λ``.

``λ, c → ∞`` with ``c²/λ = σ²`` is Brownian motion of variance ``σ²τ``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiff.processes.mean_reverting import MeanReverting, check_positive

# Below this argument the closed form of the variance cancels; up to it, so many terms of its
# series are exact in double precision.
_SERIES = 1.0
_TERMS = 18


class Kac(MeanReverting):
    """``X_t = (1 - t) X_0 + Y_{t^p}`` with a telegraph process ``Y`` in every component.

    Parameters
    ----------
    rate
        ``λ``, reversals per unit of clock time.
    speed
        ``c``. The variance of ``Y_1`` is about ``c²/λ``, which is one by default (0.98 exactly).
    clock_power
        ``p``; see :class:`~tsdiff.processes.mean_reverting.MeanReverting`.

    Examples
    --------
    >>> import torch
    >>> from tsdiff.processes.kac import Kac
    >>> x0 = torch.zeros(4, 1, 2)
    >>> drawn = Kac().sample(x0, torch.full((4, 1, 1), 0.5))
    >>> drawn.x.shape, bool((drawn.x.abs() <= 5.0 * 0.5).all())
    (torch.Size([4, 1, 2]), True)
    """

    atoms = True

    def __init__(self, rate: float = 25.0, speed: float = 5.0, clock_power: float = 1.0):
        super().__init__(clock_power)
        self.rate, self.speed = check_positive("rate", rate), check_positive("speed", speed)

    def spread(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        r"""``√Var Y_τ`` and its derivative.

        ``Var Y_τ = c²/(2λ²) (2λτ - 1 + e^{-2λτ})``, the double integral of the directions'
        correlation ``e^{-2λ|s-u|}``. It is ``c²τ²`` for small ``τ``, where the three terms cancel:
        with ``z = 2λτ`` the standard deviation is ``cτ √(2(z - 1 + e^{-z})/z²)``.
        """
        z = 2.0 * self.rate * tau
        root = _second_remainder(z).sqrt()
        # Var' = (c²/λ)(1 - e^{-z}); its quotient by z is 1 in the limit.
        floor = torch.finfo(z.dtype).tiny
        growth = torch.where(z > floor, -torch.expm1(-z) / z.clamp_min(floor), 1.0)
        return self.speed * tau * root, self.speed * growth / root

    def simulate(self, tau: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A draw of ``Y_τ`` and its velocity for every element of ``tau``; see :meth:`place`."""
        y, front = self.place(tau, generator)
        return y, self.velocity(y, tau, front)

    def place(self, tau: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A draw of ``Y_τ``, exact and without steps in time, and whether it is on a front.

        Given ``n`` reversals, their times cut ``[0, τ]`` into ``n + 1`` exchangeable pieces whose
        lengths are Dirichlet(1, …, 1) distributed, of which ``⌊n/2⌋ + 1`` go in the first
        direction: their share is Beta(⌊n/2⌋ + 1, n - ⌊n/2⌋), and one where ``n = 0``.
        """
        turns = torch.poisson(self.rate * tau, generator)
        # A count, so that nobody has to ask of a position whether it *is* the front.
        front = turns == 0
        half = torch.floor(0.5 * turns)
        first = _gamma(half + 1.0, generator)
        second = _gamma((turns - half).clamp_min(1.0), generator)
        # The share is G_1 / (G_1 + G_2); this is 2 share - 1, with the digits that it would lose.
        net = torch.where(front, 1.0, (first - second) / (first + second))
        heads = torch.rand(tau.shape, dtype=tau.dtype, device=tau.device, generator=generator) < 0.5
        return self.speed * tau * torch.where(heads, net, -net), front

    def velocity(self, y: Tensor, tau: Tensor, front: Tensor) -> Tensor:
        """``v_τ(y)``, the mean direction at ``y`` times the speed.

        Parameters
        ----------
        y, tau
            Displacement and clock time, broadcast against each other.
        front
            Where ``y`` is on a front, boolean. Positions beyond the fronts that are not on them,
            which rounding may give, count as just inside.
        """
        z = self._argument(y, tau)
        # In units of 1/λ: (r/c) I_0/I_1 = (z I_0(z)/I_1(z)) / λ, which is 2/λ for z = 0.
        ratio = z * torch.special.i0e(z) / torch.special.i1e(z)
        inside = self.rate * y / (self.rate * tau + ratio)
        # At τ = 0 a front stands at ±0, and the sign of zero tells which one it is.
        return torch.where(front, torch.copysign(torch.full_like(inside, self.speed), y), inside)

    def density(self, y: Tensor, tau: Tensor) -> Tensor:
        """The absolutely continuous part of the law of ``Y_τ`` at ``y``; 0 beyond the fronts."""
        z, w = self._argument(y, tau), self.rate * tau
        # e^{z-w} is left over from the scaled Bessel functions; z² = w² - κ²y².
        kappa = self.rate / self.speed
        scale = torch.exp(-((kappa * y) ** 2) / (z + w))
        inside = torch.special.i0e(z) + w * torch.special.i1e(z) / z
        return torch.where(y.abs() <= self.speed * tau, 0.5 * kappa * scale * inside, 0.0)

    def front_mass(self, tau: Tensor) -> Tensor:
        """Chance ``e^{-λτ}`` that there was no reversal yet, half of it at each front."""
        return torch.exp(-self.rate * tau)

    def _argument(self, y: Tensor, tau: Tensor) -> Tensor:
        """``z = κr``, at least a number whose quotients with Bessel functions are regular."""
        end, at = self.rate * tau, (self.rate / self.speed) * y.abs()
        # The difference is taken before squares are, which would lose the digits of a small r.
        floor = torch.finfo(end.dtype).tiny ** 0.5
        return ((end - at).clamp_min(floor) * (end + at).clamp_min(floor)).sqrt()


def _gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gamma variables, one for each element of ``shape``."""
    # torch.distributions takes no generator. This is the function it calls, which does.
    return torch._standard_gamma(shape, generator)  # pyright: ignore[reportPrivateImportUsage]


def _second_remainder(z: Tensor) -> Tensor:
    """``2 (z - 1 + e^{-z}) / z²``, which is 1 at ``z = 0``; for ``z ≥ 0``."""
    small, large = z.clamp_max(_SERIES), z.clamp_min(_SERIES)
    # Horner's rule on Σ_k 2 (-z)^k / (k + 2)!.
    series = torch.ones_like(z)
    for k in range(_TERMS, 0, -1):
        series = 1.0 - series * small / (k + 2.0)
    return torch.where(z < _SERIES, series, 2.0 * (large + torch.expm1(-large)) / (large * large))
