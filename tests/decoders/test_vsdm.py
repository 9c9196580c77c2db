"""VSDM: SGM where A = 0, the fixed points of theory, and what its parts promise."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import Tensor

from tests.decoders.test_decoders import CONTEXT, mlp
from tsdiff.decoders import VSDM, ScoreSDE, VSDMWarning
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import empty_context, fit_points, sample_points, trajectories
from tsdiff.networks import Network, ResidualMLP
from tsdiff.processes import FixedBasisSDE, VariancePreserving
from tsdiff.random import seeded
from tsdiff.solvers import SOLVERS

VP = VariancePreserving(0.1, 10.0, exponent=1.7)
MEAN = torch.tensor([1.0, -2.0, 0.5]).double()
FACTOR = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.3, -0.4, 1.0]]).double()
COVARIANCE = FACTOR @ FACTOR.mT
STRUCTURES = ("principal", "diagonal", "low_rank", "full")


def context(rows: int) -> Tensor:
    return torch.randn(rows, 1, CONTEXT, generator=seeded(11))


def events(rows: int) -> Tensor:
    noise = torch.randn(rows, 1, 3, generator=seeded(12))
    return (MEAN + noise.double() @ FACTOR.mT).float()


def vsdm(structure: str = "principal", *, random: bool = False, **options) -> VSDM:
    options = {"schedule": VP, "num_stages": 6, "num_paths": 64, "path_steps": 8} | options
    rank = 1 if structure == "low_rank" else None
    decoder = VSDM(mlp(3, random=random), 3, structure=structure, rank=rank, **options)
    decoder.set_data_moments(MEAN, COVARIANCE)
    return decoder


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VSDMWarning)
        yield


class TestWithoutDrift:
    """With A = 0, VSDM is SGM along the same axes, to the bit."""

    kinds = pytest.mark.parametrize("structure", STRUCTURES)

    def pair(self, structure: str) -> tuple[VSDM, ScoreSDE]:
        ours = vsdm(structure, random=True, source="matched")
        theirs = ScoreSDE(mlp(3, random=True), 3, path=VP, axes=copy.deepcopy(ours.axes))
        theirs.set_data_moments(MEAN, COVARIANCE)
        return ours, theirs

    @kinds
    def test_losses_are_identical(self, structure: str) -> None:
        ours, theirs = self.pair(structure)
        x0 = torch.randn(16, 1, 3, generator=seeded(1))
        one, other = (d.loss(x0, context(16), generator=seeded(2)) for d in (ours, theirs))
        assert torch.equal(one, other)
        gradients = [
            torch.autograd.grad(v.mean(), d.network.outlet.weight)[0]
            for v, d in ((one, ours), (other, theirs))
        ]
        assert torch.equal(*gradients)

    @kinds
    @pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"consistency"}))
    @torch.no_grad()
    def test_samples_are_identical(self, structure: str, solver: str) -> None:
        ours, theirs = self.pair(structure)
        drawn = [
            d.sample(context(8), solver=solver, num_steps=5, generator=seeded(3))
            for d in (ours, theirs)
        ]
        assert torch.equal(*drawn)


class TestFixedPoints:
    """An untrained decoder has the exact score of Gaussian data with its spreads."""

    std = torch.tensor([2.097, 18.67]).double()

    def settle(self, stages: int, start: tuple[float, float], **options) -> Tensor:
        options = {
            "schedule": VP,
            "num_stages": stages,
            "num_paths": 4000,
            "step_size": 1.0,
            "axes": Axes("common", 2, rescale=False),
            "structure": "diagonal",
        } | options
        decoder = VSDM(ResidualMLP(2, 1), 2, **options)
        decoder.set_data_moments(torch.zeros(2), torch.diag(self.std**2))
        decoder.path.set_spectrum(torch.tensor(start).double() / 10.0)
        for stage in range(stages):
            decoder.refresh(
                torch.zeros(8, 1, 2), empty_context(8, torch.zeros(1)), seeded(0, stage)
            )
        return decoder.scaled_eigenvalues[0]

    def test_constant_drift(self) -> None:
        """5.80 / 15.65 follow from the equation of the fixed point (see test_variational)."""
        found = self.settle(16, (8.0, 14.5))
        assert found[0].item() == pytest.approx(5.80, abs=0.35)
        assert found[1].item() == pytest.approx(15.65, abs=0.9)

    def test_the_conditional_prior(self) -> None:
        found = self.settle(16, (7.0, 18.0), zeta=0.85, loss_prior="conditional")
        assert found[0].item() == pytest.approx(5.03, abs=0.4)
        assert found[1].item() == pytest.approx(18.95, abs=1.2)

    def test_a_full_matrix_finds_the_axes(self) -> None:
        """Rotated data: the fast axis of a learned D is the long one of the data."""
        long = torch.tensor([math.cos(0.6), math.sin(0.6)])
        across = torch.tensor([-math.sin(0.6), math.cos(0.6)])
        noise = torch.randn(4000, 2, generator=seeded(4)) * torch.tensor([3.0, 1.0])
        points = noise @ torch.stack([long, across])
        decoder = VSDM(
            ResidualMLP(2, 1, width=32),
            2,
            schedule=VP,
            structure="full",
            stage=15,
            num_stages=20,
            num_paths=1000,
            axes=Axes("principal", 2, rescale=False),
        )
        with torch.enable_grad():
            fit_points(decoder, points, num_updates=400, batch_size=128, learning_rate=5e-3)
        values, fastest = decoder.path.eigenvalues[0].max(dim=0)
        axis = decoder.axes.basis[:, fastest]
        assert abs(float(axis @ long)) > math.cos(0.25)
        assert values > 1.2 * decoder.path.eigenvalues[0].min()


class TestStages:
    @pytest.mark.parametrize("structure", STRUCTURES)
    @pytest.mark.parametrize("method", ["exact", "gradient"])
    @pytest.mark.parametrize("averaging", ["none", "polyak", "ema"])
    def test_every_kind_moves_rests_and_samples(
        self, structure: str, method: str, averaging: str
    ) -> None:
        decoder = vsdm(structure, method=method, averaging=averaging, iterations=30)
        seen = []
        for stage in range(8):
            decoder.refresh(events(32), context(32), seeded(5, stage))
            seen.append(decoder.path.eigenvalues.clone())
        assert int(decoder.stages) == 6
        assert not torch.equal(seen[0], seen[3])
        assert torch.equal(seen[5], seen[7])
        x = decoder.sample(context(8), generator=seeded(6))
        assert x.isfinite().all()
        loss = decoder.loss(torch.randn(8, 1, 3), context(8), generator=seeded(7))
        assert loss.isfinite().all()

    def test_offsets_need_an_origin_to_matter(self) -> None:
        """Data about their mean have nothing to be carried; about the origin they have."""
        about_mean = vsdm(zeta=1.0, cells=4, offset=True, num_paths=4000)
        about_origin = vsdm(zeta=1.0, cells=4, offset=True, about="origin", num_paths=4000)
        for decoder in (about_mean, about_origin):
            decoder.refresh(events(8), context(8), seeded(8))
        assert about_mean.path.shift.abs().max() < 0.1
        assert about_origin.path.shift.abs().max() > 0.1

    def test_averages(self) -> None:
        decoder = vsdm(averaging="polyak")
        values = []
        for stage in range(6):
            decoder.refresh(events(32), context(32), seeded(5, stage))
            values.append(decoder.path.eigenvalues.clone())
        # The last is replaced by the average of itself and the two before.
        other = vsdm(averaging="none")
        for stage in range(6):
            other.refresh(events(32), context(32), seeded(5, stage))
        expected = torch.stack([*values[3:5], other.path.eigenvalues]).mean(0)
        torch.testing.assert_close(values[5], expected)

    def test_a_binding_clamp_warns(self) -> None:
        decoder = vsdm(eigenvalue_range=(0.99, 1.01))
        with pytest.warns(VSDMWarning, match=r"eigenvalues of D were held in \[0.99, 1.01\]"):
            decoder.refresh(events(8), context(8), seeded(1))

    def test_a_refresh_depends_on_its_generator_alone(self) -> None:
        one, other = vsdm(random=True), vsdm(random=True)
        torch.manual_seed(1)
        one.refresh(events(8), context(8), seeded(3))
        torch.manual_seed(2)
        other.refresh(events(8), context(8), seeded(3))
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name

    def test_a_loaded_decoder_goes_on_where_it_was(self) -> None:
        one, other = vsdm(random=True), vsdm(random=True)
        for stage in range(2):
            one.refresh(events(8), context(8), seeded(3, stage))
        other.load_state_dict(one.state_dict())
        for decoder in (one, other):
            decoder.refresh(events(8), context(8), seeded(3, 2))
        assert torch.equal(one.path.eigenvalues, other.path.eigenvalues)
        drawn = [d.sample(context(4), generator=seeded(1)) for d in (one, other)]
        assert torch.equal(*drawn)

    def test_phases_are_due_every_stage(self) -> None:
        (phase,) = vsdm(stage=5).phases()
        assert [update for update in range(12) if phase.due(update)] == [5, 10]
        assert vsdm(num_stages=0, source="matched").phases() == ()


class TestSource:
    @pytest.mark.parametrize(
        "covariance",
        [
            torch.diag(torch.tensor([1.0, 0.0, 4.0])),
            torch.ones(3, 3),
            torch.diag(torch.tensor([1.0, 1e-4, 1e-6])),
        ],
    )
    @torch.no_grad()
    def test_flat_axes_stay_narrow(self, covariance: Tensor) -> None:
        """Dimensions that depend on one another, or never change, with the default sampler."""
        decoder = VSDM(mlp(3), 3, num_stages=0)
        decoder.set_data_moments(torch.zeros(3), covariance)
        x = decoder.sample(context(4000), generator=seeded(3)).squeeze(1)
        excess = (torch.cov(x.mT) - covariance).abs().max() / covariance.max()
        assert excess < 0.1
        if covariance[0, 1] == 1.0:
            assert (x[:, 0] - x[:, 1]).std() < 0.06
        else:
            assert (x.std(0) <= 1.05 * covariance.diagonal().sqrt() + 0.06).all()

    def test_contexts_move_it(self) -> None:
        """A network that knows the data: x_1 starts where that knowledge says."""

        class Knowing(Network):
            """F of data that the context names: ξ is then certain."""

            def bind(self, known: Tensor):
                def predict(u: Tensor, t: Tensor) -> Tensor:
                    k = decoder.coefficients(t)
                    r = torch.sqrt(k.a**2 + k.b**2)
                    signal, level = k.a / r, k.b / r
                    return (signal * u - known) / level

                return predict

        decoder = VSDM(Knowing(), 1, schedule=VariancePreserving(0.1, 2.0), structure="diagonal")
        decoder.set_data_moments(torch.zeros(1), torch.ones(1, 1))
        known = torch.tensor([-1.0, 2.0]).repeat_interleave(5000).view(-1, 1, 1)
        for _ in range(150):
            decoder._attune_source(known, known)
        assert decoder.residuals.variance.item() < 1e-5
        field = decoder.field(known)
        x = decoder.draw_source(field, known, seeded(5))
        k = decoder.path.coefficients(torch.ones(1, 1, 1))
        for value, rows in ((-1.0, x[:5000]), (2.0, x[5000:])):
            assert rows.mean().item() == pytest.approx(k.a.item() * value, abs=0.06)
            assert rows.std().item() == pytest.approx(k.b.item(), rel=0.05)

    @pytest.mark.parametrize("structure", STRUCTURES)
    def test_the_matched_one_has_the_moments_of_the_process(self, structure: str) -> None:
        decoder = vsdm(structure, source="matched")
        decoder.refresh(events(16), context(16), seeded(1))
        count = 50_000
        like = torch.zeros(count, 1, 3)
        start = decoder.draw_source(decoder.field(context(1)), like, seeded(5)).squeeze(1).double()
        data = MEAN + torch.randn(count, 3, generator=seeded(6)).double() @ FACTOR.mT
        k = decoder.path.coefficients(torch.ones(1, 1, 1))
        along = decoder.axes.enter(data.float().unsqueeze(1))
        end = (k.a * along + k.b * torch.randn(count, 1, 3, generator=seeded(7))).squeeze(1)
        torch.testing.assert_close(
            torch.cov(start.mT), torch.cov(end.double().mT), rtol=0, atol=0.06
        )
        assert start.mean(0).abs().max() < 0.05

    def test_untrained_contexts_leave_all_variance(self) -> None:
        decoder = vsdm()
        for _ in range(20):
            decoder._attune_source(events(4000), context(4000))
        torch.testing.assert_close(
            decoder.residuals.variance, decoder.axes.variance, rtol=0.1, atol=0
        )


class TestClouds:
    points = MEAN[:2].float() + torch.randn(2000, 2, generator=seeded(9)) * torch.tensor([0.5, 3.0])

    def test_the_process_adapts_to_a_cloud(self) -> None:
        decoder = VSDM(
            ResidualMLP(2, 1, width=16, num_blocks=1),
            2,
            schedule=VP,
            stage=10,
            num_stages=10,
            num_paths=1000,
            structure="diagonal",
            axes=Axes("common", 2, rescale=False),
        )
        updates = []
        fit_points(
            decoder,
            self.points,
            num_updates=120,
            batch_size=64,
            watch=lambda update, _: updates.append(update),
        )
        assert updates == list(range(10, 120, 10))
        narrow, wide = decoder.scaled_eigenvalues[0].tolist()
        assert narrow < 6.0
        assert wide > 7.0
        drawn = sample_points(decoder, 2000)
        torch.testing.assert_close(drawn.std(0), self.points.std(0), rtol=0.1, atol=0)

    def test_trajectories_end_in_samples(self) -> None:
        decoder = VSDM(
            ResidualMLP(2, 1, width=16),
            2,
            schedule=VP,
            zeta=1.0,
            offset=True,
            about="origin",
            cells=2,
        )
        decoder.set_data_moments(self.points.double().mean(0), torch.cov(self.points.double().T))
        ways, times = trajectories(decoder, 50, num_steps=6)
        assert ways.shape == (7, 50, 2)
        assert times[0] == 1.0
        assert times[-1] == 0.0
        torch.testing.assert_close(ways[-1], sample_points(decoder, 50, num_steps=6))
        # The process falls from the mean to the origin, and what solvers carry does not show it.
        first = ways[0].mean(0)
        assert first.norm() < 0.5 * self.points.mean(0).norm() + 0.5

    def test_data_moments_start_it_anew(self) -> None:
        decoder = vsdm(random=True)
        for stage in range(3):
            decoder.refresh(events(64), context(64), seeded(1, stage))
        decoder.set_data_moments(MEAN, COVARIANCE)
        for name, tensor in vsdm(random=True).state_dict().items():
            assert torch.equal(tensor, decoder.state_dict()[name]), name

    def test_missing_values_do_not_touch_the_loss_of_known_ones(self) -> None:
        """Of correlated dimensions, one is not seen: the other's loss is what it was."""
        covariance = torch.tensor([[1.0, 0.95], [0.95, 1.0]]).double()
        decoder = VSDM(ResidualMLP(2, 1), 2, source="matched")
        decoder.set_data_moments(torch.zeros(2), covariance)
        x0 = (
            torch.randn(4000, 1, 2, generator=seeded(2))
            @ torch.linalg.cholesky(covariance).mT.float()
        )
        known = torch.ones_like(x0)
        known[..., 1] = 0.0
        filled = decoder.complete(x0 * known, known)
        assert torch.equal(filled[..., 0], x0[..., 0])
        losses = [
            decoder.loss(each, empty_context(4000, x0), generator=seeded(3))[..., 0].mean().item()
            for each in (x0, filled, x0 * known)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=0.12)
        assert losses[2] > 1.5 * losses[0]

    def test_a_second_fit_repeats_the_first(self) -> None:
        drawn = []
        for _ in range(2):
            torch.manual_seed(3)
            decoder = VSDM(ResidualMLP(2, 1, width=16), 2, stage=4, num_stages=2)
            fit_points(decoder, self.points, num_updates=12, batch_size=32)
            drawn.append(sample_points(decoder, 20))
        assert torch.equal(*drawn)

    @pytest.mark.parametrize(
        "points", [torch.zeros(3), torch.zeros(1, 2), torch.full((4, 2), math.nan)]
    )
    def test_bad_points_are_refused(self, points: Tensor) -> None:
        with pytest.raises(ValueError, match="points must be"):
            fit_points(vsdm(), points, num_updates=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "banded"}, "unknown structure 'banded': expected one of auto"),
        ({"structure": "low_rank", "rank": 3}, "rank between 1 and D - 1"),
        ({"zeta": 0.75, "cells": 4}, "a drift that varies in time has a fixed point at zeta=1"),
        ({"zeta": 1.0, "loss_prior": "conditional"}, "has no fixed point"),
        ({"zeta": 0.0}, r"zeta must lie in \(0, 1\]"),
        ({"zeta": 1.0, "cells": 3, "structure": "full"}, "common eigenvectors"),
        ({"method": "newton"}, "unknown method 'newton': expected one of exact, gradient"),
        ({"loss_prior": "flat"}, "unknown loss_prior 'flat'"),
        ({"averaging": "mean"}, "unknown averaging 'mean'"),
        ({"about": "median"}, "unknown about 'median'"),
        ({"step_size": 2.0}, "step size must lie"),
        ({"source": "data"}, "unknown source 'data'"),
        ({"path_solver": "magic"}, "unknown solver 'magic'"),
        ({"stage": 0}, "stage must be a positive integer"),
        ({"num_stages": -1}, "num_stages must not be negative"),
        ({"structure": "full", "axes": "own"}, "principal axes"),
        ({"axes": "raw"}, "raw axes are not centred"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VSDM(mlp(3), 3, **options)


def test_large_events_take_a_low_rank() -> None:
    decoder = VSDM(ResidualMLP(200, 1), 200)
    assert (decoder.structure, decoder.rank) == ("low_rank", 16)
    assert VSDM(mlp(3), 3).structure == "principal"
    assert isinstance(decoder.path, FixedBasisSDE)
