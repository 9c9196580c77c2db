"""Point-source interpolants: laws, drift and the Föllmer coefficient."""

from __future__ import annotations

import math

import pytest
import torch

from tsdiff.processes import PointSource
from tsdiff.processes.affine import decompose, express
from tsdiff.random import seeded

PATHS = [PointSource(), PointSource(0.6, power=2.0)]
every_path = pytest.mark.parametrize("path", PATHS, ids=["linear", "quadratic"])
TIMES = torch.linspace(1e-3, 1.0 - 1e-3, 41, dtype=torch.float64).view(-1, 1, 1)


@every_path
def test_moments_are_those_of_the_simulated_interpolant(path: PointSource) -> None:
    """``α y + β x_0 + σ_s W_s`` with a Brownian motion that is walked, not drawn at once."""
    generator, count, steps = seeded(1), 40_000, 25
    x0 = 2.0 + torch.randn(count, 1, 1, generator=generator, dtype=torch.float64)
    y = torch.full_like(x0, -3.0)
    walk = torch.zeros_like(x0)
    for step in range(1, steps + 1):
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        walk = walk + noise / math.sqrt(steps)
        if step % 8:
            continue
        s = step / steps
        t = torch.full((1, 1, 1), 1.0 - s, dtype=torch.float64)
        walked = (1.0 - s) * y + s**path.power * x0 + path.scale * (1.0 - s) * walk
        drawn = path.sample(x0, t, source=y, generator=seeded(step)).x
        assert drawn.mean().item() == pytest.approx(walked.mean().item(), abs=0.02)
        assert drawn.std().item() == pytest.approx(walked.std().item(), rel=0.02)
        both = [torch.cov(torch.cat([v, x0], 2).flatten(1).T)[0, 1] for v in (drawn, walked)]
        assert both[0].item() == pytest.approx(both[1].item(), abs=0.02)


@every_path
def test_the_drift_is_what_is_left_of_itos_formula(path: PointSource) -> None:
    """``β' x_0 + σ' √s ε``, the derivative of the interpolant with ``W`` held."""
    data, noise = torch.randn(2, len(TIMES), 1, 3, generator=seeded(2), dtype=torch.float64)
    s, k = 1.0 - TIMES, path.coefficients(TIMES)
    expected = path.power * s ** (path.power - 1.0) * data - path.scale * s.sqrt() * noise
    torch.testing.assert_close(express("drift", data, noise, k), expected, rtol=1e-9, atol=1e-9)
    found = decompose("drift", expected, k.a * data + k.b * noise, k)
    torch.testing.assert_close(found[0], data, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found[1], noise, rtol=1e-7, atol=1e-7)


@every_path
def test_drift_is_velocity_and_half_of_the_volatility_times_the_score(path: PointSource) -> None:
    data, noise = torch.randn(2, len(TIMES), 1, 3, generator=seeded(3), dtype=torch.float64)
    k = path.coefficients(TIMES)
    velocity, score = (express(kind, data, noise, k) for kind in ("velocity", "score"))
    drift = express("drift", data, noise, k)
    expected = -velocity + 0.5 * path.volatility(TIMES) ** 2 * score
    torch.testing.assert_close(drift, expected, rtol=1e-9, atol=1e-9)


@every_path
def test_the_native_coefficient_is_foellmers(path: PointSource) -> None:
    """``|2 s σ² d/ds log(β / (√s σ))|^½``; ``1 - s²`` squared on straight lines."""
    s = (1.0 - TIMES).requires_grad_()
    sigma = path.scale * (1.0 - s)
    ratio = (s**path.power / (s.sqrt() * sigma)).log()
    slope = torch.autograd.grad(ratio.sum(), s)[0]
    expected = (2.0 * s * sigma**2 * slope).abs().sqrt().detach()
    torch.testing.assert_close(path.diffusion(TIMES), expected, rtol=1e-8, atol=1e-10)
    if path.power == 1.0:
        closed = (1.0 - (1.0 - TIMES) ** 2).sqrt()
        torch.testing.assert_close(path.diffusion(TIMES), closed, rtol=1e-8, atol=1e-10)


@every_path
def test_foellmers_coefficient_makes_learned_drifts_err_least(path: PointSource) -> None:
    """``½ ∫ ((g² + g̃²) / (2 g̃))² |Δscore|²`` is least at ``g̃ = g``, whatever the error."""
    g = path.diffusion(TIMES)

    def divergence(factor: torch.Tensor) -> float:
        level = factor * g
        return (((g**2 + level**2) / (2.0 * level)) ** 2 * TIMES).mean().item()

    least = divergence(torch.ones_like(g))
    for factor in (0.5, 0.9, 1.1, 2.0, 0.5 + TIMES):
        assert divergence(torch.as_tensor(factor) * torch.ones_like(g)) > least
    off = path.volatility(TIMES) / g
    assert divergence(off) > least


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ends_are_finite(path: PointSource, dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, 1e-6, 1.0 - 1e-6, 1.0], dtype=dtype)
    k = path.coefficients(t)
    for value in (*k, path.diffusion(t)):
        assert value.isfinite().all()
        assert value.dtype == dtype
    assert k.b[-1].item() == pytest.approx(1e-3 * path.scale, rel=1e-3)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"power": 0.5}, {"scale": math.inf}])
def test_parameters_out_of_range(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PointSource(**options)
