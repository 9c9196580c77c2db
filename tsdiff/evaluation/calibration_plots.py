"""Pictures of calibration: do intervals cover what they promise, and where do values fall?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tsdiff.evaluation import drawing as d
from tsdiff.evaluation import integral_transform as pit
from tsdiff.evaluation import metrics
from tsdiff.evaluation.ensemble import Ensemble
from tsdiff.evaluation.scores import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration_plot"]

# What tells methods apart where colours come again.
_LINES = ("-", (0, (4, 1.6)), (0, (1, 1.4)))
_MARKERS = ("o", "s", "^")
_AXES = {  # labels of both axes, and what a curve above or below the diagonal means
    "coverage": ("interval level, %", "covered, %", "too wide", "over-confident"),
    "pit": ("quantile of the forecast, %", "values below it, %", "too high", "too low"),
}


def calibration_plot(
    evaluations: Evaluation | Sequence[Evaluation],
    *,
    kind: Literal["coverage", "pit"] = "coverage",
    title: str = "Calibration",
) -> Figure:
    """How calibrated forecasts are, per dimension and for the sum.

    Parameters
    ----------
    evaluations
        One or several evaluations, up to 18: colours come again with other lines. Where forecasts
        were kept (``keep_forecasts=True``), coverage is drawn at every 5 %, otherwise at the three
        levels that were scored.
    kind
        ``"coverage"`` of central intervals against their level; or ``"pit"``, the distribution of
        the probability integral transform, which also shows a bias. Its band holds 90 % of
        calibrated forecasts of the first evaluation's size. It needs kept forecasts.
    title
        The heading.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No evaluation, more than can be told apart, another ``kind``, or no forecasts for
        ``"pit"``.
    """
    if kind not in ("coverage", "pit"):
        raise ValueError(f"kind={kind!r} is unknown; there are 'coverage' and 'pit'")
    many = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    most = len(d.CYCLE) * len(_LINES)
    if not 1 <= len(many) <= most:
        raise ValueError(
            f"expected 1 to {most} evaluations, got {len(many)}: draw the best of them, or several "
            "pictures"
        )
    crowded = len(many) > len(d.CYCLE)
    figure = d.new_figure(11.6 if crowded else 9.6, 5.4)
    for ax, summed in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        ax.plot([0, 100], [0, 100], color=d.SLATE, linewidth=0.9, linestyle=(0, (2, 2.5)))
        if kind == "pit":
            _draw_calibrated_band(ax, many[0], summed)
        for number, evaluation in enumerate(many):
            curve = _coverage_curve if kind == "coverage" else _pit_curve
            levels, shares = curve(evaluation, summed)
            turn, colour = divmod(number, len(d.CYCLE))
            style: dict[str, Any] = {"color": d.CYCLE[colour], "linestyle": _LINES[turn]}
            style["linewidth"] = 1.3 if crowded else 1.8
            if kind == "coverage":
                style |= {"marker": _MARKERS[turn], "markersize": 3.5 if crowded else 4.5}
            ax.plot(100 * levels, 100 * shares, label=evaluation.name, clip_on=False, **style)
        d.style_plain_axes(ax, "Sum over dimensions" if summed else "Single dimensions")
        ax.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
        ax.set_xlabel(_AXES[kind][0], fontsize=9, color=d.SLATE)
    first, last = figure.axes
    _, ylabel, above, below = _AXES[kind]
    first.set_ylabel(ylabel, fontsize=9, color=d.SLATE)
    first.annotate(above, (8, 92), fontsize=9, color=d.SLATE, va="top")
    first.annotate(below, (97, 8), fontsize=9, color=d.SLATE, ha="right")
    # Many names would hide the curves.
    place: dict[str, Any] = {"loc": "lower right"}
    if crowded:
        place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "handlelength": 3}
    last.legend(**place, frameon=False, fontsize=9, labelcolor=d.INK)
    size = many[0]
    d.add_heading(
        figure,
        title,
        f"{size.num_windows} windows of {size.prediction_length} steps  ·  "
        f"{size.target_dim} dimensions  ·  {size.num_samples} samples",
    )
    return figure


def _coverage_curve(evaluation: Evaluation, summed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Levels and covered shares, both starting at zero."""
    if evaluation.forecasts:
        samples, target = _kept(evaluation)
        measure = metrics.coverage_sum if summed else metrics.coverage
        covered = measure(samples, target, list(metrics.Q19))
    else:
        prefix = "coverage_sum_" if summed else "coverage_"
        covered = {
            level: evaluation[f"{prefix}{100 * level:.0f}"].value
            for level in metrics.DEFAULT_LEVELS
        }
    return np.array([0.0, *covered]), np.array([0.0, *covered.values()])


def _pit_curve(evaluation: Evaluation, summed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Levels and the share of values whose transform lies below them."""
    shares = pit.pit_distribution(_kept_ensemble(evaluation, summed))
    return np.linspace(0, 1, len(shares)), shares


def _draw_calibrated_band(ax: Axes, evaluation: Evaluation, summed: bool) -> None:
    ensemble = _kept_ensemble(evaluation, summed)
    if ensemble.num_samples > 1:
        curves = 100 * pit.calibrated_distributions(ensemble)
        lower, upper = np.quantile(curves, [0.05, 0.95], axis=0)
        levels = np.linspace(0, 100, curves.shape[1])
        ax.fill_between(levels, lower, upper, color=d.SLATE, alpha=0.15, linewidth=0)


def _kept_ensemble(evaluation: Evaluation, summed: bool) -> Ensemble:
    if not evaluation.forecasts:
        raise ValueError(
            f"{evaluation.name!r} kept no forecasts, which kind='pit' needs: evaluate with "
            "keep_forecasts=True"
        )
    ensemble = Ensemble.check(*_kept(evaluation))
    return ensemble.summed if summed else ensemble


def _kept(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Samples [W, N, T, D] and target [W, T, D] of the forecasts that were kept."""
    windows = [
        d.Window.of(forecast, entry)
        for forecast, entry in zip(evaluation.forecasts, evaluation.entries, strict=True)
    ]
    samples = np.stack([window.samples for window in windows])
    return samples, np.stack([window.truth.T for window in windows])
