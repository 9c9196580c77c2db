"""Flow matching on all of its paths, couplings and ways to draw times."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import FlowMatching
from tsdiff.decoders.clouds import empty_context, fit_points, sample_points
from tsdiff.networks import ResidualMLP
from tsdiff.processes import Linear, LipschitzOptimal
from tsdiff.random import seeded
from tsdiff.solvers import SOLVERS, MissingFieldError

COVARIANCE = torch.tensor([[4.0, 1.9], [1.9, 1.0]], dtype=torch.float64)


def network(context: int = 1) -> ResidualMLP:
    torch.manual_seed(0)
    return ResidualMLP(2, context, width=32, num_blocks=2)


@pytest.mark.parametrize("path", ["linear", "cosine", "vp", "lipschitz"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
@torch.no_grad()
def test_untrained_it_is_the_gaussian_of_the_data(path: str, prediction: str) -> None:
    decoder = FlowMatching(network(), 2, path=path, prediction=prediction, axes="principal")
    decoder.set_data_moments(torch.tensor([3.0, -1.0]), COVARIANCE)
    x = sample_points(decoder, 20_000, solver="exponential_adams", num_steps=2)
    torch.testing.assert_close(torch.cov(x.T).double(), COVARIANCE, rtol=0.05, atol=0.05)
    torch.testing.assert_close(x.mean(0), torch.tensor([3.0, -1.0]), rtol=0, atol=0.06)


@pytest.mark.parametrize("path", ["linear", "cosine", "vp", "lipschitz"])
def test_every_path_learns_a_crescent(path: str) -> None:
    """The mean of the short axis, given the long one, bends; a Gaussian's is straight."""
    rng = seeded(3)
    long = torch.randn(8000, 1, generator=rng)
    short = long.square() - 1.0 + 0.3 * torch.randn(8000, 1, generator=rng)
    points = torch.cat([4.0 * long, 0.5 * short], dim=1)
    decoder = fit_points(FlowMatching(network(), 2, path=path), points, num_updates=700)
    x = sample_points(decoder, 8000, solver="exponential_adams", num_steps=12)

    def bend(p: Tensor) -> float:
        return torch.corrcoef(torch.stack([p[:, 0].square(), p[:, 1]]))[0, 1].item()

    assert bend(x) == pytest.approx(bend(points), abs=0.06)
    torch.testing.assert_close(x.std(0), points.std(0), rtol=0.1, atol=0)


def test_the_weight_of_rough_paths_is_the_error_of_the_rotation() -> None:
    """The loss of an untrained network is then that of a rotation of unit variance."""
    points = torch.randn(40_000, 1, 2, generator=seeded(2))
    losses = {}
    for path in ("vp", "lipschitz", "cosine"):
        decoder = FlowMatching(network(), 2, path=path)
        context = torch.zeros(len(points), 1, 1)
        losses[path] = decoder.loss(points, context, generator=seeded(4)).mean().item()
    assert losses["vp"] == pytest.approx(1.0, abs=0.02)
    assert losses["lipschitz"] == pytest.approx(1.0, abs=0.02)
    assert losses["cosine"] == pytest.approx((torch.pi / 2) ** 2, rel=0.02)


def test_the_lipschitz_path_takes_its_spectrum_from_the_data() -> None:
    decoder = FlowMatching(network(), 2, path="lipschitz")
    decoder.set_data_moments(torch.zeros(2), COVARIANCE)
    assert isinstance(decoder.path, LipschitzOptimal)
    low, high = torch.linalg.eigvalsh(COVARIANCE)
    assert decoder.path.log_ratio.exp().item() == pytest.approx((high / low).item(), rel=1e-3)
    restored = FlowMatching(network(), 2, path="lipschitz")
    restored.load_state_dict(decoder.state_dict())
    t = torch.tensor([0.3])
    assert torch.equal(restored.path.coefficients(t).b, decoder.path.coefficients(t).b)


def test_logit_normal_times_favour_the_middle() -> None:
    decoder = FlowMatching(network(), 2, times="logit_normal")
    t = decoder.draw_times(20_000, torch.zeros(1), seeded(1)).flatten()
    assert t.logit().mean().abs() < 0.03
    assert t.logit().std().item() == pytest.approx(1.0, abs=0.03)
    assert ((t > 0.25) & (t < 0.75)).float().mean().item() == pytest.approx(0.728, abs=0.02)


@pytest.mark.parametrize("coupling", ["optimal_transport", "plain_optimal_transport"])
def test_coupled_noise_has_a_velocity_and_no_score(coupling: str) -> None:
    decoder = FlowMatching(network(), 2, coupling=coupling)
    for name, solver in SOLVERS.items():
        if solver.needs == ("velocity",):
            assert decoder.sample(empty_context(3, torch.zeros(1)), solver=name).isfinite().all()
            continue
        with pytest.raises(MissingFieldError, match="coupled noise"):
            decoder.sample(empty_context(3, torch.zeros(1)), solver=name)


@pytest.mark.parametrize("preconditioned", [True, False])
def test_transport_straightens(preconditioned: bool) -> None:
    """Two far modes: with pairs by transport, few steps do what took many."""
    rng = seeded(7)
    sides = torch.randint(2, (4000, 1), generator=rng).float() * 2.0 - 1.0
    points = 0.1 * torch.randn(4000, 2, generator=rng) + 2.0 * sides
    off = {}
    for coupling in ("independent", "optimal_transport"):
        decoder = FlowMatching(
            network(), 2, coupling=coupling, preconditioned=preconditioned, axes="own"
        )
        fit_points(decoder, points, num_updates=500, batch_size=256, learning_rate=4e-3)
        x = sample_points(decoder, 4000, solver="euler", num_steps=2)
        off[coupling] = (x.abs() - 2.0).abs().mean().item()
    assert off["optimal_transport"] < 0.7 * off["independent"]


def conditional(coupling: str) -> tuple[float, float]:
    """Mean and standard deviation learned under the condition 1, whose law is N(1, 0.5²)."""

    def draw(rows: int, seed: int) -> tuple[Tensor, Tensor]:
        rng = seeded(seed)
        context = torch.randint(2, (rows, 1, 1), generator=rng).float() * 2.0 - 1.0
        return context + 0.5 * torch.randn(rows, 1, 1, generator=rng), context

    torch.manual_seed(0)
    decoder = FlowMatching(ResidualMLP(1, 1, width=32, num_blocks=2), 1, coupling=coupling)
    decoder.set_data_moments(torch.zeros(1), torch.tensor([[1.25]]))
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
    for update in range(800):
        loss = decoder.loss(*draw(256, update), generator=seeded(1, update)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        x = decoder.sample(torch.ones(20_000, 1, 1), num_steps=20, generator=seeded(3))
    return x.mean().item(), x.std().item()


def test_plain_transport_biases_a_conditional_law_and_the_default_does_not() -> None:
    safe, aware, plain = (
        conditional(c) for c in ("independent", "optimal_transport", "plain_optimal_transport")
    )
    for mean, std in (safe, aware):
        assert mean == pytest.approx(1.0, abs=0.05)
        assert std == pytest.approx(0.5, abs=0.05)
    assert abs(plain[0] - 1.0) + abs(plain[1] - 0.5) > 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "spline"}, "unknown path 'spline': expected one of linear, cosine"),
        ({"times": "normal"}, "unknown times 'normal'"),
        ({"coupling": "sinkhorn"}, "unknown coupling"),
    ],
)
def test_unknown_parts_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowMatching(network(), 2, **options)


def test_a_path_of_ones_own() -> None:
    assert isinstance(FlowMatching(network(), 2, path=Linear()).path, Linear)
