"""Pictures of forecasts, made to be put on a slide.

* :func:`fan_chart`: one window, a panel for the sum and one per dimension.
* :func:`fan_chart_sum`: the sum over several windows, along time where they follow each other.

Each returns a :class:`matplotlib.figure.Figure` of its own: ``figure.savefig("forecast.png")``. A
notebook shows it as the last value of a cell.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsdiff.datasets.frames import as_entries
from tsdiff.evaluation import drawing as d
from tsdiff.evaluation import metrics

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast
    from matplotlib.figure import Figure

__all__ = ["fan_chart", "fan_chart_sum"]

MAX_PANELS = 8


def fan_chart(
    forecast: SampleForecast,
    entry: Mapping[str, Any] | pd.DataFrame,
    *,
    dimensions: str | Sequence[int | str] | None = None,
    levels: Sequence[float] = metrics.DEFAULT_LEVELS,
    history: int | None = None,
    names: Sequence[str] | None = None,
    title: str = "Forecast",
) -> Figure:
    """One window: the sum over all dimensions on top, chosen dimensions below.

    Parameters
    ----------
    forecast
        Sample forecast, ``samples [N, T, D]`` or ``[N, T]``.
    entry
        Its series, a DataFrame or ``target [D, time]``, with the truth at its end or without.
    dimensions
        Dimensions to show, by name or number; the first eight by default.
    levels
        Central intervals to shade.
    history
        Steps shown before the forecast; two horizons by default.
    names
        Names of *all* D dimensions; by default those of the DataFrame's columns, or
        ``entry["dimension_names"]`` where there is one.
    title
        The heading; dates, samples and score stand below it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Forecast and entry that do not fit, levels outside (0, 1), or a wrong number of names.
    IndexError
        A dimension that the forecast does not have.
    TypeError
        What is no single forecast with samples.

    Notes
    -----
    A sum is unknown where one of its series is missing, and the score leaves such steps out. There
    a dotted line goes on, for the eye alone: missing series are interpolated between their
    neighbours, or held, as long as others have a value.

    Examples
    --------
    >>> from tsdiff.evaluation import RandomWalk
    >>> df = pd.DataFrame(
    ...     {"north": np.arange(50.0), "south": np.arange(50.0) % 7},
    ...     index=pd.date_range("2024-01-01", periods=50),
    ... )
    >>> figure = fan_chart(next(RandomWalk(14).predict(df)), df, dimensions=["south"])
    >>> figure.savefig("forecast.png")  # doctest: +SKIP
    """
    _check_levels(levels)
    entry = _entry(entry, _checked(forecast))
    window = d.Window.of(forecast, entry, history)
    dims = window.samples.shape[-1]
    labels = _names(names, entry, dims)
    wanted = range(min(dims, MAX_PANELS)) if dimensions is None else dimensions
    chosen = [_position(dim, labels) for dim in ([wanted] if isinstance(wanted, str) else wanted)]
    if dims == 1:
        panels = [(labels[0], window)]
    else:
        panels = [(f"Sum of {dims} series", window.summed())]
        panels += [(labels[dim], window.dimension(dim)) for dim in chosen]
    figure, axes = _grid(len(panels) - 1)
    for index, (ax, (label, panel)) in enumerate(zip(axes, panels, strict=True)):
        d.draw_fan(ax, panel, levels)
        d.style_axes(ax, label, wide=index == 0)
        d.mark_start(ax, panel, "" if index else "forecast starts")
    shown = f"  ·  {len(chosen)} of {dims} series shown" if len(chosen) < dims else ""
    d.add_heading(figure, title, _subtitle([window]) + shown)
    d.add_legend(figure, levels, truth=window.has_truth, bridges=panels[0][1].has_bridges)
    return figure


def fan_chart_sum(
    forecasts: Sequence[SampleForecast],
    entries: Sequence[Mapping[str, Any] | pd.DataFrame],
    *,
    levels: Sequence[float] = metrics.DEFAULT_LEVELS,
    history: int | None = None,
    title: str = "Forecast of the sum",
) -> Figure:
    """The sum over dimensions in several windows.

    Windows that follow each other without overlap, as rolling test windows do, are drawn in one
    panel along time; others get a panel each.

    Parameters
    ----------
    forecasts, entries
        Forecasts and their series, in the same order; at most 12.
    levels, history, title
        As in :func:`fan_chart`; along time, ``history`` is shown before the first window.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No forecasts, too many, another number of entries, or pairs that do not fit.
    """
    _check_levels(levels)
    if len(forecasts) != len(entries) or not 1 <= len(forecasts) <= 12:
        raise ValueError(
            f"got {len(forecasts)} forecasts and {len(entries)} entries: expected one entry for "
            "each of 1 to 12 forecasts"
        )
    pairs = list(zip(forecasts, entries, strict=True))
    entries = [_entry(entry, _checked(forecast)) for forecast, entry in pairs]
    windows = [
        d.Window.of(forecast, entry, history)
        for forecast, entry in zip(forecasts, entries, strict=True)
    ]
    panels = [window.summed() for window in windows]
    if _one_after_another(windows):
        figure = d.new_figure(13.33, 5.2)
        ax = figure.subplots()
        for index, panel in enumerate(panels):
            d.draw_fan(ax, panel, levels, history=index == 0)
            d.mark_start(ax, panel, "" if index else "first forecast starts")
        d.style_axes(ax, f"Sum of {windows[0].samples.shape[-1]} series", wide=True)
    else:
        rows = -(-len(panels) // 4)
        columns = -(-len(panels) // rows)
        figure = d.new_figure(13.33, 1.3 + 3.2 * rows)
        grid = figure.add_gridspec(rows, columns)
        for index, panel in enumerate(panels):
            ax = figure.add_subplot(grid[divmod(index, columns)])
            d.draw_fan(ax, panel, levels)
            d.style_axes(ax, _panel_title(panel, entries[index]), wide=False)
            d.mark_start(ax, panel)
    d.add_heading(figure, title, _subtitle(windows))
    bridges = any(panel.has_bridges for panel in panels)
    d.add_legend(figure, levels, truth=any(w.has_truth for w in windows), bridges=bridges)
    return figure


def _grid(num_dimensions: int) -> tuple[Figure, list[Any]]:
    """A wide panel on top and a grid of small ones below it."""
    if num_dimensions == 0:
        figure = d.new_figure(13.33, 5.2)
        return figure, [figure.subplots()]
    rows = -(-num_dimensions // 4)
    columns = -(-num_dimensions // rows)
    figure = d.new_figure(13.33, 4.0 + 1.75 * rows)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.7, *[1.0] * rows])
    axes = [figure.add_subplot(grid[0, :])]
    for index in range(num_dimensions):
        axes.append(figure.add_subplot(grid[1 + index // columns, index % columns]))
    return figure, axes


def _subtitle(windows: Sequence[d.Window]) -> str:
    """Dates, samples and score, as far as they are known."""
    first: Any = min(w.dates[0] for w in windows)
    last: Any = max(w.dates[-1] for w in windows)
    clock = " %H:%M" if first.hour or last.hour else ""
    parts = [f"{first:%Y-%m-%d{clock}} to {last:%Y-%m-%d{clock}}"]
    if len(windows) > 1:
        parts.append(f"{len(windows)} windows")
    parts.append(f"{windows[0].samples.shape[0]} samples")
    same = len({window.samples.shape for window in windows}) == 1
    if same and all(window.has_truth for window in windows):
        samples = np.stack([window.samples for window in windows])
        score = metrics.crps_sum_q19(samples, np.stack([window.truth.T for window in windows]))
        parts.append(f"CRPS-sum (19 quantiles) {score:.4f}")
    return "  ·  ".join(parts)


def _panel_title(window: d.Window, entry: Mapping[str, Any]) -> str:
    """Which series, and when its forecast starts."""
    date: Any = window.dates[0]
    when = f"{date.day} {date:%b %Y}"
    return f"{entry['item_id']}, {when}" if entry.get("item_id") is not None else when


def _names(names: Sequence[str] | None, entry: Mapping[str, Any], dims: int) -> list[str]:
    names = entry.get("dimension_names") if names is None else names
    if names is None:
        return [f"Series {index + 1}" for index in range(dims)]
    if len(names) != dims:
        raise ValueError(f"got {len(names)} names for {dims} dimensions: name all of them")
    return [str(name) for name in names]


def _checked(forecast: Any) -> SampleForecast:
    """One forecast with samples, or an error that tells where to find it."""
    if hasattr(forecast, "samples"):
        return forecast
    raise TypeError(
        f"expected one SampleForecast, got a {type(forecast).__name__}: predict(data) gives an "
        "iterator of them, one for each series; take next(predictor.predict(data))"
    )


def _entry(series: Mapping[str, Any] | pd.DataFrame, forecast: SampleForecast) -> Mapping[str, Any]:
    """The entry of a forecast, where a DataFrame was given as well."""
    if isinstance(series, (pd.DataFrame, pd.Series)):
        columns = {str(name): name for name in getattr(series, "columns", ())}
        names = (forecast.info or {}).get("dimension_names") or ()
        if names and set(names) < set(columns):  # the others are known in advance
            table = pd.DataFrame(series)[[columns[name] for name in names]]
        else:
            table = series
        (entry,) = as_entries(table, forecast.start_date.freqstr)
        return entry
    return series


def _position(dimension: int | str, names: Sequence[str]) -> int:
    """Number of a dimension that is given by number or name."""
    if isinstance(dimension, str):
        if dimension not in names:
            close = difflib.get_close_matches(dimension, names, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise IndexError(f"no dimension {dimension!r}; {advice}there is: {', '.join(names)}")
        return list(names).index(dimension)
    if not 0 <= dimension < len(names):
        raise IndexError(
            f"dimension {dimension} asked for, the forecast has 0 ... {len(names) - 1}"
        )
    return int(dimension)


def _one_after_another(windows: Sequence[d.Window]) -> bool:
    return all(a.dates[-1] < b.dates[0] for a, b in itertools.pairwise(windows))


def _check_levels(levels: Sequence[float]) -> None:
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"level {level!r} is not between 0 and 1; write 80 % as 0.8")
