"""The telegraph process against a direct simulation, its equations and its Brownian limit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tsdiff.processes.kac import Kac
from tsdiff.random import seeded

# Few reversals, so that fronts matter; the default; many.
RATES = [(3.0, 2.0), (25.0, 5.0), (400.0, 20.0)]
every_rate = pytest.mark.parametrize(("rate", "speed"), RATES)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def inside(path: Kac, tau: float, count: int = 400) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes and weights on ``|y| < cτ``."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    end = path.speed * tau
    return end * torch.from_numpy(nodes), end * torch.from_numpy(weights)


def distribution(path: Kac, y: Tensor, tau: float) -> Tensor:
    """Chance of being below ``y``, inside the fronts: the left front and an integral."""
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(200))
    end, time = path.speed * tau, double(tau)
    half = 0.5 * (y + end)[:, None]
    integral = (half * weights * path.density(half * (nodes + 1.0) - end, time)).sum(1)
    return 0.5 * path.front_mass(time) + integral


def switching(path: Kac, tau: float, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Position and direction at ``tau`` of particles followed from one reversal to the next."""
    generator, left = seeded(seed), torch.full((count,), tau, dtype=torch.float64)
    start = torch.rand(count, dtype=torch.float64, generator=generator)
    direction, y = torch.where(start < 0.5, -1.0, 1.0).double(), torch.zeros_like(left)
    while bool((left > 0.0).any()):
        held = torch.empty_like(left).exponential_(path.rate, generator=generator)
        y = y + direction * path.speed * torch.minimum(held, left)
        direction = torch.where(held < left, -direction, direction)
        left = (left - held).clamp_min(0.0)
    return y, direction


@every_rate
def test_variance_is_that_of_the_law(rate: float, speed: float) -> None:
    path = Kac(rate, speed)
    for tau in (0.05, 0.4, 1.0):
        y, weights = inside(path, tau)
        time = double(tau)
        second = (weights * y**2 * path.density(y, time)).sum()
        second = second + path.front_mass(time) * (speed * tau) ** 2
        torch.testing.assert_close(path.spread(time)[0] ** 2, second, rtol=1e-10, atol=0)
        closed = speed**2 / (2 * rate**2) * (2 * rate * tau - 1 + math.exp(-2 * rate * tau))
        assert path.spread(time)[0].item() ** 2 == pytest.approx(closed, rel=1e-9)


def test_default_source_has_about_unit_variance() -> None:
    assert Kac().coefficients(double(1.0)).b.item() ** 2 == pytest.approx(0.98, rel=1e-12)


@pytest.mark.parametrize("z", [1e-12, 1e-3, 0.3, 0.999999, 1.0, 1.000001, 7.0])
def test_variance_keeps_its_digits_where_its_terms_cancel(z: float) -> None:
    """Against the alternating series, summed without rounding errors."""
    path = Kac(2.0, 3.0)
    series = math.fsum(2.0 * (-z) ** k / math.factorial(k + 2) for k in range(60))
    for dtype, digits in ((torch.float32, 5e-7), (torch.float64, 1e-15)):
        tau = torch.tensor([z / (2.0 * path.rate)], dtype=dtype)
        std, slope = path.spread(tau)
        assert std.item() == pytest.approx(3.0 * tau.item() * math.sqrt(series), rel=4 * digits)
        growth = 3.0 * -math.expm1(-z) / z / math.sqrt(series)
        assert slope.item() == pytest.approx(growth, rel=4 * digits)


@every_rate
def test_density_and_fronts_make_one(rate: float, speed: float) -> None:
    path = Kac(rate, speed)
    for tau in (1e-3, 0.1, 0.4, 1.0):
        y, weights = inside(path, tau)
        total = (weights * path.density(y, double(tau))).sum() + path.front_mass(double(tau))
        assert total.item() == pytest.approx(1.0, abs=1e-11)
    beyond = double(-1.01, 1.01, 50.0) * speed
    assert path.density(beyond, double(1.0)).tolist() == [0.0, 0.0, 0.0]


@every_rate
def test_simulation_has_the_law(rate: float, speed: float) -> None:
    """Fronts, moments and a histogram, each within five standard errors."""
    path, tau, count = Kac(rate, speed), 0.4, 100_000
    time = torch.full((count,), tau, dtype=torch.float64)
    y, at_front = path.place(time, seeded(1))
    end = speed * tau
    mass = path.front_mass(double(tau)).item()
    for side in (-1.0, 1.0):
        found = (at_front & (y * side > 0)).double().mean().item()
        assert found == pytest.approx(0.5 * mass, abs=5 * math.sqrt(mass / count) + 1e-12)
    torch.testing.assert_close(y[at_front].abs(), torch.full_like(y[at_front], end))

    std = path.spread(double(tau))[0].item()
    assert y.mean().item() == pytest.approx(0.0, abs=5 * std / math.sqrt(count))
    assert y.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count))

    width = min(end, 3.5 * std)
    edges = torch.linspace(-width, width, 31, dtype=torch.float64)
    counts = torch.histogram(y[~at_front], edges).hist
    expected = count * distribution(path, edges, tau).diff()
    assert bool(((counts - expected).abs() < 5 * expected.sqrt() + 1).all())


@every_rate
def test_simulation_agrees_with_following_every_reversal(rate: float, speed: float) -> None:
    path, tau, count = Kac(rate, speed), 0.3, 100_000
    direct, direction = switching(path, tau, count, seed=2)
    short, velocity = path.simulate(torch.full((count,), tau, dtype=torch.float64), seeded(3))
    both = torch.sort(torch.cat([direct, short]).round(decimals=9)).values
    ranks = [torch.searchsorted(x.round(decimals=9).sort().values, both) for x in (direct, short)]
    # Kolmogorov and Smirnov's distance of two samples, at a level of about 1e-5.
    gap = (ranks[0] - ranks[1]).abs().max().item() / count
    assert gap < 2.5 * math.sqrt(2.0 / count)
    fourth = [(x**4).mean().item() for x in (direct, short)]
    assert fourth[0] == pytest.approx(fourth[1], rel=0.05)

    # The velocity is the mean direction at a place, hence its correlation with any function of it.
    front = direct.abs() > speed * tau * (1.0 - 1e-9)
    field = path.velocity(direct, double(tau), front)
    for weight in (direct.sign(), direct, direct**3, front.double() * direct):
        error = weight * (speed * direction - field)
        bound = 5 * error.std().item() / math.sqrt(count)
        assert error.mean().item() == pytest.approx(0.0, abs=bound + 1e-9)
    assert velocity.square().mean().item() == pytest.approx(field.square().mean().item(), rel=0.03)


@every_rate
def test_density_and_velocity_obey_the_continuity_equation(rate: float, speed: float) -> None:
    path = Kac(rate, speed)
    shares = torch.linspace(-0.98, 0.98, 41, dtype=torch.float64)
    for moment in (0.02, 0.3, 1.0):
        tau = torch.full_like(shares, moment).requires_grad_()
        y = (shares * speed * moment).requires_grad_()
        p = path.density(y, tau)
        growth = torch.autograd.grad(p.sum(), tau, retain_graph=True)[0]
        flow = p * path.velocity(y, tau, torch.zeros_like(y, dtype=torch.bool))
        outflow = torch.autograd.grad(flow.sum(), y)[0]
        scale = (rate * p.detach()).max().item()
        torch.testing.assert_close(growth, -outflow, rtol=1e-8, atol=1e-12 * scale)


@every_rate
def test_density_obeys_the_telegraph_equation(rate: float, speed: float) -> None:
    """``∂²p/∂τ² + 2λ ∂p/∂τ = c² ∂²p/∂y²``, by central differences."""
    path = Kac(rate, speed)
    y, tau = speed * 0.5 * torch.linspace(-0.9, 0.9, 19, dtype=torch.float64), double(0.5)
    step = 1e-3 / rate
    here, up, down = (path.density(y, tau + s) for s in (0.0, step, -step))
    right, left = (path.density(y + s, tau) for s in (speed * step, -speed * step))
    wave = (up + down - right - left) / step**2
    damped = 2.0 * rate * (up - down) / (2.0 * step)
    # Two derivatives cost rounding, ε / step², and are off by their fourth, (rate · step)².
    scale = (rate**2 * here).max().item()
    torch.testing.assert_close(wave, -damped, rtol=0, atol=1e-5 * scale)


@every_rate
def test_fronts_lose_what_the_inside_gains(rate: float, speed: float) -> None:
    """``-d/dτ ½e^{-λτ} = (c - v) p`` just inside: the front runs away from its neighbours."""
    path, tau = Kac(rate, speed), double(0.01, 0.1, 0.5)
    y = speed * tau
    gap = speed - path.velocity(y, tau, torch.zeros_like(y, dtype=torch.bool))
    lost = 0.5 * rate * path.front_mass(tau)
    torch.testing.assert_close(gap * path.density(y, tau), lost, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_rate
def test_velocity_at_the_edge_of_the_inside(rate: float, speed: float, dtype: torch.dtype) -> None:
    path, tau = Kac(rate, speed), torch.tensor([1e-6, 0.01, 0.5, 1.0], dtype=dtype)
    limit = speed * tau / (tau + 2.0 / rate)
    no = torch.zeros(4, dtype=torch.bool)
    eps = torch.finfo(dtype).eps
    for side in (-1.0, 1.0):
        # Rounding may put a particle a little beyond the front that it isn't on.
        for share in (1.0, 1.0 - eps, 1.0 + 4.0 * eps):
            got = path.velocity(side * share * speed * tau, tau, no)
            torch.testing.assert_close(got, side * limit, rtol=(20.0 + rate) * eps, atol=0)


def test_velocity_on_the_fronts_is_the_speed() -> None:
    path, yes = Kac(3.0, 2.0), torch.ones(4, dtype=torch.bool)
    # The last two stand at the origin, and only the sign of zero tells where they will go.
    y = double(0.8, -0.8, 0.0, -0.0)
    assert path.velocity(y, double(0.4, 0.4, 0.0, 0.0), yes).tolist() == [2.0, -2.0, 2.0, -2.0]
    drawn, velocity = path.simulate(torch.zeros(1000, dtype=torch.float64), seeded(4))
    assert drawn.abs().max().item() == 0.0
    assert velocity.abs().tolist() == [2.0] * 1000
    assert velocity.mean().item() == pytest.approx(0.0, abs=0.3)


def test_velocity_is_odd_bounded_and_increasing() -> None:
    path, tau = Kac(), double(0.3)
    y = torch.linspace(-1.0, 1.0, 201, dtype=torch.float64) * path.speed * 0.3
    v = path.velocity(y, tau, torch.zeros_like(y, dtype=torch.bool))
    torch.testing.assert_close(v, -v.flip(0), rtol=1e-12, atol=1e-15)
    assert bool((v.diff() > 0.0).all())
    assert v.abs().max().item() < path.speed


@every_rate
def test_single_precision_agrees_with_double(rate: float, speed: float) -> None:
    path = Kac(rate, speed)
    shares = torch.linspace(-0.999, 0.999, 101)
    no = torch.zeros(101, dtype=torch.bool)
    for moment in (1e-6, 1e-3, 0.1, 1.0):
        tau = torch.tensor([moment])
        y = shares * speed * tau
        got, expected = path.velocity(y, tau, no), path.velocity(y.double(), tau.double(), no)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=3e-6, atol=1e-9 * speed)
        got, expected = path.density(y, tau), path.density(y.double(), tau.double())
        torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rate", "speed"), [(25.0, 5.0), (1e-6, 5.0), (1e6, 1e3), (1e8, 1e4), (1e6, 1e-3)]
)
def test_everything_is_finite(rate: float, speed: float, dtype: torch.dtype) -> None:
    path = Kac(rate, speed)
    tau = torch.tensor([0.0, 1e-38, 1e-20, 1e-8, 1e-3, 0.5, 1.0], dtype=dtype)[:, None]
    shares = torch.tensor([-1.0, -0.5, 0.0, 1e-12, 0.999999, 1.0], dtype=dtype)
    y = shares * speed * tau
    no = torch.zeros_like(y, dtype=torch.bool)
    drawn, carried = path.simulate(tau.expand(7, 500), seeded(5))
    fields = (path.velocity(y, tau, no), carried)
    for value in (drawn, *fields, path.density(y, tau), path.front_mass(tau), *path.spread(tau)):
        assert value.dtype == dtype
        assert value.isfinite().all()
    # Rounding apart, nobody is faster than light.
    assert all(bool((v.abs() <= speed * (1.0 + 1e-6)).all()) for v in fields)
    assert bool((drawn.abs() <= speed * tau * (1.0 + 1e-6)).all())
    assert path.velocity(0.0 * y, tau, no).abs().max().item() == 0.0


class TestBrownianLimit:
    """``λ, c → ∞`` with ``c²/λ = 1``; corrections are of order 1/(λτ)."""

    @pytest.mark.parametrize(("rate", "slack"), [(1e3, 1e-2), (1e5, 1e-4), (1e7, 1e-6)])
    def test_law_and_velocity(self, rate: float, slack: float) -> None:
        path, tau = Kac(rate, math.sqrt(rate)), double(0.5)
        y = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
        gaussian = torch.exp(-0.5 * y**2 / tau) / torch.sqrt(2.0 * math.pi * tau)
        torch.testing.assert_close(path.density(y, tau), gaussian, rtol=slack, atol=0)
        v = path.velocity(y, tau, torch.zeros_like(y, dtype=torch.bool))
        torch.testing.assert_close(v, y / (2.0 * tau), rtol=slack, atol=1e-12)
        std, slope = path.spread(tau)
        torch.testing.assert_close(std, tau.sqrt(), rtol=slack, atol=0)
        torch.testing.assert_close(slope, 0.5 / tau.sqrt(), rtol=slack, atol=0)

    def test_kurtosis_rises_to_three(self) -> None:
        found = []
        for rate in (1.0, 10.0, 100.0, 1000.0):
            path, tau = Kac(rate, math.sqrt(rate)), 1.0
            y, weights = inside(path, tau)
            time = double(tau)
            fourth = (weights * y**4 * path.density(y, time)).sum()
            fourth = fourth + path.front_mass(time) * (path.speed * tau) ** 4
            found.append((fourth / path.spread(time)[0] ** 4).item())
        assert found == sorted(found)
        assert found[0] < 2.0
        # 3 - 3/(λτ) + O(1/(λτ)²).
        assert found[-1] == pytest.approx(3.0 - 3.0 / 1000.0, abs=1e-5)

    def test_simulation(self) -> None:
        path, count = Kac(1e6, 1e3), 100_000
        y, velocity = path.simulate(torch.full((count,), 0.5, dtype=torch.float64), seeded(6))
        kurtosis = ((y**4).mean() / (y**2).mean() ** 2).item()
        assert kurtosis == pytest.approx(3.0, abs=5 * math.sqrt(24 / count))
        torch.testing.assert_close(velocity, y, rtol=1e-4, atol=1e-9)


class TestTransport:
    """Given data ``x_0``, the velocity carries the law of ``X_t`` from one time to another."""

    x0 = 1.3

    def velocity(self, path: Kac, x: Tensor, t: Tensor, front: Tensor) -> Tensor:
        own = path.velocity(x - path.decay(t) * self.x0, path.clock(t), front)
        return path.clock_rate(t) * own - self.x0

    def carry(
        self, path: Kac, x: Tensor, front: Tensor, start: float, stop: float, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Heun's rule; backward in time, a front takes along whom it reaches."""
        grid = torch.linspace(start, stop, steps + 1, dtype=torch.float64)
        for now, then in itertools.pairwise(grid):
            first = self.velocity(path, x, now, front)
            second = self.velocity(path, x + (then - now) * first, then, front)
            x = x + 0.5 * (then - now) * (first + second)
            if stop < start:
                shift, end = path.decay(then) * self.x0, path.speed * path.clock(then)
                front = front | ((x - shift).abs() >= end)
                x = shift + (x - shift).clamp(-end, end)
        return x, front

    @pytest.mark.parametrize("power", [1.0, 2.0])
    @every_rate
    def test_inside_the_fronts_every_particle_keeps_its_quantile(
        self, rate: float, speed: float, power: float
    ) -> None:
        path, (start, stop) = Kac(rate, speed, clock_power=power), (0.2, 0.9)
        before, after = start**power, stop**power
        y = speed * before * torch.linspace(-0.95, 0.95, 21, dtype=torch.float64)
        front = torch.zeros_like(y, dtype=torch.bool)
        x, _ = self.carry(path, y + (1.0 - start) * self.x0, front, start, stop, 400)
        moved = x - (1.0 - stop) * self.x0
        torch.testing.assert_close(
            distribution(path, moved, after), distribution(path, y, before), rtol=0, atol=5e-6
        )

    def draw(self, path: Kac, t: float, seed: int, count: int = 20_000) -> tuple[Tensor, Tensor]:
        y, front = path.place(path.clock(double(t)).expand(count), seeded(seed))
        return y + path.decay(double(t)) * self.x0, front

    def test_particles_forward(self) -> None:
        """From t = 0.2 to 0.9: right inside the fronts, which should have shed their particles."""
        path, mass = Kac(), math.exp(-5.0)
        x, front = self.draw(path, 0.2, seed=7)
        x, _ = self.carry(path, x, front, 0.2, 0.9, 200)
        truth, _ = self.draw(path, 0.9, seed=8)
        levels = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
        torch.testing.assert_close(x.quantile(levels), truth.quantile(levels), rtol=0, atol=0.06)
        # An equation without chance lets none of them go: forward, it is not uniquely solvable.
        assert front.double().mean().item() == pytest.approx(mass, abs=3e-3)
        end = torch.full((int(front.sum()),), 0.9 * path.speed, dtype=torch.float64)
        torch.testing.assert_close((x[front] - 0.1 * self.x0).abs(), end)

    def test_particles_backward_gather_on_the_fronts(self) -> None:
        """From t = 0.9 to 0.2, the direction of sampling, with a large mass on the fronts."""
        path, count = Kac(3.0, 2.0), 20_000
        x, front = self.draw(path, 0.9, seed=9, count=count)
        x, front = self.carry(path, x, front, 0.9, 0.2, 400)
        mass = path.front_mass(double(0.2)).item()
        error = 5 * math.sqrt(mass * (1 - mass) / count)
        assert front.double().mean().item() == pytest.approx(mass, abs=error + 2e-3)
        y = torch.sort((x - 0.8 * self.x0)[~front]).values
        edges = 0.2 * path.speed * torch.linspace(-0.95, 0.95, 16, dtype=torch.float64)
        below = torch.searchsorted(y, edges) + (front & (x < 0.8 * self.x0)).sum()
        expected = distribution(path, edges, 0.2)
        slack = 2.5 / math.sqrt(count)
        torch.testing.assert_close(below.double() / count, expected, rtol=0, atol=slack)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["rate", "speed"])
def test_bad_parameters_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got"):
        Kac(**{name: value})
