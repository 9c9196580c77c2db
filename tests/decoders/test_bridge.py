"""The Schrödinger bridge: SGM at first, the closed form in the end, one half at a time between."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.decoders.test_decoders import CONTEXT, mlp
from tsdiff.decoders import SchrodingerBridge, ScoreSDE
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import fit_points, sample_points, trajectories
from tsdiff.networks import Network, ResidualMLP
from tsdiff.processes import GaussianBridge, VariancePreserving
from tsdiff.processes.bridge import fitted
from tsdiff.random import seeded
from tsdiff.solvers import DDIM, SOLVERS, EulerMaruyama, MissingFieldError

SHORT = VariancePreserving(1.0, 1.0)
REFUSED = {
    "ddim",
    "dpm++2m",
    "dpm++2s",
    "dpm++3m",
    "exponential_adams",
    "exponential_heun",
    "consistency",
}
FOLLOWED = sorted(SOLVERS.keys() - REFUSED)
METHODS = ("endpoints", "trajectories")


def context(rows: int) -> Tensor:
    return torch.randn(rows, 1, CONTEXT, generator=seeded(11))


def events(rows: int) -> Tensor:
    return torch.randn(rows, 1, 2, generator=seeded(12)) * torch.tensor([2.0, 0.5])


def bridge(*, random: bool = False, **options) -> SchrodingerBridge:
    options = {"schedule": SHORT, "warm_up": 4, "stage": 2, "num_stages": 2} | options
    decoder = SchrodingerBridge(mlp(random=random), 2, **{"path_steps": 6} | options)
    decoder.set_data_moments(torch.zeros(2), torch.diag(torch.tensor([4.0, 0.25])))
    return decoder


def at_half(number: int, **options) -> SchrodingerBridge:
    decoder = bridge(**options)
    while decoder.half_bridge < number:
        decoder.advance(events(4), context(4))
    return decoder


class GaussianHalf(Network):
    """What a half's network would have learned of Gaussian data, after so many halves."""

    def __init__(self, decoder: SchrodingerBridge, halves: int, forward: bool):
        super().__init__()
        self.decoders, self.forward_half = [decoder], forward
        mean, covariance = decoder.axes.moments()
        self.law = fitted(decoder.path, mean, covariance.diagonal(), halves)

    def bind(self, context: Tensor):
        (decoder,) = self.decoders
        path, law = decoder.path, self.law

        def predict(u: Tensor, t: Tensor) -> Tensor:
            k, (k0, k1, _) = decoder.coefficients(t), path.weights(t)
            r = torch.sqrt(k.a**2 + k.b**2)
            x, (mean, variance) = r * u, law.at(path, t)
            if self.forward_half:
                c, d = path.to_end(t)
                known = k0 * law.cross + k1 * law.variance_1
                end = law.mean_1 + known / variance * (x - mean)
                return (end - c * x) / (d * d).clamp_min(1e-12)
            known = k0 * law.variance_0 + k1 * law.cross
            end = law.mean_0 + known / variance * (x - mean)
            spread = k.a / path.coefficients(t).a
            return ((k.a / r) * u - end / spread) / (k.b / r)

        return predict


def solved(halves: int = 40, **options) -> tuple[SchrodingerBridge, GaussianBridge]:
    """A decoder whose networks are exact, of correlated data that are not centred."""
    mean, covariance = torch.tensor([-2.0, 1.0]), torch.tensor([[3.0, 0.0], [0.0, 0.3]])
    options = {"schedule": SHORT, "warm_up": 1, "stage": 1, "num_stages": halves // 2} | options
    decoder = SchrodingerBridge(ResidualMLP(2, CONTEXT), 2, axes=Axes("raw", 2), **options)
    decoder.set_data_moments(mean, covariance)
    decoder.stages.fill_(halves)
    decoder.network = GaussianHalf(decoder, halves, forward=False)
    decoder.forward_network = GaussianHalf(decoder, max(0, halves - 1), forward=True)
    return decoder.double(), GaussianBridge(mean, covariance, SHORT)


class TestReference:
    """Before its first phase, the decoder is a score-based model that starts from ``N(0, I)``."""

    def pair(self, axes: str) -> tuple[SchrodingerBridge, ScoreSDE]:
        ours = bridge(random=True, axes=Axes(axes, 2))
        theirs = ScoreSDE(mlp(random=True), 2, path=SHORT, axes=copy.deepcopy(ours.axes))
        theirs.set_data_moments(torch.zeros(2), torch.diag(torch.tensor([4.0, 0.25])))
        return ours, theirs

    @pytest.mark.parametrize("axes", ["own", "common", "principal"])
    def test_its_loss_is_that_of_score_matching(self, axes: str) -> None:
        ours, theirs = self.pair(axes)
        one, other = (d.loss(events(16), context(16), generator=seeded(2)) for d in (ours, theirs))
        assert torch.equal(one, other)

    @pytest.mark.parametrize("axes", ["own", "common", "principal"])
    @torch.no_grad()
    def test_its_flow_is_that_of_the_score(self, axes: str) -> None:
        ours, theirs = self.pair(axes)
        ours.forward_network = mlp()
        fields = [d.field(context(8)) for d in (ours, theirs)]
        x = torch.randn(8, 1, 2, generator=seeded(3))
        for t in (0.01, 0.3, 1.0):
            at = torch.full((1, 1, 1), t)
            for name in ("velocity", "score"):
                one, other = (getattr(field, name)(x, at) for field in fields)
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    def test_a_zero_forward_network_simulates_it(self) -> None:
        """Exactly, in any number of steps."""
        decoder = bridge().double()
        count = 100_000
        x0 = torch.full((count, 1, 2), 3.0, dtype=torch.float64)
        forward = decoder._forward(decoder.forward_network.bind(context(1).double()))
        times = torch.tensor([1.0, 0.7, 0.2, 0.0]).double()
        x1 = forward.simulate(x0, times, seeded(4)).squeeze(1)
        a, b = decoder.path.ends(x0)
        torch.testing.assert_close(x1.mean(0), 3.0 * a.expand(2), rtol=0, atol=0.02)
        torch.testing.assert_close(x1.std(0), b.expand(2), rtol=0.01, atol=0)

    @torch.no_grad()
    def test_untrained_it_samples_the_gaussian(self) -> None:
        """Of white data; others, a score-based model misses from ``N(0, I)``."""
        decoder = bridge()
        x = decoder.sample(context(1).expand(20_000, 1, -1), generator=seeded(5)).squeeze(1)
        torch.testing.assert_close(x.std(0), torch.tensor([2.0, 0.5]), rtol=0.03, atol=0)


class TestExact:
    """With the networks that fitting tends to, everything is the closed form."""

    @pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
    @torch.no_grad()
    def test_drifts(self, t: float) -> None:
        """``½ β (∇log ψ - ∇log φ - x)`` moves the marginals, whose score is the sum."""
        decoder, truth = solved()
        at, x = torch.full((1, 1, 1), t).double(), torch.randn(64, 1, 2, generator=seeded(1))
        field, x = decoder.field(context(64).double()), x.double()
        moment = at.flatten()
        (mean,), (spread,) = truth.mean(moment), truth.covariance(moment)
        score = -(x - mean) @ torch.linalg.inv(spread)
        torch.testing.assert_close(field.score(x, at), score, rtol=1e-5, atol=1e-5)
        (matrix,), (shift,) = truth.drift(moment)
        forward = -0.5 * x + x @ matrix.T + shift
        torch.testing.assert_close(
            field.velocity(x, at), forward - 0.5 * score, rtol=1e-5, atol=1e-5
        )

    @torch.no_grad()
    def test_the_score_is_the_gradient_of_the_marginal(self) -> None:
        decoder, truth = solved()
        at = torch.tensor([0.3]).double()
        law = torch.distributions.MultivariateNormal(truth.mean(at)[0], truth.covariance(at)[0])
        with torch.enable_grad():
            x = torch.randn(32, 2, generator=seeded(2)).double().requires_grad_()
            (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), x)
        score = decoder.field(context(32).double()).score(x.detach().unsqueeze(1), at.view(1, 1, 1))
        torch.testing.assert_close(score.squeeze(1), gradient, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("steps", [1, 4])
    @torch.no_grad()
    def test_transitions_join_the_ends_in_any_number_of_steps(self, steps: int) -> None:
        decoder, truth = solved()
        ways, _ = trajectories_of(decoder, 100_000, num_steps=steps, grid="uniform")
        x0, x1 = ways[-1], ways[0]
        torch.testing.assert_close(x0.mean(0), truth.data_mean, rtol=0, atol=0.03)
        torch.testing.assert_close(torch.cov(x0.T), truth.data_covariance, rtol=0, atol=0.05)
        joint = torch.cov(torch.cat([x0, x1], -1).T)[:2, 2:]
        torch.testing.assert_close(joint, truth.coupling, rtol=0, atol=0.03)

    @torch.no_grad()
    def test_the_forward_half_is_its_mirror(self) -> None:
        decoder, truth = solved(41)
        factor = torch.linalg.cholesky(truth.data_covariance)
        x0 = truth.data_mean + torch.randn(100_000, 1, 2, generator=seeded(3)).double() @ factor.T
        forward = decoder._forward(decoder.forward_network.bind(context(1).double()))
        x1 = forward.simulate(x0, decoder._times(True), seeded(4))
        ends = torch.cat([x0, x1], -1).squeeze(1)
        assert ends.mean(0)[2:].abs().max() < 0.02
        spread = torch.cov(ends.T)
        torch.testing.assert_close(spread[2:, 2:], torch.eye(2).double(), rtol=0, atol=0.03)
        torch.testing.assert_close(spread[:2, 2:], truth.coupling, rtol=0, atol=0.03)

    @pytest.mark.parametrize("solver", FOLLOWED)
    @torch.no_grad()
    def test_every_solver_that_can_follows_it(self, solver: str) -> None:
        decoder, truth = solved()
        steps = 1 if solver == "dopri5" else 60
        ways, _ = trajectories_of(decoder, 20_000, solver=solver, num_steps=steps, grid="quadratic")
        x0 = ways[-1]
        # What first-order solvers leave, and Monte-Carlo error.
        torch.testing.assert_close(x0.mean(0), truth.data_mean, rtol=0, atol=0.1)
        torch.testing.assert_close(
            x0.std(0), truth.data_covariance.diagonal().sqrt(), rtol=0.05, atol=0
        )

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("half", [1, 2, 5, 6])
    def test_neither_half_has_more_to_learn(self, method: str, half: int) -> None:
        """The exact networks of a half: shifting or tilting their answer gains nothing."""
        decoder, _ = solved(half, method=method)
        decoder.network.law = fitted_law(decoder, half - half % 2)
        decoder.forward_network.law = fitted_law(decoder, half - 1 + half % 2)
        active = "forward_network" if half % 2 else "network"
        tilted = Tilted(getattr(decoder, active)).double()
        setattr(decoder, active, tilted)
        factor = torch.linalg.cholesky(decoder.axes.covariance)
        noise = torch.randn(60_000, 1, 2, generator=seeded(1)).double()
        x0 = decoder.axes.centre + noise @ factor.T
        loss = decoder.loss(x0, context(1).double().expand(60_000, 1, -1), generator=seeded(2))
        size = loss.mean().item()
        for gradient in torch.autograd.grad(loss.mean(), list(tilted.parameters())):
            assert gradient.abs().max().item() < 0.012 * max(size, 1.0)


@pytest.mark.parametrize("forward", [False, True])
@torch.no_grad()
def test_steps_miss_by_a_standard_normal(forward: bool) -> None:
    """What solvers draw and what mean matching measures are one transition."""
    decoder, _ = solved(5)
    name = "forward_network" if forward else "network"
    half = (decoder._forward if forward else decoder._backward)(
        getattr(decoder, name).bind(context(1).double())
    )
    x = torch.randn(50_000, 1, 2, generator=seeded(1)).double()
    times = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    before, after, u, u_next = half.some_step(x, times, seeded(2))
    assert bool((u_next < u).all())
    for t in (1.0, 0.6, 0.3):
        row = (u == t).flatten()
        error = half.step_error(before[row], after[row], u[row], u_next[row]).squeeze(1)
        torch.testing.assert_close(error.mean(0), torch.zeros(2).double(), rtol=0, atol=0.04)
        torch.testing.assert_close(error.std(0), torch.ones(2).double(), rtol=0.03, atol=0)


class Tilted(Network):
    """Another network's answer, and an affine function of what it sees."""

    def __init__(self, inner: Network):
        super().__init__()
        self.inner = [inner]
        self.slope = torch.nn.Parameter(torch.zeros(2))
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def bind(self, context: Tensor):
        inner = self.inner[0].bind(context)
        return lambda x, t: inner(x, t) + self.slope * x + self.shift


def fitted_law(decoder: SchrodingerBridge, halves: int):
    mean, covariance = decoder.axes.moments()
    return fitted(decoder.path, mean, covariance.diagonal(), halves)


def trajectories_of(decoder: SchrodingerBridge, count: int, **sampler) -> tuple[Tensor, Tensor]:
    """As :func:`trajectories`, whose contexts are one wide, of a decoder without parameters."""
    seen: list[Tensor] = []
    decoder.sample(
        torch.zeros(count, 1, CONTEXT).double(),
        generator=seeded(9),
        watch=lambda x, t: seen.append(decoder.restore(x, t).squeeze(1)),
        **sampler,
    )
    return torch.stack(seen), torch.empty(0)


class TestHalves:
    def test_they_take_turns_and_the_last_goes_on(self) -> None:
        decoder = bridge(warm_up=5, stage=2, num_stages=2)
        assert decoder.warm_up == 6
        (phase,) = decoder.phases()
        seen = []
        for update in range(20):
            if phase.due(update):
                phase.run(events(4), context(4), None)
            seen.append(decoder.half_bridge)
        assert seen == [0] * 6 + [1, 1, 2, 2, 3, 3] + [4] * 8

    @pytest.mark.parametrize("warm_up", [None, 0])
    def test_without_a_warm_up_the_first_is_as_long_as_others(self, warm_up) -> None:
        assert bridge(warm_up=warm_up, stage=7).warm_up == 7

    def test_without_iterations_it_stays_a_score_based_model(self) -> None:
        assert bridge(num_stages=0).phases() == ()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("half", range(4))
    def test_only_the_active_half_is_trained(self, method: str, half: int) -> None:
        decoder = at_half(half, random=True, method=method)
        known = context(8).requires_grad_()
        decoder.loss(events(8), known, generator=seeded(1)).mean().backward()
        active, resting = decoder.network, decoder.forward_network
        if half % 2:
            active, resting = resting, active
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) for p in active.parameters()
        )
        assert all(p.grad is None for p in resting.parameters())
        # What makes contexts learns from the half that samples.
        assert (known.grad is None) == bool(half % 2)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("half", range(4))
    @torch.no_grad()
    def test_zero_networks_have_the_untrained_loss(self, method: str, half: int) -> None:
        decoder = at_half(half, method=method)
        for mode in (True, False):
            decoder.train(mode)
            loss, untrained = (
                one(events(8), context(8), generator=seeded(1))
                for one in (decoder.loss, decoder.untrained_loss)
            )
            assert loss.shape == (8, 1, 2)
            assert torch.equal(loss, untrained)

    @torch.no_grad()
    def test_judged_by_the_half_that_samples(self) -> None:
        decoder = at_half(1, random=True).eval()
        before = decoder.loss(events(8), context(8), generator=seeded(1))
        decoder.network.outlet.bias.add_(1.0)
        assert not torch.equal(decoder.loss(events(8), context(8), generator=seeded(1)), before)

    @torch.no_grad()
    def test_a_loaded_decoder_goes_on_where_it_was(self) -> None:
        one, other = at_half(3, random=True), bridge()
        other.load_state_dict(one.state_dict())
        assert other.half_bridge == 3
        drawn = [d.loss(events(8), context(8), generator=seeded(1)) for d in (one, other)]
        assert torch.equal(*drawn)

    def test_data_moments_start_it_anew(self) -> None:
        decoder = at_half(3)
        decoder.set_data_moments(torch.zeros(2), torch.eye(2))
        assert decoder.half_bridge == 0

    @pytest.mark.parametrize("half", range(3))
    @torch.no_grad()
    def test_rows_keep_their_contexts(self, half: int) -> None:
        """In the loss and in the simulation behind it."""
        decoder = at_half(half, random=True)
        before = decoder.loss(events(6), context(6), generator=seeded(3))
        changed = context(6)
        changed[4] += 1.0
        difference = (decoder.loss(events(6), changed, generator=seeded(3)) - before).abs()
        difference = difference.amax((1, 2))
        assert difference[4] > 1e-6
        assert difference[[0, 1, 2, 3, 5]].max() < 1e-5

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("axes", ["own", "common", "principal", "raw"])
    @pytest.mark.parametrize("preconditioned", [True, False])
    @torch.no_grad()
    def test_every_kind_is_finite(self, method: str, axes: str, preconditioned: bool) -> None:
        for half in range(4):
            decoder = at_half(
                half, random=True, method=method, axes=axes, preconditioned=preconditioned
            )
            for d in (decoder, decoder.double()):
                dtype = next(d.parameters()).dtype
                loss = d.loss(events(8).to(dtype), context(8).to(dtype), generator=seeded(1))
                assert loss.dtype == dtype
                assert loss.isfinite().all()
                assert d.sample(context(8).to(dtype), generator=seeded(2)).isfinite().all()


class TestSolvers:
    @pytest.mark.parametrize("solver", sorted(REFUSED))
    def test_those_that_would_follow_another_process_are_refused(self, solver: str) -> None:
        decoder = bridge()
        message = "flow of a SchrodingerBridge has none: choose another solver"
        with pytest.raises(MissingFieldError, match=message):
            decoder.check_solver(SOLVERS[solver], context(2))
        with pytest.raises(MissingFieldError, match=message):
            decoder.sample(context(2), solver=solver, num_steps=3, generator=seeded(1))
        with pytest.raises(MissingFieldError, match=message):
            bridge(solver=solver)

    def test_a_share_of_noise_makes_the_difference(self) -> None:
        decoder = bridge()
        decoder.check_solver(DDIM(eta=1.0), context(2))
        with pytest.raises(MissingFieldError):
            decoder.check_solver(DDIM(eta=0.5), context(2))
        with pytest.raises(MissingFieldError, match="volatility"):
            decoder.check_solver(EulerMaruyama("volatility"), context(2))

    @pytest.mark.parametrize("solver", FOLLOWED)
    def test_others_pass(self, solver: str) -> None:
        bridge().check_solver(SOLVERS[solver], context(2))


class TestTrained:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_gaussian_bridge_is_learned(self, method: str) -> None:
        points = 1.0 + 2.0 * torch.randn(5000, 1, generator=seeded(1))
        torch.manual_seed(0)
        decoder = SchrodingerBridge(
            ResidualMLP(1, 1, width=32, num_blocks=2),
            1,
            schedule=SHORT,
            method=method,
            warm_up=80,
            stage=40,
            num_stages=4,
            path_steps=6,
            grid="uniform",
            axes=Axes("raw", 1),
        )
        fit_points(
            decoder,
            points,
            num_updates=500,
            batch_size=512,
            learning_rate=3e-3,
            ema_decay=0.98,
        )
        truth = GaussianBridge(torch.ones(1), torch.full((1, 1), 4.0), SHORT)
        ways, times = trajectories(decoder, 20_000, num_steps=20, grid="uniform")
        ways = ways.squeeze(-1).double()
        # Reference ends, N(0.61, 1.84), are far from N(0, 1), and so is data's spread at first.
        torch.testing.assert_close(ways.std(1), truth_std(truth, times), rtol=0.08, atol=0)
        torch.testing.assert_close(
            ways.mean(1), truth.mean(times).squeeze(-1).to(ways), rtol=0, atol=0.2
        )
        coupling = torch.cov(torch.stack([ways[-1], ways[0]]))[0, 1].item()
        assert coupling == pytest.approx(truth.coupling.item(), rel=0.1)
        drawn = sample_points(decoder, 20_000, solver="heun", num_steps=30, grid="uniform")
        assert drawn.std().item() == pytest.approx(2.0, rel=0.1)


def truth_std(truth: GaussianBridge, times: Tensor) -> Tensor:
    return truth.covariance(times)[:, 0, 0].sqrt()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "sinkhorn"}, "unknown method 'sinkhorn': expected one of endpoints"),
        ({"stage": 0}, "stage must be at least 1"),
        ({"num_stages": -1}, "num_stages must be at least 0"),
        ({"path_steps": 0}, "path_steps must be at least 1"),
        ({"warm_up": -3}, "warm_up must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bridge(**options)
