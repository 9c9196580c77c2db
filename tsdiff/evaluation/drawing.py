"""The look of the plots: colours, type, axes, and how one fan is drawn.

Only matplotlib's object-oriented interface is used: no pyplot, no global settings, no window, so
that figures can be made anywhere and leave nothing behind. matplotlib is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.evaluation.ensemble import Ensemble
from tsdiff.evaluation.forecaster import fill_forward

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b2733"  # what happened, titles
SLATE = "#5b6875"  # labels, subtitles
HISTORY = "#98a3ae"
GRID = "#e6eaee"
FAN = "#0072b2"  # Okabe and Ito's blue: distinct from ink for every kind of colour vision
MEDIAN = "#004c78"
BRIDGE = (0, (1, 1.5))  # a sum of which a part is missing
# Further methods in one picture, in the order of Okabe and Ito's palette.
CYCLE = (FAN, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Window:
    """One forecast beside its series, cut to what a picture shows.

    ``samples [N, T, D]``; ``history [D, H]`` and ``truth [D, T]`` (NaN where unknown);
    ``history_dates``, ``dates``: the times of both. ``before [D]``: the last values known before
    these. ``bridged [H + T]``, of a sum alone: history and truth where gaps are filled.
    """

    samples: np.ndarray
    history: np.ndarray
    truth: np.ndarray
    history_dates: pd.DatetimeIndex
    dates: pd.DatetimeIndex
    before: np.ndarray
    bridged: np.ndarray | None = None

    @classmethod
    @business_day_periods()
    def of(
        cls, forecast: SampleForecast, entry: Mapping[str, Any], history: int | None = None
    ) -> Window:
        """Line a forecast up with its entry, whose target may or may not reach into it.

        Raises
        ------
        ValueError
            The forecast starts before the series or leaves a gap after it, dimensions differ, or
            ``history`` is below 1.
        """
        samples = np.asarray(forecast.samples, dtype=np.float64)
        samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
        target = np.atleast_2d(np.asarray(entry["target"], dtype=np.float64))
        _, steps, dims = samples.shape
        if len(target) != dims:
            raise ValueError(f"the forecast has {dims} dimensions, the entry {len(target)}")
        # pandas counts half-hours in minutes.
        past = int((forecast.start_date - entry["start"]).n) // entry["start"].freq.n
        if not 1 <= past <= target.shape[1]:
            raise ValueError(
                f"the forecast starts at {forecast.start_date}, {past} steps after the series' "
                f"start, but the series has {target.shape[1]} steps; pass the entry that was "
                "forecast, with or without the truth at its end"
            )
        shown = 2 * steps if history is None else history
        if shown < 1:
            raise ValueError(f"history must be at least 1 step, got {history}")
        shown = min(shown, past)
        truth = np.full((dims, steps), np.nan)
        known = target[:, past : past + steps]
        truth[:, : known.shape[1]] = known
        return cls(
            samples=samples,
            history=target[:, past - shown : past],
            truth=truth,
            history_dates=_timestamps(forecast.start_date - shown, shown),
            dates=_timestamps(forecast.start_date, steps),
            before=fill_forward(target[:, : past - shown + 1])[:, -1],
        )

    @property
    def has_truth(self) -> bool:
        return bool(np.isfinite(self.truth).any())

    @property
    def known(self) -> np.ndarray:
        """History and truth of the first dimension, ``[H + T]``."""
        return np.concatenate([self.history[0], self.truth[0]])

    @property
    def has_bridges(self) -> bool:
        """Whether gaps were filled."""
        return self.bridged is not None and bool(
            (np.isfinite(self.bridged) & np.isnan(self.known)).any()
        )

    def dimension(self, d: int) -> Window:
        """The same window with dimension ``d`` alone."""
        pick = slice(d, d + 1)
        return replace(
            self,
            samples=self.samples[..., pick],
            history=self.history[pick],
            truth=self.truth[pick],
            before=self.before[pick],
        )

    def summed(self) -> Window:
        """The same window for the sum over dimensions; missing where one of them is.

        In ``bridged`` a dimension that is missing while others are there is interpolated between
        its neighbours, and held where it has but one.
        """
        values = np.concatenate([self.before[:, None], self.history, self.truth], axis=1)
        return replace(
            self,
            samples=self.samples.sum(axis=-1, keepdims=True),
            history=self.history.sum(axis=0, keepdims=True),
            truth=self.truth.sum(axis=0, keepdims=True),
            before=self.before.sum(axis=0, keepdims=True),
            bridged=_bridged(values)[:, 1:].sum(axis=0),
        )


def draw_fan(ax: Axes, window: Window, levels: Sequence[float], *, history: bool = True) -> None:
    """Draw a one-dimensional window: history, truth, nested central intervals, median."""
    ensemble = Ensemble(window.samples[None], window.truth.T[None])
    # Everything starts at the last known value, so that past and future join.
    num_past = len(window.history_dates)
    line = window.known if window.bridged is None else window.bridged
    joint, dates = line[num_past - 1 : num_past], window.dates
    joined = window.history_dates[-1:].append(dates)
    if np.isfinite(joint).all():
        dates = joined
    else:
        joint = np.empty(0)

    def curve(q: float) -> np.ndarray:
        return np.concatenate([joint, ensemble.interpolated_quantile(q)[0, :, 0]])

    for level, alpha in zip(sorted(levels, reverse=True), _alphas(len(levels)), strict=True):
        low, high = curve((1 - level) / 2), curve((1 + level) / 2)
        ax.fill_between(dates, low, high, color=FAN, alpha=alpha, linewidth=0, zorder=2)
    ax.plot(dates, curve(0.5), color=MEDIAN, linewidth=1.4, zorder=3, solid_capstyle="round")
    if history:
        ax.plot(window.history_dates, window.history[0], color=HISTORY, linewidth=1.2, zorder=3)
    ax.plot(
        joined,
        window.known[num_past - 1 :],
        color=INK,
        linewidth=1.6,
        zorder=4,
        solid_capstyle="round",
    )
    if window.has_bridges:
        first = 0 if history else num_past - 1
        times = window.history_dates.append(window.dates)[first:]
        ax.plot(times, line[first:], color=SLATE, linewidth=1.0, linestyle=BRIDGE, zorder=2.9)


def mark_start(ax: Axes, window: Window, label: str = "") -> None:
    """A thin rule at the last known step, where the forecast starts, with a word beside it."""
    date: Any = window.history_dates[-1]
    ax.axvline(date, color=SLATE, linewidth=0.8, linestyle=(0, (2, 2.5)), zorder=1.5)
    if label:
        ax.annotate(
            label,
            (date, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-5, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8.5,
            color=SLATE,
        )


def new_figure(width: float, height: float) -> Figure:
    """A figure for a slide: white, tight, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")


def style_axes(ax: Axes, title: str, *, wide: bool) -> None:
    """The style of a panel along time; only a wide one has room for the year below its dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import EngFormatter

    style_plain_axes(ax, title)
    locator = AutoDateLocator(minticks=3, maxticks=10 if wide else 5)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
            zero_formats=["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            offset_formats=["", "%Y", "%Y", "%d %b %Y", "%d %b %Y", "%d %b %Y %H:%M"],
            show_offset=wide,
        )
    )
    ax.xaxis.get_offset_text().set(size=8, color=SLATE)
    if max(np.abs(ax.get_ylim())) >= 1e5:
        ax.yaxis.set_major_formatter(EngFormatter(sep=" "))  # 270 M reads better than 2.7 and 1e8


def style_plain_axes(ax: Axes, title: str) -> None:
    """Left-aligned title, light horizontal grid, no box."""
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=6)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#b9c2cb")
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="both", length=0, labelsize=8.5, labelcolor=SLATE, pad=4)
    ax.tick_params(axis="x", length=3, color="#b9c2cb")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.margins(x=0.01, y=0.08)


def add_heading(fig: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the upper left, in room that the layout keeps free for them."""
    height = fig.get_figheight()
    head = 0.86  # inches
    layout: Any = fig.get_layout_engine()
    layout.set(rect=(0.006, 0.015, 0.988, 1 - head / height - 0.015), w_pad=0.10, h_pad=0.08)
    left = 0.16 / fig.get_figwidth()
    fig.text(left, 1 - 0.16 / height, title, fontsize=16, fontweight="bold", color=INK, va="top")
    fig.text(left, 1 - 0.52 / height, subtitle, fontsize=10, color=SLATE, va="top")


def add_legend(fig: Figure, levels: Sequence[float], *, truth: bool, bridges: bool = False) -> None:
    """One legend for the whole figure, at the upper right."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=HISTORY, linewidth=1.6, label="history")]
    if truth:
        handles.append(Line2D([], [], color=INK, linewidth=2, label="what happened"))
    if bridges:
        style: dict[str, Any] = {"color": SLATE, "linewidth": 1.2, "linestyle": BRIDGE}
        handles.append(Line2D([], [], **style, label="sum with gaps filled"))
    handles.append(Line2D([], [], color=MEDIAN, linewidth=1.8, label="median forecast"))
    shade = 0.0
    bands = []
    for level, alpha in zip(sorted(levels, reverse=True), _alphas(len(levels)), strict=True):
        shade = shade + alpha * (1 - shade)  # nested bands add up, and so do their swatches
        bands.append(Patch(facecolor=FAN, alpha=shade, linewidth=0, label=f"{100 * level:g} %"))
    fig.legend(
        handles=[*handles, *reversed(bands)],
        loc="upper right",
        bbox_to_anchor=(1 - 0.12 / fig.get_figwidth(), 1 - 0.10 / fig.get_figheight()),
        ncols=len(handles) + len(bands),
        frameon=False,
        fontsize=9,
        labelcolor=SLATE,
        handlelength=1.5,
        columnspacing=1.3,
        handletextpad=0.5,
        borderaxespad=0,
    )


def _bridged(values: np.ndarray) -> np.ndarray:
    """Gaps in ``[D, time]`` interpolated at all steps at which some dimension has a value."""
    times, seen = np.arange(values.shape[1]), np.isfinite(values)
    filled = values.copy()
    for row, known in zip(filled, seen, strict=True):
        if known.any():
            row[:] = np.interp(times, times[known], row[known])
    filled[:, ~seen.any(axis=0)] = np.nan
    return filled


def _alphas(count: int) -> list[float]:
    """Opacities from the widest band inwards."""
    return list(np.linspace(0.16, 0.34, count)) if count > 1 else [0.25] * count


def _timestamps(start: Any, count: int) -> pd.DatetimeIndex:
    return pd.period_range(start, periods=count, freq=start.freq).to_timestamp()
