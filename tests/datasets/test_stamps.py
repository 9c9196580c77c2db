"""Times come out as they went in, whichever way the data went."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.forecast import SampleForecast

from tsdiff.datasets import entry_to_frame, from_frame, rolling_windows, split_window, to_frame
from tsdiff.datasets.frames import forecast_info
from tsdiff.datasets.windows import first_step
from tsdiff.evaluation import LastValue

INDICES = {
    "month ends": ("ME", "2020-01-31"),
    "month ends at six": ("ME", "2020-01-31 06:00"),
    "month starts": ("MS", "2020-01-01"),
    "last business days": ("BME", "2020-01-31"),
    "quarter ends": ("QE", "2020-03-31"),
    "quarters that end in January": ("QE-JAN", "2020-01-31"),
    "year ends": ("YE", "2000-12-31"),
    "Wednesdays at noon": ("W-WED", "2020-01-01 12:00"),
    "days at six": ("D", "2020-01-01 06:00"),
    "business days at six": ("B", "2020-01-02 06:00"),
    "seven past": ("15min", "2020-01-01 00:07"),
    "half past": ("6h", "2020-01-01 00:30"),
    "two days": ("2D", "2020-01-01 18:00"),
}


def index_of(kind, count=40):
    freq, start = INDICES[kind]
    return pd.date_range(start, periods=count, freq=freq)


def frame(index):
    return pd.DataFrame({"a": np.arange(len(index)), "b": 1.0}, index=index)


@pytest.mark.parametrize("kind", INDICES)
@pytest.mark.filterwarnings("error")
def test_a_forecast_continues_the_times_of_the_frame(kind):
    index = index_of(kind)
    (entry,) = from_frame(frame(index[:-4]))
    table = to_frame(list(LastValue(prediction_length=4).predict([entry])))
    assert list(pd.DatetimeIndex(table["time"].unique())) == list(index[-4:])
    assert set(table["dimension"]) == {"a", "b"}


@pytest.mark.parametrize("kind", INDICES)
def test_earlier_windows_and_the_way_back_have_them_too(kind):
    index = index_of(kind)
    (entry,) = from_frame(frame(index))
    assert list(entry_to_frame(entry).index) == list(index)
    first, _ = rolling_windows([entry], 4, 2)
    history, _ = split_window(first, 4)
    assert list(entry_to_frame(history).index) == list(index[:-8])
    forecast = SampleForecast(
        np.zeros((3, 4, 2)), first_step(first, 4), info=forecast_info(history)
    )
    assert list(to_frame(forecast)["time"].unique()) == list(index[-8:-4])


@pytest.mark.parametrize("kind", ["month ends", "days at six", "business days at six", "half past"])
def test_gaps_do_not_hide_them(kind):
    index = index_of(kind)
    (entry,) = from_frame(frame(index).drop(index[[7, 20, 21]]), fill_gaps=True)
    assert list(entry_to_frame(entry).index) == list(index)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_histories_of_month_ends_go_on_as_month_ends(count):
    index = pd.DatetimeIndex(["2021-07-31", "2021-08-31", "2021-09-30"])[:count]
    (entry,) = from_frame(frame(index), freq="M")
    table = to_frame(next(LastValue(prediction_length=3).predict([entry])))
    assert table["time"].iloc[-1] == pd.Timestamp("2021-09-30") + pd.offsets.MonthEnd(count)


def test_times_that_follow_no_rule_come_out_as_beginnings():
    index = pd.DatetimeIndex(["2021-01-03", "2021-02-09", "2021-03-04", "2021-04-20"])
    (entry,) = from_frame(frame(index), freq="M")
    assert entry_to_frame(entry).index[0] == pd.Timestamp("2021-01-01")


def test_periods_have_no_stamps():
    (entry,) = from_frame(frame(pd.period_range("2021-01", periods=5, freq="M")))
    assert entry["stamps"] is None
    assert entry_to_frame(entry).index[1] == pd.Timestamp("2021-02-01")


def test_names_given_go_before_those_that_forecasts_carry():
    (entry,) = from_frame(frame(index_of("days at six")))
    forecast = next(LastValue(prediction_length=1).predict([entry]))
    assert list(to_frame(forecast, dimension_names=["x", "y"])["dimension"]) == ["x", "y"]
