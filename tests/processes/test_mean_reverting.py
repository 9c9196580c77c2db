"""What all mean-reverting processes share: coefficients, draws, randomness and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tsdiff.processes import PREDICTIONS, AffinePath
from tsdiff.processes.kac import Kac
from tsdiff.processes.mean_reverting import MeanReverting, drawn
from tsdiff.processes.uniform import Uniform
from tsdiff.random import Matched, seeded

PATHS = {
    "kac": Kac(),
    "kac_slow": Kac(rate=0.5, speed=2.0),
    "kac_squared": Kac(rate=3.0, speed=2.0, clock_power=2.0),
    "kac_root": Kac(clock_power=0.5),
    "uniform": Uniform(),
    "uniform_squared": Uniform(0.3, scale=2.0, clock_power=2.0),
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def times(count: int = 41, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linspace(1e-3, 1.0 - 1e-3, count, dtype=dtype).view(-1, 1, 1)


@every_path
def test_derivatives_are_those_of_autograd(path: MeanReverting) -> None:
    t = times().requires_grad_()
    k = path.coefficients(t)
    for value, derivative in ((k.a, k.da), (k.b, k.db), (path.clock(t), path.clock_rate(t))):
        expected = torch.autograd.grad(value.sum(), t, retain_graph=True)[0]
        torch.testing.assert_close(derivative.detach(), expected, rtol=1e-9, atol=1e-12)


@every_path
@every_type
def test_coefficients_start_at_the_data_and_are_finite(
    path: MeanReverting, dtype: torch.dtype
) -> None:
    k = path.coefficients(torch.tensor([0.0, path.t_min, 1e-2, 0.5, path.t_max, 1.0], dtype=dtype))
    assert (k.a[0].item(), k.b[0].item()) == (1.0, 0.0)
    assert (k.a[-1].item(), k.da[-1].item()) == (0.0, -1.0)
    for value in (k.a, k.b, k.da, k.db):
        assert value.dtype == dtype
        assert value.isfinite().all()


@every_path
def test_single_precision_keeps_its_digits(path: MeanReverting) -> None:
    t = torch.tensor([1e-4, 1e-3, 1e-2, 0.02, 0.1, 0.5, 1.0])
    single, double = path.coefficients(t), path.coefficients(t.double())
    for got, expected in zip(single[:4], double[:4], strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(single.b.double(), double.b, rtol=2e-6, atol=0)


@every_path
@pytest.mark.parametrize("t", [0.02, 0.5, 0.97])
def test_moments_of_a_draw(path: MeanReverting, t: float) -> None:
    count = 40_000
    time = torch.full((1, 1, 1), t, dtype=torch.float64)
    x0 = torch.full((count, 1, 1), 2.0, dtype=torch.float64)
    x, noise, _ = path.sample(x0, time, generator=seeded(1))
    k = path.coefficients(time)
    b = k.b.item()
    assert x.mean().item() == pytest.approx(2.0 * k.a.item(), abs=5 * b / math.sqrt(count))
    assert x.std().item() == pytest.approx(b, rel=5 / math.sqrt(2 * count))
    torch.testing.assert_close(k.a * x0 + k.b * noise, x)


@every_path
@every_type
@pytest.mark.parametrize("t", [0.0, 1e-30, 1e-4, 1.0])
def test_draws_are_finite_at_both_ends(path: MeanReverting, dtype: torch.dtype, t: float) -> None:
    x0 = torch.ones(50, 2, 3, dtype=dtype)
    for value in path.sample(x0, torch.full((50, 1, 1), t, dtype=dtype), generator=seeded(2)):
        assert value.shape == x0.shape
        assert value.dtype == dtype
        assert value.isfinite().all()


@every_path
def test_a_draw_is_made_of_data_and_displacement(path: MeanReverting) -> None:
    x0 = torch.randn(6, 2, 3, generator=seeded(3))
    t = torch.linspace(0.1, 0.9, 6).view(-1, 1, 1)
    x, _, velocity = path.sample(x0, t, generator=seeded(4))
    y, own = path.displacement(x0, t, seeded(4))
    torch.testing.assert_close(x, (1.0 - t) * x0 + y)
    torch.testing.assert_close(velocity, own - x0)


@every_path
def test_the_clock_runs_in_the_velocity(path: MeanReverting) -> None:
    like = torch.zeros(64, 1, 1, dtype=torch.float64)
    t = torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    _, velocity = path.displacement(like, t, seeded(5))
    _, bare = path.simulate(path.clock(t).expand(like.shape), seeded(5))
    p = path.clock_power
    torch.testing.assert_close(velocity, p * 0.3 ** (p - 1.0) * bare)


@every_path
def test_the_source_is_the_displacement_at_one(path: MeanReverting) -> None:
    like = torch.zeros(20_000, 1, 2)
    source = path.draw_source(like, seeded(6))
    expected, _ = path.displacement(like, torch.ones(1, 1, 1), seeded(6))
    assert torch.equal(source, expected)
    b = path.coefficients(torch.ones(1)).b.item()
    assert source.std().item() == pytest.approx(b, rel=0.02)
    assert abs(source[:, 0].T.corrcoef()[0, 1].item()) < 0.03


@every_path
def test_a_row_is_drawn_the_same_in_any_batch(path: MeanReverting) -> None:
    """Three series of four samples, with times of their own, together and one at a time."""
    x0 = torch.randn(12, 2, 3, generator=seeded(7))
    t = torch.rand(12, 1, 1, generator=seeded(8))
    whole = path.sample(x0, t, generator=[seeded(9, s) for s in range(3)])
    source = path.draw_source(x0, [seeded(9, s) for s in range(3)])
    for s in range(3):
        rows = slice(4 * s, 4 * s + 4)
        alone = path.sample(x0[rows], t[rows], generator=[seeded(9, s)])
        for got, expected in zip(alone, whole, strict=True):
            assert torch.equal(got, expected[rows])
        assert torch.equal(path.draw_source(x0[rows], seeded(9, s)), source[rows])


@every_path
def test_matched_noise_lends_its_generator(path: MeanReverting) -> None:
    like = torch.zeros(8, 1, 2)
    got = path.draw_source(like, Matched(seeded(10)))
    assert torch.equal(got, path.draw_source(like, seeded(10)))


def test_the_global_generator_serves_where_none_is_given() -> None:
    with torch.random.fork_rng(devices=[]):
        for path in PATHS.values():
            torch.manual_seed(11)
            first = path.draw_source(torch.zeros(8, 1, 2))
            torch.manual_seed(11)
            assert torch.equal(first, path.draw_source(torch.zeros(8, 1, 2)))


class TestDrawn:
    @staticmethod
    def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.rand(like.shape, generator=generator)

    def test_a_sampler_of_one_tensor_gives_one(self) -> None:
        got = drawn(torch.zeros(4, 2), [seeded(1), seeded(2)], self.uniform)
        parts = [self.uniform(torch.zeros(2, 2), seeded(seed)) for seed in (1, 2)]
        assert torch.equal(got, torch.cat(parts))

    def test_a_sampler_of_several_gives_as_many(self) -> None:
        rows = torch.arange(4.0).view(4, 1)
        values, noise = drawn(
            rows, [seeded(1), seeded(2)], lambda block, one: (block, self.uniform(block, one))
        )
        assert torch.equal(values, rows)
        assert noise.shape == rows.shape

    @pytest.mark.parametrize("count", [0, 3])
    def test_uneven_blocks_are_refused(self, count: int) -> None:
        with pytest.raises(ValueError, match=f"4 rows.*{count} generators"):
            drawn(torch.zeros(4, 2), [seeded(s) for s in range(count)], self.uniform)


@every_path
def test_there_is_no_score_and_no_diffusion(path: MeanReverting) -> None:
    name, one = type(path).__name__, torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match=f"{name} has a velocity and no score"):
        path.diffusion(0.5 * one)
    for other in PREDICTIONS:
        for given, wanted in ((other, "score"), ("score", other)):
            with pytest.raises(ValueError, match=f"{name} has a velocity and no score"):
                path.convert(one, one, 0.5 * one, given=given, wanted=wanted)


@every_path
def test_data_and_noise_follow_from_each_other(path: MeanReverting) -> None:
    x0, t = torch.randn(41, 1, 3, dtype=torch.float64, generator=seeded(12)), times()
    x, noise, velocity = path.sample(x0, t, generator=seeded(13))
    torch.testing.assert_close(path.convert(x0, x, t, given="data", wanted="noise"), noise)
    torch.testing.assert_close(path.convert(noise, x, t, given="noise", wanted="data"), x0)
    same = path.convert(velocity, x, t, given="velocity", wanted="velocity")
    assert torch.equal(same, velocity)


def test_a_velocity_follows_from_data_where_it_is_linear_alone() -> None:
    x0, t = torch.randn(41, 1, 3, dtype=torch.float64, generator=seeded(14)), times()
    path = PATHS["uniform_squared"]
    x, _, velocity = path.sample(x0, t, generator=seeded(15))
    got = path.convert(x0, x, t, given="data", wanted="velocity")
    torch.testing.assert_close(got, velocity, rtol=1e-9, atol=1e-9)
    for given, wanted in (("data", "velocity"), ("velocity", "noise")):
        with pytest.raises(ValueError, match=f"Kac.*{wanted} does not follow from {given}"):
            Kac().convert(x0, x, t, given=given, wanted=wanted)


def test_unknown_predictions_are_named() -> None:
    one = torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match=r"'flow'.*noise, data, score, velocity"):
        Kac().convert(one, one, 0.5 * one, given="flow", wanted="score")


def test_what_kind_of_path_it_is() -> None:
    assert isinstance(Kac(), AffinePath)
    assert not Kac.gaussian
    assert not Uniform.gaussian
    assert Kac(clock_power=2.0).smooth
    assert not Kac(clock_power=0.5).smooth


@pytest.mark.parametrize("power", [0.0, -1.0, math.inf, math.nan])
def test_bad_clocks_are_refused(power: float) -> None:
    for make in (MeanReverting, Kac, Uniform):
        with pytest.raises(ValueError, match="clock_power must be positive and finite"):
            make(clock_power=power)


def test_the_base_class_has_no_displacement() -> None:
    with pytest.raises(NotImplementedError, match="spread"):
        MeanReverting().coefficients(torch.ones(1))
    with pytest.raises(NotImplementedError, match="simulate"):
        MeanReverting().draw_source(torch.ones(1, 1, 1))
