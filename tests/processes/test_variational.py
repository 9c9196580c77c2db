"""The variational score against brute force, its fixed points, and the Schrödinger bridge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.processes.linear_moments import exact_moments
from tsdiff.processes import FixedBasisSDE, GaussianBridge, MatrixSDE, VariancePreserving
from tsdiff.processes.variational import (
    StepSizes,
    TrajectoryMoments,
    exact_step,
    gradient_step,
    walk,
)
from tsdiff.random import seeded


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def simulated(dim: int, cells: int = 1) -> TrajectoryMoments:
    """Correlated states with scores that no Gaussian has."""
    moments = TrajectoryMoments(cells, dim)
    for cell in range(cells):
        for part in range(3):
            x = normal(500, dim, seed=10 * cell + part) @ (
                torch.eye(dim) + 0.2 * normal(dim, dim, seed=99)
            )
            x = x + 0.3
            moments.add(cell, 0.5 + part, x, -x + 0.2 * x.sin() + 0.3 * x.roll(1, dims=1))
    return moments


def objective(
    moments: TrajectoryMoments, drift: Tensor, shift: Tensor, new: Tensor, u: Tensor, zeta: float
) -> Tensor:
    """∫ E[½|z→|² + ⟨z→, z←⟩ + ζ ∇·z→], from moments, for A = new and u."""
    spread, score_x = moments.second(centred=False)
    x, score = moments.means()
    outward = new @ spread + u.unsqueeze(-1) * x.unsqueeze(-2)
    energy = 0.5 * ((new * outward).sum((-2, -1)) + (u * (new @ x.unsqueeze(-1))[..., 0]).sum(-1))
    energy = energy + 0.5 * (u * u).sum(-1)
    back = score_x - drift @ spread - shift.unsqueeze(-1) * x.unsqueeze(-2)
    mean_back = score - (drift @ x.unsqueeze(-1))[..., 0] - shift
    inner = (new * back).sum((-2, -1)) + (u * mean_back).sum(-1)
    divergence = zeta * new.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (moments.weight * (energy + inner + divergence)).sum()


class TestSteps:
    @pytest.mark.parametrize("offset", [False, True])
    @pytest.mark.parametrize("groups", [None, torch.arange(4), torch.tensor([0, 1, 2, 2])])
    def test_the_exact_step_is_stationary(self, offset: bool, groups: Tensor | None) -> None:
        moments = simulated(4)
        drift, shift = normal(1, 4, 4, seed=5), normal(1, 4, seed=6)
        drift = drift + drift.mT if groups is None else torch.diag_embed(drift[:, 0])
        shift = shift if offset else shift * 0.0
        step = exact_step(moments, 0.8, offset=offset, groups=groups)
        with torch.enable_grad():
            u = (shift + step.offset).requires_grad_()
            new = (drift + step.matrix).requires_grad_()
            loss = objective(moments, drift, shift, new, u, 0.8)
            slope, slope_u = torch.autograd.grad(loss, (new, u))
        if groups is None:
            free = slope + slope.mT
        else:
            free = torch.zeros(3 + (len(groups.unique()) == 4)).double()
            free = free.index_add(0, groups, slope[0].diagonal())
        assert free.abs().max() < 1e-9
        assert not offset or slope_u.abs().max() < 1e-9

    def test_symmetrising_the_free_minimiser_is_something_else(self) -> None:
        moments = simulated(3)
        spread, score_x = moments.second(centred=False)
        free = -torch.linalg.solve(spread.mT, (score_x + torch.eye(3)).mT).mT
        exact = exact_step(moments, 1.0, offset=False).matrix
        assert (0.5 * (free + free.mT) - exact).abs().max() > 1e-3

    def test_the_law_of_the_process_itself_teaches_nothing(self) -> None:
        """Under its own law E[score xᵀ] = -I, whatever A: at ζ = 1 there is no step."""
        x = normal(200_000, 3, seed=3)
        factor = normal(3, 3, seed=4)
        precision = torch.linalg.inv(factor @ factor.mT)
        x = x @ torch.linalg.cholesky(factor @ factor.mT).mT
        moments = TrajectoryMoments(1, 3)
        moments.add(0, 1.0, x, -x @ precision)
        step = exact_step(moments, 1.0, offset=False).matrix[0]
        assert (step @ (factor @ factor.mT)).abs().max() < 0.02

    @pytest.mark.parametrize("groups", [None, torch.arange(3), torch.tensor([0, 1, 1])])
    @pytest.mark.parametrize("offset", [False, True])
    def test_the_gradient_descends_to_the_exact_step(
        self, groups: Tensor | None, offset: bool
    ) -> None:
        moments = simulated(3)
        drift = torch.diag_embed(torch.tensor([[0.1, 0.2, 0.2]])).double()
        exact = exact_step(moments, 0.75, offset=offset, groups=groups)
        found = gradient_step(moments, 0.75, drift=drift, offset=offset, groups=groups)
        torch.testing.assert_close(found.matrix, exact.matrix, rtol=0, atol=2e-3)
        torch.testing.assert_close(found.offset, exact.offset, rtol=0, atol=2e-3)

    @pytest.mark.parametrize("unit", [1e-3, 1e3])
    def test_units_of_data_have_no_say_in_the_descent(self, unit: float) -> None:
        """One learning rate serves all data: ``A`` has the unit of an inverse variance."""
        moments, scaled = simulated(3), TrajectoryMoments(1, 3)
        scaled.weight, scaled.x, scaled.xx = moments.weight, unit * moments.x, unit**2 * moments.xx
        scaled.score, scaled.score_x = moments.score / unit, moments.score_x
        drift = -0.2 * torch.eye(3).double().unsqueeze(0)
        options = {"offset": True, "iterations": 20}  # far from the end
        found = gradient_step(moments, 0.75, drift=drift, **options)
        again = gradient_step(scaled, 0.75, drift=drift / unit**2, **options)
        torch.testing.assert_close(again.matrix * unit**2, found.matrix, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(again.offset * unit, found.offset, rtol=1e-6, atol=1e-9)

    def test_the_gradient_learns_a_factor_in_time(self) -> None:
        """Where one matrix would do up to a factor per cell, it is found with the factors."""
        moments = TrajectoryMoments(3, 2)
        for cell, factor in enumerate((0.5, 1.0, 1.5)):
            x = normal(50_000, 2, seed=cell)
            wanted = factor * torch.tensor([[-0.6, 0.2], [0.2, -0.3]]).double()
            moments.add(cell, 1.0, x, -x - x @ wanted)
        start = -0.1 * torch.eye(2).double().expand(3, 2, 2)
        found = start + gradient_step(moments, 1.0, drift=start, offset=False).matrix
        assert found[0, 0, 0] > found[1, 0, 0] > found[2, 0, 0]
        exact = exact_step(moments, 1.0, offset=False).matrix + start
        torch.testing.assert_close(found - start, exact - start, rtol=0, atol=0.15)

    def test_moments_are_weighted_means(self) -> None:
        moments = TrajectoryMoments(2, 1)
        moments.add(0, 1.0, torch.tensor([[1.0], [3.0]]), torch.tensor([[-1.0], [-3.0]]))
        moments.add(0, 3.0, torch.tensor([[4.0], [4.0]]), torch.tensor([[0.0], [0.0]]))
        moments.add(1, 2.0, torch.tensor([[7.0], [7.0]]), torch.tensor([[1.0], [1.0]]))
        x, score = moments.means()
        assert x.flatten().tolist() == [3.5, 7.0]
        assert score.flatten().tolist() == [-0.5, 1.0]
        xx, score_x = moments.second(centred=False)
        assert xx.flatten().tolist() == [0.25 * 5 + 0.75 * 16, 49.0]
        assert score_x.flatten().tolist() == [-1.25, 7.0]
        assert moments.second(centred=True)[0].flatten().tolist() == [13.25 - 3.5**2, 0.0]


# Fixed points that follow from <C / M> = ζ along each axis (M forward, C simulated variance).
FIXED_POINTS = [
    (1.7, 0.75, "standard", (2.097, 18.67), (5.80, 15.65)),
    (1.0, 0.75, "standard", (2.097, 18.67), (4.71, 11.83)),
]


@pytest.mark.parametrize(("exponent", "zeta", "prior", "std", "scaled"), FIXED_POINTS)
@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_gaussian_fixed_points(
    exponent: float,
    zeta: float,
    prior: str,
    std: tuple[float, float],
    scaled: tuple[float, float],
    method: str,
) -> None:
    """β_max · D on Gaussian data with the spreads of spiral-8Y, with the exact score."""
    sde = FixedBasisSDE(2, VariancePreserving(0.1, 10.0, exponent=exponent))
    covariance = torch.diag(torch.tensor(std).double() ** 2)
    # Near the predicted point and away from it: the next step leads back by a share.
    for start, nearest in ((1.0, 0.0), (0.93, 0.02)):
        target = torch.tensor(scaled).double() / 10.0
        sde.set_spectrum(start * target, torch.eye(2).double())
        moments = exact_moments(sde, torch.zeros(2).double(), covariance)
        options = {"offset": False, "groups": torch.arange(2)}
        if method == "exact":
            step = exact_step(moments, zeta, **options)
        else:
            drift = sde.drift_matrix()
            step = gradient_step(moments, zeta, drift=drift, iterations=600, **options)
        change = -2.0 * step.matrix[0].diagonal() / target
        if start == 1.0:
            assert change.abs().max() < 0.02
        else:
            assert (change > 0.0).all()
            assert change[0] > nearest


def test_iterating_reaches_the_fixed_point() -> None:
    sde = FixedBasisSDE(1, VariancePreserving(0.1, 10.0, exponent=1.7))
    covariance = torch.tensor([[2.097**2]]).double()
    for _ in range(12):
        moments = exact_moments(sde, torch.zeros(1).double(), covariance)
        step = exact_step(moments, 0.75, offset=False)
        sde.set_drift(sde.drift_matrix()[0] + step.matrix[0])
    assert 10.0 * sde.eigenvalues.item() == pytest.approx(5.80, abs=0.03)


class TestBridge:
    schedule = VariancePreserving(4.0, 4.0)
    mean = torch.tensor([-8.0, 2.0]).double()
    covariance = torch.tensor([[1.0, 1.0], [1.0, 5.0]]).double()
    times = torch.linspace(0.05, 1.0, 20).double()

    @property
    def bridge(self) -> GaussianBridge:
        return GaussianBridge(self.mean, self.covariance, self.schedule)

    def test_ends(self) -> None:
        ends = torch.tensor([0.0, 1.0])
        torch.testing.assert_close(self.bridge.mean(ends)[0], self.mean)
        assert self.bridge.mean(ends)[1].abs().max() < 1e-12
        torch.testing.assert_close(self.bridge.covariance(ends)[0], self.covariance)
        torch.testing.assert_close(self.bridge.covariance(ends)[1], torch.eye(2).double())

    def test_drift_moves_the_marginals(self) -> None:
        """Mean and covariance obey the moment equations of the forward process."""
        t = self.times[:-1].clone()
        h = 1e-5
        matrix, shift = self.bridge.drift(t)
        mean, spread = self.bridge.mean(t), self.bridge.covariance(t)
        full = matrix - 0.5 * torch.eye(2).double()
        d_mean = (self.bridge.mean(t + h) - self.bridge.mean(t - h)) / (2 * h)
        d_spread = (self.bridge.covariance(t + h) - self.bridge.covariance(t - h)) / (2 * h)
        expected = 4.0 * ((full @ mean.unsqueeze(-1))[..., 0] + shift)
        torch.testing.assert_close(d_mean, expected, rtol=1e-6, atol=1e-6)
        product = full @ spread
        expected = 4.0 * (product + product.mT + torch.eye(2).double())
        torch.testing.assert_close(d_spread, expected, rtol=1e-6, atol=1e-6)

    def test_trajectories_have_the_marginals(self) -> None:
        x0 = self.mean + normal(50_000, 2, seed=8) @ torch.linalg.cholesky(self.covariance).mT
        states = self.bridge.trajectory(x0, self.times)
        assert (states.mean(1) - self.bridge.mean(self.times)).abs().max() < 0.05
        spread = torch.stack([torch.cov(points.T) for points in states])
        assert (spread - self.bridge.covariance(self.times)).abs().max() < 0.12

    def iterate(self, offset: bool, cells: int, updates: int) -> tuple[float, float]:
        """Largest errors of mean and covariance over 20 times, after that many updates."""
        sde = MatrixSDE(2, self.schedule, cells=cells)
        for _ in range(updates):
            moments = exact_moments(sde, self.mean, self.covariance)
            step = exact_step(moments, 1.0, offset=offset)
            shift = sde.shift + step.offset if offset else None
            sde.set_drift(sde.drift_matrix() + step.matrix, shift)
        mean, spread = sde.marginal(self.mean, self.covariance, self.times.view(-1, 1, 1))
        return (
            (mean[:, 0] - self.bridge.mean(self.times)).abs().max().item(),
            (spread - self.bridge.covariance(self.times)).abs().max().item(),
        )

    def test_an_affine_drift_finds_it(self) -> None:
        mean, spread = self.iterate(offset=True, cells=32, updates=5)
        assert mean < 1e-3
        assert spread < 1e-3

    def test_a_linear_drift_cannot(self) -> None:
        mean, _ = self.iterate(offset=False, cells=12, updates=5)
        assert mean > 0.3

    def test_indefinite_covariances_are_refused(self) -> None:
        with pytest.raises(ValueError, match="positive definite"):
            GaussianBridge(self.mean, torch.tensor([[1.0, 2.0], [2.0, 1.0]]), self.schedule)


class TestStepSizes:
    def test_they_fall_as_said(self) -> None:
        steps = StepSizes(0.8, 1.0, 3.0)
        assert [steps(k) for k in (1, 5)] == [0.2, 0.1]
        assert StepSizes(0.5)(7) == 0.5

    @pytest.mark.parametrize(
        "options", [{"scale": 0.0}, {"scale": 1.5}, {"decay": 1.5}, {"delay": -1.0}]
    )
    def test_what_cannot_be_is_refused(self, options: dict) -> None:
        with pytest.raises(ValueError, match="step"):
            StepSizes(**options)


@pytest.mark.parametrize("cells", [1, 3, torch.tensor([0.0, 0.1, 1.0])])
def test_walks_take_equal_steps_of_beta_in_every_cell(cells: int | Tensor) -> None:
    sde = FixedBasisSDE(2, VariancePreserving(0.1, 10.0, exponent=1.7), cells=cells)
    times, weights, places = walk(sde, 12)
    assert (times.diff() < 0).all()
    assert set(sde.edges.tolist()) <= set(times.tolist())
    assert sum(weights) == pytest.approx(float(sde.schedule.integrated_rate(torch.tensor(1.0))))
    for cell in range(sde.cells):
        inside = torch.tensor(
            [w for w, place in zip(weights, places, strict=True) if place == cell]
        )
        assert len(inside) == 12 // sde.cells
        torch.testing.assert_close(inside, inside.mean().expand_as(inside), rtol=1e-3, atol=0)
    steps = zip(places, weights, times[:-1], times[1:], strict=True)
    for place, weight, high, low in steps:
        assert sde.edges[place] <= low < high <= sde.edges[place + 1]
        covered = sde.schedule.integrated_rate(high) - sde.schedule.integrated_rate(low)
        assert weight == pytest.approx(float(covered), rel=1e-6)
