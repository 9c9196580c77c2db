"""Calendars, seasons and lags of every frequency we know."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from tsdiff.transforms import (
    calendar_features,
    default_context_length,
    default_lags,
    num_calendar_features,
    season_length,
)
from tsdiff.transforms.lags import base_frequency, seasons

needs_month_end = pytest.mark.skipif(
    tuple(map(int, pd.__version__.split(".")[:2])) < (2, 2), reason="pandas 2.2 named it so"
)

FREQUENCIES = ["s", "10s", "min", "5min", "30min", "h", "2h", "D", "B", "W", "M", "Q", "Y"]


def period(stamp: str, freq: str) -> pd.Period:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return pd.Period(stamp, freq=freq)


def unit_circles(features: np.ndarray) -> np.ndarray:
    return features[:, 0::2] ** 2 + features[:, 1::2] ** 2


class TestCalendar:
    @pytest.mark.parametrize("freq", FREQUENCIES)
    def test_width_is_as_announced_and_features_lie_on_circles(self, freq: str) -> None:
        start = period("2024-02-26", freq)
        for name in (freq, start.freqstr):
            features = calendar_features(start, 500, name)
            assert features.shape == (500, num_calendar_features(name))
            assert features.dtype == np.float32
            np.testing.assert_allclose(unit_circles(features), 1.0, atol=1e-6)

    def test_hour_23_lies_next_to_hour_0(self) -> None:
        # 2024-07-01 is a Monday; the first harmonic of the day is the first circle.
        day = calendar_features(period("2024-07-03 00:00", "h"), 24, "h")[:, :2]
        gaps = np.linalg.norm(np.roll(day, -1, axis=0) - day, axis=1)
        np.testing.assert_allclose(gaps, 2 * np.sin(np.pi / 24), rtol=1e-5)

    def test_sunday_lies_next_to_monday(self) -> None:
        week = calendar_features(period("2024-07-01", "D"), 14, "D")[:, :2]
        gaps = np.linalg.norm(np.diff(week, axis=0), axis=1)
        np.testing.assert_allclose(gaps, 2 * np.sin(np.pi / 7), rtol=1e-5)
        np.testing.assert_allclose(week[:7], week[7:], atol=1e-6)

    def test_new_year_is_no_jump(self) -> None:
        for year in (2023, 2024):
            turn = calendar_features(period(f"{year}-12-20", "D"), 24, "D")[:, -2:]
            assert np.linalg.norm(np.diff(turn, axis=0), axis=1).max() < 0.04

    def test_repeats_with_the_season(self) -> None:
        hours = calendar_features(period("2024-07-01 00:00", "h"), 24 * 15, "h")
        daily = 2 * 3
        np.testing.assert_allclose(hours[:24, :daily], hours[24:48, :daily], atol=1e-6)
        weekly = hours[:, daily : daily + 4]
        np.testing.assert_allclose(weekly[:168], weekly[168:336], atol=1e-6)
        assert np.abs(weekly[:24] - weekly[24:48]).max() > 0.1

    def test_business_days_skip_the_weekend(self) -> None:
        week = calendar_features(period("2024-07-05", "B"), 2, "B")[:, :2]
        friday = 2 * np.pi * 4 / 7
        np.testing.assert_allclose(week[0], [np.sin(friday), np.cos(friday)], atol=1e-6)
        np.testing.assert_allclose(week[1], [0.0, 1.0], atol=1e-6)

    def test_depends_on_the_step_and_not_on_where_the_series_starts(self) -> None:
        early = calendar_features(period("2024-01-01 05:00", "30min"), 100, "30min")
        late = calendar_features(period("2024-01-02 05:00", "30min"), 52, "30min")
        np.testing.assert_array_equal(early[48:], late)

    def test_years_have_no_calendar(self) -> None:
        assert calendar_features(period("2024", "Y"), 5, "Y").shape == (5, 0)


class TestSeasons:
    @pytest.mark.parametrize(
        ("freq", "expected"),
        [
            ("h", (24, 168)),
            ("2h", (12, 84)),
            ("5h", ()),
            ("30min", (48, 336)),
            ("min", (1440, 10080)),
            ("s", (3600, 86400)),
            ("D", (7,)),
            ("7D", ()),
            ("2D", ()),
            ("B", (5,)),
            ("W-SUN", (52,)),
            ("M", (12,)),
            ("MS", (12,)),
            ("3M", (4,)),
            ("Q-DEC", (4,)),
            ("Y", ()),
        ],
    )
    def test_lengths(self, freq: str, expected: tuple[int, ...]) -> None:
        assert seasons(freq) == expected
        assert season_length(freq) == (expected[0] if expected else 1)

    @pytest.mark.parametrize(
        ("freq", "unit"),
        [
            ("h", (1, "h")),
            ("H", (1, "h")),
            ("30min", (30, "min")),
            ("15T", (15, "min")),
            ("W-WED", (1, "W")),
            ("M", (1, "M")),
            pytest.param("ME", (1, "M"), marks=needs_month_end),
            ("2MS", (2, "M")),
            ("Q-DEC", (1, "Q")),
            pytest.param("QE", (1, "Q"), marks=needs_month_end),
            ("QS", (1, "Q")),
            ("Y-DEC", (1, "Y")),
            pytest.param("YE", (1, "Y"), marks=needs_month_end),
            ("B", (1, "B")),
        ],
    )
    def test_multiple_and_unit(self, freq: str, unit: tuple[int, str]) -> None:
        with warnings.catch_warnings():
            # The aliases of periods are right for periods, whatever pandas says of offsets.
            warnings.simplefilter("error")
            assert base_frequency(freq) == unit

    @pytest.mark.parametrize("freq", ["nonsense", "", None])
    def test_unknown_frequencies(self, freq: object) -> None:
        with pytest.raises(ValueError, match="unknown frequency"):
            base_frequency(freq)  # type: ignore[arg-type]

    def test_frequencies_without_a_season(self) -> None:
        with pytest.raises(ValueError, match="no known season"):
            base_frequency("ns")

    @pytest.mark.parametrize("freq", FREQUENCIES)
    def test_default_lags_rise_and_include_what_matters(self, freq: str) -> None:
        lags = default_lags(freq)
        assert list(lags) == sorted(set(lags))
        assert {1, 2, 3} <= set(lags)
        assert max(lags) <= 1500
        if season_length(freq) <= 1500:
            assert season_length(freq) in {*lags, 1}

    @pytest.mark.parametrize(
        ("freq", "horizon", "expected"),
        [
            ("h", 24, 72),
            ("h", 100, 200),
            ("B", 30, 60),
            ("min", 10, 512),
            ("W", 8, 156),
            ("Y", 3, 36),
        ],
    )
    def test_default_context(self, freq: str, horizon: int, expected: int) -> None:
        assert default_context_length(freq, horizon) == expected
