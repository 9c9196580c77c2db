"""The uniform process against its law, its gradient flow and direct quadrature."""

from __future__ import annotations

import math

import pytest
import torch

from tsdiff.processes.uniform import Uniform
from tsdiff.random import seeded

LAWS = [(1.0, None), (0.2, None), (5.0, 0.7)]
every_law = pytest.mark.parametrize(("half_width", "scale"), LAWS)


def grid(count: int = 41) -> torch.Tensor:
    return torch.linspace(0.05, 1.0, count, dtype=torch.float64)


@pytest.mark.parametrize("half_width", [1e-3, 0.2, 1.0, 100.0])
def test_the_source_has_unit_variance_unless_scaled_otherwise(half_width: float) -> None:
    path, one = Uniform(half_width), torch.ones(1, dtype=torch.float64)
    assert path.coefficients(one).b.item() == pytest.approx(1.0, rel=1e-12)
    assert path.extent(one)[0].item() == pytest.approx(math.sqrt(3.0), rel=1e-12)
    unscaled = Uniform(half_width, scale=1.0).extent(one)[0].item()
    assert unscaled == pytest.approx(half_width * (1.0 - math.exp(-1.0 / half_width)))


@every_law
def test_draws_fill_the_half_width_evenly(half_width: float, scale: float | None) -> None:
    path, count = Uniform(half_width, scale), 50_000
    tau = torch.full((count, 1, 1), 0.4, dtype=torch.float64)
    y, _ = path.simulate(tau, seeded(1))
    extent = path.extent(tau[:1])[0].item()
    assert y.abs().max().item() <= extent
    u = torch.sort(y.flatten() / extent).values
    ranks = 2.0 * (torch.arange(count, dtype=torch.float64) + 0.5) / count - 1.0
    assert (u - ranks).abs().max().item() < 4.0 / math.sqrt(count)  # Kolmogorov–Smirnov
    assert (u**4).mean().item() == pytest.approx(0.2, abs=0.01)


@every_law
def test_the_velocity_is_that_of_the_draw_and_of_the_formula(
    half_width: float, scale: float | None
) -> None:
    path, tau = Uniform(half_width, scale), grid()
    y, velocity = path.simulate(tau, seeded(2))
    torch.testing.assert_close(velocity, path.velocity(y, tau), rtol=1e-12, atol=1e-14)
    _, derivative = torch.autograd.functional.jvp(
        lambda at: path.simulate(at, seeded(2))[0], tau, torch.ones_like(tau)
    )
    torch.testing.assert_close(velocity, derivative, rtol=1e-12, atol=1e-14)


@every_law
def test_density_and_velocity_obey_the_continuity_equation(
    half_width: float, scale: float | None
) -> None:
    path, tau = Uniform(half_width, scale), grid().requires_grad_()
    y = (0.7 * path.extent(grid())[0]).requires_grad_()
    p = path.density(y, tau)
    growth = torch.autograd.grad(p.sum(), tau, retain_graph=True)[0]
    (outflow,) = torch.autograd.grad((p * path.velocity(y, tau)).sum(), y)
    torch.testing.assert_close(growth, -outflow, rtol=1e-10, atol=1e-12)
    total = 2.0 * path.extent(grid())[0] * path.density(torch.zeros_like(grid()), grid())
    torch.testing.assert_close(total, torch.ones_like(total))
    assert path.density(1.5 * y, tau).abs().max().item() == 0.0


@every_law
def test_it_is_the_gradient_flow_of_the_discrepancy(half_width: float, scale: float | None) -> None:
    """``v = ∫ sgn(y - z) (p_τ(z) - q(z)) dz``, with q uniform up to the limiting half-width."""
    path, tau = Uniform(half_width, scale), grid()
    (extent, _), limit = path.extent(tau), path.scale * half_width
    y = 0.6 * extent
    # An integral of the sign against a uniform law is the position in units of its half-width.
    descent = y / extent - y / limit
    torch.testing.assert_close(path.velocity(y, tau), path.scale * descent, rtol=1e-10, atol=1e-12)


def test_particles_carried_by_the_velocity_keep_their_quantiles() -> None:
    """Given data, from t = 0.2 to 0.9 with the midpoint rule; a squared clock."""
    path, x0, steps, ends = Uniform(0.5, clock_power=2.0), 1.3, 2000, (0.2, 0.9)

    def draw(t: float, seed: int) -> torch.Tensor:
        like = torch.full((20_000, 1, 1), x0, dtype=torch.float64)
        time = torch.full((1, 1, 1), t, dtype=torch.float64)
        return path.sample(like, time, generator=seeded(seed)).x.flatten()

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        time = torch.tensor(t, dtype=torch.float64)
        own = path.velocity(x - path.decay(time) * x0, path.clock(time))
        return path.clock_rate(time) * own - x0

    x, step = draw(ends[0], 3), (ends[1] - ends[0]) / steps
    for i in range(steps):
        t = ends[0] + i * step
        x = x + step * velocity(x + 0.5 * step * velocity(x, t), t + 0.5 * step)
    levels = torch.linspace(0.0, 1.0, 21, dtype=torch.float64)
    torch.testing.assert_close(x.quantile(levels), draw(0.9, 4).quantile(levels), rtol=0, atol=0.04)
    # The same draws, dilated: exact but for the midpoint rule.
    torch.testing.assert_close(x, draw(0.9, 3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_finite_for_extreme_widths(dtype: torch.dtype) -> None:
    tau = torch.tensor([0.0, 1e-30, 1e-8, 1e-3, 1.0], dtype=dtype)
    for half_width in (1e-4, 1.0, 1e4):
        path = Uniform(half_width)
        for value in (*path.simulate(tau, seeded(5)), *path.extent(tau)):
            assert value.dtype == dtype
            assert value.isfinite().all()
        assert path.velocity(torch.zeros_like(tau), tau).abs().max().item() == 0.0


def test_single_precision_agrees_with_double() -> None:
    path, tau = Uniform(0.3), grid()
    y = 0.5 * path.extent(tau)[0]
    got = path.velocity(y.float(), tau.float())
    torch.testing.assert_close(got.double(), path.velocity(y, tau), rtol=2e-6, atol=0)


@pytest.mark.parametrize(
    "options", [{"half_width": 0.0}, {"half_width": math.inf}, {"scale": -1.0}, {"scale": math.nan}]
)
def test_bad_parameters_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be positive and finite"):
        Uniform(**options)
