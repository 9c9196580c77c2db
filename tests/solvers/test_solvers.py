"""Solvers on Gaussian data, where the flow, the marginals and every prediction are exact.

For data ``N(m, s²)`` a step is affine in x plus Gaussian noise, ``x ← A x + c + n ξ``. The three
numbers are read off a step (its noise comes from generators whose draws are known), so that
means and variances are propagated without Monte-Carlo error, and orders can be measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tsdiff.processes import AffinePath, Coefficients, DiscreteDDPM, Linear, VariancePreserving
from tsdiff.random import Matched, seeded
from tsdiff.solvers import (
    DDIM,
    GRIDS,
    SOLVERS,
    Analytic,
    Ancestral,
    DormandPrince,
    DPMSolver3M,
    Euler,
    EulerMaruyama,
    Field,
    Heun,
    MissingFieldError,
    Multistep,
    PowerGrid,
    Solver,
    UniformGrid,
    as_solver,
    integrate,
)

MEAN, STD = 1.5, 0.7
RANDOM = (
    "euler_maruyama",
    "stochastic_heun",
    "ancestral",
    "analytic",
    "dpm++sde",
    "consistency",
)
ODE_SOLVERS = [name for name in SOLVERS if name not in RANDOM]
every_solver = pytest.mark.parametrize("solver", list(SOLVERS.values()), ids=list(SOLVERS))


class Smooth(AffinePath):
    """``a = 1 - 0.8 t``, ``b = t``: smooth on all of [0, 1], ``a(1) > 0``."""

    def coefficients(self, t: Tensor) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(1.0 - 0.8 * t, t, -0.8 * one, one)


class Flat(AffinePath):
    """``a = 0.01 (1 - t)``, ``b = t``: data that extend by a hundredth of their noise."""

    size: ClassVar[float] = 0.01

    def coefficients(self, t: Tensor) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(self.size * (1.0 - t), t, -self.size * one, one)


def gaussian_field(path: AffinePath, mean: float = MEAN, std: float = STD) -> Field:
    """The exact field of data ``N(mean, std²)`` on ``path``."""

    def at(wanted: str):
        def answer(x: Tensor, t: Tensor) -> Tensor:
            k = path.coefficients(path.clip(t))
            score = -(x - k.a * mean) / (k.a**2 * std**2 + k.b**2)
            return path.convert(score, x, path.clip(t), given="score", wanted=wanted)

        return answer

    def data_variance(t: Tensor) -> Tensor:
        k = path.coefficients(t)
        return (STD * k.b).square() / ((STD * k.a).square() + k.b**2)

    def endpoint(x: Tensor, t: Tensor) -> Tensor:
        k = path.coefficients(t)
        return mean + std * (x - k.a * mean) / torch.hypot(k.a * std, k.b)

    return Field(
        velocity=at("velocity"),
        score=at("score"),
        data=at("data"),
        noise=at("noise"),
        diffusion=lambda t: path.diffusion(path.clip(t)),
        signal_noise=lambda t: tuple(path.coefficients(t)[:2]),
        data_variance=data_variance,
        endpoint=endpoint,
        spread=torch.ones(1, dtype=torch.float64),
        name="Gaussian",
    )


MODES = torch.tensor([-1.0, 1.2], dtype=torch.float64)
NARROW = 0.5


def mixture_field(path: AffinePath) -> Field:
    """The exact field of an even mixture of two Gaussians at ``MODES``."""

    def at(wanted: str):
        def answer(x: Tensor, t: Tensor) -> Tensor:
            k = path.coefficients(t)
            variance = k.a**2 * NARROW**2 + k.b**2
            off = x.unsqueeze(-1) - k.a.unsqueeze(-1) * MODES
            weight = torch.softmax(-0.5 * off.square() / variance.unsqueeze(-1), dim=-1)
            score = -(weight * off).sum(-1) / variance
            return path.convert(score, x, t, given="score", wanted=wanted)

        return answer

    return replace(
        gaussian_field(path),
        velocity=at("velocity"),
        score=at("score"),
        data=at("data"),
        noise=at("noise"),
    )


def mixture_cdf(path: AffinePath, x: Tensor, t: float) -> Tensor:
    k = path.coefficients(torch.tensor(t, dtype=torch.float64))
    spread = torch.hypot(k.a * NARROW, k.b)
    return torch.special.ndtr((x.unsqueeze(-1) - k.a * MODES) / spread).mean(-1)


def affine_step(
    solver: Solver, field: Field, t: Tensor, t_next: Tensor
) -> tuple[float, float, float]:
    """``A, c, n`` of one step."""
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1)

    def step(seed: int) -> tuple[float, float, float]:
        # Both rows are given the same noise.
        noise = torch.randn(1, 1, 1, dtype=torch.float64, generator=seeded(seed)).item()
        drawn, _ = solver.step(field, t, t_next, x, None, generator=[seeded(seed), seeded(seed)])
        return drawn[0].item(), drawn[1].item(), noise

    zero, one, noise = step(1)
    other, _, other_noise = step(2)
    level = (zero - other) / (noise - other_noise)
    return one - zero, zero - level * noise, level


class Impulses(Matched):
    """Noise of row ``2 + k`` is 1 at the k-th step and 0 otherwise; rows 0 and 1 have none."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "drawn", [])

    def draw(self, like: Tensor, *, beside: Tensor | None = None) -> Tensor:
        noise = torch.zeros_like(like)
        noise[2 + len(self.drawn)] = 1.0
        self.drawn.append(noise)
        return noise


def moments(
    solver: Solver, path: AffinePath, num_steps: int, start: float = 1.0, end: float = 0.0
) -> tuple[float, float, float]:
    """Mean and standard deviation at ``end`` from the exact ones at ``start``, and dx_end/dx_start.

    A run is affine in the state it starts from and in the noise of every step: each is sent alone.
    """
    field = gaussian_field(path)
    k = path.coefficients(torch.tensor(start, dtype=torch.float64))
    mean, variance = (k.a * MEAN).item(), (k.a**2 * STD**2 + k.b**2).item()
    x = torch.zeros(2 + num_steps, 1, 1, dtype=torch.float64)
    x[1] = 1.0
    times = end + (start - end) * UniformGrid()(num_steps)
    x = integrate(field, solver, x, times, generator=Impulses()).flatten()
    responses = x[1:] - x[0]
    slope, noise = responses[0].item(), responses[1:]
    variance = slope**2 * variance + noise.square().sum().item()
    return x[0].item() + slope * mean, math.sqrt(variance), slope


def exact_moments(path: AffinePath, t: float) -> tuple[float, float]:
    k = path.coefficients(torch.tensor(t, dtype=torch.float64))
    return (k.a * MEAN).item(), torch.hypot(k.a * STD, k.b).item()


class TestOrder:
    @every_solver
    def test_declared_order_is_measured_in_mean_and_spread(self, solver: Solver) -> None:
        """At least: a linear field flatters some of the ODE solvers, whose order is measured next.

        Where signal and noise are there at both ends; beyond, see the paths' own tests.
        """
        errors = []
        target, end = exact_moments(Smooth(), 0.2), 0.2
        for num_steps in (16, 32, 64, 128):
            mean, std, _ = moments(solver, Smooth(), num_steps, end=end)
            errors.append(max(abs(mean - target[0]), abs(std - target[1])))
        if isinstance(solver, DormandPrince):  # as exact as its tolerances, at any number of steps
            assert max(errors) < 1e-4
            return
        if isinstance(
            solver, (Analytic, Multistep)
        ):  # exact for Gaussian data, at any number of steps
            assert max(errors) < 1e-12
            return
        rates = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
        assert rates[-1] > solver.order - 0.5
        assert errors[-1] < 0.02

    @pytest.mark.parametrize("name", ODE_SOLVERS)
    def test_flow_map_of_two_modes(self, name: str) -> None:
        """In one dimension the flow keeps every point's quantile: of a mixture, in closed form."""
        solver, path, start, end = SOLVERS[name], Smooth(), 0.9, 0.2
        field, x = mixture_field(path), torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)
        ranks = mixture_cdf(path, x, start)
        low, high = torch.full_like(x, -9.0), torch.full_like(x, 9.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = mixture_cdf(path, middle, end) < ranks
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        errors = []
        for num_steps in (32, 64, 128, 256):
            times = end + (start - end) * UniformGrid()(num_steps)
            moved = integrate(field, solver, x.view(-1, 1, 1), times).flatten()
            errors.append((moved - low).abs().max().item())
        if isinstance(solver, DormandPrince):
            assert max(errors) < 1e-4
            return
        rates = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
        assert rates[-1] == pytest.approx(solver.order, abs=0.2)
        assert errors[-1] < 0.02

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("num_steps", [8, 100])
    def test_an_angle_that_turns_at_the_end_is_not_extrapolated_to(
        self, num_steps: int, dtype: torch.dtype
    ) -> None:
        """Where data are flat nearly all of the rotation is in the last step.

        A line through the two points before it, a hundredth of a step apart, leads anywhere.
        """
        x = torch.linspace(-2.5, 2.5, 21, dtype=dtype).view(-1, 1, 1)
        times = 1e-4 + 0.9998 * UniformGrid()(num_steps).to(dtype)
        moved = integrate(mixture_field(Flat()), SOLVERS["exponential_adams"], x, times) / Flat.size
        far = (moved - MODES.to(dtype)).abs().amin(-1)
        assert far.max() < 4.0 * NARROW

    @every_solver
    @pytest.mark.parametrize(
        "path", [Linear(), VariancePreserving(0.1, 10.0), DiscreteDDPM(50)], ids=type
    )
    def test_finer_steps_come_closer_on_every_path(self, solver: Solver, path: AffinePath) -> None:
        errors = []
        for num_steps in (50, 200):
            mean, std, _ = moments(solver, path, num_steps)
            errors.append(abs(mean - MEAN) + abs(std - STD))
        # Twice as good for four times the steps, or down to what clipping at t_min leaves.
        if not isinstance(solver, DormandPrince):
            assert errors[1] < max(0.5 * errors[0], 2e-3)
        assert errors[1] < 0.05

    @every_solver
    @pytest.mark.parametrize("num_steps", [1, 2, 4, 10])
    def test_few_steps_from_pure_noise_stay_near_the_data(
        self, solver: Solver, num_steps: int
    ) -> None:
        """Where a(1) = 0 the native diffusion diverges: no solver may follow it."""
        mean, std, _ = moments(solver, Linear(), num_steps)
        # (A single exponential step of order one turns a mean by π/2 for 1.)
        assert abs(mean - MEAN) < (0.9 if num_steps == 1 else 0.5)
        assert std < 2.0


def test_euler_maruyama_with_another_diffusion_has_the_same_marginals() -> None:
    solver = EulerMaruyama(diffusion=lambda t: 0.5 + t)
    errors = [abs(moments(solver, Smooth(), n)[1] - STD) for n in (64, 128, 256)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.15)
    assert errors[2] < 0.01


def test_euler_maruyama_without_diffusion_is_euler() -> None:
    x = torch.randn(3, 1, 2, dtype=torch.float64, generator=seeded(0))
    field, times = gaussian_field(Smooth()), UniformGrid()(5)
    still = EulerMaruyama(diffusion=torch.zeros_like)
    torch.testing.assert_close(
        integrate(field, still, x, times), integrate(field, Euler(), x, times)
    )


class TestTransitions:
    @pytest.mark.parametrize("n", [1, 2, 40, 100])
    def test_ancestral_step_is_the_posterior_of_ddpm(self, n: int) -> None:
        """Ho et al. (2020), eqs. 6 and 7, on the discrete chain."""
        chain, data = 100, 0.3
        betas = torch.linspace(1e-4, 0.1, chain, dtype=torch.float64)
        bar = torch.cat([torch.ones(1, dtype=torch.float64), (1.0 - betas).cumprod(0)])
        beta, now, before = betas[n - 1].item(), bar[n].item(), bar[n - 1].item()
        field = replace(
            gaussian_field(DiscreteDDPM(chain)), data=lambda x, t: torch.full_like(x, data)
        )
        t = torch.tensor([n / chain, (n - 1) / chain], dtype=torch.float64).view(2, 1, 1, 1)
        factor, shift, level = affine_step(Ancestral(), field, t[0], t[1])
        assert factor == pytest.approx(math.sqrt(1 - beta) * (1 - before) / (1 - now), abs=1e-10)
        assert shift == pytest.approx(math.sqrt(before) * beta / (1 - now) * data, abs=1e-10)
        assert level**2 == pytest.approx((1 - before) / (1 - now) * beta, abs=1e-12)

    @pytest.mark.parametrize("path", [Linear(), Smooth(), VariancePreserving()], ids=type)
    def test_ancestral_step_is_the_gaussian_posterior_of_any_path(self, path: AffinePath) -> None:
        """Bayes' rule for ``x_t = (a_t/a_s) x_s + noise`` and ``x_s ~ N(a_s x_0, b_s²)``."""
        t, s = torch.tensor([0.7, 0.45], dtype=torch.float64).view(2, 1, 1, 1)
        later, earlier = path.coefficients(t), path.coefficients(s)
        ratio = (later.a / earlier.a).item()
        added = later.b.item() ** 2 - ratio**2 * earlier.b.item() ** 2
        precision = 1 / earlier.b.item() ** 2 + ratio**2 / added
        field = replace(gaussian_field(path), data=lambda x, t: torch.full_like(x, 0.4))
        factor, shift, level = affine_step(Ancestral(), field, t, s)
        assert factor == pytest.approx(ratio / added / precision)
        assert shift == pytest.approx(earlier.a.item() * 0.4 / earlier.b.item() ** 2 / precision)
        assert level**2 == pytest.approx(1 / precision)

    @pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
    def test_ddim_keeps_the_marginal_whatever_its_noise(self, eta: float) -> None:
        """With the true x_0, every share of noise gives ``N(a_s x_0, b_s²)``."""
        path, data = VariancePreserving(), 0.4
        t, s = torch.tensor([0.7, 0.45], dtype=torch.float64).view(2, 1, 1, 1)
        later, earlier = path.coefficients(t), path.coefficients(s)
        field = replace(gaussian_field(path), data=lambda x, t: torch.full_like(x, data))
        factor, shift, level = affine_step(DDIM(eta), field, t, s)
        assert factor * later.a.item() * data + shift == pytest.approx(earlier.a.item() * data)
        spread = math.hypot(factor * later.b.item(), level)
        assert spread == pytest.approx(earlier.b.item())

    def test_ddim_without_noise_is_deterministic(self) -> None:
        x = torch.randn(4, 1, 2, generator=seeded(0))
        generator = seeded(1)
        before = generator.get_state()
        times, field = UniformGrid()(7), gaussian_field(DiscreteDDPM(50))
        one = integrate(field, DDIM(), x, times, generator=generator)
        assert torch.equal(generator.get_state(), before)
        assert torch.equal(one, integrate(field, DDIM(), x, times))

    @pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
    def test_noise_shares_beyond_one_are_refused(self, eta: float) -> None:
        with pytest.raises(ValueError, match="eta"):
            DDIM(eta)


@every_solver
@pytest.mark.parametrize("path", [Linear(), DiscreteDDPM(100)], ids=type)
def test_samples_of_gaussian_data_have_the_right_law(solver: Solver, path: AffinePath) -> None:
    count = 20_000
    k = path.coefficients(torch.ones((), dtype=torch.float64))
    x = k.a * MEAN + torch.hypot(k.a * STD, k.b) * torch.randn(
        count, 1, 1, dtype=torch.float64, generator=seeded(5)
    )
    x = integrate(gaussian_field(path), solver, x, UniformGrid()(200), generator=seeded(6))
    mean, std, _ = moments(solver, path, 200)
    assert x.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(count))
    assert x.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count))
    assert mean == pytest.approx(MEAN, abs=0.03)
    assert std == pytest.approx(STD, abs=0.03)


class TestNeeds:
    @every_solver
    def test_a_missing_need_is_an_error_that_names_both(self, solver: Solver) -> None:
        full = gaussian_field(Linear())
        for need in solver.needs:
            field = replace(full, **{need: None, "name": "Kac"})
            with pytest.raises(MissingFieldError, match=f"{type(solver).__name__}.*{need}.*Kac"):
                integrate(field, solver, torch.zeros(1, 1, 1), UniformGrid()(2))

    def test_two_missing_needs_are_both_named(self) -> None:
        with pytest.raises(MissingFieldError, match="score and the diffusion"):
            EulerMaruyama().check(Field(velocity=lambda x, t: x))

    def test_a_diffusion_of_ones_own_replaces_the_native_one(self) -> None:
        field = replace(gaussian_field(Smooth()), diffusion=None)
        x = integrate(field, EulerMaruyama(torch.ones_like), torch.zeros(1, 1, 1), UniformGrid()(3))
        assert x.isfinite().all()

    @every_solver
    def test_needs_are_all_that_is_called(self, solver: Solver) -> None:
        full = gaussian_field(Smooth())
        bare = Field(**{need: getattr(full, need) for need in solver.needs})
        x = torch.randn(2, 1, 3, generator=seeded(2))
        out = integrate(bare, solver, x, UniformGrid()(3), generator=seeded(3))
        expected = integrate(full, solver, x, UniformGrid()(3), generator=seeded(3))
        torch.testing.assert_close(out, expected)

    @every_solver
    def test_declared_evaluations_are_counted(self, solver: Solver) -> None:
        calls: set[tuple[int, float]] = set()
        kept = []
        full = gaussian_field(Smooth())

        def counted(answer):
            def call(x: Tensor, t: Tensor) -> Tensor:
                kept.append(x)  # alive, so that ids stay unique
                calls.add((id(x), t.item()))
                return answer(x, t)

            return call

        field = replace(
            full,
            velocity=counted(full.velocity),
            score=counted(full.score),
            data=counted(full.data),
            noise=counted(full.noise),
            endpoint=counted(full.endpoint),
        )
        integrate(field, solver, torch.ones(1, 1, 1), UniformGrid()(6), generator=seeded(0))
        if isinstance(solver, DormandPrince):
            assert len(calls) > 6 * solver.evaluations
            return
        start = 1 if isinstance(solver, DPMSolver3M) else 0
        assert len(calls) == 6 * solver.evaluations + start


class TestIntegrate:
    @pytest.mark.parametrize(
        "times", [[0.0, 1.0], [1.0, 0.5, 0.5, 0.0], [1.0], [], [1.0, float("nan"), 0.0]]
    )
    def test_times_must_fall(self, times: list[float]) -> None:
        with pytest.raises(ValueError, match="fall"):
            integrate(gaussian_field(Smooth()), Euler(), torch.ones(1, 1, 1), torch.tensor(times))

    def test_times_must_be_a_list(self) -> None:
        with pytest.raises(ValueError, match="fall"):
            integrate(gaussian_field(Smooth()), Euler(), torch.ones(1, 1, 1), torch.ones(2, 2))

    def test_times_that_coincide_in_single_precision_are_refused(self) -> None:
        times = torch.tensor([1.0, 1.0 - 1e-12, 0.0], dtype=torch.float64)
        field = gaussian_field(Smooth())
        integrate(field, Euler(), torch.ones(1, 1, 1, dtype=torch.float64), times)
        with pytest.raises(ValueError, match=r"fall.*float32"):
            integrate(field, Euler(), torch.ones(1, 1, 1), times)

    def test_times_follow_the_state_to_its_device(self) -> None:
        x = integrate(
            Field(velocity=lambda x, t: x * t),
            Heun(),
            torch.ones(2, 1, 1, device="meta"),
            UniformGrid()(3),
        )
        assert x.device.type == "meta"

    def test_state_and_times_reach_the_solver_in_order(self) -> None:
        @dataclass(frozen=True)
        class Recorder(Solver):
            order: ClassVar[int] = 1
            needs: ClassVar[tuple[str, ...]] = ()

            def step(self, field, t, t_next, x, state, *, generator=None):
                assert t.shape == t_next.shape == (1, 1, 1)
                return x, [*(state or []), (t.item(), t_next.item())]

        seen: list = []

        @dataclass(frozen=True)
        class Keeper(Recorder):
            def step(self, field, t, t_next, x, state, *, generator=None):
                x, state = super().step(field, t, t_next, x, state)
                seen[:] = state
                return x, state

        integrate(Field(), Keeper(), torch.zeros(1, 1, 1), torch.tensor([1.0, 0.5, 0.25, 0.0]))
        assert seen == [(1.0, 0.5), (0.5, 0.25), (0.25, 0.0)]

    @every_solver
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_dtype_and_shape_are_kept(self, solver: Solver, dtype: torch.dtype) -> None:
        x = torch.randn(3, 2, 4, dtype=dtype, generator=seeded(0))
        out = integrate(gaussian_field(Linear()), solver, x, UniformGrid()(5), generator=seeded(1))
        assert out.dtype == dtype
        assert out.shape == x.shape
        assert out.isfinite().all()


class TestNames:
    def test_every_name_gives_its_solver(self) -> None:
        for name, solver in SOLVERS.items():
            assert as_solver(name) is solver
            assert as_solver(solver) is solver

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match=r"'rk5'.*euler, midpoint"):
            as_solver("rk5")

    @pytest.mark.parametrize("wrong", [Euler, 3, None])
    def test_what_is_no_solver_is_a_type_error(self, wrong: object) -> None:
        with pytest.raises(TypeError, match="solver must be"):
            as_solver(wrong)  # type: ignore[arg-type]

    def test_the_bases_do_nothing(self) -> None:
        with pytest.raises(NotImplementedError, match="Solver defines no step"):
            Solver().step(Field(), *torch.ones(2, 1, 1, 1), torch.ones(1, 1, 1), None)


def test_grids_and_solvers_have_names_of_their_own() -> None:
    assert not set(GRIDS) & set(SOLVERS)
    assert PowerGrid(2.0) == GRIDS["quadratic"]
