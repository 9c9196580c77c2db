"""Flow matching from noise that isn't Gaussian: telegraph, uniform, learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import FlowMatching
from tsdiff.decoders.clouds import empty_context, fit_points, sample_points
from tsdiff.evaluation import energy_distance
from tsdiff.networks import ResidualMLP
from tsdiff.processes import Kac
from tsdiff.random import seeded
from tsdiff.solvers import SOLVERS, MissingFieldError

NOISES = {
    "kac": {"path": "kac"},
    "kac_late": {"path": Kac(25.0, 5.0, clock_power=2.0)},
    "uniform": {"path": "uniform"},
    "learned": {"latent": "learned"},
    "learned_coupled": {"latent": "learned", "coupling": "plain_optimal_transport"},
    "learned_marginal": {"latent": "learned", "energy": "marginal"},
}
every_noise = pytest.mark.parametrize("noise", list(NOISES.values()), ids=list(NOISES))


def make(noise: dict, width: int = 48) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(ResidualMLP(2, 1, width=width, num_blocks=2), 2, **noise)


def uneven_modes(count: int, seed: int) -> Tensor:
    """A tenth of the mass lies in a small mode of its own."""
    rng = seeded(seed)
    small = (torch.rand(count, 1, generator=rng) < 0.1).float()
    noise = torch.randn(count, 2, generator=rng)
    return 10.0 + torch.cat([4.0 * small, -2.0 * small], dim=1) + (1.0 - 0.7 * small) * noise


@every_noise
@torch.no_grad()
def test_default_sampler_is_calibrated_before_training(noise: dict) -> None:
    decoder = make(noise)
    decoder.set_data_moments(torch.tensor([3.0, -1.0]), torch.diag(torch.tensor([4.0, 0.01])))
    x = sample_points(decoder, 20_000)
    assert x[:, 0].mean().item() == pytest.approx(3.0, abs=0.06)
    torch.testing.assert_close(x.std(0), torch.tensor([2.0, 0.1]), rtol=0.025, atol=0)


@pytest.mark.parametrize("name", ["kac", "kac_late", "uniform", "learned_marginal"])
def test_small_modes_are_learned(name: str) -> None:
    noise = NOISES[name]
    decoder = fit_points(make(noise), uneven_modes(8000, 1), num_updates=1000, batch_size=256)
    x, truth = sample_points(decoder, 4000, num_steps=25), uneven_modes(4000, 2)
    distance = energy_distance(x.double().numpy(), truth.double().numpy())
    untrained = make(noise)
    points = uneven_modes(8000, 1).double()
    untrained.set_data_moments(points.mean(0), torch.cov(points.T))
    before = sample_points(untrained, 4000, num_steps=25)
    assert distance < 0.15 * energy_distance(before.double().numpy(), truth.double().numpy())

    def share(points: Tensor) -> float:
        return ((points - torch.tensor([14.0, 8.0])).norm(dim=1) < 1.0).float().mean().item()

    assert share(x) == pytest.approx(share(truth), abs=0.03)


@every_noise
def test_there_is_a_velocity_and_nothing_else(noise: dict) -> None:
    decoder, context = make(noise), empty_context(4, torch.zeros(1))
    for name in SOLVERS:
        if name in ("euler", "midpoint", "heun", "rk4", "dopri5"):
            assert decoder.sample(context, solver=name, num_steps=2).isfinite().all()
            continue
        with pytest.raises(MissingFieldError, match=type(decoder.path).__name__):
            decoder.sample(context, solver=name)


@every_noise
def test_series_draw_from_their_own_generators(noise: dict) -> None:
    decoder, context = make(noise), empty_context(6, torch.zeros(1))
    with torch.no_grad():
        both = decoder.sample(context, generator=[seeded(1), seeded(2)])
        second = decoder.sample(context[:3], generator=[seeded(2)])
    torch.testing.assert_close(both[3:], second, rtol=1e-5, atol=1e-6)


def test_the_latent_learns_the_tails_of_the_data() -> None:
    """Of a Student-t with three degrees of freedom, beyond what a Gaussian could be."""
    rng = seeded(5)
    chi = torch.randn(20_000, 2, 3, generator=rng).square().mean(-1)
    points = torch.randn(20_000, 2, generator=rng) / chi.sqrt()
    decoder = make(NOISES["learned_marginal"], width=16)
    fit_points(decoder, points, num_updates=600, batch_size=256)
    with torch.no_grad():
        drawn = decoder.latent.draw(torch.zeros(100_000, 1, 2), seeded(6))
    levels = torch.tensor([0.5, 0.9, 0.99, 0.999])
    latent, gaussian, data = (
        torch.quantile(values.flatten()[:100_000].float(), levels)
        for values in (drawn, torch.randn(100_000), decoder.axes.enter(points.unsqueeze(1)))
    )
    assert ((latent - data).abs() < 0.5 * (gaussian - data).abs() + 0.05).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": "cauchy"}, "unknown latent 'cauchy'"),
        ({"path": "kac", "latent": "learned"}, "Kac has noise of its own"),
        ({"path": "vp", "latent": "learned"}, "straight lines"),
        ({"path": "uniform", "prediction": "noise"}, "on Uniform only the velocity"),
        ({"path": "kac", "coupling": "optimal_transport"}, "it can't be coupled"),
        ({"latent": "learned", "latent_weight": 0.0}, "latent_weight must be positive"),
    ],
)
def test_what_makes_no_sense_is_said(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(options)


def test_independent_pairs_do_not_make_the_latent_narrow() -> None:
    """Their loss alone would: for Gaussian data down to a scale of 1 - π/4."""
    points = torch.randn(8000, 2, generator=seeded(8))
    decoder = make(NOISES["learned_marginal"], width=16)
    fit_points(decoder, points, num_updates=300, batch_size=256)
    with torch.no_grad():
        drawn = decoder.latent.draw(torch.zeros(50_000, 1, 2), seeded(6))
    torch.testing.assert_close(drawn.std((0, 1)), torch.ones(2), rtol=0.05, atol=0)
