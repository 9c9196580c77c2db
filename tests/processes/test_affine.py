"""Affine paths against autograd, closed forms and each other."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tsdiff.processes import (
    PREDICTIONS,
    AffinePath,
    DiscreteDDPM,
    Linear,
    LipschitzOptimal,
    PointSource,
    SubVP,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
)
from tsdiff.random import seeded

PATHS = {
    "linear": Linear(),
    "vp": VariancePreserving(),
    "vp_r1.7": VariancePreserving(0.1, 10.0, exponent=1.7),
    "vp_constant": VariancePreserving(4.0, 4.0),
    "ddpm": DiscreteDDPM(),
    "ddpm_short": DiscreteDDPM(7, 0.01, 0.5),
}
VP_PATHS = dict(list(PATHS.items())[1:])
PATHS |= {
    "cosine": Trigonometric(),
    "lipschitz": LipschitzOptimal(1e5, scale=2.0),
    "lipschitz_1": LipschitzOptimal(1.0),
}
PATHS |= {"point_source": PointSource(), "point_source_2": PointSource(0.7, power=2.0)}
PATHS |= {"sub_vp": SubVP(), "ve": VarianceExploding(0.01, 10.0)}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
every_vp_path = pytest.mark.parametrize("path", VP_PATHS.values(), ids=VP_PATHS.keys())


def times(count: int = 41, dtype: torch.dtype = torch.float64) -> Tensor:
    """Times in [1e-3, 1 - 1e-3], off the corners of piecewise paths."""
    return torch.linspace(1e-3, 1.0 - 1e-3, count, dtype=dtype).view(-1, 1, 1)


@every_path
def test_derivatives_are_those_of_autograd(path: AffinePath) -> None:
    t = times().requires_grad_()
    k = path.coefficients(t)
    for value, derivative in ((k.a, k.da), (k.b, k.db)):
        if not value.requires_grad:  # constant in t
            assert (derivative == 0.0).all()
            continue
        expected = torch.autograd.grad(value.sum(), t, retain_graph=True)[0]
        torch.testing.assert_close(derivative.detach(), expected, rtol=1e-9, atol=1e-12)


@every_path
def test_starts_at_the_data(path: AffinePath) -> None:
    k = path.coefficients(torch.zeros(1, 1, 1))
    assert k.a.item() == 1.0
    assert k.b.item() == 0.0


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_where_fields_are_evaluated(
    path: AffinePath, dtype: torch.dtype
) -> None:
    t = path.clip(torch.tensor([0.0, 1e-5, 0.5, 1.0], dtype=dtype))
    for value in (*path.coefficients(t)[:4], path.diffusion(t)):
        assert value.dtype == dtype
        assert value.isfinite().all()


@every_vp_path
def test_variance_is_preserved(path: AffinePath) -> None:
    k = path.coefficients(torch.linspace(0.0, 1.0, 201, dtype=torch.float64))
    torch.testing.assert_close(k.a**2 + k.b**2, torch.ones_like(k.a), rtol=0, atol=1e-14)


@every_vp_path
def test_small_noise_levels_keep_their_digits_in_single_precision(path: AffinePath) -> None:
    t = torch.tensor([1e-4, 1e-3, 1e-2])
    single, double = path.coefficients(t).b, path.coefficients(t.double()).b
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("num_steps", "beta_max"), [(1, 0.1), (100, 0.1), (150, 0.1), (1000, 0.02)]
)
def test_ddpm_is_the_literal_chain_at_its_steps(num_steps: int, beta_max: float) -> None:
    path = DiscreteDDPM(num_steps, 1e-4, beta_max)
    betas = torch.linspace(1e-4, beta_max, num_steps, dtype=torch.float64)
    product, expected = 1.0, []
    for beta in betas.tolist():
        product *= 1.0 - beta
        expected.append(product)
    n = torch.arange(1, num_steps + 1, dtype=torch.float64)
    k = path.coefficients(n / num_steps)
    torch.testing.assert_close(
        k.a**2, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_steps", [50, 100, 150, 1000])
def test_ddpm_rate_at_step_n_is_that_of_step_n(num_steps: int, dtype: torch.dtype) -> None:
    """``n / N · N`` may round to just above ``n``: that must not give the next step's rate."""
    path = DiscreteDDPM(num_steps)
    betas = torch.linspace(1e-4, 0.1, num_steps, dtype=torch.float64)
    expected = (-torch.log1p(-betas) * num_steps).to(dtype)
    for t in (
        torch.arange(1, num_steps + 1, dtype=dtype) / num_steps,
        torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64).flip(0)[1:].to(dtype),
    ):
        torch.testing.assert_close(path.rate(t), expected, rtol=1e-4, atol=0)


@every_path
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(PREDICTIONS, PREDICTIONS)))
def test_predictions_survive_the_round_trip(path: AffinePath, given: str, wanted: str) -> None:
    t = times()
    value = torch.randn(41, 2, 3, dtype=torch.float64, generator=seeded(1))
    x = torch.randn(41, 2, 3, dtype=torch.float64, generator=seeded(2))
    other = path.convert(value, x, t, given=given, wanted=wanted)
    back = path.convert(other, x, t, given=wanted, wanted=given)
    # A score of order 1 moves the data prediction by b² only, which is 1e-8 early on sub-VP paths.
    loss = 1e-16 / float(path.coefficients(t).b.min()) ** 2
    torch.testing.assert_close(back, value, rtol=1e-10, atol=max(1e-10, 10.0 * loss))


@every_path
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(PREDICTIONS, PREDICTIONS)))
def test_conversions_agree_with_the_draw(path: AffinePath, given: str, wanted: str) -> None:
    """All four predictions of one draw are known, so every pair is checked against the truth."""
    t = times()
    x0 = torch.randn(41, 1, 3, dtype=torch.float64, generator=seeded(3))
    x, noise, velocity = path.sample(x0, t, generator=seeded(4))
    truth = {
        "noise": noise,
        "data": x0,
        "score": -noise / path.coefficients(t).b,
        "velocity": velocity,
    }
    got = path.convert(truth[given], x, t, given=given, wanted=wanted)
    torch.testing.assert_close(got, truth[wanted], rtol=1e-9, atol=1e-9)


@every_path
@pytest.mark.parametrize(("given", "wanted"), list(itertools.permutations(PREDICTIONS, 2)))
def test_single_precision_loses_no_more_than_documented(
    path: AffinePath, given: str, wanted: str
) -> None:
    """About 1e-6 / min(a, b), relative to the size of what takes part."""
    t = times(dtype=torch.float32)
    x0 = torch.randn(41, 1, 3, generator=seeded(5))
    x, noise, velocity = path.sample(x0, t, generator=seeded(6))
    k = path.coefficients(t)
    truth = {"noise": noise, "data": x0, "score": -noise / k.b, "velocity": velocity}
    got = path.convert(truth[given], x, t, given=given, wanted=wanted)
    scale = 1.0 + truth[wanted].abs() + x.abs()
    size = {"score": 1.0 / k.b, "velocity": 1.0 + k.da.abs() + k.db}.get(wanted, torch.ones(()))
    error = (got - truth[wanted]).abs() / (scale * size)
    assert bool((error < 4e-6 / torch.minimum(k.a, k.b)).all())


@every_path
def test_velocity_is_the_derivative_of_the_drawn_path(path: AffinePath) -> None:
    t = times()
    x0 = torch.randn(41, 2, 3, dtype=torch.float64, generator=seeded(7))
    drawn = path.sample(x0, t, generator=seeded(8))
    _, derivative = torch.autograd.functional.jvp(
        lambda at: path.sample(x0, at, generator=seeded(8)).x, t, torch.ones_like(t)
    )
    torch.testing.assert_close(drawn.velocity, derivative, rtol=1e-9, atol=1e-10)


@every_path
@pytest.mark.parametrize("t", [0.02, 0.5, 0.97])
def test_moments_of_a_draw(path: AffinePath, t: float) -> None:
    mean, std, count = 2.0, 0.5, 40_000
    x0 = mean + std * torch.randn(count, 1, 1, dtype=torch.float64, generator=seeded(9))
    time = torch.full((count, 1, 1), t, dtype=torch.float64)
    x = path.sample(x0, time, generator=seeded(10)).x
    k = path.coefficients(time[:1])
    a, b = k.a.item(), k.b.item()
    spread = math.hypot(a * std, b)
    assert x.mean().item() == pytest.approx(a * mean, abs=5 * spread / math.sqrt(count))
    assert x.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * count))


def test_every_row_has_its_own_time() -> None:
    path = Linear()
    t = torch.tensor([0.0, 0.25, 1.0]).view(-1, 1, 1)
    x0 = torch.arange(3.0).view(-1, 1, 1).expand(3, 2, 4)
    x, noise, velocity = path.sample(x0, t, generator=seeded(11))
    for row in range(3):
        torch.testing.assert_close(x[row], (1 - t[row]) * x0[row] + t[row] * noise[row])
        torch.testing.assert_close(velocity[row], noise[row] - x0[row])


@every_path
def test_diffusion_is_what_keeps_the_marginals(path: AffinePath) -> None:
    """``g² = 2 b² d/dt log(b / a)``, by autograd."""
    t = times().requires_grad_()
    k = path.coefficients(t)
    slope = torch.autograd.grad((k.b / k.a).log().sum(), t)[0]
    expected = 2.0 * k.b.detach() ** 2 * slope
    torch.testing.assert_close(path.diffusion(t).detach() ** 2, expected, rtol=1e-9, atol=1e-12)


@every_vp_path
def test_vp_diffusion_is_the_root_of_beta(path: AffinePath) -> None:
    t = times().requires_grad_()
    beta = torch.autograd.grad(path.integrated_rate(t).sum(), t)[0]
    torch.testing.assert_close(path.diffusion(t).detach(), beta.sqrt(), rtol=1e-9, atol=0)


def test_vp_schedule_starts_and_ends_where_it_should() -> None:
    path = VariancePreserving(0.2, 7.0, exponent=1.7)
    rate = path.rate(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert rate.tolist() == pytest.approx([0.2, 7.0])
    total = path.integrated_rate(torch.ones(1, dtype=torch.float64)).item()
    assert total == pytest.approx(0.2 + 6.8 / 2.7)


def test_clip_moves_times_into_the_interior_only() -> None:
    path = Linear()
    t = torch.tensor([0.0, 0.5, 1.0])
    assert path.clip(t).tolist() == pytest.approx([path.t_min, 0.5, path.t_max])


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: VariancePreserving(0.0, 1.0), "beta_min"),
        (lambda: VariancePreserving(2.0, 1.0), "beta_max"),
        (lambda: VariancePreserving(float("nan"), 1.0), "beta_min"),
        (lambda: VariancePreserving(exponent=0.0), "exponent"),
        (lambda: DiscreteDDPM(0), "num_steps"),
        (lambda: DiscreteDDPM(10, 0.0, 0.1), "beta_min"),
        (lambda: DiscreteDDPM(10, 0.2, 0.1), "beta_max"),
        (lambda: DiscreteDDPM(10, 0.1, 1.0), "beta_max"),
    ],
)
def test_bad_schedules_are_refused(make, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make()


@pytest.mark.parametrize(("given", "wanted"), [("flow", "noise"), ("noise", "flow")])
def test_unknown_predictions_are_named(given: str, wanted: str) -> None:
    one = torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match=r"'flow'.*noise, data, score, velocity"):
        Linear().convert(one, one, 0.5 * one, given=given, wanted=wanted)


def test_the_base_class_has_no_coefficients() -> None:
    with pytest.raises(NotImplementedError, match="coefficients"):
        AffinePath().coefficients(torch.zeros(1))


class TestLipschitzOptimal:
    @pytest.mark.parametrize("ratio", [1.5, 1e2, 1e5])
    def test_slopes_are_constant_at_both_ends_of_the_spectrum(self, ratio: float) -> None:
        """``r'/r`` of Gaussian data is 0 along the largest eigenvalue, ½ log M along the least."""
        scale, t = 3.0, times()
        k = LipschitzOptimal(ratio, scale).double().coefficients(t)
        for variance, slope in ((scale**2, 0.0), (scale**2 / ratio, 0.5 * math.log(ratio))):
            found = (k.a * k.da * variance + k.b * k.db) / (k.a**2 * variance + k.b**2)
            torch.testing.assert_close(found, torch.full_like(t, slope), rtol=1e-6, atol=1e-6)

    def test_the_widest_ratio_is_finite_in_single_precision(self) -> None:
        t = torch.linspace(0.0, 1.0, 101).view(-1, 1, 1)
        for part in LipschitzOptimal(1e30).coefficients(t)[:4]:
            assert bool(part.isfinite().all())

    def test_a_ratio_of_one_is_the_square_root_path(self) -> None:
        t = times()
        k = LipschitzOptimal(1.0).double().coefficients(t)
        torch.testing.assert_close(k.a, (1.0 - t).sqrt(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(k.b, t.sqrt(), rtol=1e-4, atol=1e-4)

    def test_the_spectrum_is_taken_from_data_unless_given(self) -> None:
        covariance = torch.diag(torch.tensor([0.01, 4.0, 1.0]))
        path, given = LipschitzOptimal(), LipschitzOptimal(7.0)
        for each in (path, given):
            each.adapt(covariance)
        assert path.log_ratio.exp().item() == pytest.approx(400.0, rel=1e-4)
        assert path.scale.item() == pytest.approx(2.0)
        assert given.log_ratio.exp().item() == pytest.approx(7.0, rel=1e-5)

    @pytest.mark.parametrize(
        "options", [{"ratio": 0.5}, {"ratio": math.inf}, {"ratio": 1e39}, {"scale": 0.0}]
    )
    def test_bad_parameters_are_refused(self, options: dict) -> None:
        with pytest.raises(ValueError, match="must be"):
            LipschitzOptimal(**options)
