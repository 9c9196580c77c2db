"""The reference's bridges against Gaussian conditioning; fitting against the closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.processes import (
    GaussianBridge,
    GaussianCoupling,
    OrnsteinUhlenbeck,
    VariancePreserving,
)
from tsdiff.processes.bridge import fitted
from tsdiff.random import seeded

SCHEDULES = {
    "constant": VariancePreserving(2.0, 2.0),
    "linear": VariancePreserving(0.1, 10.0),
    "curved": VariancePreserving(0.1, 20.0, exponent=1.7),
}
every_schedule = pytest.mark.parametrize("schedule", list(SCHEDULES.values()), ids=list(SCHEDULES))
TIMES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64).view(-1, 1, 1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def joint_covariance(schedule: VariancePreserving, t: float) -> Tensor:
    """Covariance of ``(x_t, x_0, x_1)`` of the stationary process: ``exp(-½ ∫ β)`` between two."""
    at = schedule.integrated_rate(torch.tensor([t, 0.0, 1.0], dtype=torch.float64))
    return torch.exp(-0.5 * (at[:, None] - at[None, :]).abs())


class TestBridge:
    @every_schedule
    @pytest.mark.parametrize("t", [1e-3, 0.2, 0.5, 0.9, 0.999])
    def test_moments_are_those_of_conditioning(self, schedule, t: float) -> None:
        """``x_t`` of the stationary process, given its two ends."""
        spread = joint_covariance(schedule, t)
        gain = torch.linalg.solve(spread[1:, 1:], spread[1:, 0])
        left = spread[0, 0] - spread[0, 1:] @ gain
        at = torch.tensor(t, dtype=torch.float64)
        k0, k1, level = OrnsteinUhlenbeck(schedule).weights(at)
        torch.testing.assert_close(torch.stack([k0, k1]), gain, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(level, left, rtol=1e-7, atol=1e-12)

    @every_schedule
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_both_views_of_the_noise_are_that_bridge(self, schedule, dtype) -> None:
        process, t = OrnsteinUhlenbeck(schedule), TIMES.to(dtype)
        x0, x1, fresh = (normal(25, 1, 3, seed=s).to(dtype) for s in range(3))
        k, (c, d) = process.coefficients(t), process.to_end(t)
        from_data = k.a * x0 + k.b * process.noise_from_data(x0, x1, t, fresh)
        from_end = c * x1 + d * process.noise_from_end(x0, x1, t, fresh)
        k0, k1, level = process.weights(t)
        expected = k0 * x0 + k1 * x1 + level.sqrt() * fresh
        close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {}
        close = close or {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(from_data, expected, **close)
        torch.testing.assert_close(from_end, expected, **close)

    @every_schedule
    def test_without_a_choice_of_end_the_noise_is_standard(self, schedule) -> None:
        """``x_1`` by the reference: the bridge is the reference."""
        process, t = OrnsteinUhlenbeck(schedule), torch.tensor([[[0.3]]]).double()
        x0 = normal(200_000, 1, 1, seed=1)
        a, b = process.ends(x0)
        x1 = a * x0 + b * normal(200_000, 1, 1, seed=2)
        noise = process.noise_from_data(x0, x1, t, normal(200_000, 1, 1, seed=3))
        assert abs(noise.mean().item()) < 0.01
        assert noise.std().item() == pytest.approx(1.0, abs=0.01)
        assert abs((noise * x0).mean().item()) < 0.01

    @every_schedule
    def test_scores_of_the_transitions(self, schedule) -> None:
        """``∇ log q(x_t | x_0)`` and ``∇ log q(x_1 | x_t)`` as the two halves write them."""
        process = OrnsteinUhlenbeck(schedule)
        x0, x1, x = (normal(25, 1, 1, seed=s) for s in range(3))
        k, (c, d) = process.coefficients(TIMES), process.to_end(TIMES)
        x.requires_grad_()
        before = torch.distributions.Normal(k.a * x0, k.b).log_prob(x).sum()
        after = torch.distributions.Normal(c * x, d).log_prob(x1).sum()
        torch.testing.assert_close(
            torch.autograd.grad(before, x)[0], -(x - k.a * x0).detach() / k.b**2
        )
        torch.testing.assert_close(
            torch.autograd.grad(after, x)[0], (c * (x1 - c * x) / d**2).detach()
        )

    def test_it_is_the_variance_preserving_path(self) -> None:
        schedule = SCHEDULES["curved"]
        ours, theirs = (
            process.coefficients(TIMES)[:4] for process in (OrnsteinUhlenbeck(schedule), schedule)
        )
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))

    def test_a_schedule_is_needed(self) -> None:
        with pytest.raises(TypeError, match="schedule must have rate"):
            OrnsteinUhlenbeck(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


class TestFitting:
    mean = torch.tensor([-8.0, 2.0]).double()
    covariance = torch.tensor([[1.0, 1.0], [1.0, 5.0]]).double()
    schedule = VariancePreserving(1.0, 1.0)
    process = OrnsteinUhlenbeck(schedule)
    times = torch.linspace(0.0, 1.0, 21).double().unsqueeze(-1)

    def law(self, halves: int) -> tuple[GaussianCoupling, Tensor]:
        values, basis = torch.linalg.eigh(self.covariance)
        return fitted(self.process, self.mean @ basis, values, halves), basis

    def errors(self, halves: int) -> list[float]:
        """Largest errors of means, covariances and the ends' covariance."""
        bridge = GaussianBridge(self.mean, self.covariance, self.schedule)
        law, basis = self.law(halves)
        mean, variance = law.at(self.process, self.times)
        spread = basis * variance.unsqueeze(-2) @ basis.T
        t = self.times.squeeze(-1)
        pairs = (
            (mean @ basis.T, bridge.mean(t)),
            (spread, bridge.covariance(t)),
            (basis * law.cross @ basis.T, bridge.coupling),
        )
        return [float((found - truth).abs().max()) for found, truth in pairs]

    def test_it_reaches_the_closed_form(self) -> None:
        assert max(self.errors(0)) > 1.0
        assert max(self.errors(80)) < 1e-8
        # Sources that are right and data that are not yet, or the other way round.
        assert max(self.errors(81)) < 1e-8

    def test_errors_fall_with_every_iteration(self) -> None:
        errors = torch.tensor([self.errors(halves) for halves in range(0, 20, 2)])
        assert bool((errors.diff(dim=0) < 0.0).all())

    def test_each_half_mends_one_end(self) -> None:
        values, basis = torch.linalg.eigh(self.covariance)
        for halves in range(5):
            law, _ = self.law(halves)
            if halves % 2:
                assert torch.equal(law.mean_1, torch.zeros(2).double())
                assert torch.equal(law.variance_1, torch.ones(2).double())
            else:
                torch.testing.assert_close(law.mean_0, self.mean @ basis)
                torch.testing.assert_close(law.variance_0, values)

    @pytest.mark.parametrize("halves", [0, 1, 4])
    def test_what_ends_leave_open(self, halves: int) -> None:
        """Beside draws of the ends and of the bridge between them."""
        law, _ = self.law(halves)
        count, t = 200_000, torch.tensor([[0.4]]).double()
        z = normal(3, count, 2, seed=halves)
        x0 = law.mean_0 + law.variance_0.sqrt() * z[0]
        slope = law.cross / law.variance_0
        rest = (law.variance_1 - slope * law.cross).sqrt()
        x1 = law.mean_1 + slope * (x0 - law.mean_0) + rest * z[1]
        k0, k1, level = self.process.weights(t)
        x = k0 * x0 + k1 * x1 + level.sqrt() * z[2]
        mean, variance = law.at(self.process, t)
        torch.testing.assert_close(x.mean(0, keepdim=True), mean, rtol=0, atol=0.02)
        torch.testing.assert_close(x.var(0, keepdim=True), variance, rtol=0.02, atol=0)
        for end, open_variance in ((x0, law.open_data), (x1, law.open_end)):
            inside, centred = x - x.mean(0), end - end.mean(0)
            left = centred - (inside * centred).mean(0) / inside.square().mean(0) * inside
            torch.testing.assert_close(
                left.var(0, keepdim=True), open_variance(self.process, t), rtol=0.02, atol=0
            )

    def test_white_data_are_fitted_at_once(self) -> None:
        """The reference is stationary on them: a score-based model is the bridge."""
        first, later = (
            fitted(self.process, torch.zeros(3), torch.ones(3), halves) for halves in (0, 6)
        )
        for one, other in zip(first, later, strict=True):
            torch.testing.assert_close(one, other)

    def test_flat_axes_are_finite(self) -> None:
        law = fitted(self.process, torch.zeros(2), torch.tensor([0.0, 1.0]), 6)
        assert all(bool(value.isfinite().all()) for value in law)
