"""Stochastic interpolants: one drift, any diffusion coefficient, from a point to the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import Interpolant
from tsdiff.decoders.clouds import fit_points, sample_points, trajectories
from tsdiff.evaluation import energy_distance
from tsdiff.networks import ResidualMLP
from tsdiff.processes import PointSource
from tsdiff.random import seeded
from tsdiff.solvers import EulerMaruyama

SAMPLERS = {
    "sigma": {"solver": EulerMaruyama("volatility"), "num_steps": 100},
    "foellmer": {"solver": EulerMaruyama(), "num_steps": 100},
    "foellmer_transitions": {"solver": "analytic", "num_steps": 30},
    "user": {"solver": EulerMaruyama(lambda t: 0.7 * t.sqrt()), "num_steps": 100},
    "ode": {"solver": "exponential_adams", "num_steps": 20},
    "ode_heun": {"solver": "heun", "num_steps": 40},
}


def modes(count: int, seed: int) -> Tensor:
    rng = seeded(seed)
    side = 2.0 * torch.randint(0, 2, (count, 1), generator=rng) - 1.0
    return torch.cat([5.0 + 3.0 * side, side], dim=1) + 0.4 * torch.randn(count, 2, generator=rng)


def make(power: float = 1.0, scale: float = 1.0, **options) -> Interpolant:
    torch.manual_seed(0)
    network = ResidualMLP(2, 1, width=48, num_blocks=2)
    return Interpolant(network, 2, path=PointSource(scale, power), **options)


@pytest.fixture(scope="module", params=[(1.0, 1.0), (2.0, 0.7)], ids=["linear", "quadratic"])
def trained(request) -> Interpolant:
    return fit_points(make(*request.param), modes(8000, 1), num_updates=900, batch_size=256)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_one_network_is_sampled_with_any_diffusion(trained: Interpolant, sampler: dict) -> None:
    truth = modes(4000, 2).double().numpy()
    drawn = sample_points(trained, 4000, **sampler).double().numpy()
    assert energy_distance(drawn, truth) < 0.05  # a Gaussian of its moments: 0.36


@pytest.mark.parametrize(
    ("prediction", "preconditioned"),
    [
        ("drift", True),
        ("velocity", True),
        ("noise", True),
        ("data", True),
        # Of a bare network the others divide by what vanishes at the point.
        ("drift", False),
        ("data", False),
    ],
)
def test_whatever_is_predicted(prediction: str, preconditioned: bool) -> None:
    decoder = make(prediction=prediction, preconditioned=preconditioned)
    points = modes(8000, 1)
    if not preconditioned:
        points = (points - points.mean(0)) / points.std(0)
    fit_points(decoder, points, num_updates=900, batch_size=256)
    drawn = sample_points(decoder, 4000, num_steps=40).double().numpy()
    assert energy_distance(drawn, points[:4000].double().numpy()) < 0.05


def test_paths_lead_from_the_point_to_the_data(trained: Interpolant) -> None:
    """The point is the origin of events, far from their mean here."""
    x, t = trajectories(trained, 500, solver=EulerMaruyama("volatility"), num_steps=100)
    assert x[0].abs().max() < 0.05
    assert t[0] == 1.0
    torch.testing.assert_close(x[-1].mean(0), torch.tensor([5.0, 0.0]), rtol=0.0, atol=0.4)
    halfway = x[50].mean(0)[0].item()
    assert 0.1 < halfway / 5.0 < 0.7


@torch.no_grad()
def test_the_drift_needs_no_division_at_the_point() -> None:
    """Drift and velocity meet at s -> 0, where either alone is infinite."""
    decoder = make()
    decoder.set_data_moments(torch.tensor([2.0, -1.0]), torch.eye(2))
    field = decoder.field(torch.zeros(1, 1, 1))
    one = torch.ones(1, 1, 1)
    for level in (field.volatility, field.diffusion):
        drift = 0.5 * level(one) ** 2 * field.score(one.expand(1, 1, 2) * 1e-3, one)
        drift = drift - field.velocity(one.expand(1, 1, 2) * 1e-3, one)
        assert drift.abs().max() < 0.5
