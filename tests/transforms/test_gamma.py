"""Sizes of errors: the law's own weights are found, and little data leave them at zero."""

from __future__ import annotations

import pytest
import torch

from tsdiff.random import seeded
from tsdiff.transforms.gamma import gamma_regression, held_out_loss

WEIGHT = torch.tensor([0.5, -0.3, 0.0], dtype=torch.float64)


def sample(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares of normal errors whose variance has the logarithm ``3 + x' WEIGHT``."""
    design = torch.randn(count, 3, dtype=torch.float64, generator=seeded(1))
    noise = torch.randn(count, dtype=torch.float64, generator=seeded(2))
    return design, (3.0 + design @ WEIGHT).exp() * noise.square()


def test_weights_of_the_law_are_found():
    found = gamma_regression(*sample(50_000), prior=0.15)
    torch.testing.assert_close(found, WEIGHT, atol=0.03, rtol=0.0)


def test_scores_vanish_at_the_solution():
    """The gradient of the gamma law's log-density, where the prior is too wide to matter."""
    design, target = sample(400)
    design = design - design.mean(0)
    found = gamma_regression(design, target, prior=1e4)
    mean = (design @ found).exp()
    mean = mean * (target / mean).mean()
    score = design.T @ (target / mean - 1.0) / len(design)
    assert score.abs().max() < 0.1
    assert (design.T @ (target / target.mean() - 1.0) / len(design)).abs().max() > 0.3


def test_few_rows_say_little():
    few = gamma_regression(*sample(10), prior=0.15)
    assert few.abs().max() < 0.15
    overlapping = gamma_regression(*sample(2_000), prior=0.15, overlap=200.0)
    assert overlapping.abs().max() < 0.2


@pytest.mark.parametrize("size", [0.0, 1.0, 1e300])
def test_constant_sizes_need_no_weights(size):
    design, target = sample(100)
    found = gamma_regression(design, torch.full_like(target, size), prior=0.15)
    assert found.isfinite().all()
    if size:
        torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0.0)


def test_held_out_rows_tell_whether_weights_pay():
    design, target = sample(2_000)
    gain = held_out_loss(design, target, 0.0) - held_out_loss(design, target, 0.1)
    # The law's own gain is half the variance of the logarithm, 0.17, up to the next order.
    assert gain.mean().item() == pytest.approx(0.17, abs=0.05)
    noise = sample(100)[1][torch.randperm(100, generator=seeded(3))]
    lost = held_out_loss(design[:100], noise, 1.0) - held_out_loss(design[:100], noise, 0.0)
    assert lost.mean() > 0.0
