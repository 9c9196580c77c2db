"""Log-densities of futures in the data's own units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk
from tsdiff.datasets import truncate
from tsdiff.evaluation import negative_log_likelihood
from tsdiff.transforms import forecast_windows, load_series

SCALINGS = [
    "none",
    "mean",
    "standard",
    "increment",
    "seasonal",
    "whitened",
    "whitened_level",
    "pooled",
]


def fitted(dims: int = 2, kind=tsdiff.FlowMatchingEstimator, **options):
    return kind(**SMALL | options).fit([entry(random_walk(160, dims))], progress=False)


@pytest.fixture(scope="module")
def trained():
    return fitted(3, tsdiff.ScoreEstimator)


@pytest.mark.parametrize("scaling", ["none", "standard", "seasonal", "whitened"])
def test_densities_of_values_have_mass_one(scaling):
    """Whatever the coordinates are: over the values that the last step might have had."""
    predictor = fitted(1, scaling=scaling, prediction_length=1, linear="none")
    walk = random_walk(100, 1)
    spread = 12.0 * (np.ptp(walk[0]) if scaling in ("none", "standard") else 1.0)
    values = walk[0, -2] + np.linspace(-spread, spread, 401)
    entries = []
    for value in values:
        target = walk.copy()
        target[0, -1] = value
        entries.append(entry(target))
    density = np.exp(predictor.log_prob(entries, num_steps=12, batch_size=401))
    assert density.shape == (401, 1)
    assert density.sum() * (values[1] - values[0]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_volumes_are_those_of_the_map(scaling):
    predictor = fitted(3, scaling=scaling)
    model = predictor.model
    series = load_series([entry(random_walk(100, 3, seed=s)) for s in (1, 2)], "D", 0)
    window = forecast_windows(series, model.past_length + SMALL["prediction_length"], 0)

    def residuals(last: torch.Tensor) -> torch.Tensor:
        target = torch.cat([window.target[:, :-1], last.unsqueeze(1)], dim=1)
        return model.future_residuals(window._replace(target=target))[0].view(2, -1, 3)[:, -1]

    jacobian = torch.autograd.functional.jacobian(residuals, window.target[:, -1])
    for row in range(2):
        volume = torch.linalg.slogdet(jacobian[row, :, row])[1]
        assert -model.frame(window).log_volume[row].item() == pytest.approx(volume.item(), abs=1e-9)


@pytest.mark.parametrize("kind", [tsdiff.FlowMatchingEstimator, tsdiff.VSDMEstimator])
def test_units_shift_it_and_nothing_else(kind):
    """Models of millionths and of millions differ by the logarithm of the unit, for each value."""
    walk, found = random_walk(160, 2), []
    for unit in (1.0, 1e6):
        predictor = kind(**SMALL).fit([entry(unit * walk)], progress=False)
        found.append(predictor.log_prob([entry(unit * walk)], num_steps=8))
    np.testing.assert_allclose(found[0] - found[1], 2 * np.log(1e6), atol=0.02)


def test_the_truth_of_a_known_law_is_as_likely_as_the_law_says():
    """An untrained model of a random walk is all but the walk's own law."""
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.8, 0.6]])
    walk = (mixing @ rng.standard_normal((2, 3000))).cumsum(axis=1)
    options = {"scaling": "whitened", "linear": "none", "max_epochs": 1, "num_batches_per_epoch": 1}
    estimator = tsdiff.FlowMatchingEstimator(**SMALL | options, learning_rate=1e-9)
    predictor = estimator.fit([entry(walk)], progress=False)
    windows = [truncate(entry(walk), length) for length in range(500, 3000, 10)]
    found = negative_log_likelihood(predictor, windows, num_steps=4)
    entropy = 0.5 * (1.0 + np.log(2 * np.pi)) + 0.5 * np.log(0.6)
    assert 0.0 < found.error < 0.03
    assert entropy - 4 * found.error < found.value < entropy + 4 * found.error + 0.05


def test_the_future_is_not_known_to_its_past(trained):
    """Steps before a change keep their density; the step itself loses its own."""
    target = random_walk(100)
    changed = target.copy()
    changed[:, -2] += 50.0
    one, other = trained.log_prob([entry(target), entry(changed)], num_steps=8)
    np.testing.assert_allclose(one[:2], other[:2], rtol=1e-4, atol=1e-3)
    assert other[2] < one[2] - 10.0


@pytest.mark.parametrize("method", ["ode", "elbo"])
def test_missing_values_leave_their_steps_out(trained, method):
    target = random_walk(100)
    target[1, -3] = np.nan
    (found,) = trained.log_prob([entry(target)], method=method)
    # Each step is measured from the one before.
    assert np.isnan(found).tolist() == [False, True, True, False]
    target = random_walk(100)
    target[:, -8:-4] = np.nan
    (found,) = trained.log_prob([entry(target)], method=method)
    assert np.isnan(found).tolist() == [True, False, False, False]
    assert np.isfinite(trained.log_prob([entry(random_walk(7))], method=method)).all()


@pytest.mark.parametrize(
    "options", [{"trace": "hutchinson", "num_steps": 4}, {"method": "elbo", "num_draws": 8}]
)
def test_results_depend_on_seed_and_place_and_not_on_the_batch(trained, options):
    entries = [entry(random_walk(100, seed=s)) for s in range(5)]
    together, apart = (trained.log_prob(entries, batch_size=n, **options) for n in (32, 2))
    assert together.shape == (5, SMALL["prediction_length"])
    assert together.dtype == np.float64
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)
    assert not np.allclose(together, trained.log_prob(entries, seed=1, **options), atol=1e-4)


def test_the_bound_lies_below_the_density_on_average(trained):
    entries = [entry(random_walk(100, seed=s)) for s in range(20)]
    gap = trained.log_prob(entries) - trained.log_prob(entries, method="elbo")
    assert -0.05 < gap.mean() < 1.0


def test_the_order_of_columns_has_no_say():
    table = frame(random_walk())
    predictor = tsdiff.FlowMatchingEstimator(**SMALL).fit(table, progress=False)
    usual, shuffled = (predictor.log_prob(t) for t in (table, table[["x2", "x0", "x1"]]))
    np.testing.assert_array_equal(usual, shuffled)
    assert np.isfinite(negative_log_likelihood(predictor, table).value)


def test_errors_teach(trained):
    entries = [entry(random_walk(100))]
    with pytest.raises(ValueError, match="unknown method 'exact': expected one of ode, elbo"):
        trained.log_prob(entries, method="exact")
    with pytest.raises(TypeError, match="has no option 'num_steps'; it has: num_draws"):
        trained.log_prob(entries, method="elbo", num_steps=3)
    with pytest.raises(ValueError, match="unknown trace 'all'"):
        trained.log_prob(entries, trace="all")
    for option in ("num_steps", "num_probes", "batch_size"):
        with pytest.raises(ValueError, match=f"{option} must be a positive integer, got 0"):
            trained.log_prob(entries, **{option: 0})
    with pytest.raises(tsdiff.DataError, match="has 4 steps, and at least 5 are needed"):
        trained.log_prob([entry(random_walk(4))])
    with pytest.raises(tsdiff.DataError, match="has 2 dimensions"):
        trained.log_prob([entry(random_walk(100, 2))])
    kac = fitted(2, path="kac", max_epochs=1, num_validation_windows=0)
    with pytest.raises(ValueError, match="point masses"):
        kac.log_prob([entry(random_walk(100, 2))])
