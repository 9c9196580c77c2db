"""Rectified flow: the same law along straighter lines, from pairs that the flow itself has made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import FlowMatching, RectifiedFlow
from tsdiff.decoders.clouds import fit_points, sample_points, trajectories
from tsdiff.evaluation import energy_distance, straightness
from tsdiff.networks import ResidualMLP
from tsdiff.random import seeded
from tsdiff.solvers import MissingFieldError


def two_modes(count: int, seed: int) -> Tensor:
    rng = seeded(seed)
    centres = 2.0 * torch.randint(0, 2, (count, 2), generator=rng) - 1.0
    return 3.0 * centres + 0.5 * torch.randn(count, 2, generator=rng)


@pytest.fixture(scope="module")
def teacher() -> FlowMatching:
    torch.manual_seed(0)
    network = ResidualMLP(2, 1, width=32, num_blocks=2)
    return fit_points(
        FlowMatching(network, 2), two_modes(8000, 1), num_updates=1000, batch_size=256
    )


@pytest.fixture(scope="module")
def student(teacher: FlowMatching) -> RectifiedFlow:
    return fit_points(
        RectifiedFlow(teacher), two_modes(8000, 1), num_updates=600, batch_size=256
    ).released()


def test_it_begins_as_its_teacher(teacher: FlowMatching) -> None:
    """The same weights, and no gradient goes to the teacher."""
    rectified = RectifiedFlow(teacher)
    options = {"solver": "heun", "num_steps": 5}
    ours, theirs = (sample_points(d, 50, **options) for d in (rectified, teacher))
    assert torch.equal(ours, theirs)
    rectified.loss(torch.zeros(4, 1, 2), torch.zeros(4, 1, 1)).sum().backward()
    assert all(p.grad is None for p in rectified.teacher.parameters())
    assert any(p.grad is not None for p in rectified.network.parameters())


def test_data_are_made_by_the_teacher(teacher: FlowMatching) -> None:
    """What the loss is given instead is not looked at."""
    rectified, context = RectifiedFlow(teacher), torch.zeros(6, 1, 1)
    losses = [
        rectified.loss(events, context, generator=seeded(3))
        for events in (torch.zeros(6, 1, 2), torch.full((6, 1, 2), 50.0))
    ]
    assert torch.equal(*losses)


def test_lines_are_straighter_and_few_steps_enough(
    teacher: FlowMatching, student: RectifiedFlow
) -> None:
    truth = two_modes(4000, 2).double().numpy()

    def distance(decoder: FlowMatching, steps: int) -> float:
        drawn = sample_points(decoder, 4000, solver="euler", num_steps=steps)
        return energy_distance(drawn.double().numpy(), truth)

    assert distance(student, 1) < 0.2 * distance(teacher, 1)
    assert distance(student, 2) < 0.2 * distance(teacher, 2)
    assert distance(student, 50) < 0.02
    bends = [
        straightness(*(array.double().numpy() for array in trajectories(d, 500, num_steps=50)))
        for d in (teacher, student)
    ]
    assert (bends[1] < 0.5 * bends[0]).all()


def test_a_learned_source_is_kept() -> None:
    torch.manual_seed(0)
    network = ResidualMLP(2, 1, width=16, num_blocks=1)
    flow, points = FlowMatching(network, 2, latent="learned"), two_modes(2000, 1)
    rectified = fit_points(
        RectifiedFlow(fit_points(flow, points, num_updates=20)), points, num_updates=3
    )
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            rectified.latent.parameters(), flow.latent.parameters(), strict=True
        )
    )


def test_its_pairs_have_no_score(student: RectifiedFlow) -> None:
    with pytest.raises(MissingFieldError, match="coupled noise"):
        sample_points(student, 4, solver="ancestral")


def test_curved_paths_cannot_be_rectified() -> None:
    with pytest.raises(ValueError, match="straight lines"):
        RectifiedFlow(FlowMatching(ResidualMLP(2, 1), 2, path="cosine"))
