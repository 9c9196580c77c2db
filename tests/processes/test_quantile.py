"""Quantile functions: identity at first, monotone, inverted; laws they learn by optimal transport.

The true quantiles of the laws that are fitted come from ``scipy.stats``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from tsdiff.processes.couplings import OptimalTransport
from tsdiff.processes.quantile import QuantileLatent, transport_energy
from tsdiff.random import seeded

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
TAILS = pytest.mark.parametrize("tail", [-5.0, -0.2, 0.0, 0.3, 5.0])


def random_latent(seed: int = 0, dim: int = 3, spread: float = 1.0, **options) -> QuantileLatent:
    latent = QuantileLatent(dim, **options).double()
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in latent.parameters():
            noise = torch.randn(parameter.shape, dtype=parameter.dtype, generator=rng)
            parameter.copy_(spread * noise)
        latent.tail.mul_(0.2)
    return latent


def with_tail(tail: float, dim: int = 1) -> QuantileLatent:
    latent = QuantileLatent(dim).double()
    with torch.no_grad():
        latent.tail.fill_(tail)
    return latent


def axis(low: float, high: float, count: int, dim: int) -> Tensor:
    line = torch.linspace(low, high, count, dtype=torch.float64)
    return line[:, None, None].expand(-1, 1, dim)


def slopes(latent: QuantileLatent, z: Tensor) -> Tensor:
    """``dx/dz`` by autograd."""
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(latent.from_normal(z).sum(), z)
    return slope


# The quantile function


def test_untrained_it_is_the_standard_normal() -> None:
    latent = QuantileLatent(2, num_bins=7).double()
    u = axis(1e-6, 1.0 - 1e-6, 999, 2)
    torch.testing.assert_close(latent(u), torch.special.ndtri(u), atol=1e-12, rtol=0.0)
    z = axis(-9.0, 9.0, 999, 2)
    torch.testing.assert_close(latent.from_normal(z), z, atol=1e-12, rtol=0.0)
    normal = -0.5 * z * z - 0.5 * math.log(2.0 * math.pi)
    torch.testing.assert_close(latent.log_density(z), normal, atol=1e-11, rtol=0.0)
    mean, variance = latent.moments()
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(variance, torch.ones_like(mean), atol=1e-12, rtol=0.0)


def test_untrained_every_parameter_has_a_gradient() -> None:
    """Zero is a regular point, that of the tails (where the exponents change sign) too."""
    latent = QuantileLatent(1)
    z = torch.randn(64, 1, 1, generator=seeded(3))
    (latent.from_normal(z) - torch.sinh(z) - 0.1 * z**2).square().sum().backward()
    for name, parameter in latent.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0.0, name


@pytest.mark.parametrize("seed", range(5))
def test_quantile_functions_increase(seed: int) -> None:
    latent = random_latent(seed, spread=3.0)
    z = axis(-9.0, 9.0, 4001, 3)
    assert (latent.from_normal(z).diff(dim=0) > 0.0).all()
    assert (slopes(latent, z) > 0.0).all()
    u = axis(1e-9, 1.0 - 1e-9, 4001, 3)
    assert (latent(u).diff(dim=0) > 0.0).all()


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_and_back_in_double_precision(seed: int) -> None:
    latent = random_latent(seed)
    z = axis(-12.0, 12.0, 2001, 3)
    back = latent.to_normal(latent.from_normal(z))
    torch.testing.assert_close(back, z, atol=1e-9, rtol=1e-9)
    u = axis(1e-10, 1.0 - 1e-10, 2001, 3)
    torch.testing.assert_close(latent.cdf(latent(u)), u, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_and_back_in_single_precision(seed: int) -> None:
    latent = random_latent(seed, spread=0.5).float()
    z = axis(-6.0, 6.0, 2001, 3).float()
    back = latent.to_normal(latent.from_normal(z))
    # What rounding of x, and of x - loc, is worth in z.
    x = latent.from_normal(z).abs() + latent.loc.abs()
    worth = torch.finfo(torch.float32).eps * x / latent.log_slope(z).exp()
    assert ((back - z).abs() < 1e-5 + 20.0 * worth).all()


@TAILS
@BOTH
def test_tails_are_inverted(tail: float, dtype: torch.dtype) -> None:
    latent = with_tail(tail, dim=2).to(dtype)
    z = axis(-12.0, 12.0, 1001, 2).to(dtype)
    x = latent.from_normal(z)
    assert x.isfinite().all()
    # Steep in x where light: their logarithms lose digits, z² h in relative terms.
    tolerance = 100.0 * torch.finfo(dtype).eps
    torch.testing.assert_close(latent.to_normal(x), z, atol=tolerance, rtol=tolerance)


@TAILS
def test_slope_of_the_tails_against_autograd(tail: float) -> None:
    latent = with_tail(tail, dim=2)
    z = axis(-8.0, 8.0, 1000, 2)  # none where the spline ends, of which versions of autograd differ
    torch.testing.assert_close(latent.log_slope(z).exp(), slopes(latent, z), atol=0.0, rtol=1e-10)


def test_slope_by_the_exponent_against_differences() -> None:
    """The derivative in ``h``, across where its series ends."""
    z = axis(-3.0, 3.0, 121, 1)
    for tail in (-0.1, -1e-3, 0.0, 1e-3, 0.1):
        latent = with_tail(tail)
        (slope,) = torch.autograd.grad(latent.from_normal(z).sum(), latent.tail)
        step = 1e-6
        up, down = with_tail(tail + step), with_tail(tail - step)
        measured = (up.from_normal(z.abs()) - down.from_normal(z.abs())).sum() / (2.0 * step)
        # Odd in z: half of |z| is on either side.
        torch.testing.assert_close(slope[0, 1] - slope[0, 0], measured, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_density_is_that_of_the_map(seed: int) -> None:
    latent = random_latent(seed)
    z = axis(-7.0, 7.0, 997, 3)
    normal = -0.5 * z * z - 0.5 * math.log(2.0 * math.pi)
    wanted = normal - slopes(latent, z).log()
    torch.testing.assert_close(
        latent.log_density(latent.from_normal(z)), wanted, atol=1e-7, rtol=1e-7
    )


@pytest.mark.parametrize("seed", range(3))
def test_density_is_the_slope_of_the_distribution_function(seed: int) -> None:
    latent = random_latent(seed)
    x = latent.from_normal(axis(-4.0, 4.0, 501, 3)).detach().requires_grad_()
    (density,) = torch.autograd.grad(latent.cdf(x).sum(), x)
    torch.testing.assert_close(latent.log_density(x).exp(), density, atol=1e-9, rtol=1e-7)


def test_density_integrates_to_one() -> None:
    latent = random_latent(1, dim=2, spread=0.5)
    ends = latent.from_normal(torch.tensor([[[-6.0] * 2], [[6.0] * 2]], dtype=torch.float64))
    low, high = ends.detach()
    steps = axis(0.0, 1.0, 60_001, 2)
    x = low + (high - low) * steps
    mass = torch.trapezoid(latent.log_density(x).exp(), x, dim=0)
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-5, rtol=0.0)


@BOTH
@TAILS
def test_ends_have_finite_quantiles_and_gradients(dtype: torch.dtype, tail: float) -> None:
    latent = with_tail(tail).to(dtype)
    tiny = torch.finfo(dtype).tiny
    u = torch.tensor([0.0, tiny, 0.5, 1.0], dtype=dtype)[:, None, None].requires_grad_()
    x = latent(u)
    assert x.isfinite().all()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(x[0], latent(torch.full_like(x[:1], eps))[0])
    x.sum().backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()
    for name, parameter in latent.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name


def test_precision_is_that_of_the_input() -> None:
    latent = random_latent(0).float()
    z = axis(-5.0, 5.0, 101, 3)
    fine, coarse = latent.from_normal(z), latent.from_normal(z.float())
    assert (fine.dtype, coarse.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(coarse.double(), fine, atol=1e-4, rtol=1e-4)


# Moments and draws


@pytest.mark.parametrize("seed", range(3))
def test_moments_against_a_fine_sum(seed: int) -> None:
    latent = random_latent(seed)
    z = axis(-38.0, 38.0, 150_001, 3)
    mass = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    x = latent.from_normal(z)
    mean = torch.trapezoid(mass * x, z, dim=0)[0]
    variance = torch.trapezoid(mass * (x - mean).square(), z, dim=0)[0]
    torch.testing.assert_close(latent.moments()[0], mean, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(latent.moments()[1], variance, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("tail", [0.05, 0.2, 0.3, 1.0, 5.0])
def test_variance_of_heavy_tails_in_closed_form(tail: float) -> None:
    latent = with_tail(tail)
    h = latent.max_tail * math.tanh(tail / latent.max_tail)
    mean, variance = latent.moments()
    assert abs(mean.item()) < 1e-9
    assert variance.item() == pytest.approx(((1.0 - 2.0 * h) ** -0.5 - 1.0) / h, rel=1e-6)


def test_moments_of_draws() -> None:
    latent = random_latent(2, dim=2, spread=0.4).float()
    draws = latent.draw(torch.empty(200_000, 1, 2), seeded(1)).detach().double()
    mean, variance = (m.double() for m in latent.moments())
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - mean).abs() < 4.0 * error).all()
    squares = (draws - mean).square()
    error = squares.std(0) / len(draws) ** 0.5
    assert ((squares.mean(0) - variance).abs() < 4.0 * error).all()


def test_moments_are_differentiable() -> None:
    latent = random_latent(4, dim=1, spread=0.5)
    mean, variance = latent.moments()
    (mean + variance).sum().backward()
    for name, parameter in latent.named_parameters():
        assert parameter.grad is not None
        measured = parameter.grad.flatten()[-1].item()
        step = 1e-5
        sums = []
        with torch.no_grad():
            for sign in (1.0, -1.0):
                parameter.view(-1)[-1] += sign * step
                sums.append(sum(m.item() for m in latent.moments()))
                parameter.view(-1)[-1] -= sign * step
        assert measured == pytest.approx((sums[0] - sums[1]) / (2.0 * step), rel=1e-4, abs=1e-6), (
            name
        )


def test_a_draw_does_not_depend_on_its_batch() -> None:
    latent = random_latent(0).float()
    like = torch.empty(6, 2, 3)
    together = latent.draw(like, [seeded(i) for i in range(3)])
    alone = [latent.draw(like[:2], seeded(i)) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))
    with pytest.raises(ValueError, match="split evenly"):
        latent.draw(like, [seeded(i) for i in range(4)])


# Energies


def normal_pair(rows: int, cov: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    rng = seeded(seed)
    factor = torch.linalg.cholesky(cov)
    noise = torch.randn(2, rows, 1, len(cov), dtype=cov.dtype, generator=rng)
    return noise[0] @ factor.T, noise[1]


CORRELATED = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)


def test_energy_of_two_gaussians_against_the_closed_form() -> None:
    """``|m|² + tr(C + I - 2 C^{1/2})``; marginals, all of unit variance, are ``|m|²`` apart."""
    mean = torch.tensor([2.0, -1.0], dtype=torch.float64)
    data, latent = normal_pair(700, CORRELATED, 0)
    roots = torch.linalg.eigvalsh(CORRELATED).sqrt()
    exact = (mean.square().sum() + (roots - 1.0).square().sum()).item()
    pairs = OptimalTransport(0.0, block=700)
    joint = transport_energy(data + mean, latent, coupling=pairs)
    marginal = transport_energy(data + mean, latent, form="marginal")
    # Means err by 0.05, which counts 2 |m|-fold; and two samples are apart in any case.
    assert joint.energy.item() == pytest.approx(exact, abs=0.25)
    assert marginal.energy.item() == pytest.approx(5.0, abs=0.25)
    centred = transport_energy(data, latent, coupling=pairs).energy.item()
    assert centred == pytest.approx(exact - 5.0, abs=0.05)


def test_in_one_dimension_both_forms_are_the_same() -> None:
    rng = seeded(2)
    data, latent = torch.randn(2, 200, 1, 1, dtype=torch.float64, generator=rng)
    joint = transport_energy(data, latent)
    marginal = transport_energy(data, latent, form="marginal")
    torch.testing.assert_close(joint.energy, marginal.energy)
    torch.testing.assert_close(joint.latent, marginal.latent)


@pytest.mark.parametrize("form", ["joint", "marginal"])
def test_pairs_are_permutations_and_no_worse_than_chance(form: str) -> None:
    rng = seeded(5)
    data, latent = torch.randn(2, 40, 3, 2, generator=rng)
    found = transport_energy(data, latent, form=form)
    if form == "joint":
        assert torch.equal(found.order.sort().values, torch.arange(40))
        assert torch.equal(found.latent, latent[found.order])
    else:
        assert torch.equal(found.latent, latent.gather(0, found.order))
        assert torch.equal(found.latent.argsort(0), data.argsort(0))
    assert torch.equal(found.latent.flatten().sort().values, latent.flatten().sort().values)
    assert torch.equal(found.cost, (data - found.latent).square())
    torch.testing.assert_close(found.energy, found.cost.sum((1, 2)).mean())
    assert found.energy < (data - latent).square().sum((1, 2)).mean()


def test_the_marginal_energy_is_no_more_than_the_joint() -> None:
    data, latent = normal_pair(256, CORRELATED, 4)
    energies = [transport_energy(data, latent, form=form).energy for form in ("marginal", "joint")]
    assert energies[0] < energies[1]


@pytest.mark.parametrize("form", ["joint", "marginal"])
def test_gradients_are_those_of_the_distance(form: str) -> None:
    data, noise = normal_pair(60, CORRELATED, 6)
    latent = random_latent(3, dim=2, spread=0.3)
    transport_energy(data, latent.from_normal(noise), form=form).energy.backward()
    gradient, step = latent.log_scale.grad, 1e-6
    assert gradient is not None
    with torch.no_grad():
        ends = []
        for sign in (1.0, -1.0):
            latent.log_scale[0] += sign * step
            ends.append(transport_energy(data, latent.from_normal(noise), form=form).energy.item())
            latent.log_scale[0] -= sign * step
    assert gradient[0].item() == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-4)


def test_steps_down_the_joint_energy() -> None:
    latent = QuantileLatent(2).double()
    data, noise = normal_pair(256, CORRELATED, 1)
    data = data * torch.tensor([2.0, 0.5], dtype=torch.float64) + 1.0
    optimizer = torch.optim.SGD(latent.parameters(), lr=0.05)
    energies = []
    for _ in range(5):
        energy = transport_energy(data, latent.from_normal(noise)).energy
        energies.append(energy.item())
        optimizer.zero_grad()
        energy.backward()
        optimizer.step()
    assert all(after < before for before, after in itertools.pairwise(energies))
    assert energies[-1] < 0.6 * energies[0]


def test_of_correlated_data_the_joint_energy_has_another_minimiser() -> None:
    """For unit variances, correlation 0.8, scale ``tr C^{1/2} / 2 = 0.894``; the marginals' is 1.

    Pairs don't change with a common scale, so that the best one is a ratio.
    """
    scales = {"joint": [], "marginal": []}
    for seed in range(8):
        data, latent = normal_pair(512, CORRELATED, seed)
        for form, found in scales.items():
            pairs = transport_energy(
                data,
                latent,
                form=form,
                coupling=OptimalTransport(0.0, block=512),
            )
            found.append((data * pairs.latent).mean() / latent.square().mean())
    best = {form: torch.stack(found).mean().item() for form, found in scales.items()}
    exact = torch.linalg.eigvalsh(CORRELATED).sqrt().mean().item()
    assert best["joint"] == pytest.approx(exact, abs=0.03)
    assert best["marginal"] == pytest.approx(1.0, abs=0.03)


def test_the_bias_of_the_joint_energy_in_many_coordinates_and_its_cure() -> None:
    """Data are standard normal, and so is the latent, yet the energy would have it narrower."""
    raw, cured = [], []
    for seed in range(6):
        latent = QuantileLatent(4).double()
        rng = seeded(seed)
        data = torch.randn(128, 8, 4, dtype=torch.float64, generator=rng)
        energy = transport_energy(data, latent.draw(data, rng)).energy
        (slope,) = torch.autograd.grad(energy, latent.log_scale)
        raw.append(slope.mean().item())
        distance = latent.distance(data, form="joint", generator=rng)
        assert distance.shape == data.shape
        (slope,) = torch.autograd.grad(distance.flatten(1).sum(1).mean(), latent.log_scale)
        cured.append(slope.mean().item())
    # Of 2 T (σ² - σ c) at σ = 1: c = 0.4, against 0.
    assert min(raw) > 8.0
    assert abs(sum(cured)) / len(cured) < 0.1 * min(raw)


def test_with_contexts_all_different_the_energy_is_least_for_a_point() -> None:
    rng = seeded(8)
    data, noise = torch.randn(2, 128, 1, 1, generator=rng)
    context = torch.randn(128, 1, 2, generator=rng)
    slopes = {}
    for name, known in {"own": context, "shared": torch.zeros_like(context)}.items():
        latent = QuantileLatent(1)
        pairs = transport_energy(
            data, latent.from_normal(noise), coupling=OptimalTransport(), context=known
        )
        pairs.energy.backward()
        assert latent.log_scale.grad is not None
        slopes[name] = latent.log_scale.grad.item()
    assert slopes["own"] > 1.0
    assert abs(slopes["shared"]) < 0.3


# Fits, by the marginal energy


def student(rows: int, rng: torch.Generator) -> Tensor:
    z = torch.randn(rows, 4, generator=rng)
    return z[:, :1] / z[:, 1:].square().mean(1, keepdim=True).sqrt()


def mixture(rows: int, rng: torch.Generator) -> Tensor:
    side = torch.where(torch.rand(rows, 1, generator=rng) < 0.3, -2.0, 2.0)
    return side + 0.5 * torch.randn(rows, 1, generator=rng)


def uniform(rows: int, rng: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(rows, 1, generator=rng) - 1.0


def mixture_cdf(x: Tensor) -> Tensor:
    low, high = stats.norm(-2.0, 0.5).cdf(x.numpy()), stats.norm(2.0, 0.5).cdf(x.numpy())
    return torch.from_numpy(0.3 * low + 0.7 * high)


def fit(draw: Callable[[int, torch.Generator], Tensor], steps: int = 300) -> QuantileLatent:
    latent, rng = QuantileLatent(1), seeded(11)
    optimizer = torch.optim.Adam(latent.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        data = draw(2048, rng)[:, None]
        found = transport_energy(data, latent.draw(data, rng), form="marginal")
        optimizer.zero_grad()
        found.energy.backward()
        optimizer.step()
        schedule.step()
    return latent.double()


def quantiles(latent: QuantileLatent, u: list[float]) -> list[float]:
    given = torch.tensor(u, dtype=torch.float64)[:, None, None]
    return latent(given).detach().flatten().tolist()


def w2(latent: QuantileLatent, exact: Tensor) -> float:
    """``W_2`` to the law with quantiles ``exact`` at the midpoints of equal shares."""
    u = (torch.arange(len(exact), dtype=torch.float64) + 0.5) / len(exact)
    return (latent(u[:, None, None]).flatten() - exact).square().mean().sqrt().item()


MIDPOINTS = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000


def test_a_student_with_three_degrees_of_freedom_is_learned() -> None:
    latent, true = fit(student), stats.t(3)
    body, tails = [0.05, 0.25, 0.5, 0.75, 0.95], [0.001, 0.01, 0.99, 0.999]
    assert quantiles(latent, body) == pytest.approx(true.ppf(body).tolist(), abs=0.15)
    assert quantiles(latent, tails) == pytest.approx(true.ppf(tails).tolist(), rel=0.25)
    # The normal's W_2 to it is 0.64 at its best scale; extremes of samples are badly known.
    assert w2(latent, torch.from_numpy(true.ppf(MIDPOINTS.numpy()))) < 0.3
    assert (latent.tail > 0.1).all()


def test_of_exact_quantiles_a_student_is_learned_closely() -> None:
    """What the family can do, without the errors of samples."""
    latent, true = QuantileLatent(1).double(), stats.t(3)
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    data = torch.from_numpy(true.ppf(u.numpy()))[:, None, None]
    noise = torch.special.ndtri(u)[:, None, None]
    optimizer = torch.optim.Adam(latent.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        found = transport_energy(data, latent.from_normal(noise), form="marginal")
        optimizer.zero_grad()
        found.energy.backward()
        optimizer.step()
        schedule.step()
    assert found.energy.item() < 1e-4
    u = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    assert quantiles(latent, u) == pytest.approx(true.ppf(u).tolist(), abs=1e-3, rel=0.01)
    assert latent.moments()[1].item() == pytest.approx(3.0, rel=0.02)


def test_two_modes_are_learned() -> None:
    latent = fit(mixture)
    x = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    learned = latent.cdf(x[:, None, None]).flatten()
    torch.testing.assert_close(learned, mixture_cdf(x), atol=0.05, rtol=0.0)
    density = latent.log_density(axis(-2.0, 2.0, 3, 1)).exp().flatten()
    exact = 0.3 / (0.5 * math.sqrt(2.0 * math.pi))
    assert density[1] < 0.15 * density[0]
    assert density[0].item() == pytest.approx(exact, rel=0.25)
    mean, variance = latent.moments()
    assert mean.item() == pytest.approx(0.8, abs=0.06)
    assert variance.item() == pytest.approx(3.61, rel=0.05)


def test_a_uniform_law_is_learned() -> None:
    latent = fit(uniform)
    u = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert quantiles(latent, u) == pytest.approx([2.0 * v - 1.0 for v in u], abs=0.03)
    # The normal's W_2 to it is 0.12 at its best scale.
    assert w2(latent, 2.0 * MIDPOINTS - 1.0) < 0.02
    # It can't end, but it ends soon: of a fitted normal these are ±2.4.
    low, high = quantiles(latent, [1e-5, 1.0 - 1e-5])
    assert -1.5 < low < high < 1.5


# Housekeeping


def test_state_is_kept() -> None:
    latent, other = random_latent(0), QuantileLatent(3).double()
    other.load_state_dict(latent.state_dict())
    z = axis(-5.0, 5.0, 101, 3)
    assert torch.equal(other.from_normal(z), latent.from_normal(z))
    assert "3, num_bins=16, bound=4" in repr(latent)


def test_other_dimensions_are_refused() -> None:
    latent = QuantileLatent(3)
    for method in (latent, latent.from_normal, latent.to_normal, latent.log_density, latent.draw):
        with pytest.raises(ValueError, match=r"3 dimensions.*\[4, 1, 2\]"):
            method(torch.full((4, 1, 2), 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be at least 1"),
        ({"num_bins": 1}, "num_bins must be at least 2"),
        ({"bound": 0.0}, "bound must be positive"),
        ({"bound": math.inf}, "bound must be positive and finite"),
        ({"bound": math.nan}, "bound must be positive and finite"),
        ({"max_tail": 0.5}, "max_tail must lie between"),
        ({"max_tail": 0.0}, "max_tail must lie between"),
        ({"min_bin": 0.1}, "min_bin must lie between 0 and 1 / num_bins"),
        ({"min_slope": 1.0}, "min_slope must lie between"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantileLatent(**{"dim": 2, **options})


def test_what_has_no_energy() -> None:
    one, other = torch.zeros(4, 1, 2), torch.zeros(4, 1, 3)
    with pytest.raises(ValueError, match="of one shape"):
        transport_energy(one, other)
    with pytest.raises(ValueError, match="of one shape"):
        transport_energy(one[:, 0], one[:, 0])
    with pytest.raises(ValueError, match="unknown form 'sliced'"):
        transport_energy(one, one, form="sliced")
