r"""Log-densities of events under a decoder, in the angle of its path.

With the spread ``s`` of data on the path, ``r² = a² s² + b²``, ``u = x / r`` and ``tan θ_i = b_i /
(a_i s_i)`` along each axis, the probability-flow ODE is ``du_i/dθ_i = F_i(u, θ)``, where ``F = cos
θ ε̂ - sin θ ξ̂`` is the rotation that is learned (:mod:`tsdiff.decoders.base`). By the
instantaneous change of variables (Chen et al. 2018, *Neural ordinary differential equations*, thm.
1),

.. math:: \log p(x_0) = \log p_{u_1}(u_1) - \log\left|\det \frac{dx_0}{du_0}\right|
   + \int \sum_i \frac{∂F_i}{∂u_i}\, dθ_i,

from data, ``u_0 = ξ``, to the source. Velocities diverge at the ends of many paths, and sources may
be a point: the angle, ``u`` and ``F`` are regular all the same. The law is that of samples from an
ODE solver of many steps.

The law of the reverse-time *SDE* with the native diffusion has a lower bound (Song, Durkan, Murray
& Ermon 2021, *Maximum likelihood training of score-based diffusion models*, thm. 3; Kingma,
Salimans, Poole & Ho 2021, *Variational diffusion models*, eq. 11), which in the angle is

.. math:: \log p(ξ) \ge -\mathrm{KL}\bigl(q(x_1 | ξ) \,\|\, p_{x_1}\bigr)
   + E \log N(ξ;\, \hat ξ(u), \sin^2 θ)\big|_{t_\min}
   - \sum_i \int E\,(F_i - \hat F_i)^2 \, d\log \sin θ_i,

since ``½ g² (Δ score)² dt = cot θ (F - F̂)² dθ`` on every affine path. ``E F² = cos² θ + sin² θ
ξ²`` is known, and with it everything but ``C = E[F̂² - 2 F F̂]``: the bound is

.. math:: \log N(ξ; 0, I) - \sum_i \Bigl(½ C_i\big|_{t_\min} + \int C_i\, d\log \sin θ_i\Bigr)
   - \mathrm{KL}\bigl(q \,\|\, p_{x_1}\bigr) + \mathrm{KL}\bigl(q \,\|\, N(0, r_1^2)\bigr).

Only ``C`` is estimated, with no variance at all where the network is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsdiff.processes import Coefficients
from tsdiff.processes.variational import interpolated
from tsdiff.random import Randomness, drawn, standard_normal
from tsdiff.solvers import RK4, Field, Solver, integrate
from tsdiff.solvers.base import check_steps

if TYPE_CHECKING:
    from tsdiff.decoders.base import AffineDecoder

TRACES = ("auto", "exact", "hutchinson")
"""How the divergence is taken: see :meth:`tsdiff.decoders.AffineDecoder.log_prob`."""

# Values of an event up to which "auto" is exact.
_MOST_EXACT = 64
# Rows that are differentiated at once: a matter of memory.
_AT_ONCE = 1 << 14
_MESH = 4096
# Closer to 0 than that, derivatives of paths that go as the root of time overflow.
_NEAR = 1e-10
_LOG_TWO_PI = math.log(2.0 * math.pi)


def log_prob(
    decoder: AffineDecoder,
    x0: Tensor,
    context: Tensor,
    *,
    num_steps: int,
    trace: str,
    num_probes: int,
    source_draws: int,
    generator: Randomness = None,
    solver: Solver | None = None,
) -> Tensor:
    """See :meth:`tsdiff.decoders.AffineDecoder.log_prob`; ``solver`` is of ODEs, RK4 by default."""
    _check(x0, context, decoder.axes.dim)
    if getattr(decoder.path, "atoms", False):
        raise ValueError(
            f"{type(decoder.path).__name__} has a source with point masses, and what begins there "
            "has no density: score samples instead, or choose another path"
        )
    field = decoder.field(context)
    if field.velocity is None:
        raise ValueError(
            f"{field.name} has no density that could be followed: score samples instead, or take "
            "the model that it was distilled from"
        )
    exact = _is_exact(trace, x0[0].numel() if len(x0) else 0)
    counts = {"num_probes": num_probes, "source_draws": source_draws}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be a positive integer, got {count}")
    with torch.no_grad():
        rows, known = _known_rows(x0)
        probes = _unit_events(rows) if exact else _signs(rows, num_probes, generator)
        start = decoder.standardised(decoder.axes.enter(rows)).to(x0.dtype)
        clock = Clock(decoder, x0.device)
        falling = torch.linspace(1.0, 0.0, check_steps(num_steps) + 1, dtype=torch.float64)
        flow = _augmented(decoder.rotation(context), clock, probes, exact)
        state = torch.cat([start.flatten(1), start.new_zeros(len(start), 1)], dim=1).unsqueeze(1)
        ended = integrate(Field(velocity=flow), solver or RK4(), state, falling).squeeze(1)
        u, change = ended[:, :-1].reshape(start.shape), ended[:, -1].double()
        radius = clock.coefficients(torch.ones_like(clock.one)).radius
        source = decoder.source_log_prob(
            field,
            (radius * u).to(x0.dtype),
            draws=source_draws,
            generator=generator,
        )
        steps, dims = x0.shape[1:]
        widened = steps * radius.log().expand(1, 1, dims).sum()
        total = source.double() + change + widened + _log_density_of_entering(decoder, steps)
        return torch.where(known, total, torch.nan).to(x0.dtype)


def elbo(
    decoder: AffineDecoder,
    x0: Tensor,
    context: Tensor,
    *,
    num_draws: int,
    source_draws: int,
    generator: Randomness = None,
) -> Tensor:
    """See :meth:`tsdiff.decoders.AffineDecoder.elbo`."""
    _check(x0, context, decoder.axes.dim)
    if num_draws < 1 or source_draws < 1:
        raise ValueError(
            f"num_draws and source_draws must be positive, got {num_draws} and {source_draws}"
        )
    with torch.no_grad():
        field = decoder.field(context)
        if field.score is None:
            raise ValueError(
                f"{field.name} has a velocity and no score: there is no reverse-time SDE whose law "
                "could be bounded. log_prob gives the density of its ODE"
            )
        rows, known = _known_rows(x0)
        data = decoder.standardised(decoder.axes.enter(rows)).to(x0.dtype)
        normal = -0.5 * (data.double().square() + _LOG_TWO_PI).flatten(1).sum(1)
        missed = _path_divergence(decoder, data, context, num_draws, generator)
        end = decoder.coefficients(torch.ones(1, 1, 1, dtype=torch.float64, device=x0.device))
        mean, std = end.a * data, end.b.expand(1, 1, data.shape[-1])
        source = decoder.source_divergence(
            field, mean.to(x0.dtype), std.to(x0.dtype), draws=source_draws, generator=generator
        )
        total = normal - missed - source.double() + _gaussian_divergence(mean, std, end.radius)
        total = total + _log_density_of_entering(decoder, x0.shape[1])
        return torch.where(known, total, torch.nan).to(x0.dtype)


class Clock:
    """The clock that likelihoods are integrated along: half ``t``, half the angle.

    ``c = ½ (t + θ(t) / θ(1))``, with the angle averaged over axes, rises from 0 to 1. Along ``t``
    alone, slopes have no bound where noise starts as a root of time; along the angle alone,
    networks, which know ``t``, may change within a step (with 32 steps a trained VSDM then errs by
    eight times as much). From ``c`` neither runs away.
    """

    def __init__(self, decoder: AffineDecoder, device: torch.device):
        self.coefficients = decoder.coefficients
        self.one = torch.ones(1, 1, 1, dtype=torch.float64, device=device)
        u = torch.linspace(0.0, torch.pi, _MESH + 1, dtype=torch.float64, device=device)
        # Finer at both ends, where angles may go as a root.
        self._times = 0.5 * (1.0 - u.cos())
        angles = self.coefficients(self._times.view(-1, 1, 1)).angle.mean((1, 2))
        self._whole = angles[-1]
        self._readings = 0.5 * (self._times + angles / self._whole)

    def time(self, reading: Tensor) -> Tensor:
        """``t`` at readings ``c`` in [0, 1], float64."""
        return interpolated(reading.double(), self._readings, self._times)

    def speed(self, t: Tensor) -> Tensor:
        """``dθ_i/dc``, ``[1, 1, 1]`` or ``[1, 1, D]``, float64."""
        turning = self.coefficients(t.clamp(_NEAR, 1.0)).turning
        return turning / (0.5 + 0.5 * turning.mean() / self._whole)


def _augmented(
    rotation: Callable[[Tensor, Tensor], Tensor], clock: Clock, probes: Tensor, exact: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """Slope of ``(u, ∫ divergence) [B, 1, T·D + 1]`` in ``1 - c``, which falls on the way."""

    def slope(state: Tensor, left: Tensor) -> Tensor:
        t = clock.time(1.0 - left.double())
        speed = clock.speed(t).to(state.dtype)
        u = state[:, 0, :-1].reshape(probes.shape[1:])
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            turn = rotation(u, t.to(state.dtype))
            drift = speed * turn
            chunks = probes.split(max(1, _AT_ONCE // max(1, len(u))))
            traces = [_trace(drift, u, chunk) for chunk in chunks]
        trace = torch.cat(traces)
        trace = trace.sum(0) if exact else trace.mean(0)
        return -torch.cat([drift.detach().flatten(1), trace.unsqueeze(1)], dim=1).unsqueeze(1)

    return slope


def _trace(drift: Tensor, u: Tensor, probes: Tensor) -> Tensor:
    """``vᵀ (∂ drift/∂u) v`` for each probe ``v [P, B, T, D]``, ``[P, B]``."""
    pulled = torch.autograd.grad(
        drift, u, probes, is_grads_batched=True, retain_graph=True, materialize_grads=True
    )[0]
    return (pulled * probes).flatten(2).sum(2)


def _path_divergence(
    decoder: AffineDecoder,
    data: Tensor,
    context: Tensor,
    num_draws: int,
    generator: Randomness,
) -> Tensor:
    """``Σ_i (½ C_i at t_min + ∫ C_i d log sin θ_i)``, estimated from ``num_draws`` times, ``[B]``.

    Times are drawn so that the mean of ``log sin θ_i`` over axes is uniform, one in each of
    ``num_draws`` strata. What is at ``t_min`` stands before the first as an interval of length ½.
    """
    network = decoder.network.bind(context)
    u = torch.linspace(0.0, torch.pi, _MESH + 1, dtype=torch.float64, device=data.device)
    times = decoder.path.clip(0.5 * (1.0 - u.cos()))
    times = times.unique()
    levels = decoder.coefficients(times.view(-1, 1, 1)).angle.sin().log().mean((1, 2))
    whole = 0.5 + levels[-1] - levels[0]
    total = torch.zeros(len(data), dtype=torch.float64, device=data.device)
    for stratum in range(num_draws):
        place = whole * (stratum + drawn(data[:, :1, :1], generator, _uniform).double()) / num_draws
        t = interpolated(levels[0] + (place - 0.5).clamp_min(0.0), levels, times)
        k = decoder.coefficients(t)
        growth = k.turning * k.a / k.b
        weight = torch.where(place > 0.5, growth / growth.mean(-1, keepdim=True), 1.0)
        missed = _unexplained(decoder, network, data, t, k, standard_normal(data, generator))
        total += (weight * missed).flatten(1).sum(1) * (whole / num_draws)
    return total


def _unexplained(
    decoder: AffineDecoder,
    network: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    t: Tensor,
    k: Coefficients,
    noise: Tensor,
) -> Tensor:
    """``F̂² - 2 F F̂`` at one draw of ``u`` given data ``ξ``, float64."""
    radius = k.radius
    cosine, sine = (k.a / radius).to(data.dtype), (k.b / radius).to(data.dtype)
    turn = cosine * noise - sine * data
    guess = decoder.rotated(network, cosine * data + sine * noise, t.to(data.dtype))
    return (guess * (guess - 2.0 * turn)).double()


def gaussian_log_prob(x: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Log-density of events ``[B, T, D]`` whose steps are ``N(mean, factor factorᵀ)``, ``[B]``."""
    factor = factor.double()
    unit = torch.linalg.solve_triangular(factor, (x.double() - mean).mT, upper=False)
    volume = factor.diagonal().log().sum()
    return -0.5 * (unit.square() + _LOG_TWO_PI).flatten(1).sum(1) - x.shape[1] * volume


def gaussian_divergence(mean: Tensor, std: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """``KL(N(mean, std²) ‖ N(centre, factor factorᵀ))`` of events ``[B, T, D]``, ``[B]``."""
    factor, std = factor.double(), std.double().expand(1, 1, mean.shape[-1])
    off = torch.linalg.solve_triangular(factor, (mean.double() - centre).mT, upper=False)
    width = torch.linalg.solve_triangular(factor, torch.diag(std.flatten()), upper=False)
    fixed = width.square().sum() - len(factor) + 2.0 * (factor.diagonal().log() - std.log()).sum()
    return 0.5 * (off.square().flatten(1).sum(1) + mean.shape[1] * fixed)


def _gaussian_divergence(mean: Tensor, std: Tensor, radius: Tensor) -> Tensor:
    spread = radius.expand(1, 1, mean.shape[-1]).flatten()
    return gaussian_divergence(mean, std, torch.zeros_like(spread), torch.diag(spread))


def _log_density_of_entering(decoder: AffineDecoder, steps: int) -> Tensor:
    """``log |det dξ/dx_0|`` of an event; axes are orthonormal."""
    one = torch.ones_like(decoder.axes.unit)
    return -steps * (decoder.axes.unit.double() / decoder.standardised(one).double()).log().sum()


def _known_rows(x0: Tensor) -> tuple[Tensor, Tensor]:
    """Events with zeros for those that aren't finite, and which are, ``[B]``."""
    known = x0.isfinite().flatten(1).all(1)
    return torch.where(known[:, None, None], x0.detach(), 0.0), known


def _unit_events(like: Tensor) -> Tensor:
    """Every unit vector of an event, ``[T·D, B, T, D]``."""
    count = like[0].numel()
    identity = torch.eye(count, dtype=like.dtype, device=like.device)
    return identity.view(count, 1, *like.shape[1:]).expand(count, *like.shape)


def _signs(like: Tensor, count: int, generator: Randomness) -> Tensor:
    """Rademacher probes ``[P, B, T, D]``."""
    draws = [standard_normal(like, generator) for _ in range(count)]
    return torch.where(torch.stack(draws) < 0.0, -1.0, 1.0).to(like.dtype)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _check(x0: Tensor, context: Tensor, dim: int) -> None:
    fits = x0.ndim == 3 and context.ndim == 3 and x0.shape[-1] == dim
    if not fits or x0.shape[:2] != context.shape[:2]:
        raise ValueError(
            f"expected events [B, T, {dim}] and contexts [B, T, H] of the same rows and steps, got "
            f"{list(x0.shape)} and {list(context.shape)}"
        )
    if not x0.is_floating_point():
        raise ValueError(f"events must be of floating point, got {x0.dtype}")


def _is_exact(trace: str, values: int) -> bool:
    if trace not in TRACES:
        raise ValueError(f"unknown trace {trace!r}: expected one of {', '.join(TRACES)}")
    return trace == "exact" or (trace == "auto" and values <= _MOST_EXACT)
