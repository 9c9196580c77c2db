"""Preferences: what the loss is, and what learning from it does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, random_walk, samples_of
from tsdiff.decoders import FlowMatching
from tsdiff.guidance.preferences import Futures, preference_loss
from tsdiff.networks import ResidualMLP
from tsdiff.random import seeded

SERIES = random_walk(300, 2)


def futures(shift: float, rows: int = 6) -> Futures:
    events = torch.randn(rows, 1, 2, generator=seeded(0)) + shift
    return Futures(torch.zeros(rows, 1, 3), events)


def decoder(seed: int) -> FlowMatching:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ResidualMLP(2, 3, width=16, num_blocks=1)
        torch.nn.init.normal_(network.outlet.weight, std=0.3)
    return FlowMatching(network, 2)


def loss(model, reference, beta=0.5, better=1.0, worse=-1.0):
    pairs = futures(better), futures(worse)
    return preference_loss(model, reference, *pairs, num_windows=3, beta=beta, entropy=(1, 2))


def test_a_model_that_is_its_reference_can_tell_nothing():
    assert loss(decoder(0), decoder(0)).item() == pytest.approx(math.log(2.0), rel=1e-6)


def test_the_published_loss():
    model, reference = decoder(0), decoder(1)
    errors = {}
    for name, one in (("model", model), ("reference", reference)):
        for side, shift in (("+", 1.0), ("-", -1.0)):
            context, events = futures(shift)
            elementwise = one.loss(events, context, generator=seeded(1, 2))
            errors[name + side] = elementwise.reshape(3, -1).sum(1)
    gain = (errors["model+"] - errors["reference+"]) - (errors["model-"] - errors["reference-"])
    expected = -torch.log(torch.sigmoid(-0.5 * gain)).mean()
    torch.testing.assert_close(loss(model, reference), expected)


def test_its_gradient_tells_better_from_worse():
    model, reference = decoder(0), decoder(0)
    before = loss(model, reference)
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    assert loss(model, reference).item() < before.item()
    assert all(parameter.grad is None for parameter in reference.parameters())


@pytest.fixture(scope="module")
def trained():
    return tsdiff.FlowMatchingEstimator(**SMALL).fit([entry(SERIES)], progress=False)


def dear_if_low(made, truths):
    return (truths - made).clamp_min(0.0).mean((1, 2))


OPTIONS = {"num_windows": 64, "num_updates": 60, "learning_rate": 3e-3, "progress": False}


def test_forecasts_move_to_where_costs_are_low(trained):
    before = samples_of(trained, [entry(SERIES)], num_samples=200)
    weights = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    taught = trained.prefer([entry(SERIES)], dear_if_low, **OPTIONS)
    after = samples_of(taught, [entry(SERIES)], num_samples=200)
    assert (after.mean((0, 1)) > before.mean((0, 1)) + 0.3).all()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert all(parameter.requires_grad for parameter in taught.model.parameters())
    for name, tensor in taught.model.state_dict().items():
        if not name.startswith("decoder.network"):
            assert torch.equal(tensor, weights[name]), name


def test_a_large_beta_stays_near(trained):
    before = samples_of(trained, [entry(SERIES)], num_samples=200).mean()
    near, far = (
        samples_of(
            trained.prefer([entry(SERIES)], dear_if_low, beta=beta, **OPTIONS),
            [entry(SERIES)],
            num_samples=200,
        ).mean()
        for beta in (5.0, 0.05)
    )
    assert abs(near - before) < abs(far - before)


def test_it_is_repeatable_and_can_be_saved(trained, tmp_path):
    options = OPTIONS | {"num_updates": 3}
    taught = trained.prefer([entry(SERIES)], dear_if_low, **options)
    again = trained.prefer([entry(SERIES)], dear_if_low, **options)
    assert taught == again
    taught.save(tmp_path)
    assert tsdiff.load(tmp_path) == taught


def test_what_cannot_be_learned_from(trained):
    with pytest.raises(ValueError, match="one finite number per future"):
        trained.prefer([entry(SERIES)], lambda made, truths: made, **OPTIONS)
    with pytest.raises(ValueError, match="NaN or infinite ones"):
        trained.prefer([entry(SERIES)], lambda made, _: made.mean((1, 2)) * np.nan, **OPTIONS)
    with pytest.raises(ValueError, match="got float"):
        trained.prefer([entry(SERIES)], lambda made, _: 1.0, **OPTIONS)
    with pytest.raises(ValueError, match="nothing to prefer"):
        trained.prefer([entry(SERIES)], lambda made, _: torch.ones(len(made)), **OPTIONS)
    with pytest.raises(TypeError, match="has no option 'epochs'"):
        trained.prefer([entry(SERIES)], dear_if_low, epochs=3)
    with pytest.raises(ValueError, match="beta must be positive"):
        trained.prefer([entry(SERIES)], dear_if_low, beta=0.0)
    few = tsdiff.ConsistencyEstimator(**SMALL | {"max_epochs": 1})
    with pytest.raises(ValueError, match="can't be learned by Consistency"):
        few.fit([entry(SERIES)], progress=False).prefer([entry(SERIES)], dear_if_low)
    with pytest.raises(ValueError, match="num_candidates"):
        trained.prefer([entry(SERIES)], dear_if_low, num_candidates=1)
    holes = SERIES.copy()
    holes[0, ::2] = np.nan
    with pytest.raises(tsdiff.DataError, match="without missing values"):
        trained.prefer([entry(holes)], dear_if_low, progress=False)
