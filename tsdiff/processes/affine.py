r"""Affine Gaussian paths: the common ground of diffusion and flow matching.

.. math:: x_t = a(t)\,x_0 + b(t)\,\varepsilon, \qquad \varepsilon \sim N(0, I),
   \qquad a(0) = 1,\; b(0) = 0.

``t = 0`` is data and ``t = 1`` the source. Every quantity of the model family follows from
``a``, ``b`` and their derivatives: the velocity ``a' x_0 + b' ε`` of the probability-flow ODE,
the score ``-ε / b``, and the diffusion coefficient ``g² = 2 b (a b' - a' b) / a`` of the
stochastic differential equation with these marginals (Song et al. 2021, eq. 13; Lipman et al.
2023, thm. 3).

Shapes: events are ``[B, T, D]``, times broadcast against them as ``[B, 1, 1]``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsdiff.random import Randomness, standard_normal

# A ratio of variances whose powers single precision can hold.
_WIDEST = 1e30

PREDICTIONS = ("noise", "data", "score", "velocity")
"""What a network may predict and a solver may ask for; each follows from any other.

A fifth, ``"drift"``, is there on paths with a ``volatility`` (point-source interpolants): that of
the equation ``dx = drift dτ + volatility dw`` in the direction of falling ``t``.
"""


class Coefficients(NamedTuple):
    """Signal ``a``, noise level ``b`` and their derivatives in ``t``, shaped like ``t``.

    ``volatility`` is the diffusion coefficient whose drift the prediction ``"drift"`` is, on paths
    that are built around one.
    """

    a: Tensor
    b: Tensor
    da: Tensor
    db: Tensor
    volatility: Tensor | None = None

    @property
    def wronskian(self) -> Tensor:
        """``δ = a b' - a' b``, the determinant of (x, velocity) as functions of (x_0, ε)."""
        return self.a * self.db - self.da * self.b

    @property
    def radius(self) -> Tensor:
        """``r``, ``r² = a² + b²``: of data of unit variance, the spread at ``t``."""
        return torch.sqrt(self.a * self.a + self.b * self.b)

    @property
    def angle(self) -> Tensor:
        """``θ``, ``tan θ = b / a``."""
        return torch.atan2(self.b, self.a)

    @property
    def turning(self) -> Tensor:
        """``dθ/dt``."""
        return self.wronskian / (self.a * self.a + self.b * self.b)

    @property
    def with_noise(self) -> Coefficients:
        """Those whose velocity is ``-drift``: ``b'`` takes up ``½ volatility² / b``, the score."""
        if self.volatility is None:
            raise ValueError("only point-source interpolants have a drift to predict")
        return self._replace(db=self.db + 0.5 * self.volatility.square() / self.b)


class PathSample(NamedTuple):
    """A draw ``x`` from the path at time ``t`` with the noise and velocity that belong to it."""

    x: Tensor
    noise: Tensor
    velocity: Tensor


class AffinePath(nn.Module):
    """Base of all scalar affine Gaussian paths; a subclass gives :meth:`coefficients`.

    Attributes
    ----------
    t_min, t_max
        Times at which fields are evaluated and training times drawn are clipped to this
        interval: ``b'`` diverges at 0 where ``b ~ √t``, the drift at 1 where ``a(1) = 0``.
    smooth
        Whether ``a'`` and ``b'`` are bounded on all of [0, 1].
    gaussian
        Whether :meth:`sample` draws Gaussian noise, so that there is a score.
    """

    t_min: float = 1e-4
    t_max: float = 1.0
    smooth: bool = True
    gaussian: bool = True

    def coefficients(self, t: Tensor) -> Coefficients:
        """``a, b, a', b'`` at ``t``. Derivatives are finite on ``[t_min, t_max]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no coefficients(t)")

    def adapt(self, covariance: Tensor) -> None:
        """Choose what follows from the data's covariance ``[D, D]``; nothing, for most paths."""

    def clip(self, t: Tensor) -> Tensor:
        """``t`` moved into ``[t_min, t_max]``: the only place where times are clipped."""
        return t.clamp(self.t_min, self.t_max)

    def sample(self, x0: Tensor, t: Tensor, *, generator: Randomness = None) -> PathSample:
        """Draw ``x_t`` given data.

        Parameters
        ----------
        x0
            Data, ``[B, T, D]``.
        t
            Times in [0, 1], ``[B, 1, 1]``; row ``i`` of ``t`` belongs to row ``i`` of ``x0``.
        """
        noise = standard_normal(x0, generator)
        k = self.coefficients(t)
        return PathSample(k.a * x0 + k.b * noise, noise, k.da * x0 + k.db * noise)

    def diffusion(self, t: Tensor) -> Tensor:
        """Native diffusion coefficient ``g(t) = √(2 b δ / a)``, shaped like ``t``."""
        k = self.coefficients(t)
        return (2.0 * k.b * k.wronskian / k.a).clamp_min(0.0).sqrt()

    def convert(self, value: Tensor, x: Tensor, t: Tensor, *, given: str, wanted: str) -> Tensor:
        """Turn one prediction at ``(x, t)`` into another.

        Parameters
        ----------
        value, x
            The prediction and the point it was made at, ``[B, T, D]``.
        given, wanted
            Two of :data:`PREDICTIONS`.
        """
        k = self.coefficients(t)
        return express(wanted, *decompose(given, value, x, k), k)


def decompose(given: str, value: Tensor, x: Tensor, k: Coefficients) -> tuple[Tensor, Tensor]:
    """The pair ``(x_0, ε)`` that a prediction of kind ``given`` at ``x`` implies."""
    if given == "noise":
        return (x - k.b * value) / k.a, value
    if given == "data":
        return value, (x - k.a * value) / k.b
    if given == "score":
        noise = -k.b * value
        return (x - k.b * noise) / k.a, noise
    if given == "velocity":
        delta = k.wronskian
        return (k.db * x - k.b * value) / delta, (k.a * value - k.da * x) / delta
    if given == "drift":
        return decompose("velocity", -value, x, k.with_noise)
    raise ValueError(_unknown_prediction(given))


def express(wanted: str, data: Tensor, noise: Tensor, k: Coefficients) -> Tensor:
    """The prediction of kind ``wanted`` that the pair ``(x_0, ε)`` amounts to."""
    if wanted == "noise":
        return noise
    if wanted == "data":
        return data
    if wanted == "score":
        return -noise / k.b
    if wanted == "velocity":
        return k.da * data + k.db * noise
    if wanted == "drift":
        return -express("velocity", data, noise, k.with_noise)
    raise ValueError(_unknown_prediction(wanted))


def check_prediction(kind: str) -> str:
    """``kind`` itself if it is a prediction, else a ValueError."""
    if kind not in (*PREDICTIONS, "drift"):
        raise ValueError(_unknown_prediction(kind))
    return kind


def _unknown_prediction(kind: object) -> str:
    return f"unknown prediction {kind!r}: expected one of {', '.join(PREDICTIONS)}"


class Linear(AffinePath):
    """Straight lines between data and noise: ``a = 1 - t``, ``b = t``.

    Rectified flow (Liu et al. 2023) and conditional optimal transport (Lipman et al. 2023).
    """

    t_max = 1.0 - 1e-4

    def coefficients(self, t: Tensor) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(1.0 - t, t, -one, one)


class Trigonometric(AffinePath):
    """A quarter turn from data to noise: ``a = cos(πt/2)``, ``b = sin(πt/2)``.

    The cosine path of Albergo & Vanden-Eijnden (2023).
    """

    t_max = 1.0 - 1e-4

    def coefficients(self, t: Tensor) -> Coefficients:
        half = 0.5 * math.pi
        a, b = torch.cos(half * t), torch.sin(half * t)
        return Coefficients(a, b, -half * b, half * a)


class LipschitzOptimal(AffinePath):
    r"""The path whose velocity is least steep where data are Gaussian with a wide spectrum.

    With ``M`` the ratio of the largest to the smallest eigenvalue of the data's covariance and
    ``σ²`` the largest,

    .. math:: a^2 = \frac{M - M^t}{M - 1}, \qquad b^2 = σ^2\, \frac{M^t - 1}{M - 1}.

    Along the smallest eigenvalue the velocity's slope is then ``½ log M`` at every ``t``; on
    straight lines it reaches about ``½ √M``, and finer data need more steps. ``M → 1`` is
    ``a² = 1 - t``. (Chen, Vanden-Eijnden & Xu 2025, *Lipschitz-guided design of interpolation
    schedules in generative models*.)

    Parameters
    ----------
    ratio
        ``M ≥ 1``, 1e30 at most; None takes it, and ``σ``, from the data that a decoder is told.
    scale
        ``σ``.
    """

    t_max = 1.0 - 1e-4
    smooth = False
    log_ratio: Tensor
    scale: Tensor

    def __init__(self, ratio: float | None = None, scale: float = 1.0):
        super().__init__()
        if ratio is not None and not (1.0 <= ratio <= _WIDEST):
            raise ValueError(
                f"the ratio of eigenvalues must be between 1 and {_WIDEST:g}, got {ratio}"
            )
        if not 0.0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.given = ratio is not None
        self.register_buffer("log_ratio", torch.tensor(math.log(ratio or 1.0)))
        self.register_buffer("scale", torch.tensor(float(scale)))

    def adapt(self, covariance: Tensor) -> None:
        if self.given:
            return
        values = torch.linalg.eigvalsh(covariance.double())
        largest = values[-1].clamp_min(1e-12)
        # Beyond this, eigenvalues are rounding.
        smallest = values[0].clamp_min(1e-6 * largest)
        self.log_ratio.copy_((largest / smallest).log())
        self.scale.copy_(largest.sqrt())

    def coefficients(self, t: Tensor) -> Coefficients:
        # (M^t - 1) / (M - 1), which is t in the limit of M = 1, and its derivative.
        log_ratio = self.log_ratio.to(t.dtype).clamp_min(1e-4)
        whole = torch.expm1(log_ratio)
        growth = log_ratio * torch.exp(log_ratio * t) / whole
        noise = torch.expm1(log_ratio * t) / whole
        signal = torch.exp(log_ratio * t) * torch.expm1(log_ratio * (1.0 - t)) / whole
        a, b, scale = signal.sqrt(), noise.sqrt(), self.scale.to(t.dtype)
        # a' diverges at t = 1 and b' at 0; the floor keeps them finite there.
        floor = math.sqrt(torch.finfo(t.dtype).tiny)
        da, db = -0.5 * growth / a.clamp_min(floor), 0.5 * growth / b.clamp_min(floor)
        return Coefficients(a, scale * b, da, scale * db)


class _VPBase(AffinePath):
    """``a = exp(-½ B(t))``, ``b² = 1 - a²`` for an integrated rate ``B``; ``g² = β``."""

    smooth = False

    def rate(self, t: Tensor) -> Tensor:
        """``β(t)``."""
        raise NotImplementedError

    def integrated_rate(self, t: Tensor) -> Tensor:
        """``B(t) = ∫₀ᵗ β``."""
        raise NotImplementedError

    def coefficients(self, t: Tensor) -> Coefficients:
        beta, integral = self.rate(t), self.integrated_rate(t)
        a = torch.exp(-0.5 * integral)
        b = torch.sqrt(-torch.expm1(-integral))
        # b' diverges at t = 0; the floor keeps it finite there and changes nothing beyond.
        floor = math.sqrt(torch.finfo(t.dtype).tiny)
        return Coefficients(a, b, -0.5 * beta * a, 0.5 * beta * a * a / b.clamp_min(floor))

    def diffusion(self, t: Tensor) -> Tensor:
        return self.rate(t).sqrt()


class VariancePreserving(_VPBase):
    """The VP process of score-based models (Song et al. 2021, eq. 11).

    ``β(t) = β_min + t^r (β_max - β_min)``; ``r = 1`` is the usual linear schedule.

    Parameters
    ----------
    beta_min, beta_max
        Rates at ``t = 0`` and ``t = 1``, ``0 < beta_min <= beta_max``.
    exponent
        ``r > 0``.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, exponent: float = 1.0):
        super().__init__()
        if not 0.0 < beta_min <= beta_max:
            raise ValueError(
                f"expected 0 < beta_min <= beta_max, got beta_min={beta_min}, beta_max={beta_max}"
            )
        if exponent <= 0.0:
            raise ValueError(f"exponent must be positive, got {exponent}")
        self.beta_min, self.beta_max, self.exponent = beta_min, beta_max, exponent

    def rate(self, t: Tensor) -> Tensor:
        return self.beta_min + t**self.exponent * (self.beta_max - self.beta_min)

    def integrated_rate(self, t: Tensor) -> Tensor:
        r = self.exponent
        return self.beta_min * t + (self.beta_max - self.beta_min) * t ** (r + 1) / (r + 1)


class SubVP(VariancePreserving):
    """The sub-VP process (Song et al. 2021, eq. 29): ``a`` as for VP, ``b = 1 - a²``.

    Its variance never exceeds that of the VP process with the same rate. ``g² = β (1 - a⁴)``.
    Parameters as for :class:`VariancePreserving`.
    """

    def coefficients(self, t: Tensor) -> Coefficients:
        beta, integral = self.rate(t), self.integrated_rate(t)
        a = torch.exp(-0.5 * integral)
        return Coefficients(a, -torch.expm1(-integral), -0.5 * beta * a, beta * a * a)

    def diffusion(self, t: Tensor) -> Tensor:
        return (-self.rate(t) * torch.expm1(-2.0 * self.integrated_rate(t))).sqrt()


class VarianceExploding(AffinePath):
    """The VE process (Song et al. 2021, eq. 30): noise is added and nothing is taken away.

    ``a = 1``, ``b = σ_min √((σ_max/σ_min)^{2t} - 1)``.

    Parameters
    ----------
    sigma_min, sigma_max
        ``0 < sigma_min < sigma_max``, in the units that the path runs in: the first should be
        small against the finest structure of the data, the second large against their spread.
    """

    smooth = False

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 10.0):
        super().__init__()
        if not 0.0 < sigma_min < sigma_max:
            raise ValueError(
                f"expected 0 < sigma_min < sigma_max, got sigma_min={sigma_min}, "
                f"sigma_max={sigma_max}"
            )
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def coefficients(self, t: Tensor) -> Coefficients:
        slope = math.log(self.sigma_max / self.sigma_min)
        b = self.sigma_min * torch.expm1(2.0 * slope * t).sqrt()
        # b' diverges at t = 0; the floor keeps it finite there and changes nothing beyond.
        floor = math.sqrt(torch.finfo(t.dtype).tiny)
        growth = slope * self.sigma_min**2 * torch.exp(2.0 * slope * t)
        return Coefficients(torch.ones_like(t), b, torch.zeros_like(t), growth / b.clamp_min(floor))

    def diffusion(self, t: Tensor) -> Tensor:
        slope = math.log(self.sigma_max / self.sigma_min)
        return math.sqrt(2.0 * slope) * self.sigma_min * torch.exp(slope * t)


class DiscreteDDPM(_VPBase):
    """The discrete chain of DDPM (Ho et al. 2020, eq. 4) as a path in continuous time.

    At ``t = n / num_steps`` it is the chain itself, ``a² = ᾱ_n = Π (1 - β_k)``; between grid
    points ``log ᾱ`` is interpolated linearly, which makes it a VP process with a
    piecewise-constant rate, so that every solver can run on it.

    Parameters
    ----------
    num_steps
        Length of the chain (100 in TimeGrad, 150 in VSDM's baseline).
    beta_min, beta_max
        First and last variance of the linear schedule, ``0 < beta_min <= beta_max < 1``.
    """

    cumulative: Tensor

    def __init__(self, num_steps: int = 100, beta_min: float = 1e-4, beta_max: float = 0.1):
        super().__init__()
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if not 0.0 < beta_min <= beta_max < 1.0:
            raise ValueError(
                "expected 0 < beta_min <= beta_max < 1, "
                f"got beta_min={beta_min}, beta_max={beta_max}"
            )
        self.num_steps = num_steps
        betas = torch.linspace(beta_min, beta_max, num_steps, dtype=torch.float64)
        steps = torch.cat([torch.zeros(1, dtype=torch.float64), -torch.log1p(-betas)])
        self.register_buffer("cumulative", steps.cumsum(0), persistent=False)

    def _cell(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        position = t * self.num_steps
        # n / N · N may round to just above n, where the next cell, with its own rate, begins.
        slack = 4.0 * torch.finfo(t.dtype).eps * self.num_steps
        cell = ((position - slack).ceil().long() - 1).clamp(0, self.num_steps - 1)
        left, right = self.cumulative[cell].to(t.dtype), self.cumulative[cell + 1].to(t.dtype)
        return position - cell, left, right - left

    def rate(self, t: Tensor) -> Tensor:
        return self._cell(t)[2] * self.num_steps

    def integrated_rate(self, t: Tensor) -> Tensor:
        fraction, left, width = self._cell(t)
        return left + fraction * width
