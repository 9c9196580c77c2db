"""The law of residuals: Gaussian at first, then what batches say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders.residual_law import ResidualLaw
from tsdiff.random import seeded

NONE = torch.full((2,), 1e9)


def skewed(rows: int, seed: int) -> Tensor:
    """Correlated residuals ``[rows, 1, 2]``: one exponential, of variance 4; one Gaussian."""
    z = torch.randn(rows, 2, generator=seeded(seed))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    exponential = -torch.log1p(-torch.special.ndtr(z[:, 0])) - 1.0
    return torch.stack([2.0 * exponential, z[:, 1]], dim=-1).unsqueeze(1)


def test_it_starts_as_a_gaussian() -> None:
    law = ResidualLaw(2)
    law.reset(torch.tensor([4.0, 0.25]))
    noise = torch.randn(1000, 3, 2, generator=seeded(0))
    torch.testing.assert_close(law.draw(noise), noise * torch.tensor([2.0, 0.5]))


def test_it_follows_shape_and_dependence() -> None:
    law = ResidualLaw(2)
    for seed in range(80):
        law.follow(skewed(500, seed), NONE)
    drawn = law.draw(torch.randn(100_000, 2, generator=seeded(99)))
    truth = skewed(100_000, 100).squeeze(1)
    torch.testing.assert_close(drawn.mean(0), truth.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(0), truth.std(0), rtol=0.02, atol=0)
    assert torch.corrcoef(drawn.T)[0, 1] == pytest.approx(
        torch.corrcoef(truth.T)[0, 1].item(), abs=0.04
    )
    for level in (0.01, 0.1, 0.5, 0.9, 0.99):
        torch.testing.assert_close(
            drawn.quantile(level, 0), truth.quantile(level, 0), rtol=0.04, atol=0.06
        )


def test_a_bad_estimate_is_held_back() -> None:
    law = ResidualLaw(2)
    for seed in range(80):
        law.follow(100.0 * skewed(500, seed), torch.tensor([4.0, 1.0]))
    assert (law.variance <= torch.tensor([4.0, 1.0]) * 1.001).all()


def test_what_leaves_nothing_stays_finite() -> None:
    """No residual along one axis, a single event, and axes that are one."""
    for residuals in (skewed(50, 1) * torch.tensor([0.0, 1.0]), skewed(1, 1), torch.ones(9, 4, 2)):
        law = ResidualLaw(2)
        for _ in range(100):
            law.follow(residuals, NONE)
        assert law.draw(torch.randn(100, 2, generator=seeded(2))).isfinite().all()


def test_moments_turn_with_the_axes() -> None:
    law = ResidualLaw(2)
    for seed in range(80):
        law.follow(skewed(500, seed), NONE)
    spread = law.variance.sqrt()
    covariance = torch.outer(spread, spread) * law.correlation
    angle = torch.tensor(0.7)
    rotation = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    law.turn(rotation)
    spread = law.variance.sqrt()
    turned = torch.outer(spread, spread) * law.correlation
    torch.testing.assert_close(turned, rotation.T @ covariance @ rotation)


def test_many_axes_are_independent() -> None:
    law = ResidualLaw(129)
    law.follow(torch.randn(20, 2, 129, generator=seeded(3)), torch.ones(129))
    assert law.correlation.numel() == 0
    assert law.draw(torch.randn(7, 2, 129, generator=seeded(4))).shape == (7, 2, 129)
