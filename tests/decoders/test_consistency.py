"""Consistency models: the flow's end is where the ODE ends, and Gaussian laws need no training."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.decoders.test_decoders import CONTEXT, Counting, mlp
from tsdiff.decoders import (
    DDPM,
    VSDM,
    AffineDecoder,
    Consistency,
    FlowMatching,
    Interpolant,
    MomentMatching,
    RectifiedFlow,
    ScoreSDE,
)
from tsdiff.decoders.base import Evaluate
from tsdiff.decoders.clouds import empty_context, fit_points, sample_points
from tsdiff.evaluation import energy_distance
from tsdiff.networks import NETWORKS, ResidualMLP
from tsdiff.processes import FixedBasisSDE, Trigonometric, VariancePreserving
from tsdiff.random import seeded
from tsdiff.solvers import SOLVERS, MissingFieldError, UniformGrid, integrate

TEACHERS = {
    "ddpm": DDPM,
    "vp": partial(ScoreSDE, path="vp"),
    "sub_vp": partial(ScoreSDE, path="sub_vp"),
    "ve": partial(ScoreSDE, path="ve"),
    "flow": FlowMatching,
    "flow_cosine": partial(FlowMatching, path="cosine"),
    "flow_lipschitz": partial(FlowMatching, path="lipschitz"),
    "interpolant": Interpolant,
    "vsdm": VSDM,
}
every_teacher = pytest.mark.parametrize("make", list(TEACHERS.values()), ids=list(TEACHERS))
MEAN, STD = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5])


def informed(decoder):
    decoder.set_data_moments(MEAN, torch.diag(STD**2))
    return decoder


class TestUntrained:
    @every_teacher
    @pytest.mark.parametrize("evaluations", [1, 2, 4])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @torch.no_grad()
    def test_gaussian_laws_are_exact(self, make, evaluations: int, dtype: torch.dtype) -> None:
        """Nothing of the path is felt, and the network is asked as often as is said."""
        network, count = Counting(), 8000
        student = Consistency.student(informed(make(network, 2)).to(dtype)).to(dtype)
        x = student.sample(
            torch.zeros(count, 1, CONTEXT, dtype=dtype),
            num_steps=evaluations,
            generator=seeded(1),
        ).squeeze(1)
        assert x.dtype == dtype
        assert student.network.evaluations == evaluations
        assert student.network.bindings == 1
        assert ((x.mean(0) - MEAN).abs() < 5 * STD / math.sqrt(count)).all()
        assert ((x.std(0) / STD - 1.0).abs() < 5 / math.sqrt(2 * count)).all()
        assert abs(torch.corrcoef(x.T)[0, 1].item()) < 5 / math.sqrt(count)

    @torch.no_grad()
    def test_series_draw_from_their_own_generators(self) -> None:
        model, context = Consistency(mlp(random=True), 2), torch.zeros(6, 1, CONTEXT)
        both = model.sample(context, num_steps=3, generator=[seeded(1), seeded(2)])
        second = model.sample(context[:3], num_steps=3, generator=[seeded(2)])
        torch.testing.assert_close(both[3:], second, rtol=1e-5, atol=1e-6)

    @torch.no_grad()
    def test_it_knows_ends_and_no_way(self) -> None:
        context = torch.zeros(2, 1, CONTEXT)
        for name in sorted(set(SOLVERS) - {"consistency"}):
            with pytest.raises(MissingFieldError, match="Consistency, which knows where flows end"):
                Consistency(mlp(), 2).sample(context, solver=name)
        with pytest.raises(MissingFieldError, match="endpoint"):
            FlowMatching(mlp(), 2).sample(context, solver="consistency")

    @pytest.mark.parametrize("path", ["vp", "ve", "vsdm"])
    def test_training_times_are_uniform_in_the_angle(self, path: str) -> None:
        model = Consistency.student(informed(TEACHERS[path](mlp(), 2)))
        times = model.draw_times(20_000, torch.zeros(1, dtype=torch.float64), seeded(1))
        angle, last = (model.polar(t)[1].mean(-1) for t in (times, torch.ones(1, 1, 1).double()))
        ranks = torch.linspace(0.0, 1.0, 20_000, dtype=torch.float64)
        assert ((angle / last).flatten().sort().values - ranks).abs().max() < 0.02


class TestIdentity:
    @every_teacher
    @pytest.mark.parametrize("network", sorted(NETWORKS))
    @torch.no_grad()
    def test_targets_are_finite_differences(self, make, network: str) -> None:
        """``F - (θ/θ') dG/dt`` along the flow, axis by axis, at any network."""
        torch.manual_seed(0)
        teacher = informed(make(NETWORKS[network](2, CONTEXT), 2)).double()
        if isinstance(teacher.path, FixedBasisSDE):  # axes with angles of their own
            teacher.path.set_spectrum(torch.tensor([[0.3, 2.0]], dtype=torch.float64))
        model = Consistency.student(teacher).double()
        for parameter in model.network.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=seeded(2))
        bound = model.network.bind(torch.randn(5, 1, CONTEXT, generator=seeded(3)).double())
        t = torch.tensor([0.0533, 0.2042, 0.5077, 0.8031, 0.9522], dtype=torch.float64).view(
            -1, 1, 1
        )
        u, slope = (torch.randn(5, 1, 2, generator=seeded(s)).double() for s in (4, 5))
        ours = model.target(bound, u, t, model.coefficients(t), slope)
        h = 1e-5
        (_, before), (_, here), (_, after) = (model.polar(t + d) for d in (-h, 0.0, h))
        turning = (after - before) / (2 * h)
        ends = [model.mean_slope(bound, u + d * turning * slope, t + d) for d in (-h, h)]
        expected = slope - here / turning * (ends[1] - ends[0]) / (2 * h)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)

    @every_teacher
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_losses_are_finite_to_both_ends_of_the_path(self, make, dtype: torch.dtype) -> None:
        student = Consistency.student(informed(make(mlp(random=True), 2)).to(dtype)).to(dtype)
        student.draw_times = lambda rows, like, generator: student.path.clip(
            torch.linspace(0.0, 1.0, rows, dtype=like.dtype).view(-1, 1, 1)
        )
        x0 = torch.randn(64, 1, 2, generator=seeded(1)).to(dtype)
        loss = student.loss(x0, torch.zeros(64, 1, CONTEXT, dtype=dtype), generator=seeded(2))
        assert loss.shape == x0.shape
        assert loss.isfinite().all()
        loss.mean().backward()
        assert all(p.grad.isfinite().all() for p in student.network.parameters())
        assert all(p.grad is None for p in student.teacher.parameters())

    def test_a_student_begins_with_its_teachers_slope(self) -> None:
        """Where the angle is 0 nothing else is right; an output of another kind is forgotten."""
        teacher = informed(FlowMatching(mlp(random=True), 2))
        student, context = Consistency.student(teacher), torch.zeros(3, 1, CONTEXT)
        teacher.network.limit_frequencies(1.0)
        t, x = torch.full((1, 1, 1), 1e-4), torch.randn(3, 1, 2, generator=seeded(1))
        u = x / student.polar(t)[0]
        ours = student.mean_slope(student.network.bind(context), u, t)
        torch.testing.assert_close(ours, teacher.rotation(context)(u, t), rtol=1e-3, atol=1e-4)
        plain = Consistency.student(FlowMatching(mlp(random=True), 2, preconditioned=False))
        assert (plain.network(x, t, context) == 0.0).all()

    def test_a_robust_loss_weighs_rows(self) -> None:
        """A robust loss is the plain one, each row by its own weight."""
        losses = []
        for robustness in (0.0, 1.0):
            model = Consistency(mlp(random=True), 2, robustness=robustness)
            x0, context = (
                3.0 * torch.randn(8, 1, 2, generator=seeded(1)),
                torch.zeros(8, 1, CONTEXT),
            )
            losses.append(model.loss(x0, context, generator=seeded(2)))
        plain, robust = losses
        weight = 1.0 / (plain.mean((1, 2), keepdim=True) + 1e-2)
        torch.testing.assert_close(robust, plain * weight)


class Exact(AffineDecoder):
    """The exact flow of an even mixture of ``N(±0.9, 0.19)``, whose variance is 1."""

    place, variance = 0.9, 0.19

    def __init__(self) -> None:
        network = ResidualMLP(1, 1, width=32, num_blocks=2)
        super().__init__(
            network, Trigonometric(), 1, prediction="velocity", solver="rk4", num_steps=200
        )

    def _denoise(self, network: Evaluate, x: Tensor, t: Tensor, k) -> tuple[Tensor, Tensor]:
        total = k.a**2 * self.variance + k.b**2
        mode = self.place * torch.tanh(k.a * self.place * x / total)
        data = mode + k.a * self.variance / total * (x - k.a * mode)
        return data, (x - k.a * data) / k.b

    def draw(self, count: int, seed: int) -> Tensor:
        rng = seeded(seed)
        sides = 2.0 * torch.randint(0, 2, (count, 1), generator=rng) - 1.0
        return self.place * sides + self.variance**0.5 * torch.randn(count, 1, generator=rng)


@pytest.fixture(scope="module")
def teacher() -> Exact:
    torch.manual_seed(0)
    return Exact()


@pytest.fixture(scope="module")
def student(teacher: Exact) -> Consistency:
    return fit_points(
        Consistency.student(teacher),
        teacher.draw(4000, 1),
        num_updates=500,
        batch_size=256,
        ema_decay=0.98,
    )


class TestMixture:
    """A flow whose end is known, far from Gaussian."""

    @torch.no_grad()
    def test_the_end_is_the_odes(self, teacher: Exact, student: Consistency) -> None:
        x = torch.linspace(-2.5, 2.5, 41).view(-1, 1, 1)
        context = empty_context(41, x)
        for start in (1.0, 0.6, 0.2):
            times = start * UniformGrid()(200)
            end = integrate(teacher.field(context), SOLVERS["rk4"], x, times)
            ours = student.field(context).endpoint(x, torch.full((1, 1, 1), start))
            error = (ours - end).abs()
            assert error.mean() < 0.03
            assert error.max() < 0.15

    def test_one_evaluation_is_a_sample(self, teacher: Exact, student: Consistency) -> None:
        truth = teacher.draw(4000, 2).double().numpy()

        def distance(decoder: AffineDecoder, solver: str, steps: int) -> float:
            drawn = sample_points(decoder, 4000, solver=solver, num_steps=steps)
            return energy_distance(drawn.double().numpy(), truth)

        step = distance(teacher, "euler", 1)
        for evaluations in (1, 2, 4):
            ours = distance(student, "consistency", evaluations)
            assert ours < 0.004
            assert ours < 0.15 * step

    def test_data_alone_will_do(self, teacher: Exact) -> None:
        torch.manual_seed(0)
        model = Consistency(ResidualMLP(1, 1, width=32, num_blocks=2), 1)
        points = teacher.draw(4000, 1)
        truth = teacher.draw(4000, 2).double().numpy()
        model.set_data_moments(points.mean(0), torch.cov(points.T).view(1, 1))
        before = energy_distance(sample_points(model, 4000).double().numpy(), truth)
        fit_points(model, points, num_updates=500, batch_size=256, ema_decay=0.98)
        for evaluations in (1, 2):
            drawn = sample_points(model, 4000, num_steps=evaluations).double().numpy()
            assert energy_distance(drawn, truth) < 0.25 * before

    def test_a_validation_loss_falls(self, teacher: Exact, student: Consistency) -> None:
        """It is the samples' CRPS, in units of the data's spread: of the law itself it is least."""
        x0 = teacher.draw(4000, 3).unsqueeze(1)
        context = empty_context(4000, x0)
        start = Consistency.student(teacher)
        before, after = (
            m.validation_loss(x0, context, generator=seeded(1)).mean() for m in (start, student)
        )
        a, b = teacher.draw(4000, 4), teacher.draw(4000, 5)
        law = (a - x0.squeeze(1)).abs().mean() - 0.5 * (a - b).abs().mean()
        assert after.item() == pytest.approx(law.item(), abs=0.02)
        assert after < before - 0.005
        assert student.untrained_loss(x0, context) is None


class TestTeachers:
    @pytest.mark.parametrize(
        "make",
        [
            partial(FlowMatching, path="kac"),
            partial(FlowMatching, path="uniform"),
            partial(FlowMatching, latent="learned"),
            partial(FlowMatching, coupling="optimal_transport"),
            lambda network, dim: RectifiedFlow(FlowMatching(network, dim)),
        ],
        ids=["kac", "uniform", "latent", "coupled", "rectified"],
    )
    def test_what_has_no_gaussian_noise_is_refused(self, make) -> None:
        with pytest.raises(ValueError, match="independent Gaussian noise"):
            Consistency.student(make(mlp(), 2))

    @pytest.mark.parametrize("kind", [Consistency, MomentMatching])
    def test_few_step_models_are_no_teachers(self, kind) -> None:
        with pytest.raises(ValueError, match="few steps already"):
            Consistency.student(kind(mlp(), 2))

    def test_a_student_keeps_path_axes_and_moments(self) -> None:
        teacher = informed(ScoreSDE(mlp(random=True), 2, path=VariancePreserving(0.1, 5.0)))
        student = Consistency.student(teacher)
        assert student.objective == "distillation"
        student.set_data_moments(torch.zeros(2), torch.eye(2))
        for name in ("axes.mean", "axes.unit", "source_mean", "source_factor"):
            assert torch.equal(student.state_dict()[name], teacher.state_dict()[name])
        assert not any(p.requires_grad for p in student.teacher.parameters())
        assert all(p.requires_grad for p in student.network.parameters())
        released = student.released()
        assert released.objective == "training"
        other = Consistency.like(FlowMatching(mlp(), 2, path=VariancePreserving()), mlp())
        other.load_state_dict(released.state_dict())
