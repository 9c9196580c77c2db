"""A forecast's scores, each beside its Monte-Carlo error.

A score computed from N samples is itself random: another N draws give another figure. Its standard
deviation over such redraws is estimated by the bootstrap: joint samples (whole paths, all
dimensions) are drawn with replacement within each window. As windows are sampled independently
and a score is a sum of one term per window, ``Var(score) = sum_w Var(term_w)``, which makes some
tens of replicates enough. The energy score, whose N^2 distances are too dear for that, takes the
bootstrap's linear limit instead, the variance over samples of ``|x_i - y| - mean_j |x_i - x_j|``;
so does the variogram score.

The error says nothing about how few *windows* were scored. What each window contributed is kept for
that, see :mod:`tsdiff.evaluation.significance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.evaluation import integral_transform as pit
from tsdiff.evaluation import metrics as m
from tsdiff.evaluation.ensemble import Ensemble
from tsdiff.evaluation.pooling import (
    PER_DIMENSION,
    SCALES,
    dimension_scores,
    from_text,
    resampled_score,
    to_text,
    window_sums,
)
from tsdiff.evaluation.variogram import variogram_parts

__all__ = ["Evaluation", "Score", "score_samples"]


@dataclass(frozen=True)
class Score:
    """A score and the standard deviation that finite sampling gives it (NaN where unknown)."""

    value: float
    error: float = float("nan")

    @property
    def is_random(self) -> bool:
        """Whether another draw would change the score; a point forecast's is fixed."""
        return self.error > 1e-9 * max(abs(self.value), 1e-300)  # beyond rounding

    def __str__(self) -> str:
        value = f"{self.value:.4f}" if abs(self.value) < 10 else f"{self.value:.5g}"
        if not self.is_random:
            return value
        return f"{value} ± " + (f"{self.error:.4f}" if self.error < 10 else f"{self.error:.3g}")

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Evaluation:
    """How one forecaster did on a set of windows.

    Index it by a metric's name: ``evaluation["crps_sum_q19"].value``; ``print`` shows all scores.

    Attributes
    ----------
    name
        The forecaster's name; evaluations of one name are seeds of one method.
    scores
        Name of metric to :class:`Score`.
    num_windows, num_samples, prediction_length, target_dim
        The sizes W, N, T and D that were scored.
    seed
        Seed of the forecasts, where known.
    seconds
        Wall time that the forecasts took, where known.
    forecasts, entries
        The forecasts and the windows they belong to, where they were kept; not part of the JSON.
    terms
        What each window adds to numerators and denominators of the scores, arrays ``[W]`` or
        ``[W, D]``; empty where unknown, as in files of earlier versions. In JSON they have nine
        digits. Two evaluations are equal whatever their terms.
    item_ids
        Which series each window belongs to, W names; empty where unknown.
    dimension_names
        Names of the D dimensions; empty where they have none.
    """

    name: str
    scores: Mapping[str, Score] = field(repr=False)
    num_windows: int
    num_samples: int
    prediction_length: int
    target_dim: int
    seed: int | None = None
    seconds: float | None = None
    forecasts: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    entries: tuple[Mapping[str, Any], ...] = field(default=(), repr=False, compare=False)
    terms: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    item_ids: tuple[str, ...] = field(default=(), repr=False, compare=False)
    dimension_names: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("scores", "terms"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __getstate__(self) -> dict[str, Any]:
        # A read-only view can't travel to another process; what it shows can.
        return vars(self) | {"scores": dict(self.scores), "terms": dict(self.terms)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        views = {name: MappingProxyType(state[name]) for name in ("scores", "terms")}
        vars(self).update(state, **views)

    def __getitem__(self, metric: str) -> Score:
        try:
            return self.scores[metric]
        except KeyError:
            known = ", ".join(self.scores)
            raise KeyError(f"no score {metric!r} in this evaluation; it has: {known}") from None

    def __str__(self) -> str:
        """All scores as a table for the screen."""
        cells = {metric: cell(metric, score).split(" ± ") for metric, score in self.scores.items()}
        rows = [("", "value", "Monte-Carlo error"), *((m, *c, "")[:3] for m, c in cells.items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{metric:<{widths[0]}}  {value:>{widths[1]}}  {error:>{widths[2]}}".rstrip()
            for metric, value, error in rows
        ]
        end = "Lower is better; coverage: closer to its level."
        return "\n".join([f"{self.name}: {self.sizes}", "", *lines, "", end])

    @property
    def sizes(self) -> str:
        """What was scored, in words."""
        windows = f"{self.num_windows} window" + "s" * (self.num_windows != 1)
        dimensions = f"{self.target_dim} dimension" + "s" * (self.target_dim != 1)
        return (
            f"{windows} of {self.prediction_length} steps, {dimensions}, {self.num_samples} samples"
        )

    def to_frame(self) -> pd.DataFrame:
        """A row for each metric, with its ``value`` and ``error`` (NaN where unknown)."""
        rows = {metric: asdict(score) for metric, score in self.scores.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

    def by_dimension(self, metric: str = "crps") -> pd.Series:
        """A score of each dimension on its own, ``[D]``, labelled by its name or number.

        Parameters
        ----------
        metric
            ``"crps"`` or ``"crps_q19"``, each over the dimension's mean absolute value: their mean
            over dimensions is the score of all. NaN where a dimension is zero throughout.

        Raises
        ------
        KeyError
            A score that isn't kept for single dimensions.
        ValueError
            An evaluation that keeps no terms, as files of earlier versions.
        """
        self._check_kept(metric, PER_DIMENSION, "dimensions")
        names = self.dimension_names or [str(dim) for dim in range(self.target_dim)]
        index = pd.Index(names, name="dimension")
        return pd.Series(dimension_scores(metric, self.terms), index=index, name=metric)

    def by_item(self, metric: str = "crps_sum_q19") -> pd.Series:
        """A score of the windows of each series, labelled by its ``item_id``.

        Parameters
        ----------
        metric
            Any score that is a sum over windows: all but the calibration errors.

        Raises
        ------
        KeyError
            A score that is no sum over windows.
        ValueError
            Series without ``item_id``, or an evaluation that keeps no terms.
        """
        self._check_kept(metric, [m for m in self.terms if m not in SCALES], "windows")
        if not self.item_ids:
            raise ValueError(
                "it isn't known which series the windows belong to: give every entry an 'item_id' "
                "and evaluate again"
            )
        items = pd.Index(dict.fromkeys(self.item_ids), name="item_id")
        windows = np.array(items)[:, None] == np.array(self.item_ids)
        found = resampled_score(metric, self.terms, windows.astype(float))
        return pd.Series(found, index=items, name=metric)

    def _check_kept(self, metric: str, known: Sequence[str], parts: str) -> None:
        if not self.terms:
            raise ValueError(
                f"{self.name!r} has not kept what each window adds to its scores, as files of "
                "earlier versions: evaluate again"
            )
        if metric not in known:
            raise KeyError(
                f"{metric!r} is not kept for single {parts}; there is: {', '.join(known)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON; NaN becomes None, infinity ``"inf"``."""
        sizes = ("num_windows", "num_samples", "prediction_length", "target_dim")
        return {
            "name": self.name,
            **{size: getattr(self, size) for size in sizes},
            "seed": self.seed,
            "seconds": self.seconds,
            "scores": {
                metric: {key: _plain(value) for key, value in asdict(score).items()}
                for metric, score in self.scores.items()
            },
            **({"terms": {k: to_text(v) for k, v in self.terms.items()}} if self.terms else {}),
            **{
                name: list(getattr(self, name))
                for name in ("item_ids", "dimension_names")
                if getattr(self, name)
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evaluation:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ValueError
            The content is not an evaluation.
        """
        try:
            scores = {
                metric: Score(_read(score["value"]), _read(score["error"]))
                for metric, score in content["scores"].items()
            }
            terms = {k: from_text(text) for k, text in content.get("terms", {}).items()}
            names = {k: tuple(content.get(k, ())) for k in ("item_ids", "dimension_names")}
            return cls(**{**content, "scores": scores, "terms": terms, **names})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                "this is not an evaluation as Evaluation.to_dict writes it: "
                f"{type(error).__name__}: {error}"
            ) from error

    def to_json(self, path: str | Path | None = None) -> str:
        """The evaluation as JSON text, also written to ``path`` where one is given."""
        return write_json(self.to_dict(), path)

    @classmethod
    def from_json(cls, source: str | Path) -> Evaluation:
        """Read what :meth:`to_json` wrote: JSON text, or a :class:`~pathlib.Path` to it."""
        return cls.from_dict(read_json(source))


def cell(metric: str, score: Score) -> str:
    """A score as it stands in tables; coverages in per cent."""
    if not metric.startswith("coverage"):
        return str(score)
    text = f"{100 * score.value:.0f} %"
    return f"{text} ± {100 * score.error:.0f}" if score.is_random else text


def score_samples(
    samples: np.ndarray,
    target: np.ndarray,
    *,
    num_replicates: int = 20,
    seed: int = 0,
) -> dict[str, Score]:
    """Every metric of ``samples [W, N, T, D]`` against ``target [W, T, D]``, with its error.

    Parameters
    ----------
    samples, target
        As :mod:`tsdiff.evaluation.metrics` fixes them.
    num_replicates
        Bootstrap replicates behind the Monte-Carlo error; 0 leaves the errors NaN.
    seed
        Seed of the bootstrap.

    Returns
    -------
    dict
        ``crps_sum_q19``, ``crps_sum_q9``, ``crps_sum``, ``crps_sum_fair``, ``crps``,
        ``crps_q19``, ``nd``, ``nrmse``, ``energy_score``, ``variogram_score``, ``coverage_L``,
        ``coverage_sum_L`` for L in 50, 80, 95 (per cent), ``pit_error`` and ``pit_error_sum``, each
        beside its ``..._calibrated``, what a calibrated forecast of the size would have.
        ``crps_sum_fair`` and the last two are absent for a single sample.

    Raises
    ------
    ValueError
        As :func:`tsdiff.evaluation.metrics.crps_sum`.
    """
    return score_windows(samples, target, num_replicates=num_replicates, seed=seed)[0]


def score_windows(
    samples: np.ndarray, target: np.ndarray, *, num_replicates: int = 20, seed: int = 0
) -> tuple[dict[str, Score], dict[str, np.ndarray]]:
    """As :func:`score_samples`, and beside the scores what each window adds to them."""
    ensemble = Ensemble.check(samples, target)
    terms, errors = _all_terms(ensemble), _pit_errors(ensemble)
    variances = dict.fromkeys([*terms, *errors], np.nan)
    if num_replicates and ensemble.num_samples > 1:
        generator = np.random.default_rng(seed)
        replicates, pit_replicates = [], []
        for _ in range(num_replicates):
            again = ensemble.resampled(generator)
            replicates.append(_all_terms(again))
            pit_replicates.append(_pit_errors(again))
        for metric in terms:
            by_window = np.var([replicate[metric] for replicate in replicates], axis=0, ddof=1)
            variances[metric] = by_window.sum()
        for metric in errors:  # no sum over windows
            variances[metric] = float(np.var([e[metric] for e in pit_replicates], ddof=1))
    scores = {metric: _score(metric, terms[metric].sum(), variances[metric]) for metric in terms}
    for metric, parts in (("energy_score", _energy_parts), ("variogram_score", variogram_parts)):
        terms[metric], influence = parts(ensemble)
        scores[metric] = _linear_score(terms[metric], influence, bool(num_replicates))
    scores |= {metric: _score(metric, errors[metric], variances[metric]) for metric in errors}
    return scores | _calibrated_errors(ensemble), window_sums(ensemble, terms)


_METRICS: dict[str, Callable[[Ensemble], np.ndarray]] = {
    "crps_sum_q19": lambda e: m.quantile_loss_terms(e.summed, m.Q19),
    "crps_sum_q9": lambda e: m.quantile_loss_terms(e.summed, m.Q9),
    "crps_sum": lambda e: m.crps_terms(e.summed),
    "crps_sum_fair": lambda e: m.crps_terms(e.summed, fair=True),
    "crps": m.crps_terms,
    "crps_q19": lambda e: m.quantile_loss_terms(e, m.Q19),
    "nd": m.nd_terms,
    "nrmse": m.squared_nrmse_terms,
    **{
        f"coverage_{100 * level:.0f}": lambda e, level=level: m.coverage_terms(e, level)
        for level in m.DEFAULT_LEVELS
    },
    **{
        f"coverage_sum_{100 * level:.0f}": lambda e, level=level: m.coverage_terms(e.summed, level)
        for level in m.DEFAULT_LEVELS
    },
}


def _all_terms(ensemble: Ensemble) -> dict[str, np.ndarray]:
    return {
        metric: terms(ensemble)
        for metric, terms in _METRICS.items()
        if ensemble.num_samples > 1 or metric != "crps_sum_fair"
    }


def _score(metric: str, value: float, variance: float) -> Score:
    if metric == "nrmse":  # the terms are those of its square: delta rule for the root
        root = np.sqrt(value)
        return Score(float(root), float(np.sqrt(variance) / (2 * root)) if root else 0.0)
    return Score(float(value), float(np.sqrt(variance)))


def _energy_parts(ensemble: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """Contributions of the windows [W] to the energy score, and of samples to these [W, N]."""
    accuracy, spread = m.energy_parts(ensemble)
    return (accuracy - 0.5 * spread).mean(axis=1), accuracy - spread


def _linear_score(terms: np.ndarray, influence: np.ndarray, with_error: bool) -> Score:
    """A score with the linear limit of the bootstrap for its error."""
    value, count = float(terms.sum()), influence.shape[1]
    if not with_error or count < 2:
        return Score(value)
    return Score(value, float(np.sqrt(np.var(influence, axis=1, ddof=1).sum() / count)))


def _pit_errors(ensemble: Ensemble) -> dict[str, float]:
    return {
        name: float(pit.calibration_error(pit.pit_distribution(of)))
        for name, of in (("pit_error", ensemble), ("pit_error_sum", ensemble.summed))
    }


def _calibrated_errors(ensemble: Ensemble) -> dict[str, Score]:
    """What :func:`_pit_errors` would be, on average over calibrated forecasts of this size."""
    if ensemble.num_samples < 2:
        return {}
    scores = {}
    for name, of in (("pit_error", ensemble), ("pit_error_sum", ensemble.summed)):
        errors = pit.calibration_error(pit.calibrated_distributions(of))
        error = np.std(errors, ddof=1) / np.sqrt(len(errors))
        scores[f"{name}_calibrated"] = Score(float(errors.mean()), float(error))
    return scores


def write_json(content: Any, path: str | Path | None) -> str:
    """Serialise to indented JSON, and to a file where a path is given."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    if path is not None:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return text


def read_json(source: str | Path) -> Any:
    """Parse JSON text, or the file at a :class:`~pathlib.Path`."""
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON ({error}); pass the text itself, or pathlib.Path(...) for a file"
        ) from error


def _plain(value: float) -> float | str | None:
    """What JSON has a word for: an infinite surprise is a text, and no missing one."""
    if np.isnan(value):
        return None
    return str(float(value)) if np.isinf(value) else float(value)


def _read(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
