"""Observed, tilted and truncated Gaussians against other ways to compute them."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from tsdiff.guidance.gaussian import (
    Observation,
    draw_in_box,
    log_interval,
    lower_factor,
    truncated_normal,
)
from tsdiff.guidance.particles import effective_size, normalised, resample
from tsdiff.random import seeded

DIM = 3


def covariance(seed: int = 0) -> torch.Tensor:
    root = torch.randn(DIM, DIM, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T + 0.2 * torch.eye(DIM, dtype=torch.float64)


def test_an_observation_conditions_as_the_joint_gaussian_does():
    prior, mean = covariance(), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    matrix = torch.randn(2, DIM, generator=seeded(1), dtype=torch.float64)
    noise = torch.tensor([0.0, 0.5], dtype=torch.float64)
    y = torch.tensor([1.0, -0.5], dtype=torch.float64)
    seen = Observation(matrix, prior, noise)
    total = matrix @ prior @ matrix.T + torch.diag(noise**2)
    gain = prior @ matrix.T @ torch.linalg.inv(total)
    residual = y - matrix @ mean
    torch.testing.assert_close(seen.gain, gain, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(seen.posterior, prior - gain @ matrix @ prior, rtol=1e-6, atol=1e-7)
    expected = torch.distributions.MultivariateNormal(matrix @ mean, total).log_prob(y)
    found = seen.log_evidence(residual.view(1, 2))
    torch.testing.assert_close(found[0], expected, rtol=1e-7, atol=1e-7)


def test_observations_that_repeat_one_another_are_allowed():
    matrix = torch.eye(DIM, dtype=torch.float64)[[0, 0]]
    seen = Observation(matrix, covariance(), torch.zeros(2, dtype=torch.float64))
    assert bool(seen.gain.isfinite().all())
    moved = torch.full((1, 2), 0.7, dtype=torch.float64) @ seen.gain.mT
    assert moved[0, 0].item() == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_lower_factor_of_any_rank(rank: int):
    root = torch.randn(DIM, rank, generator=seeded(2), dtype=torch.float64)
    whole = root @ root.mT
    factor = lower_factor(whole)
    assert float(factor.triu(1).abs().max()) < 1e-12
    assert bool((factor.diagonal() >= 0.0).all())
    torch.testing.assert_close(factor @ factor.mT, whole)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(-1.0, 2.0), (5.0, 6.0), (-9.0, -8.5), (30.0, 31.0), (0.0, math.inf), (-math.inf, -3.0)],
)
def test_intervals_in_both_tails(lower: float, upper: float):
    low, high = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (lower, upper))
    found = log_interval(low, high)
    signs = (-upper, -lower) if lower > 0 else (lower, upper)
    a, b = stats.norm.logcdf(signs[0]), stats.norm.logcdf(signs[1])
    assert found.item() == pytest.approx(b + math.log1p(-math.exp(a - b)), rel=1e-10)
    slopes = torch.autograd.grad(found, (low, high))
    assert all(bool(slope.isfinite()) for slope in slopes)
    u = (torch.arange(2001, dtype=torch.float64) + 0.5) / 2001
    drawn = truncated_normal(low.detach(), high.detach(), u)
    assert bool(((drawn >= lower) & (drawn <= upper)).all())
    if abs(lower) < 20:
        law = stats.truncnorm(lower, upper)
        assert float(drawn.mean()) == pytest.approx(law.mean(), abs=2e-3)


def test_draws_in_a_box_have_the_truncated_law():
    whole, mean = covariance(3), torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    lower = torch.tensor([0.0, -math.inf, -0.5], dtype=torch.float64)
    upper = torch.tensor([math.inf, 0.0, 2.0], dtype=torch.float64)
    count = 100_000
    generator = seeded(4)
    uniform = torch.rand(count, DIM, generator=generator, dtype=torch.float64)
    factor = lower_factor(whole)
    values, log_weights = draw_in_box(
        mean.expand(count, DIM), factor, lower, upper, uniform, whole.diagonal().sqrt()
    )
    assert bool(((values >= lower - 1e-12) & (values <= upper + 1e-12)).all())
    free = mean + torch.randn(count * 4, DIM, generator=generator, dtype=torch.float64) @ factor.T
    kept = free[((free >= lower) & (free <= upper)).all(-1)]
    weights = normalised(log_weights)
    assert float(log_weights.exp().mean()) == pytest.approx(len(kept) / len(free), rel=0.01)
    average = weights @ values
    torch.testing.assert_close(average, kept.mean(0), atol=0.01, rtol=0.01)
    centred = values - average
    spread = centred.T @ (centred * weights.unsqueeze(-1))
    torch.testing.assert_close(spread, torch.cov(kept.T), atol=0.015, rtol=0.02)


def test_what_is_determined_keeps_a_box_or_has_no_weight():
    """Two dimensions that add up to one, of which the second may not exceed 0.2."""
    whole = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    mean = torch.tensor([0.5, 0.5], dtype=torch.float64).expand(1000, 2)
    lower = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    upper = torch.tensor([math.inf, 0.2], dtype=torch.float64)
    uniform = torch.rand(1000, 2, generator=seeded(5), dtype=torch.float64)
    values, log_weights = draw_in_box(
        mean, lower_factor(whole), lower, upper, uniform, torch.ones(2)
    )
    torch.testing.assert_close(values.sum(-1), torch.ones(1000, dtype=torch.float64))
    within = values[:, 1] <= 0.2
    assert 0 < int(within.sum()) < 1000
    assert bool((log_weights.isfinite() == within).all())


def test_equal_weights_keep_every_sample_once():
    weights = torch.zeros(50)
    assert resample(weights, 50, seeded(0)).tolist() == list(range(50))
    assert effective_size(weights).item() == pytest.approx(50.0)


def test_resampling_is_in_proportion_to_weights():
    shares = torch.tensor([0.05, 0.15, 0.3, 0.5], dtype=torch.float64)
    rows = resample(shares.log(), 20_000, seeded(2))
    counts = torch.bincount(rows, minlength=4).double() / 20_000
    torch.testing.assert_close(counts, shares, atol=1e-4, rtol=0.0)
    size = effective_size(shares.log())
    assert size.item() == pytest.approx(1.0 / float((shares**2).sum()))


def test_samples_without_any_weight_are_worth_nothing():
    weights = torch.full((4,), -math.inf)
    assert effective_size(weights).item() == 0.0
