from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import DataError, get_dataset
from tsdiff.datasets.faults import faults, faults_of, magnitudes_of

N = 2000
TIME = np.arange(N)


def load(rng):
    """Hours with a day, a week and noise."""
    day, week = np.sin(2 * np.pi * TIME / 24), np.sin(2 * np.pi * TIME / 168)
    return 1000.0 + 300.0 * day + 100.0 * week + rng.normal(0.0, 30.0, N)


def solar(rng):
    return 500.0 * np.maximum(np.sin(2 * np.pi * TIME / 24), 0.0) * rng.uniform(0.1, 1.0, N)


def sales(rng):
    """A piece now and then."""
    return rng.poisson(3.0, N) * (rng.random(N) < 0.1).astype(float)


LAWS = {
    "load": load,
    "solar": solar,
    "sales": sales,
    "rare sales": lambda rng: rng.poisson(3.0, N) * (rng.random(N) < 0.02),
    "a bulk order": lambda rng: np.where(TIME == 700, 80.0, sales(rng)),
    "page views": lambda rng: np.round(rng.lognormal(3.0, 1.5, N)),
    "returns": lambda rng: rng.standard_t(3.0, N),
    "prices": lambda rng: 100.0 + rng.normal(size=N).cumsum(),
    "growth": lambda rng: np.exp(TIME / 150.0) * rng.lognormal(0.0, 0.1, N),
    "a trend": lambda rng: 10.0 * TIME + rng.normal(size=N),
    "cents of millions": lambda rng: 1e6 + rng.integers(0, 100, N) / 100.0,
    "a late step of millions": lambda rng: np.where(TIME > N - 3, 1.01e6, 1e6 + rng.random(N)),
    "constant": lambda rng: np.full(N, 3.0),
    "constant but once": lambda rng: np.where(TIME == 700, 3e6, 3.0),
    "constant but for rounding": lambda rng: 1e6 * (1.0 + 1e-16 * rng.normal(size=N)),
    "on and off": lambda rng: np.where(rng.random(N) < 0.05, 1000.0, 0.1 + 0.01 * rng.random(N)),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
def test_data_are_no_faults(law):
    for seed in range(20):
        assert not faults(law(np.random.default_rng(seed)).astype(float)).size


@pytest.mark.parametrize("name", ["ecb_exchange_rate", "seasonal_var"])
def test_shipped_data_have_no_faults(name):
    assert faults_of([get_dataset(name).test[-1]]) is None


@pytest.mark.archive
@pytest.mark.parametrize("name", ["exchange_rate", "gefcom2012_load", "rts_gmlc_solar"])
def test_data_of_the_mirror_have_no_faults(name, archive_mirror, tmp_path):
    data = get_dataset(name, cache=tmp_path, mirror=archive_mirror)
    assert faults_of([data.test[-1]]) is None


@pytest.mark.parametrize("law", [load, solar, sales])
@pytest.mark.parametrize("wrong", [1e6, -1e6])
def test_what_stands_apart_is_found(law, wrong):
    values = law(np.random.default_rng(0))
    values[[300, N - 1]] = wrong, 2.0 * wrong
    values[301:310] = np.nan
    assert list(faults(values)) == [N - 1, 300]


def test_a_thousandfold_value_is_found_anywhere():
    for place in range(0, N, 97):
        values = load(np.random.default_rng(place))
        values[place] *= 1000.0
        assert list(faults(values)) == [place]


def test_faults_are_told_by_column_series_time_and_value():
    rng = np.random.default_rng(0)

    def series(item, wrong):
        target = np.stack([load(rng) for _ in range(5)])
        target[wrong, 700] = 5e6
        names = ["north", "south", "east", "west", "centre"]
        start = pd.Period("2024-01-01 00:00", "h")
        return {"target": target, "start": start, "item_id": item, "dimension_names": names}

    assert faults_of([series("x", []), series("y", [])]) is None
    told = faults_of([series("x", [1])])
    assert told is not None
    assert told.startswith("column 'south' holds 5e+06 at 2024-01-30 04:00, where its median is 1")
    assert told.endswith("set it to NaN if it is a fault")
    told = faults_of([series("x", []), series("y", [0, 1, 2, 3, 4])])
    assert told is not None
    assert "column 'east' of series 'y' holds" in told
    assert "; and 2 more columns such values. " in told
    assert "west" not in told


def of_sizes(*sizes):
    target = np.random.default_rng(0).standard_normal((len(sizes), 50)) * np.array(sizes)[:, None]
    names = [f"x{d}" for d in range(len(sizes))]
    return [{"target": target, "start": pd.Period("2024-01-01", "D"), "dimension_names": names}]


def test_values_that_are_lost_in_rounding_are_told():
    assert magnitudes_of(of_sizes(1e-9, 0.0, 1.0, 1e99)) is None
    assert magnitudes_of(of_sizes(1e-15) + of_sizes(1.0)) is None
    told = magnitudes_of(of_sizes(1.0, 1e-15, 1e-25, 1e-30, 1e-40))
    assert told is not None
    assert told.startswith("no value is as large as 1e-10 of 'x1' (2.")
    assert "and 1 more: numbers as small are taken for rounding" in told


def test_values_whose_squares_are_infinite_are_refused():
    with pytest.raises(DataError, match=r"column 'x1' holds 2\.\de\+200.*larger units"):
        magnitudes_of(of_sizes(1.0, 1e200))
