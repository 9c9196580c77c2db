"""Series and windows: the right slices, each as likely as the next, gaps marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsdiff.datasets import DataError
from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.random import seeded
from tsdiff.transforms import Series, WindowSampler, forecast_windows, load_series

NAN = float("nan")


def entry(target, **fields) -> dict:
    return {
        "target": np.asarray(target, dtype=float),
        "start": pd.Period("2024-01-01", freq="D"),
        **fields,
    }


def ramp(length: int, offset: float = 0.0, dims: int = 2, **fields) -> dict:
    """Values that tell series, dimension and step: ``offset + 1000 d + i``."""
    return entry(offset + 1000.0 * np.arange(dims)[:, None] + np.arange(length), **fields)


class TestSeries:
    def test_time_comes_first(self) -> None:
        (series,) = load_series([ramp(5, item_id="a")], "D", 3)
        assert len(series) == 5
        assert series.target.shape == series.observed.shape == (5, 2)
        assert series.target[3].tolist() == [3.0, 1003.0]
        assert len(series.features) == 8
        assert series.item_id == "a"

    def test_missing_values_carry_the_last_one_forward(self) -> None:
        (series,) = load_series([entry([[1.0, NAN, NAN, 4.0, NAN]])], "D", 0)
        assert series.target[:, 0].tolist() == [1.0, 1.0, 1.0, 4.0, 4.0]
        assert series.observed[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]

    def test_a_late_start_does_not_give_its_first_value_away(self) -> None:
        """What is filled in before the first observation must not be that observation."""
        (series,) = load_series([entry([[NAN, NAN, 7.0, 1.0, 1.0, 3.0]])], "D", 0)
        assert series.target[:2, 0].tolist() == [3.0, 3.0]
        assert series.observed[:2, 0].tolist() == [0.0, 0.0]

    def test_nothing_observed_is_zero(self) -> None:
        (series,) = load_series([entry([[NAN, NAN], [1.0, 2.0]])], "D", 0)
        assert series.target[:, 0].tolist() == [0.0, 0.0]
        assert not series.observed[:, 0].any()

    def test_infinite_values_are_missing(self) -> None:
        (series,) = load_series([entry([[1.0, np.inf, -np.inf, 2.0]])], "D", 0)
        assert np.isfinite(series.target).all()
        assert series.observed[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]

    def test_the_users_array_is_left_alone(self) -> None:
        target = np.array([[1.0, NAN, 3.0]])
        load_series([entry(target)], "D", 0)
        np.testing.assert_array_equal(target, [[1.0, NAN, 3.0]])

    def test_covariates_stand_behind_the_calendar(self) -> None:
        dynamic = np.arange(16.0).reshape(2, 8)
        (series,) = load_series(
            [ramp(5, feat_dynamic_real=dynamic, feat_static_real=[0.5], feat_static_cat=[2])],
            "D",
            3,
        )
        np.testing.assert_array_equal(series.features[:, -2:], dynamic.T)
        assert series.static_real.tolist() == [0.5]
        assert series.static_cat.tolist() == [2]

    def test_short_covariates_are_held_and_long_ones_cut(self) -> None:
        for known in (5, 12):
            dynamic = np.arange(float(known))[None]
            (series,) = load_series([ramp(5, feat_dynamic_real=dynamic)], "D", 3)
            expected = np.minimum(np.arange(8.0), known - 1)
            np.testing.assert_array_equal(series.features[:, -1], expected)

    @pytest.mark.parametrize("last", [1, 3, 5, 6, 7, 100])
    @pytest.mark.parametrize("freq", ["D", "B", "2h"])
    def test_the_end_is_as_the_whole_says(self, freq: str, last: int) -> None:
        target = [
            [1.0, NAN, 3.0, NAN, NAN, NAN, 7.0],
            [NAN, NAN, NAN, NAN, 5.0, NAN, 8.0],
            [NAN] * 7,
            [NAN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ]
        with business_day_periods():
            start = pd.Period("2024-01-03 02:00", freq=freq)
        for known in (2, 7, 12):
            dynamic = np.arange(float(known))[None]
            data = entry(target, feat_dynamic_real=dynamic) | {"start": start}
            (whole,) = load_series([data], freq, 3)
            (end,) = load_series([data], freq, 3, last=last)
            kept = min(last, 7)
            assert len(end) == kept
            np.testing.assert_array_equal(end.target, whole.target[-kept:])
            np.testing.assert_array_equal(end.observed, whole.observed[-kept:])
            np.testing.assert_array_equal(end.features, whole.features[-kept - 3 :])
            with business_day_periods():
                assert end.start == whole.start + (7 - kept)


class TestSampler:
    def test_windows_are_the_right_slices(self) -> None:
        series = load_series([ramp(12), ramp(9, 5000.0)], "D", 0)
        sampler = WindowSampler(series, past_length=4, horizon=3)
        assert len(sampler) == (12 - 7 + 1) + (9 - 7 + 1)
        window = sampler.take(torch.arange(len(sampler)))
        for row in range(len(sampler)):
            owner, first = (0, row) if row < 6 else (1, row - 6)
            steps = slice(first, first + 7)
            np.testing.assert_array_equal(window.target[row], series[owner].target[steps])
            np.testing.assert_array_equal(window.features[row], series[owner].features[steps])
            assert bool(window.observed[row].all())
        assert window.target.dtype == window.observed.dtype == torch.float64
        assert window.features.dtype == torch.float32

    def test_share_of_windows_whose_future_is_whole(self) -> None:
        """A gap in one dimension at step 6 is in the future of three windows of eight."""
        gap = ramp(12)
        gap["target"][1, 6] = NAN
        sampler = WindowSampler(load_series([gap, ramp(4)], "D", 0), past_length=3, horizon=3)
        assert len(sampler) == 8
        assert sampler.share_whole() == 5 / 8
        window = sampler.take(torch.arange(8))
        assert int(window.observed[:, 3:].amin((1, 2)).sum()) == 5

    def test_static_covariates_follow_their_series(self) -> None:
        entries = [
            ramp(8, 5000.0 * i, feat_static_real=[i + 0.5], feat_static_cat=[i, 1])
            for i in range(3)
        ]
        window = WindowSampler(load_series(entries, "D", 0), 3, 2).draw(64, seeded(1))
        owner = (window.target[:, 0, 0] // 5000).long()
        assert torch.equal(window.static_real[:, 0], owner + 0.5)
        assert torch.equal(window.static_cat[:, 0], owner)

    def test_features_beyond_the_target_do_not_shift_the_next_series(self) -> None:
        plain, longer = (load_series([ramp(8), ramp(9)], "D", h) for h in (0, 4))
        for a, b in zip(
            WindowSampler(plain, 3, 2).take(torch.arange(9))[:5],
            WindowSampler(longer, 3, 2).take(torch.arange(9))[:5],
            strict=True,
        ):
            assert torch.equal(a, b)

    def test_every_position_is_equally_likely(self) -> None:
        """Positions, not series: a series three times as long is drawn as much more often."""
        sampler = WindowSampler(load_series([ramp(14), ramp(8, 5000.0)], "D", 0), 3, 2)
        count = 24_000
        window = sampler.draw(count, seeded(3))
        _, counts = window.target[:, 0, 0].unique(return_counts=True)
        assert len(counts) == len(sampler) == 10 + 4
        expected = count / len(sampler)
        assert bool(((counts - expected).abs() < 5 * expected**0.5).all())

    def test_draws_follow_their_generator(self) -> None:
        sampler = WindowSampler(load_series([ramp(50)], "D", 0), 3, 2)
        one, two, other = (sampler.draw(16, seeded(s)).target for s in (1, 1, 2))
        assert torch.equal(one, two)
        assert not torch.equal(one, other)

    def test_short_series_are_padded_on_the_left_with_unobserved_steps(self) -> None:
        sampler = WindowSampler(load_series([ramp(4)], "D", 0), past_length=5, horizon=3)
        assert len(sampler) == 1
        window = sampler.take(torch.zeros(1, dtype=torch.long))
        assert window.target[0, :, 0].tolist() == [0, 0, 0, 0, 0, 1, 2, 3]
        assert window.observed[0, :, 1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
        assert window.features.shape[1] == 8

    def test_the_second_half_of_a_series_as_short_as_a_past_is_forecast(self) -> None:
        """Its end alone would be all that a model of weekly data of four years ever learned of."""
        sampler = WindowSampler(load_series([ramp(12)], "D", 0), past_length=20, horizon=2)
        window = sampler.take(torch.arange(len(sampler)))
        assert window.target[:, -2:, 0].tolist() == [[i, i + 1] for i in range(6, 11)]
        assert window.observed[:, :20, 0].sum(1).tolist() == [6, 7, 8, 9, 10]

    def test_series_that_are_too_short_are_left_out_or_an_error(self) -> None:
        mixed = load_series([ramp(3), ramp(10, 5000.0)], "D", 0)
        assert WindowSampler(mixed, 4, 3).draw(50, seeded(1)).target.min() >= 5000.0
        with pytest.raises(DataError, match=r"longest has 3 steps.*at least 4"):
            WindowSampler(mixed[:1], 4, 3)
        with pytest.raises(DataError, match="longest has 0 steps"):
            WindowSampler([], 4, 3)


class TestForecastWindows:
    def test_the_last_steps_and_features_beyond(self) -> None:
        series: list[Series] = load_series([ramp(9), ramp(3, 5000.0)], "D", 2)
        window = forecast_windows(series, past_length=5, horizon=2)
        assert window.target[0, :, 0].tolist() == [4, 5, 6, 7, 8]
        assert window.target[1, :, 0].tolist() == [5000, 5000, 5000, 5001, 5002]
        assert window.observed[1, :, 0].tolist() == [0, 0, 1, 1, 1]
        assert window.features.shape[:2] == (2, 7)
        np.testing.assert_array_equal(window.features[0], series[0].features[4:11])
        np.testing.assert_array_equal(window.features[1, 2:], series[1].features)

    def test_training_and_forecasting_see_the_same_past(self) -> None:
        target = np.random.default_rng(0).normal(size=(2, 20))
        target[0, 7] = NAN
        past, horizon = 6, 3
        sampler = WindowSampler(load_series([entry(target)], "D", 0), past, horizon)
        trained = sampler.take(torch.tensor([len(sampler) - 1]))
        ended = load_series([entry(target[:, :-horizon])], "D", horizon)
        forecast = forecast_windows(ended, past, horizon)
        torch.testing.assert_close(trained.target[:, :past], forecast.target)
        torch.testing.assert_close(trained.observed[:, :past], forecast.observed)
        torch.testing.assert_close(trained.features, forecast.features)
