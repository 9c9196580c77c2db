"""A low-rank Gaussian against PyTorch's, and what training makes of it."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

import tsdiff
from tests.estimators.small import SMALL
from tsdiff.decoders import LowRankGaussian
from tsdiff.networks import ResidualMLP
from tsdiff.random import seeded
from tsdiff.solvers import MissingFieldError

ROWS, STEPS, DIM, RANK, CONTEXT = 6, 2, 5, 3, 4


def decoder_of(dim=DIM, rank=RANK, **options) -> LowRankGaussian:
    torch.manual_seed(0)
    return LowRankGaussian(
        ResidualMLP(dim * (2 + rank), CONTEXT, width=32), dim, rank=rank, **options
    )


def covariance_of(dim=DIM) -> torch.Tensor:
    mixing = torch.randn(dim, dim, generator=seeded(5), dtype=torch.float64)
    return mixing @ mixing.T + 0.3 * torch.eye(dim, dtype=torch.float64)


@pytest.fixture(params=[torch.float32, torch.float64])
def dtype(request):
    return request.param


def stirred(dtype=torch.float64) -> LowRankGaussian:
    """One whose network says something, and whose data have moments."""
    decoder = decoder_of().to(dtype)
    decoder.set_data_moments(torch.arange(DIM, dtype=torch.float64), covariance_of())
    for parameter in decoder.network.outlet.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return decoder


def events(dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    x = 3.0 * torch.randn(ROWS, STEPS, DIM, generator=seeded(1), dtype=torch.float64)
    context = torch.randn(ROWS, STEPS, CONTEXT, generator=seeded(2), dtype=torch.float64)
    return x.to(dtype), context.to(dtype)


def reference(decoder: LowRankGaussian, context: torch.Tensor) -> LowRankMultivariateNormal:
    mean, scale, factor = (part.double() for part in decoder.law(context))
    unit, centre = decoder.axes.unit.double(), decoder.axes.mean.double()
    return LowRankMultivariateNormal(
        centre + unit * mean, unit.unsqueeze(-1) * factor, (unit * scale).square()
    )


def test_densities_are_those_of_torch(dtype) -> None:
    decoder, (x, context) = stirred(dtype), events(dtype)
    expected = reference(decoder, context).log_prob(x.double()).sum(1)
    found = decoder.log_prob(x, context)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decoder.elbo(x, context), found)


def test_losses_are_shares_of_the_marginal_density_of_what_is_observed(dtype) -> None:
    decoder, (x, context) = stirred(dtype), events(dtype)
    known = torch.rand(x.shape, generator=seeded(3)) < 0.6
    known[0, 0] = False
    filled = decoder.complete(x, known.to(dtype))
    loss = decoder.loss(filled, context)
    assert (loss[~known] == 0.0).all()
    law, unit = reference(decoder, context), decoder.axes.unit.double()
    for row in range(ROWS):
        for step in range(STEPS):
            seen = known[row, step]
            if not seen.any():
                continue
            marginal = MultivariateNormal(
                law.loc[row, step, seen], law.covariance_matrix[row, step][seen][:, seen]
            )
            nats = marginal.log_prob(x[row, step, seen].double()) + unit[seen].log().sum()
            assert loss[row, step].sum().item() == pytest.approx(-nats.item(), rel=1e-4)
    loss.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())
    assert decoder.log_prob(filled, context).isnan().equal(~known.flatten(1).all(1))


def test_samples_have_the_law_that_the_density_is_of() -> None:
    decoder, (_, context) = stirred(), events()
    many = context[:1, :1].expand(40_000, 1, -1)
    drawn = decoder.sample(many, generator=seeded(4)).squeeze(1)
    law = reference(decoder, context[:1, :1])
    spread = law.variance.sqrt().squeeze()
    torch.testing.assert_close((drawn.mean(0) - law.mean.squeeze()) / spread, 0 * spread,
                               atol=0.03, rtol=0)  # fmt: skip
    scale = spread[:, None] * spread
    torch.testing.assert_close(
        drawn.T.cov() / scale, law.covariance_matrix.squeeze() / scale, atol=0.04, rtol=0
    )
    assert torch.equal(decoder.sample(many, generator=seeded(4)).squeeze(1), drawn)


def test_it_starts_at_the_known_law() -> None:
    white = decoder_of()
    mean, scale, factor = white.law(events(torch.float32)[1])
    assert (mean == 0.0).all()
    torch.testing.assert_close(scale, torch.ones_like(scale), rtol=1e-6, atol=0)
    assert (factor @ factor.mT).abs().max() < 1e-5
    x, context = events()
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).flatten(1).sum(1)
    found = white.double().log_prob(x, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_the_data_s_correlation_is_told_by_few_factors() -> None:
    loading = torch.randn(20, RANK, generator=seeded(6), dtype=torch.float64)
    covariance = loading @ loading.T + 0.5 * torch.eye(20, dtype=torch.float64)
    decoder = decoder_of(20).double()
    decoder.set_data_moments(torch.zeros(20, dtype=torch.float64), covariance)
    found = reference(decoder, torch.zeros(1, 1, CONTEXT, dtype=torch.float64))
    found = found.covariance_matrix.squeeze()
    size = covariance.diagonal().sqrt()
    torch.testing.assert_close(found.diagonal(), covariance.diagonal(), rtol=1e-4, atol=0)
    off = (found - covariance) / torch.outer(size, size)
    assert off.abs().max() < 0.1
    assert (covariance / torch.outer(size, size) - torch.eye(20)).abs().max() > 0.8
    raw = decoder_of(20, preconditioned=False)
    raw.set_data_moments(torch.zeros(20, dtype=torch.float64), covariance)
    assert (raw.axes.unit == 1.0).all()
    assert (raw.shared == 0.0).all()


def trained(draw, updates=400) -> LowRankGaussian:
    decoder = decoder_of(4, 2)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for update in range(updates):
        context = torch.randn(256, 1, CONTEXT, generator=seeded(7, update))
        loss = decoder.loss(draw(context, seeded(8, update)), context).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
    return decoder


def test_a_conditional_covariance_is_learned_from_a_factor_of_zero() -> None:
    def draw(context, generator):
        own, common = torch.randn(2, 256, 1, 4, generator=generator)
        sign = context[..., :1].sign() * torch.tensor([1.0, 1.0, -1.0, -1.0])
        return 2.0 * context[..., 1:2] + 0.6 * own + 0.8 * sign.abs() * sign * common[..., :1]

    decoder = trained(draw)
    context = torch.tensor([[[1.0, 0.5, 0.0, 0.0]]])
    law = reference(decoder, context)
    torch.testing.assert_close(law.mean.flatten(), torch.ones(4).double(), atol=0.2, rtol=0)
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    expected = 0.64 * torch.outer(signs, signs) + 0.36 * torch.eye(4)
    torch.testing.assert_close(law.covariance_matrix.squeeze(), expected, atol=0.2, rtol=0)


def test_one_extreme_value_does_not_carry_training_off() -> None:
    def draw(context, generator):
        x = 1e-4 * torch.randn(256, 1, 4, generator=generator)
        x[0] += 1e6 * (torch.rand(1, generator=generator) < 0.02)
        return x

    decoder = trained(draw, updates=150)
    mean, scale, factor = decoder.law(torch.randn(50, 1, CONTEXT, generator=seeded(9)))
    assert all(part.isfinite().all() for part in (mean, scale, factor))
    assert scale.min() >= 0.0497
    assert scale.max() <= 20.1
    assert mean.abs().max() < 5.0


def test_no_solver_can_be_chosen() -> None:
    decoder, context = decoder_of(), events(torch.float32)[1]
    with pytest.raises(MissingFieldError, match=r"Heun.*sampled at once"):
        decoder.sample(context, solver="heun")
    with pytest.raises(ValueError, match="solver, num_steps: a Gaussian is sampled at once"):
        tsdiff.DeepVAREstimator(prediction_length=1, solver="heun", num_steps=3).check()
    for rank in (0, 2.5, True):
        with pytest.raises(ValueError, match="rank must be a positive integer"):
            tsdiff.DeepVAREstimator(**SMALL, rank=rank).check()
    with pytest.raises(ValueError, match="only decoders of independent Gaussian noise"):
        tsdiff.ConsistencyEstimator(
            prediction_length=1, objective="distillation", teacher="LowRankGaussianEstimator"
        ).check()


def test_the_network_computes_as_it_is_told() -> None:
    estimator = tsdiff.DeepVAREstimator(**SMALL, precision="bf16", compile=True, rank=3)
    network = estimator._decoder_around_network(2, 8).network
    assert (network.precision, network.compiled) == ("bf16", True)
    assert network.outlet.out_features == 2 * (2 + 3)
