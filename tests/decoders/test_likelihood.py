"""Log-densities against closed forms, grids, determinants; the bound against the density."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.decoders.test_decoders import CONTEXT, DECODERS, mlp
from tsdiff.decoders import (
    VSDM,
    AffineDecoder,
    Decoder,
    FlowMatching,
    Interpolant,
    SchrodingerBridge,
    ScoreSDE,
)
from tsdiff.networks import Network
from tsdiff.random import seeded, standard_normal

GAUSSIAN = {**DECODERS, "vsdm_conditional": VSDM}
EVERY = {
    **GAUSSIAN,
    "flow_uniform": partial(FlowMatching, path="uniform"),
    "flow_learned": partial(FlowMatching, latent="learned"),
    "bridge": SchrodingerBridge,
}
every_gaussian = pytest.mark.parametrize("name", list(GAUSSIAN))
# Of noise that a random network makes up, data lie anywhere.
NOISES = {"bridge", "ddpm", "vp", "sub_vp", "ve", "vsdm", "vsdm_conditional"}
PLAIN_AND_PRECONDITIONED = [
    *((name, True) for name in EVERY),
    *((name, False) for name in EVERY if name not in NOISES),
]


@pytest.fixture(autouse=True)
def _no_gradients():
    """Likelihoods differentiate, whatever their callers do."""
    with torch.no_grad():
        yield


def random_decoder(name: str, target_dim: int, **options) -> AffineDecoder:
    """As after training: with a network that bends the Gaussian, and a latent that isn't one."""
    decoder = EVERY[name](mlp(target_dim, random=True), target_dim, **options)
    decoder.requires_grad_(False)
    # A network of random weights turns as often over time as its embedding; trained ones do not.
    networks = [part for part in decoder.children() if isinstance(part, Network)]
    for network in networks:
        network.time.frequencies.mul_(0.1)
        for parameter in network.parameters():
            parameter.mul_(1.5)
    if name == "flow_learned":
        for parameter in decoder.latent.parameters():
            parameter.add_(0.3 * standard_normal(parameter, seeded(3)))
    mixing = torch.randn(target_dim, target_dim, generator=seeded(5))
    decoder.set_data_moments(
        torch.full((target_dim,), 0.5), mixing @ mixing.T + torch.eye(target_dim)
    )
    return decoder


class TestGaussian:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize(("target_dim", "steps"), [(1, 1), (2, 2), (5, 1)])
    @every_gaussian
    def test_untrained_decoders_know_their_gaussian(self, name, target_dim, steps, dtype) -> None:
        generator = seeded(1, target_dim)
        decoder = GAUSSIAN[name](mlp(target_dim), target_dim).to(dtype)
        mean = 3.0 * torch.randn(target_dim, generator=generator)
        std = 0.1 + 3.0 * torch.rand(target_dim, generator=generator)
        decoder.set_data_moments(mean, torch.diag(std.square()))
        noise = torch.randn(20, steps, target_dim, generator=generator)
        x0 = (mean + std * noise).to(dtype)
        law = torch.distributions.Normal(mean.double(), std.double())
        truth = law.log_prob(x0.double()).sum((1, 2))
        context = torch.zeros(20, steps, CONTEXT, dtype=dtype)
        found = decoder.log_prob(x0, context, num_steps=4, generator=seeded(2))
        assert found.dtype == dtype
        limit = 1e-3 if name == "vsdm_conditional" else 1e-5
        values = steps * target_dim
        torch.testing.assert_close(found.double(), truth, rtol=1e-6, atol=limit * values)
        # Given the context, sources are compared at a few points.
        limit = 5e-3 if name == "vsdm_conditional" else 1e-5
        bound = decoder.elbo(x0, context, num_draws=4, generator=seeded(3))
        assert bound.dtype == dtype
        torch.testing.assert_close(bound.double(), truth, rtol=1e-6, atol=limit * values)

    @pytest.mark.parametrize("name", ["flow_lipschitz", "vsdm", "vsdm_conditional"])
    def test_principal_axes_know_correlations(self, name: str) -> None:
        covariance = torch.tensor([[4.0, 1.2], [1.2, 0.5]])
        decoder = GAUSSIAN[name](mlp(2), 2)
        decoder.set_data_moments(torch.tensor([3.0, -1.0]), covariance)
        law = torch.distributions.MultivariateNormal(torch.tensor([3.0, -1.0]), covariance)
        x0, context = law.rsample((20, 1)), torch.zeros(20, 1, CONTEXT)
        truth = law.log_prob(x0).squeeze(1)
        for found in (
            decoder.log_prob(x0, context, generator=seeded(1)),
            decoder.elbo(x0, context, generator=seeded(1)),
        ):
            torch.testing.assert_close(found, truth, rtol=0, atol=0.01)

    def test_the_latents_own_law_is_the_source(self) -> None:
        """Of a network that is zero, the data's law is the latent's in the data's units."""
        decoder = FlowMatching(mlp(2), 2, latent="learned")
        for parameter in decoder.latent.parameters():
            parameter.add_(0.5 * standard_normal(parameter, seeded(3)))
        x0, context = torch.randn(50, 1, 2, generator=seeded(1)), torch.zeros(50, 1, CONTEXT)
        truth = decoder.latent.log_density(x0).sum((1, 2))
        torch.testing.assert_close(decoder.log_prob(x0, context), truth, rtol=1e-4, atol=1e-4)

    def test_uniform_noise_has_a_density_within_its_bounds(self) -> None:
        decoder = FlowMatching(mlp(1), 1, path="uniform")
        found = decoder.log_prob(
            torch.tensor([0.0, 1.7, -1.8]).view(3, 1, 1), torch.zeros(3, 1, CONTEXT)
        )
        inside = -math.log(2.0 * math.sqrt(3.0))
        assert found.tolist() == pytest.approx([inside, inside, -math.inf], abs=1e-5)


class TestVolume:
    """Of networks that make any law: it has mass one, and is what samples follow."""

    @pytest.mark.parametrize(("name", "preconditioned"), PLAIN_AND_PRECONDITIONED)
    def test_mass_is_one(self, name: str, preconditioned: bool) -> None:
        decoder = random_decoder(name, 1, preconditioned=preconditioned)
        x0 = torch.linspace(-25.0, 25.0, 1001).view(-1, 1, 1)
        context = torch.ones(1001, 1, CONTEXT)
        density = decoder.log_prob(x0, context, num_steps=32, generator=seeded(1)).exp()
        # The image of a uniform law ends in a jump, somewhere within a cell.
        limit = 0.02 if name == "flow_uniform" else 5e-3
        assert 0.05 * density.sum().item() == pytest.approx(1.0, abs=limit)
        # It's not the Gaussian that this network bends.
        mean = 0.05 * (density * x0.flatten()).sum()
        spread = (0.05 * (density * (x0.flatten() - mean).square()).sum()).sqrt()
        gaussian = torch.distributions.Normal(mean, spread).log_prob(x0.flatten()).exp()
        assert 0.05 * (density - gaussian).abs().sum() > 0.01

    @pytest.mark.parametrize("name", ["flow_matching", "flow_lipschitz", "vsdm", "flow_learned"])
    def test_mass_is_one_in_the_plane(self, name: str) -> None:
        decoder = random_decoder(name, 2)
        line = torch.linspace(-14.0, 14.0, 57)
        x0 = torch.cartesian_prod(line, line).unsqueeze(1)
        density = decoder.log_prob(x0, torch.ones(len(x0), 1, CONTEXT), num_steps=16).exp()
        assert 0.25 * density.sum().item() == pytest.approx(1.0, abs=0.01)

    @pytest.mark.parametrize(
        ("name", "solver", "num_steps"),
        [
            ("flow_matching", "rk4", 60),
            ("flow_learned", "rk4", 60),
            ("flow_lipschitz", "exponential_heun", 120),
            ("vp", "exponential_heun", 120),
            ("interpolant", "exponential_heun", 120),
        ],
    )
    def test_it_is_the_change_of_variables_that_samplers_make(
        self, name: str, solver: str, num_steps: int
    ) -> None:
        decoder = random_decoder(name, 2).double()
        context = torch.ones(3, 2, CONTEXT, dtype=torch.float64)
        field = decoder.field(context)
        x1 = decoder.draw_source(field, torch.empty(3, 2, 2).double(), seeded(1))

        def sampled(x1: Tensor) -> Tensor:
            options = {"solver": solver, "num_steps": num_steps, "grid": "uniform"}
            return decoder.axes.leave(decoder.transport(field, x1, **options))

        x0 = sampled(x1)
        with torch.enable_grad():
            # Rows are independent.
            jacobian = torch.autograd.functional.jacobian(
                lambda x: sampled(x).sum(0).flatten(), x1, vectorize=True
            )
        volume = torch.linalg.slogdet(jacobian.flatten(2).transpose(0, 1))[1]
        truth = decoder.source_log_prob(field, x1) - volume
        found = decoder.log_prob(x0, context, num_steps=64)
        torch.testing.assert_close(found, truth, rtol=0, atol=5e-3)


WEIGHTS = torch.tensor([0.7, 0.3], dtype=torch.float64)
CENTRES = torch.tensor([-0.6, 1.4], dtype=torch.float64)
SPREAD = 0.4


class Mixture(Network):
    """The exact ``F`` of ``ξ ~ Σ_j w_j N(m_j, SPREAD²)`` on a path."""

    path: Callable

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def predict(u: Tensor, t: Tensor) -> Tensor:
            k = self.path.coefficients(t)
            r = torch.hypot(k.a, k.b)
            cosine, sine = k.a / r, k.b / r
            centres = CENTRES.to(u.dtype)
            off = u - cosine * centres
            variance = cosine.square() * SPREAD**2 + sine.square()
            share = (WEIGHTS.to(u.dtype).log() - 0.5 * off.square() / variance).softmax(-1)
            data = (share * (centres + cosine * SPREAD**2 * off / variance)).sum(-1, keepdim=True)
            noise = (share * sine * off / variance).sum(-1, keepdim=True)
            return cosine * noise - sine * data

        return predict


def mixture_decoder(make) -> tuple[AffineDecoder, torch.distributions.Distribution]:
    network = Mixture()
    decoder = make(network, 1)
    network.path = decoder.path
    normal = torch.distributions.Normal(CENTRES, SPREAD)
    law = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(WEIGHTS), normal)
    return decoder, law


EXACT = {
    "flow_matching": FlowMatching,
    "flow_cosine": partial(FlowMatching, path="cosine"),
    "vp": ScoreSDE,
    "interpolant": Interpolant,
}


class TestMixture:
    @pytest.mark.parametrize("make", list(EXACT.values()), ids=list(EXACT))
    def test_the_exact_field_has_the_exact_density(self, make) -> None:
        decoder, law = mixture_decoder(make)
        x0 = torch.linspace(-3.0, 4.0, 141, dtype=torch.float64)
        context = torch.zeros(141, 1, CONTEXT, dtype=torch.float64)
        found = decoder.log_prob(x0.view(-1, 1, 1), context)
        # What noise at t = 1 still tells of the data isn't Gaussian.
        limit = 0.02 if make is ScoreSDE else 1e-3
        torch.testing.assert_close(found, law.log_prob(x0), rtol=0, atol=limit)

    @pytest.mark.parametrize("make", list(EXACT.values()), ids=list(EXACT))
    def test_the_bound_of_the_exact_score_is_tight(self, make) -> None:
        decoder, law = mixture_decoder(make)
        x0 = torch.tensor([-1.5, -0.6, 0.5, 1.4, 2.5], dtype=torch.float64)
        rows = x0.repeat_interleave(500).view(-1, 1, 1)
        context = torch.zeros(len(rows), 1, CONTEXT, dtype=torch.float64)
        bounds = decoder.elbo(rows, context, num_draws=32, generator=seeded(1)).view(5, 500)
        error = 4.0 * bounds.std(1) / math.sqrt(500) + 2e-3
        assert bool(((bounds.mean(1) - law.log_prob(x0)).abs() < error).all())


class Tilted(Network):
    """``F = c u``: a Gaussian that is too wide, or too narrow."""

    tilt = 0.4

    def bind(self, context):
        return lambda u, t: self.tilt * u


class TestBound:
    @pytest.mark.parametrize("path", ["linear", "lipschitz"])
    def test_closed_form_of_a_linear_score(self, path: str) -> None:
        """``E C`` is a polynomial in ``cos θ`` and ``sin θ``; axes turn apart."""
        decoder, c = FlowMatching(Tilted(), 2, path=path), Tilted.tilt
        decoder.set_data_moments(torch.zeros(2), torch.diag(torch.tensor([9.0, 0.04])))
        ends = torch.tensor([decoder.path.t_min, decoder.path.t_max], dtype=torch.float64)
        k = decoder.coefficients(ends.view(2, 1, 1))
        low, high = torch.atan2(k.b.expand(2, 1, 2), k.a.expand(2, 1, 2)).squeeze(1)
        for place in (0.0, 1.0, 2.0):
            x0 = place * torch.tensor([3.0, 0.2]).view(1, 1, 2).double()
            data = decoder.standardised(decoder.axes.enter(x0)).flatten()
            truth = -math.log(2.0 * math.pi) - math.log(3.0 * 0.2)
            for axis in range(2):
                theta = torch.linspace(low[axis].log(), high[axis].log(), 20_001).double().exp()
                cosine, sine, xi = theta.cos(), theta.sin(), data[axis].square()
                missed = c * c * (cosine.square() * xi + sine.square())
                missed = missed - 2.0 * c * cosine * sine * (1.0 - xi)
                integral = torch.trapezoid(missed, sine.log()) + 0.5 * missed[0]
                truth -= 0.5 * xi.item() + integral.item()
            context = torch.zeros(2000, 1, CONTEXT, dtype=torch.float64)
            bounds = decoder.elbo(x0.expand(2000, 1, 2), context, num_draws=16, generator=seeded(1))
            error = 4.0 * bounds.std().item() / math.sqrt(2000)
            assert bounds.mean().item() == pytest.approx(truth, abs=error + 1e-3)

    @pytest.mark.parametrize(
        "name", ["flow_matching", "vp", "ve", "interpolant", "vsdm_conditional"]
    )
    def test_what_is_bounded_has_no_more_than_mass_one(self, name: str) -> None:
        decoder = random_decoder(name, 1)
        x0 = torch.linspace(-15.0, 15.0, 151).view(-1, 1, 1).repeat_interleave(40, 0)
        context = torch.ones(len(x0), 1, CONTEXT)
        options = {"num_draws": 24, "source_draws": 16, "generator": seeded(1)}
        bound = decoder.elbo(x0, context, **options).view(151, 40).mean(1)
        assert 0.1 < 0.2 * bound.exp().sum().item() < 1.0

    @pytest.mark.parametrize("name", ["flow_matching", "flow_lipschitz", "sub_vp", "ddpm"])
    def test_nobody_explains_data_better_than_their_law(self, name: str) -> None:
        decoder = random_decoder(name, 2)
        mean, covariance = torch.zeros(2), torch.eye(2)
        decoder.set_data_moments(mean, covariance)
        law = torch.distributions.MultivariateNormal(mean, covariance)
        x0 = torch.randn(2000, 1, 2, generator=seeded(4))
        missed = law.log_prob(x0.squeeze(1)) - decoder.elbo(
            x0, torch.ones(2000, 1, CONTEXT), num_draws=16, generator=seeded(5)
        )
        assert missed.mean().item() > 4.0 * missed.std().item() / math.sqrt(2000)

    @pytest.mark.parametrize(
        "options", [{"path": "kac"}, {"path": "uniform"}, {"coupling": "optimal_transport"}]
    )
    def test_needs_a_score(self, options) -> None:
        decoder = FlowMatching(mlp(2), 2, **options)
        with pytest.raises(ValueError, match="a velocity and no score"):
            decoder.elbo(torch.zeros(1, 1, 2), torch.zeros(1, 1, CONTEXT))


class TestTrace:
    def test_probes_are_unbiased_and_their_error_shrinks(self) -> None:
        decoder = random_decoder("flow_matching", 5)
        x0 = decoder.sample(torch.ones(1, 1, CONTEXT), generator=seeded(1)).expand(400, 1, 5)
        context = torch.ones(400, 1, CONTEXT)
        exact = decoder.log_prob(x0[:1], context[:1], num_steps=8).item()

        def probed(count: int) -> Tensor:
            options = {"trace": "hutchinson", "num_probes": count, "generator": seeded(2, count)}
            return decoder.log_prob(x0, context, num_steps=8, **options)

        one, many = probed(1), probed(16)
        for found in (one, many):
            assert found.mean().item() == pytest.approx(exact, abs=4.0 * found.std().item() / 20.0)
        assert one.std().item() > 0.01
        assert many.std() / one.std() == pytest.approx(0.25, rel=0.3)

    def test_auto_is_exact_for_few_and_probes_for_many(self) -> None:
        few, many = random_decoder("flow_matching", 5), random_decoder("flow_matching", 70)
        for decoder, same in ((few, True), (many, False)):
            x0 = torch.randn(2, 1, decoder.axes.dim, generator=seeded(1))
            context = torch.ones(2, 1, CONTEXT)
            auto, exact = (
                decoder.log_prob(x0, context, num_steps=4, trace=trace, generator=seeded(1))
                for trace in ("auto", "exact")
            )
            assert torch.equal(auto, exact) == same
            assert bool(((auto - exact).abs() < 10.0).all())

    def test_steps_converge_at_order_four(self) -> None:
        decoder = random_decoder("flow_matching", 2).double()
        x0 = torch.randn(20, 1, 2, generator=seeded(1)).double()
        context = torch.ones(20, 1, CONTEXT, dtype=torch.float64)
        found = [decoder.log_prob(x0, context, num_steps=n) for n in (12, 24, 72)]
        errors = [(one - found[-1]).abs().mean() for one in found[:-1]]
        assert errors[1] < errors[0] / 8.0
        assert errors[1] < 1e-3


class TestRows:
    @pytest.mark.parametrize("method", ["log_prob", "elbo"])
    def test_what_is_missing_is_nan_and_touches_nothing_else(self, method: str) -> None:
        decoder = random_decoder("vp", 2)
        x0, context = torch.randn(6, 2, 2, generator=seeded(1)), torch.ones(6, 2, CONTEXT)
        options = {"num_steps": 6} if method == "log_prob" else {"num_draws": 8}
        whole = getattr(decoder, method)(x0, context, generator=seeded(2), **options)
        x0[1, 0, 1], x0[4, 1, 0] = torch.nan, torch.inf
        found = getattr(decoder, method)(x0, context, generator=seeded(2), **options)
        assert found.isnan().tolist() == [False, True, False, False, True, False]
        kept = [0, 2, 3, 5]
        torch.testing.assert_close(found[kept], whole[kept], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("method", ["log_prob", "elbo"])
    def test_one_generator_per_series_makes_it_independent_of_the_batch(self, method: str) -> None:
        decoder = random_decoder("vsdm_conditional", 2)
        x0, context = torch.randn(6, 1, 2, generator=seeded(1)), torch.ones(6, 1, CONTEXT)
        options = {"trace": "hutchinson", "num_steps": 4} if method == "log_prob" else {}

        def found(rows: slice, seeds: list[int]) -> Tensor:
            generators = [seeded(seed) for seed in seeds]
            return getattr(decoder, method)(
                x0[rows], context[rows], generator=generators, source_draws=8, **options
            )

        together = found(slice(0, 6), [0, 1, 2])
        alone = found(slice(2, 4), [1])
        torch.testing.assert_close(together[2:4], alone, rtol=1e-5, atol=1e-5)

    @torch.enable_grad()
    def test_results_carry_no_gradients(self) -> None:
        decoder = random_decoder("vp", 2)
        x0 = torch.zeros(2, 1, 2, requires_grad=True)
        context = torch.ones(2, 1, CONTEXT, requires_grad=True)
        assert not decoder.log_prob(x0, context).requires_grad
        assert not decoder.elbo(x0, context).requires_grad
        assert x0.grad is None
        decoder.requires_grad_(True)
        assert not decoder.log_prob(x0, context).requires_grad
        assert all(parameter.grad is None for parameter in decoder.parameters())


class TestArguments:
    def test_errors_teach(self) -> None:
        decoder = FlowMatching(mlp(2), 2)
        x0, context = torch.zeros(3, 1, 2), torch.zeros(3, 1, CONTEXT)
        with pytest.raises(ValueError, match="unknown trace 'skilling'"):
            decoder.log_prob(x0, context, trace="skilling")
        with pytest.raises(ValueError, match="num_probes must be a positive integer, got 0"):
            decoder.log_prob(x0, context, num_probes=0)
        with pytest.raises(ValueError, match="num_steps"):
            decoder.log_prob(x0, context, num_steps=0)
        with pytest.raises(ValueError, match="must be positive, got 0"):
            decoder.elbo(x0, context, num_draws=0)
        for method in (decoder.log_prob, decoder.elbo):
            with pytest.raises(ValueError, match=r"expected events \[B, T, 2\]"):
                method(x0[:2], context)
            with pytest.raises(ValueError, match="floating point"):
                method(x0.long(), context)

    def test_point_masses_have_no_density(self) -> None:
        decoder = FlowMatching(mlp(2), 2, path="kac")
        with pytest.raises(ValueError, match="Kac has a source with point masses"):
            decoder.log_prob(torch.zeros(1, 1, 2), torch.zeros(1, 1, CONTEXT))

    def test_the_base_is_a_contract(self) -> None:
        with pytest.raises(NotImplementedError, match="Decoder defines no log_prob"):
            Decoder().log_prob(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
        with pytest.raises(NotImplementedError, match="Decoder defines no elbo"):
            Decoder().elbo(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
