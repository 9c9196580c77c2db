"""Inductive moment matching: from laws alone, with any noise, and under contexts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.decoders.test_decoders import CONTEXT, Counting, mlp
from tsdiff.decoders import MomentMatching
from tsdiff.decoders.clouds import fit_points, sample_points
from tsdiff.decoders.moment_matching import discrepancy
from tsdiff.evaluation import energy_distance
from tsdiff.networks import ResidualMLP
from tsdiff.processes import Kac, QuantileLatent
from tsdiff.random import seeded


def small() -> ResidualMLP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualMLP(1, 1, width=32, num_blocks=2)


def modes(count: int, seed: int) -> Tensor:
    rng = seeded(seed)
    sides = 2.0 * torch.randint(0, 2, (count, 1), generator=rng) - 1.0
    return 3.0 * sides + 0.5 * torch.randn(count, 1, generator=rng)


@pytest.mark.parametrize("evaluations", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("latent", ["gaussian", "learned"])
@torch.no_grad()
def test_untrained_it_is_gaussian(latent: str, dtype: torch.dtype, evaluations: int) -> None:
    mean, std, count = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5]), 8000
    model = MomentMatching(Counting(), 2, latent=latent).to(dtype)
    model.set_data_moments(mean, torch.diag(std**2))
    context = torch.zeros(count, 1, CONTEXT, dtype=dtype)
    x = model.sample(context, num_steps=evaluations, generator=seeded(1)).squeeze(1)
    assert x.dtype == dtype
    assert model.network.evaluations == evaluations
    assert ((x.mean(0) - mean).abs() < 5 * std / math.sqrt(count)).all()
    assert ((x.std(0) / std - 1.0).abs() < 5 / math.sqrt(2 * count)).all()


def test_two_modes_are_learned() -> None:
    model = MomentMatching(small(), 1, particles=16)
    points, truth = modes(4000, 1), modes(4000, 2).double().numpy()
    model.set_data_moments(points.mean(0), torch.cov(points.T).view(1, 1))
    before = energy_distance(sample_points(model, 4000).double().numpy(), truth)
    fit_points(model, points, num_updates=500, batch_size=256, ema_decay=0.98)
    for evaluations in (1, 2, 4):
        drawn = sample_points(model, 4000, num_steps=evaluations)
        assert energy_distance(drawn.double().numpy(), truth) < 0.15 * before


def heavy(count: int, seed: int) -> Tensor:
    """Student-t with three degrees of freedom."""
    rng = seeded(seed)
    chi = torch.randn(count, 3, generator=rng).square().mean(1, keepdim=True)
    return torch.randn(count, 1, generator=rng) / chi.sqrt()


def test_a_learned_latent_has_the_tails_of_the_data() -> None:
    """One evaluation reaches where no Gaussian source would."""
    points = heavy(20_000, 1)
    far = heavy(100_000, 2).abs().quantile(0.995).item()
    reached = {}
    for latent in ("gaussian", "learned"):
        model = MomentMatching(small(), 1, latent=latent, particles=16)
        fit_points(model, points, num_updates=400, batch_size=256, ema_decay=0.98)
        drawn = sample_points(model, 20_000, num_steps=1)
        reached[latent] = drawn.abs().quantile(0.995).item()
    off = {latent: abs(quantile - far) for latent, quantile in reached.items()}
    assert off["learned"] < 0.8 * off["gaussian"]


@pytest.mark.parametrize("bandwidth", [0.2, 0.5, 2.0])
def test_contexts_are_respected(bandwidth: float) -> None:
    """Two contexts with a law each, and one event for every row."""
    model = MomentMatching(small(), 1, context_bandwidth=bandwidth, particles=16)
    model.set_data_moments(torch.zeros(1), torch.ones(1, 1))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    rng = seeded(1)
    for _ in range(300):
        side = 2.0 * torch.randint(0, 2, (256, 1, 1), generator=rng) - 1.0
        events = 0.9 * side + 0.4 * torch.randn(256, 1, 1, generator=rng)
        loss = model.loss(events, side, generator=rng).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        for side in (-1.0, 1.0):
            x = model.sample(torch.full((4000, 1, 1), side), num_steps=1, generator=seeded(2))
            assert x.mean().item() == pytest.approx(0.9 * side, abs=0.1)
            assert x.std().item() == pytest.approx(0.4, abs=0.1)


class TestDiscrepancy:
    def test_it_is_zero_for_equal_samples_and_never_negative(self) -> None:
        y, z = (torch.randn(5, 8, 3, generator=seeded(s)).double() for s in (1, 2))
        width, near = torch.full((5, 1, 1), 1.3).double(), torch.ones(5, 8, 8).double()
        order = torch.randperm(8, generator=seeded(3))
        same = discrepancy(y, y[:, order], width, near).sum(-1)
        torch.testing.assert_close(same, torch.zeros_like(same), rtol=0.0, atol=1e-12)
        assert (discrepancy(y, z, width, near).sum(-1) > 0.01).all()

    def test_of_one_context_each_it_compares_pairs_alone(self) -> None:
        y, z = (torch.randn(2, 4, 3, generator=seeded(s)).double() for s in (1, 2))
        width = torch.ones(2, 1, 1).double()
        apart = discrepancy(y, z, width, torch.eye(4).double().expand(2, 4, 4))
        pairs = (1.0 - torch.exp(-(y - z).norm(dim=-1))) * 2.0 / 4.0
        torch.testing.assert_close(apart, pairs, rtol=1e-3, atol=1e-3)

    def test_exchanged_contexts_are_seen_through_their_kernel_alone(self) -> None:
        y = torch.tensor([[[1.0], [-1.0]]])
        width, blind = torch.ones(1, 1, 1), torch.ones(1, 2, 2)
        assert discrepancy(y, y.flip(1), width, blind).sum().item() == pytest.approx(0.0, abs=1e-6)
        assert discrepancy(y, y.flip(1), width, torch.eye(2).expand(1, 2, 2)).sum() > 0.5


@pytest.mark.parametrize("rows", [1, 5, 16, 37])
@pytest.mark.parametrize("latent", ["gaussian", "learned"])
def test_any_number_of_rows(rows: int, latent: str) -> None:
    model = MomentMatching(mlp(random=True), 2, latent=latent)
    x0, context = (torch.randn(rows, 2, d, generator=seeded(d)) for d in (2, CONTEXT))
    loss = model.loss(x0, context, generator=seeded(1))
    assert loss.shape == x0.shape
    assert torch.equal(loss, model.loss(x0, context, generator=seeded(1)))
    loss.mean().backward()
    assert all(p.grad.isfinite().all() for p in model.network.parameters())
    if latent == "learned":
        assert model.latent.loc.grad.isfinite().all()


def test_a_latent_may_be_given() -> None:
    latent = QuantileLatent(2)
    with torch.no_grad():
        latent.loc.fill_(3.0)
    model = MomentMatching(mlp(), 2, latent=latent)
    with torch.no_grad():
        x = model.sample(torch.zeros(2000, 1, CONTEXT), num_steps=1, generator=seeded(1))
    assert x.mean().item() == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": Kac()}, "noise of its own"),
        ({"latent": "uniform"}, "unknown latent"),
        ({"energy": "free"}, "unknown energy"),
        ({"latent_weight": 0.0}, "latent_weight"),
        ({"particles": 0}, "particles"),
        ({"step": 1.0}, "step"),
        ({"context_bandwidth": 0.0}, "context_bandwidth"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MomentMatching(mlp(), 2, **options)
