"""Decoders: exact where the law is Gaussian, untrained and trained; counted and independent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import DDPM, VSDM, AffineDecoder, Decoder, FlowMatching, Interpolant, ScoreSDE
from tsdiff.networks import DilatedResidualNetwork, Network, ResidualMLP, TemporalUNet
from tsdiff.processes import PREDICTIONS, Coefficients, Linear, VariancePreserving
from tsdiff.random import seeded
from tsdiff.solvers import DDIM, SOLVERS, EulerMaruyama, Solver

CONTEXT = 3
DECODERS = {
    "ddpm": DDPM,
    "flow_matching": FlowMatching,
    "flow_cosine": partial(FlowMatching, path="cosine"),
    "vp": partial(ScoreSDE, path="vp"),
    "sub_vp": partial(ScoreSDE, path="sub_vp"),
    "ve": partial(ScoreSDE, path="ve"),
    "interpolant": Interpolant,
    # Along principal axes:
    "flow_lipschitz": partial(FlowMatching, path="lipschitz"),
    "vsdm": partial(VSDM, source="matched"),
}
every_decoder = pytest.mark.parametrize("make", list(DECODERS.values()), ids=list(DECODERS))
by_dimension = pytest.mark.parametrize(
    "make", list(DECODERS.values())[:-2], ids=list(DECODERS)[:-2]
)
# What integrates a process; the other one maps to its end.
STEPPING = [name for name in SOLVERS if name != "consistency"]
every_solver = pytest.mark.parametrize("solver", STEPPING)


def mlp(target_dim: int = 2, *, random: bool = False, **kwargs) -> ResidualMLP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResidualMLP(target_dim, CONTEXT, width=32, num_blocks=2, **kwargs)
        if random:
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    return network


class Counting(Network):
    """A network that counts its evaluations and the bindings of contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = self.bindings = 0

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        self.bindings += 1

        def predict(x: Tensor, t: Tensor) -> Tensor:
            self.evaluations += 1
            return torch.zeros_like(x)

        return predict


@dataclass(frozen=True)
class Stay(Solver):
    """Leaves the source as it was drawn."""

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()

    def step(self, field, t, t_next, x, state, *, generator=None):
        return x, None


@pytest.fixture(autouse=True)
def _no_gradients():
    """Sampling keeps the graph, for those who guide it; only training needs it here."""
    with torch.no_grad():
        yield


class TestUntrained:
    """The zero network is every network before its first update."""

    mean = torch.tensor([1.0, -2.0])
    std = torch.tensor([2.0, 0.5])

    @every_decoder
    @every_solver
    def test_samples_the_gaussian_it_was_told_of(self, make, solver: str) -> None:
        decoder = make(Counting(), 2)
        decoder.set_data_moments(self.mean, torch.diag(self.std**2))
        count = 10_000
        x = decoder.sample(
            torch.zeros(count, 1, CONTEXT), solver=solver, num_steps=150, generator=seeded(1)
        ).flatten(0, 1)
        # Monte-Carlo error, and what 150 steps of a first-order solver leave; Euler's method loses
        # most on the way out of a point, where noise grows as the root of time.
        left = 0.15 if make is Interpolant and solver == "euler" else 0.03
        assert bool(
            ((x.mean(0) - self.mean).abs() < self.std * (5 / math.sqrt(count) + 0.01)).all()
        )
        assert bool(((x.std(0) / self.std - 1.0).abs() < 5 / math.sqrt(2 * count) + left).all())
        assert abs(torch.corrcoef(x.T)[0, 1].item()) < 5 / math.sqrt(count)

    @every_decoder
    @pytest.mark.parametrize("scale", [1e-6, 0.05, 1.0, 5.0, 1e6])
    def test_default_sampler_is_calibrated_at_any_scale(self, make, scale: float) -> None:
        decoder = make(Counting(), 1)
        decoder.set_data_moments(torch.tensor([2.0 * scale]), torch.tensor([[scale**2]]))
        x = decoder.sample(torch.zeros(20_000, 1, CONTEXT), generator=seeded(2)) / scale
        assert x.mean().item() == pytest.approx(2.0, abs=0.03)
        assert x.std().item() == pytest.approx(1.0, abs=0.02)

    @pytest.mark.parametrize("path", [Linear(), VariancePreserving(0.1, 5.0)], ids=type)
    @pytest.mark.parametrize("prediction", PREDICTIONS)
    def test_whatever_is_predicted(self, path, prediction: str) -> None:
        decoder = AffineDecoder(
            Counting(),
            path,
            2,
            prediction=prediction,
            solver="heun",
            num_steps=40,
            grid="quadratic",
        )
        decoder.set_data_moments(self.mean, torch.diag(self.std**2))
        x = decoder.sample(torch.zeros(5_000, 1, CONTEXT), generator=seeded(3)).flatten(0, 1)
        torch.testing.assert_close(x.mean(0), self.mean, rtol=0, atol=0.1)
        torch.testing.assert_close(x.std(0), self.std, rtol=0.05, atol=0)

    @every_decoder
    @pytest.mark.parametrize(("target_dim", "steps"), [(1, 1), (3, 4)])
    def test_shapes_and_finite_values(self, make, target_dim: int, steps: int) -> None:
        decoder = make(mlp(target_dim, random=True), target_dim)
        context = torch.randn(5, steps, CONTEXT, generator=seeded(4))
        for solver in STEPPING:
            x = decoder.sample(context, solver=solver, num_steps=3, generator=seeded(5))
            assert x.shape == (5, steps, target_dim)
            assert x.isfinite().all()
        loss = decoder.loss(x, context, generator=seeded(6))
        assert loss.shape == x.shape
        assert bool((loss >= 0).all())

    @every_decoder
    def test_double_precision(self, make) -> None:
        decoder = make(mlp(random=True), 2).double()
        context = torch.zeros(4, 1, CONTEXT, dtype=torch.float64)
        x = decoder.sample(context, generator=seeded(1))
        assert x.dtype == torch.float64
        assert decoder.loss(x, context, generator=seeded(2)).dtype == torch.float64


class TestSource:
    covariance = torch.tensor([[4.0, 1.2], [1.2, 0.5]], dtype=torch.float64)
    mean = torch.tensor([3.0, -1.0], dtype=torch.float64)

    @by_dimension
    @pytest.mark.parametrize("preconditioned", [True, False])
    def test_sampling_starts_from_the_matched_moments(self, make, preconditioned: bool) -> None:
        """Of the data or, where these are standardised, in their units."""
        decoder = make(mlp(), 2, preconditioned=preconditioned)
        decoder.set_data_moments(self.mean, self.covariance)
        k = decoder.path.coefficients(torch.ones(1, dtype=torch.float64))
        noise = self.covariance.diagonal().diag() if preconditioned else torch.eye(2)
        expected = k.a**2 * self.covariance + k.b**2 * noise
        centre = self.mean if preconditioned else k.a * self.mean
        count = 50_000
        x = decoder.sample(torch.zeros(count, 1, CONTEXT), solver=Stay(), generator=seeded(1))
        x = x.flatten(0, 1).double()
        error = 5 / math.sqrt(count) * max(1.0, float(k.b.max()))
        torch.testing.assert_close(x.mean(0), centre, rtol=0, atol=2 * error)
        error *= max(1.0, float(k.b.max()))
        torch.testing.assert_close(torch.cov(x.T), expected, rtol=0, atol=5 * error)

    @every_decoder
    def test_a_degenerate_covariance_is_allowed(self, make) -> None:
        decoder = make(mlp(), 2)
        decoder.set_data_moments(torch.zeros(2), torch.tensor([[1e12, 1e12], [1e12, 1e12]]))
        decoder.set_data_moments(torch.zeros(2), torch.zeros(2, 2))
        x = decoder.sample(torch.zeros(100, 1, CONTEXT), num_steps=400, generator=seeded(1))
        assert x.abs().max() < 0.02

    @pytest.mark.parametrize("solver", ["exponential_adams", "exponential_heun"])
    @pytest.mark.parametrize("grid", ["uniform", "quadratic"])
    @pytest.mark.parametrize("num_steps", [8, 400])
    def test_so_is_an_axis_along_which_angles_stand_still(self, solver, grid, num_steps) -> None:
        """In single precision its angle is π/2 until shortly before the data."""
        decoder = DDPM(mlp(), 2)
        decoder.set_data_moments(torch.zeros(2), torch.zeros(2, 2))
        sampler = {"solver": solver, "grid": grid, "num_steps": num_steps}
        x = decoder.sample(torch.zeros(100, 1, CONTEXT), generator=seeded(1), **sampler)
        assert x.abs().max() < 1e-5

    @every_decoder
    @pytest.mark.parametrize(
        ("mean", "covariance", "word"),
        [
            ([0.0, float("nan")], [[1.0, 0.0], [0.0, 1.0]], "finite"),
            ([0.0, 0.0], [[float("inf"), 0.0], [0.0, 1.0]], "finite"),
            ([0.0, 0.0], [[1.0, 0.0], [0.0, -0.5]], "positive semi-definite"),
            ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "positive semi-definite"),
        ],
    )
    def test_moments_that_are_none(self, make, mean, covariance, word: str) -> None:
        decoder = make(mlp(), 2)
        before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
        with pytest.raises(ValueError, match=word):
            decoder.set_data_moments(torch.tensor(mean), torch.tensor(covariance))
        assert all(torch.equal(t, before[name]) for name, t in decoder.state_dict().items())

    @every_decoder
    def test_moments_are_saved_with_the_weights(self, make) -> None:
        decoder, other = make(mlp(), 2), make(mlp(), 2)
        decoder.set_data_moments(self.mean, self.covariance)
        other.load_state_dict(decoder.state_dict())
        context = torch.zeros(3, 1, CONTEXT)
        assert torch.equal(
            decoder.sample(context, generator=seeded(1)), other.sample(context, generator=seeded(1))
        )


class TestLoss:
    """On data ``N(m, s²)`` the untrained preconditioned network *is* the exact predictor."""

    @pytest.mark.parametrize("std", [1e-3, 1.0, 300.0])
    def test_flow_matching_starts_at_the_irreducible_loss(self, std: float) -> None:
        """``∫ 1 / ((1-t)² + t²) dt = π / 2``, in units of ``s²``."""
        decoder = FlowMatching(mlp(1), 1)
        decoder.set_data_moments(torch.tensor([0.7]), torch.tensor([[std**2]]))
        x0 = 0.7 + std * torch.randn(100_000, 1, 1, generator=seeded(1))
        loss = decoder.loss(x0, torch.zeros(100_000, 1, CONTEXT), generator=seeded(2))
        error = 5 * loss.std().item() / math.sqrt(loss.numel())
        assert loss.mean().item() == pytest.approx(math.pi / 2, abs=error)

    @pytest.mark.parametrize("std", [1e-3, 1.0, 300.0])
    def test_ddpm_starts_at_the_irreducible_loss(self, std: float) -> None:
        """The mean of ``a²`` over the chain, since ``a² + b² = 1``."""
        decoder = DDPM(mlp(1), 1, diffusion_steps=20)
        decoder.set_data_moments(torch.tensor([0.7]), torch.tensor([[std**2]]))
        x0 = 0.7 + std * torch.randn(100_000, 1, 1, generator=seeded(1))
        loss = decoder.loss(x0, torch.zeros(100_000, 1, CONTEXT), generator=seeded(2))
        k = decoder.path.coefficients(torch.arange(1, 21, dtype=torch.float64) / 20)
        error = 5 * loss.std().item() / math.sqrt(loss.numel())
        expected = k.a.square().mean().item()
        assert loss.mean().item() == pytest.approx(expected, abs=error)

    @torch.enable_grad()
    @every_decoder
    def test_zero_is_the_best_constant_on_gaussian_data(self, make) -> None:
        """No affine answer to u does better than zero: the residual is uncorrelated with it."""

        class Tilted(Network):
            def __init__(self) -> None:
                super().__init__()
                self.slope = torch.nn.Parameter(torch.zeros(()))
                self.shift = torch.nn.Parameter(torch.zeros(()))

            def bind(self, context):
                return lambda x, t: self.slope * x + self.shift

        decoder = make(Tilted(), 1)
        decoder.set_data_moments(torch.tensor([0.5]), torch.tensor([[4.0]]))
        x0 = 0.5 + 2.0 * torch.randn(50_000, 1, 1, generator=seeded(1))
        loss = decoder.loss(x0, torch.zeros(50_000, 1, CONTEXT), generator=seeded(2))
        for gradient in torch.autograd.grad(loss.mean(), list(decoder.network.parameters())):
            assert abs(gradient.item()) < 0.1

    @pytest.mark.parametrize("prediction", PREDICTIONS)
    def test_the_error_is_that_of_the_named_prediction(self, prediction: str) -> None:
        """An unpreconditioned network that answers zero is charged the target's square."""
        path = Linear()
        decoder = AffineDecoder(
            Counting(),
            path,
            2,
            prediction=prediction,
            solver="euler",
            num_steps=1,
            preconditioned=False,
        )
        x0 = torch.randn(64, 1, 2, dtype=torch.float64, generator=seeded(1))
        loss = decoder.loss(x0, torch.zeros(64, 1, CONTEXT).double(), generator=seeded(2))
        generator = seeded(2)
        t = decoder.draw_times(64, x0, generator)
        _, noise, velocity = path.sample(x0, t, generator=generator)
        target = {
            "noise": noise,
            "data": x0,
            "score": -noise / path.coefficients(t).b,
            "velocity": velocity,
        }[prediction]
        torch.testing.assert_close(loss, target.square(), rtol=1e-6, atol=1e-9)

    def test_weighting_multiplies(self) -> None:
        def weight(k: Coefficients) -> Tensor:
            return 2.0 + k.b

        plain, weighted = FlowMatching(mlp(), 2), FlowMatching(mlp(), 2, weighting=weight)
        x0, context = torch.randn(8, 1, 2, generator=seeded(1)), torch.zeros(8, 1, CONTEXT)
        t = plain.draw_times(8, x0, seeded(2))
        torch.testing.assert_close(
            weighted.loss(x0, context, generator=seeded(2)),
            plain.loss(x0, context, generator=seeded(2)) * (2.0 + t),
        )

    def test_ddpm_trains_on_the_steps_of_its_chain(self) -> None:
        decoder = DDPM(mlp(), 2, diffusion_steps=10)
        t = decoder.draw_times(5_000, torch.zeros(1), seeded(1))
        assert t.shape == (5_000, 1, 1)
        steps, counts = (t * 10).round().unique(return_counts=True)
        torch.testing.assert_close(t * 10, (t * 10).round())
        assert steps.tolist() == list(range(1, 11))
        assert counts.min() > 400

    def test_flow_matching_trains_inside_its_range(self) -> None:
        decoder = FlowMatching(mlp(), 2)
        t = decoder.draw_times(100_000, torch.zeros(1), seeded(1))
        assert decoder.path.t_min <= t.min() < 1e-3
        assert 1.0 - 1e-3 < t.max() <= decoder.path.t_max
        assert t.mean().item() == pytest.approx(0.5, abs=0.005)

    @every_decoder
    def test_rows_pair_data_with_their_own_context(self, make) -> None:
        decoder = make(mlp(random=True), 2)
        x0 = torch.randn(6, 1, 2, generator=seeded(1))
        context = torch.randn(6, 1, CONTEXT, generator=seeded(2))
        before = decoder.loss(x0, context, generator=seeded(3))
        changed = context.clone()
        changed[4] += 1.0
        difference = (decoder.loss(x0, changed, generator=seeded(3)) - before).abs().amax((1, 2))
        assert difference[4] > 1e-6
        assert difference[[0, 1, 2, 3, 5]].max() < 1e-5


class TestEvaluations:
    @pytest.mark.parametrize(
        ("solver", "per_step"),
        [
            ("euler", 1),
            ("heun", 2),
            (EulerMaruyama(), 1),
            ("ancestral", 1),
            (DDIM(0.5), 1),
        ],
    )
    @every_decoder
    def test_steps_cost_what_solvers_declare(self, make, solver, per_step: int) -> None:
        network = Counting()
        decoder = make(network, 2)
        decoder.sample(torch.zeros(3, 1, CONTEXT), solver=solver, num_steps=7, generator=seeded(1))
        assert network.evaluations == 7 * per_step
        assert network.bindings == 1

    def test_the_last_point_is_remembered_and_no_other(self) -> None:
        network = Counting()
        field = FlowMatching(network, 2).field(torch.zeros(1, 1, CONTEXT))
        x, t = torch.ones(1, 1, 2), torch.full((1, 1, 1), 0.5)
        field.velocity(x, t), field.score(x, t), field.data(x, t)
        assert network.evaluations == 1
        field.velocity(x + 0.0, t)
        assert network.evaluations == 2
        field.velocity(x, t)
        field.velocity(x, 0.5 * t)
        assert network.evaluations == 4

    def test_the_field_is_consistent(self) -> None:
        decoder = FlowMatching(mlp(random=True), 2)
        field = decoder.field(torch.ones(4, 1, CONTEXT))
        x, t = torch.randn(4, 1, 2, generator=seeded(1)), torch.full((1, 1, 1), 0.4)
        data = field.data(x, t)
        for wanted in ("velocity", "score"):
            expected = decoder.path.convert(data, x, t, given="data", wanted=wanted)
            torch.testing.assert_close(getattr(field, wanted)(x, t), expected, rtol=1e-4, atol=1e-5)
        assert field.name == "FlowMatching on Linear"


class TestBatches:
    @every_decoder
    @every_solver
    def test_one_generator_per_series_makes_samples_independent_of_the_batch(
        self, make, solver: str
    ) -> None:
        decoder = make(mlp(random=True), 2)
        context = torch.randn(6, 1, CONTEXT, generator=seeded(1))

        def sample(rows: slice, seeds: list[int]) -> Tensor:
            generators = [seeded(seed) for seed in seeds]
            return decoder.sample(context[rows], solver=solver, num_steps=4, generator=generators)

        together = sample(slice(0, 6), [0, 1, 2])
        for series in range(3):
            alone = sample(slice(2 * series, 2 * series + 2), [series])
            # Adaptive steps are those that the hardest row needs.
            limit = 0.02 if solver == "dopri5" else 1e-5
            torch.testing.assert_close(
                together[2 * series : 2 * series + 2], alone, rtol=10 * limit, atol=limit
            )

    @every_decoder
    def test_the_same_seed_gives_the_same_samples(self, make) -> None:
        decoder, context = make(mlp(random=True), 2), torch.ones(4, 1, CONTEXT)
        one, two, other = (decoder.sample(context, generator=seeded(s)) for s in (1, 1, 2))
        assert torch.equal(one, two)
        assert not torch.allclose(one, other)


class TestArguments:
    @every_decoder
    def test_unknown_parts_are_named(self, make) -> None:
        with pytest.raises(ValueError, match="unknown solver 'rk5'"):
            make(mlp(), 2, solver="rk5")
        with pytest.raises(ValueError, match="unknown time grid"):
            make(mlp(), 2, grid="cosine")
        decoder, context = make(mlp(), 2), torch.zeros(1, 1, CONTEXT)
        with pytest.raises(ValueError, match="unknown solver"):
            decoder.sample(context, solver="rk5")
        with pytest.raises(ValueError, match="num_steps"):
            decoder.sample(context, num_steps=0)

    def test_unknown_predictions_are_named(self) -> None:
        with pytest.raises(ValueError, match="unknown prediction 'flow'"):
            AffineDecoder(mlp(), Linear(), 2, prediction="flow", solver="euler", num_steps=1)

    def test_the_base_is_a_contract(self) -> None:
        base = Decoder()
        with pytest.raises(NotImplementedError, match="defines no loss"):
            base.loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
        with pytest.raises(NotImplementedError, match="defines no sample"):
            base.sample(torch.zeros(1, 1, 1))
        base.set_data_moments(torch.zeros(1), torch.eye(1))


class TestDrawing:
    """What is the same at every step of a forecast is computed once, and forgotten afterwards."""

    @every_decoder
    @pytest.mark.parametrize("solver", ["heun", "exponential_adams", "dpm++2m", "ancestral"])
    def test_not_a_bit_changes(self, make, solver: str) -> None:
        decoder = make(mlp(random=True), 2)
        decoder.set_data_moments(torch.tensor([1.0, -1.0]), torch.tensor([[2.0, 0.5], [0.5, 1.0]]))

        def samples() -> Tensor:
            events = [
                decoder.sample(
                    torch.full((4, 1, CONTEXT), float(step)),
                    solver=solver,
                    num_steps=5,
                    generator=seeded(step),
                )
                for step in range(3)
            ]
            return torch.cat(events)

        expected = samples()
        with decoder.drawing():
            found = samples()
        assert found.equal(expected)

    def test_coefficients_are_computed_once_for_each_time(self, monkeypatch) -> None:
        decoder, times = DDPM(mlp(), 2), []
        own = decoder.path.coefficients

        def counted(t: Tensor) -> Coefficients:
            times.extend([t.item()] if t.numel() == 1 else [])
            return own(t)

        monkeypatch.setattr(decoder.path, "coefficients", counted)
        with decoder.drawing():
            decoder.sample(torch.zeros(2, 1, CONTEXT), generator=seeded(0))
            once = len(times)
            decoder.sample(torch.zeros(2, 1, CONTEXT), generator=seeded(1))
            assert len(times) == once
        decoder.sample(torch.zeros(2, 1, CONTEXT), generator=seeded(1))
        assert len(times) > once

    @pytest.mark.parametrize("network", [ResidualMLP, DilatedResidualNetwork, TemporalUNet])
    def test_networks_embed_each_time_once(self, network: type[Network]) -> None:
        decoder, rows = DDPM(network(2, CONTEXT), 2), []
        decoder.network.time.register_forward_hook(lambda _, ts, out: rows.append(len(ts[0])))
        with decoder.drawing():
            decoder.sample(torch.zeros(2, 1, CONTEXT), num_steps=5, generator=seeded(0))
            once = len(rows)
            decoder.sample(torch.zeros(2, 1, CONTEXT), num_steps=5, generator=seeded(1))
            assert rows == [1] * once
        decoder.sample(torch.zeros(2, 1, CONTEXT), num_steps=5, generator=seeded(1))
        assert len(rows) == 2 * once

    def test_derivatives_are_taken_as_often_as_one_likes(self) -> None:
        decoder, context = DDPM(mlp(random=True), 2), torch.zeros(2, 1, CONTEXT)
        with decoder.drawing(), torch.enable_grad():
            for _ in range(2):
                decoder.sample(context, num_steps=2, generator=seeded(0)).sum().backward()
        assert decoder.network.time_modulation.weight.grad.abs().sum() > 0.0

    def test_a_path_that_changes_afterwards_is_followed(self) -> None:
        decoder = FlowMatching(mlp(random=True), 2, path="lipschitz")
        context = torch.zeros(4, 1, CONTEXT)
        with decoder.drawing():
            before = decoder.sample(context, generator=seeded(0))
        decoder.set_data_moments(torch.zeros(2), torch.diag(torch.tensor([4.0, 0.01])))
        expected = decoder.sample(context, generator=seeded(0))
        with decoder.drawing():
            assert decoder.sample(context, generator=seeded(0)).equal(expected)
        assert not expected.equal(before)


@torch.enable_grad()
def _train(decoder: AffineDecoder, draw, updates: int) -> None:
    optimizer = torch.optim.Adam(decoder.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for step in range(updates):
        x0, context = draw(256, seeded(7, step))
        loss = decoder.loss(x0, context, generator=seeded(8, step)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


class TestKnownLaw:
    """Two components, whose places and weights depend on the condition."""

    @staticmethod
    def draw(count: int, generator: torch.Generator, condition: Tensor | None = None):
        if condition is None:
            condition = torch.rand(count, 1, generator=generator) * 2.0 - 1.0
        centre = torch.cat([condition, -0.5 * condition], dim=1)
        side = torch.where(torch.rand(count, 1, generator=generator) < 0.5, 1.0, -1.0)
        offset = side * torch.tensor([[1.5, 1.5]])
        x0 = centre + offset + 0.3 * torch.randn(count, 2, generator=generator)
        context = torch.cat([condition, torch.zeros(count, CONTEXT - 1)], dim=1)
        return x0.unsqueeze(1), context.unsqueeze(1)

    @pytest.mark.parametrize("preconditioned", [True, False])
    @every_decoder
    def test_the_conditional_law_is_recovered(self, make, preconditioned: bool) -> None:
        decoder = make(mlp(), 2, preconditioned=preconditioned)
        example, _ = self.draw(10_000, seeded(0))
        flat = example.flatten(0, 1)
        decoder.set_data_moments(flat.mean(0), torch.cov(flat.T))
        _train(decoder, self.draw, 500)
        for condition in (-0.8, 0.0, 0.8):
            count = 2_000
            truth, context = self.draw(count, seeded(9), torch.full((count, 1), condition))
            with torch.no_grad():
                x = decoder.sample(context, num_steps=25, generator=seeded(10)).flatten(0, 1)
            truth = truth.flatten(0, 1)
            torch.testing.assert_close(x.mean(0), truth.mean(0), rtol=0, atol=0.25)
            # Each component for itself: where it lies, how heavy and how wide it is.
            axis = (x - torch.tensor([condition, -0.5 * condition])).sum(1)
            upper = axis > 0
            assert upper.float().mean().item() == pytest.approx(0.5, abs=0.08)
            expected = torch.tensor([condition + 1.5, -0.5 * condition + 1.5])
            torch.testing.assert_close(x[upper].mean(0), expected, rtol=0, atol=0.2)
            assert bool((x[upper].std(0) < 0.6).all())
