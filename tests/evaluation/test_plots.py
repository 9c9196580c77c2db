"""Plots: the right panels, something on them, nothing left behind."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import entry_to_frame
from tsdiff.evaluation import (
    RandomWalk,
    backtest,
    calibration_plot,
    evaluate,
    fan_chart,
    fan_chart_sum,
)


@pytest.fixture
def rolled(make_entry):
    return backtest(RandomWalk(10), [make_entry()], num_windows=3, keep_forecasts=True)


def panel_titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def write(figure, path):
    figure.savefig(path, dpi=50)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5_000


def test_fan_chart_has_the_sum_and_every_dimension(rolled, tmp_path):
    figure = fan_chart(rolled.forecasts[0], rolled.entries[0], names="abc", title="Walks")
    assert panel_titles(figure) == ["Sum of 3 series", "a", "b", "c"]
    assert "Walks" in texts(figure)
    assert "CRPS-sum" in texts(figure)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["history", "what happened", "median forecast", "50 %", "80 %", "95 %"]
    write(figure, tmp_path / "fan.png")


def test_fan_shows_the_quantiles(rolled):
    forecast, entry = rolled.forecasts[-1], rolled.entries[-1]
    ax = fan_chart(forecast, entry, levels=[0.8]).axes[1]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    last = forecast.samples[:, -1, 0]
    expected = np.quantile(last, [0.1, 0.9], method="weibull")
    assert np.isclose(band[:, None], expected).any(axis=0).all()
    median, history, truth = (line.get_ydata() for line in ax.lines[:3])
    assert median[-1] == pytest.approx(np.median(last))
    assert median[0] == truth[0] == history[-1] == entry["target"][0, -11]
    np.testing.assert_array_equal(truth[1:], entry["target"][0, -10:])
    assert len(history) == 20


def test_chosen_dimensions_and_names_of_the_entry(rolled):
    entry = {**rolled.entries[0], "dimension_names": ["x", "y", "z"]}
    figure = fan_chart(rolled.forecasts[0], entry, dimensions=[2], history=5)
    assert panel_titles(figure) == ["Sum of 3 series", "z"]
    assert "1 of 3 series shown" in texts(figure)


def test_a_frame_and_names_of_its_columns(make_entry):
    entry = make_entry(length=60, dimension_names=["north", "south", "east"])
    df = entry_to_frame(entry)
    forecast = next(RandomWalk(10).predict(df.iloc[:-10]))
    figure = fan_chart(forecast, df, dimensions=["south", 0])
    assert panel_titles(figure) == ["Sum of 3 series", "south", "north"]
    expected = fan_chart(forecast, entry, dimensions=[1, 0])
    for ours, theirs in zip(figure.axes, expected.axes, strict=True):
        for line, other in zip(ours.lines, theirs.lines, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), other.get_ydata())
    assert panel_titles(fan_chart(forecast, df, dimensions="east"))[1:] == ["east"]
    assert panel_titles(fan_chart_sum([forecast], [df])) == ["Sum of 3 series"]


@pytest.mark.parametrize("freq", ["ME", "B", "15min", "W-MON"])
def test_frames_of_any_frequency(freq):
    index = pd.date_range("2020-01-06 00:00", periods=40, freq=freq)
    df = pd.DataFrame({"a": np.arange(40.0)}, index=index)
    forecast = next(RandomWalk(4).predict(df.iloc[:-4]))
    truth = fan_chart(forecast, df).axes[0].lines[2].get_ydata()
    assert truth.tolist() == [35.0, 36.0, 37.0, 38.0, 39.0]


def dotted(figure):
    return [line for line in figure.axes[0].lines if line.get_zorder() == 2.9]


def test_a_sum_goes_on_dotted_where_one_of_its_series_is_missing(rolled, tmp_path):
    """Interpolated between neighbours; where all are missing, nothing is known of the sum."""
    forecast, entry = rolled.forecasts[-1], dict(rolled.entries[-1])
    assert not dotted(fan_chart(forecast, entry))
    target = entry["target"].copy()
    target[1, -13:-10] = target[2, -2:] = target[0, -4] = np.nan
    target[:, -20] = np.nan
    figure = fan_chart(forecast, {**entry, "target": target})
    (line,) = dotted(figure)
    filled = target.copy()
    steps = np.arange(1, 4)
    filled[1, -13:-10] = target[1, -14] + steps * (target[1, -10] - target[1, -14]) / 4
    filled[2, -2:], filled[0, -4] = target[2, -3], (target[0, -5] + target[0, -3]) / 2
    np.testing.assert_allclose(line.get_ydata(), filled[:, -30:].sum(axis=0))
    median, _, truth = (other.get_ydata() for other in figure.axes[0].lines[:3])
    assert median[0] == pytest.approx(filled[:, -11].sum())  # the fan starts on the dots
    np.testing.assert_array_equal(truth, target[:, -11:].sum(axis=0))
    assert "sum with gaps filled" in [t.get_text() for t in figure.legends[0].get_texts()]
    write(figure, tmp_path / "gaps.png")
    several = fan_chart_sum(rolled.forecasts, [*rolled.entries[:2], {**entry, "target": target}])
    assert len(dotted(several)) == 1


def test_a_series_without_values_in_sight_is_held_at_its_last(make_entry):
    entry = make_entry(dims=2, length=100)
    entry["target"][0, 50:] = np.nan
    forecast = next(RandomWalk(10).predict([entry]))
    (line,) = dotted(fan_chart(forecast, entry))
    expected = entry["target"][0, 49] + entry["target"][1, -20:]
    np.testing.assert_allclose(line.get_ydata()[:20], expected)
    assert np.isnan(line.get_ydata()[20:]).all()


def test_a_future_without_truth_and_with_missing_history(make_entry, tmp_path):
    entry = make_entry(dims=1)
    entry["target"][0, -3:] = np.nan
    forecast = next(RandomWalk(10).predict([entry], num_samples=20))
    figure = fan_chart(forecast, entry)
    assert panel_titles(figure) == ["Series 1"]
    assert "CRPS" not in texts(figure)
    assert "what happened" not in [t.get_text() for t in figure.legends[0].get_texts()]
    write(figure, tmp_path / "future.png")


def test_many_dimensions_show_the_first_eight(make_entry):
    entry = make_entry(dims=12)
    forecast = next(RandomWalk(10).predict([entry], num_samples=20))
    assert len(fan_chart(forecast, entry).axes) == 9


def test_following_windows_share_one_panel(rolled, tmp_path):
    figure = fan_chart_sum(rolled.forecasts, rolled.entries)
    assert panel_titles(figure) == ["Sum of 3 series"]
    assert "3 windows" in texts(figure)
    write(figure, tmp_path / "sum.png")


def test_windows_at_one_time_have_a_panel_each(make_entry, tmp_path):
    entries = [make_entry(seed=s) for s in range(5)]
    evaluation = evaluate(RandomWalk(10), entries, keep_forecasts=True)
    figure = fan_chart_sum(evaluation.forecasts, entries)
    assert panel_titles(figure)[0] == "walk-0, 9 Jul 2020"
    assert len(figure.axes) == 5
    write(figure, tmp_path / "panels.png")


def test_calibration_with_and_without_forecasts(rolled, tmp_path):
    from dataclasses import replace

    figure = calibration_plot([rolled, replace(rolled, name="bare", forecasts=(), entries=())])
    single, _ = figure.axes
    full, bare = single.lines[1:]
    assert len(full.get_xdata()) == 20
    np.testing.assert_allclose(bare.get_xdata(), [0, 50, 80, 95])
    assert bare.get_ydata()[2] == pytest.approx(100 * rolled["coverage_80"].value)
    assert full.get_ydata()[16] == pytest.approx(bare.get_ydata()[2])
    write(figure, tmp_path / "calibration.png")


def test_errors_teach(rolled, make_entry):
    forecast, entry = rolled.forecasts[0], rolled.entries[0]
    with pytest.raises(ValueError, match="write 80 % as"):
        fan_chart(forecast, entry, levels=[80])
    with pytest.raises(ValueError, match="got 2 names for 3 dimensions"):
        fan_chart(forecast, entry, names=["a", "b"])
    with pytest.raises(IndexError, match=r"dimension 3 asked for, the forecast has 0 \.\.\. 2"):
        fan_chart(forecast, entry, dimensions=[3])
    df = entry_to_frame({**entry, "dimension_names": ["north", "south", "east"]})
    with pytest.raises(IndexError, match="no dimension 'nort'; did you mean 'north'"):
        fan_chart(forecast, df, dimensions=["nort"])
    with pytest.raises(TypeError, match=r"got a generator: .* take next\(predictor\.predict"):
        fan_chart(RandomWalk(10).predict(df), df)
    with pytest.raises(ValueError, match="pass the entry that was forecast"):
        fan_chart(forecast, make_entry(length=100))
    with pytest.raises(ValueError, match="1 to 12 forecasts"):
        fan_chart_sum([forecast], [])
    with pytest.raises(ValueError, match="history must be at least 1"):
        fan_chart(forecast, entry, history=0)


def test_importing_is_light():
    code = """
import sys
import tsdiff.evaluation
heavy = {"matplotlib", "rich", "gluonts.torch", "lightning", "pytorch_lightning", "sklearn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_integral_transform_is_drawn_with_a_band(rolled, tmp_path):
    figure = calibration_plot(rolled, kind="pit")
    for ax in figure.axes:
        x, y = ax.lines[1].get_data()
        assert (x[0], y[0], x[-1]) == (0, 0, 100)
        assert y[-1] == pytest.approx(100)
        assert len(x) == 102
        assert len(ax.collections) == 1
    write(figure, tmp_path / "pit.png")
    with pytest.raises(ValueError, match="'coverage' and 'pit'"):
        calibration_plot(rolled, kind="ranks")


def test_many_methods_can_be_told_apart(rolled, tmp_path):
    from dataclasses import replace

    many = [replace(rolled, name=f"method {n}") for n in range(18)]
    figure = calibration_plot(many)
    curves = figure.axes[1].lines[1:]
    looks = {(c.get_color(), c.get_marker(), str(c._unscaled_dash_pattern)) for c in curves}
    assert len(looks) == len({c.get_color() for c in curves}) * 3 == 18
    assert [t.get_text() for t in figure.axes[1].get_legend().get_texts()] == [e.name for e in many]
    write(figure, tmp_path / "many.png")
    with pytest.raises(ValueError, match="1 to 18 evaluations, got 19"):
        calibration_plot([*many, rolled])


def test_the_integral_transform_needs_forecasts(make_entry):
    result = evaluate(RandomWalk(10), [make_entry()])
    with pytest.raises(ValueError, match="keep_forecasts=True"):
        calibration_plot(result, kind="pit")


def test_columns_known_in_advance_are_not_drawn() -> None:
    index = pd.date_range("2024-01-01", periods=40, freq="D")
    df = pd.DataFrame({"a": np.arange(40.0), "b": 1.0}, index=index)
    (forecast,) = RandomWalk(5).predict(df)
    plan = df.assign(promotion=1.0).reindex(pd.date_range(index[0], periods=45, freq="D"))
    plan["promotion"] = plan["promotion"].fillna(0.0)
    figure = fan_chart(forecast, plan[["promotion", "b", "a"]])
    assert [ax.get_title(loc="left") for ax in figure.axes][1:] == ["a", "b"]
