"""A dimension that begins late: shortly before the end of training, or after it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from tests.estimators.small import SMALL
from tsdiff.datasets import DataWarning
from tsdiff.estimators import FlowMatchingEstimator, prepare
from tsdiff.transforms import load_series
from tsdiff.transforms.linear import limited_to_spread

LENGTH, HORIZON = 700, 7
OPTIONS = {
    **SMALL,
    "prediction_length": HORIZON,
    "context_length": 28,
    "lags": (1, 7),
    "num_validation_windows": 8,
    "max_epochs": 1,
}


def sales(days: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Three products with a week, levels of 20 to 5000; the last is sold for so many days."""
    rng = np.random.default_rng(seed)
    week = 1.0 + 0.3 * np.sin(2.0 * np.pi * np.arange(LENGTH) / 7.0)
    noise = 0.1 * rng.standard_normal((LENGTH, 3))
    levels = np.array([20.0, 300.0, 5000.0])
    values = levels * (week[:, None] + noise)
    if days is not None:
        values[:-days, 2] = np.nan
    index = pd.date_range("2022-01-03", periods=LENGTH, freq="D")
    return pd.DataFrame(values, index=index, columns=["a", "b", "new"])


def fitted(data: pd.DataFrame, decoding: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return FlowMatchingEstimator(**OPTIONS, decoding=decoding).fit(data, progress=False)


def bands(predictor, data: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Medians and widths of 80 % intervals, in units of the level, ``[T, 3]``."""
    (forecast,) = predictor.predict(data, num_samples=200)
    low, middle, high = np.quantile(forecast.samples, [0.1, 0.5, 0.9], axis=0)
    levels = np.array([20.0, 300.0, 5000.0])
    return middle / levels, (high - low) / levels


@pytest.mark.parametrize("decoding", ["autoregressive", "horizon"])
@pytest.mark.parametrize("days", [40, 66, 90])
def test_it_is_forecast_and_the_others_as_ever(decoding: str, days: int) -> None:
    """56 days are held out: of 40 there are none to train on, of 66 ten, of 90 thirty-four."""
    predictor = fitted(sales(days), decoding)
    assert all(np.isfinite(row["validation_crps_sum"]) for row in predictor.history)
    _, usual = bands(fitted(sales(), decoding), sales())
    middle, width = bands(predictor, sales(days))
    rising = 1.0 + 0.3 * np.sin(2.0 * np.pi * (LENGTH + np.arange(HORIZON)) / 7.0)
    assert np.abs(middle - rising[:, None]).max() < 0.25
    ratio = width.mean(0) / usual.mean(0)
    assert (ratio[:2] > 0.7).all()
    assert (ratio[:2] < 1.4).all()
    assert 0.4 < ratio[2] < 2.5


@pytest.mark.parametrize("decoding", ["autoregressive", "horizon"])
def test_fit_names_what_begins_too_late_to_be_learned(decoding: str) -> None:
    estimator = FlowMatchingEstimator(**OPTIONS, decoding=decoding)
    with pytest.warns(DataWarning, match="hardly any value of 'new' comes before"):
        estimator.fit(sales(40), progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        estimator.fit(sales(200), progress=False)
    assert not any("hardly any value" in str(warning.message) for warning in caught)


def test_short_data_are_not_late() -> None:
    entries = [_entry(np.ones((2, 20)))]
    assert prepare.late_dimensions(load_series([_entry(np.ones((2, 12)))], "D", 0), entries) == []


def test_late_are_dimensions_that_begin_while_others_are_there() -> None:
    target = np.ones((3, 200))
    target[1, :-40] = target[2, :-70] = np.nan
    kept = load_series([_entry(target[:, :-50])], "D", 0)
    assert prepare.late_dimensions(kept, [_entry(target)]) == [1, 2]
    assert prepare.late_dimensions(kept, [_entry(target[:, :-50])]) == []


def test_steps_of_which_no_dimension_is_always_there_still_tell_how_much_windows_count() -> None:
    """Where spreads come and go, windows are believed, whatever begins beside."""
    calm = np.where(np.arange(LENGTH) // 50 % 2, 0.1, 1.0)[:, None]
    data = sales(40)
    data = data.mean() + calm * (data - data.mean())
    alone = fitted(data.iloc[:, :2], "autoregressive").model.coordinates.pseudo_count
    beside = fitted(data, "autoregressive").model.coordinates.pseudo_count
    assert 0.2 < float(beside / alone) < 5.0


def test_limits_are_those_of_what_was_seen() -> None:
    target = torch.zeros(100, 2, dtype=torch.float64)
    target[-4:] = 1.0
    seen = target != 0.0
    assert limited_to_spread(target, seen).equal(target)
    assert limited_to_spread(target, torch.ones_like(seen)).equal(limited_to_spread(target))


def _entry(target: np.ndarray) -> dict:
    return {"target": target, "start": pd.Period("2022-01-03", "D")}
