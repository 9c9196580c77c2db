"""Forecast held-out windows and score them.

A *window* is an entry whose last ``prediction_length`` steps are the truth: they are cut off before
the forecaster sees the entry, features known in advance are left in full. :func:`backtest` makes
such windows from the end of the series, :func:`evaluate` forecasts and scores them,
:func:`score_forecasts` scores forecasts that are there already.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
from gluonts.model.estimator import Estimator
from gluonts.model.forecast import Forecast, SampleForecast
from gluonts.model.predictor import Predictor

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.entries import DataEntry
from tsdiff.datasets.windows import cut_before, rolling_windows, split_window
from tsdiff.evaluation.forecaster import check_positive_integer
from tsdiff.evaluation.inputs import entries_of, unknown_argument
from tsdiff.evaluation.scores import Evaluation, score_windows

__all__ = ["backtest", "evaluate", "score_forecasts"]


def evaluate(
    predictor: Predictor,
    dataset: Iterable[DataEntry] | pd.DataFrame,
    *,
    known_columns: str | Sequence[str] | None = None,
    num_samples: int = 100,
    seed: int = 0,
    name: str | None = None,
    keep_forecasts: bool = False,
    **predict_kwargs: Any,
) -> Evaluation:
    """Let a predictor forecast the end of every entry, and score it.

    Parameters
    ----------
    predictor
        Any GluonTS predictor that gives sample forecasts.
    dataset
        Windows: entries whose last ``predictor.prediction_length`` steps are the truth, or a
        DataFrame of which the same holds.
    known_columns
        Columns of a DataFrame that are known in advance and not forecast; those that the predictor
        was trained with by default.
    num_samples
        Joint samples per forecast.
    seed
        Handed to the predictor where its ``predict`` has a ``seed``.
    name
        Name in tables; by default the predictor's ``name``, or its class.
    keep_forecasts
        Keep forecasts and entries in the result, to plot them.
    **predict_kwargs
        Handed to ``predictor.predict``: a solver, a number of steps.

    Returns
    -------
    Evaluation
        Every score with its Monte-Carlo error, and the seconds that forecasting took.

    Raises
    ------
    TypeError
        The predictor is none, or its ``predict`` has no argument of a name given.
    ValueError
        No entries, entries too short, or forecasts that do not fit them.

    Examples
    --------
    >>> import pandas as pd
    >>> from tsdiff.evaluation import LastValue
    >>> entry = {"target": np.ones((2, 10)), "start": pd.Period("2024-01-01", "D")}
    >>> evaluate(LastValue(prediction_length=3), [entry])["crps_sum"].value
    0.0
    """
    if not isinstance(predictor, Predictor):
        raise TypeError(_not_a_predictor(predictor))
    _check_arguments(type(predictor), {"num_samples": num_samples, **predict_kwargs})
    if predictor.lead_time:
        raise ValueError(
            f"the predictor skips lead_time={predictor.lead_time} steps before its forecast; only "
            "forecasts that start right after the history can be scored here"
        )
    windows = entries_of(dataset, known_columns, predictor)
    histories = [split_window(entry, predictor.prediction_length)[0] for entry in windows]
    arguments = predict_kwargs | _ours(predictor.predict, num_samples=num_samples, seed=seed)
    began = time.perf_counter()
    forecasts = list(predictor.predict(histories, **arguments))
    seconds = time.perf_counter() - began
    return score_forecasts(
        forecasts,
        windows,
        predictor.prediction_length,
        name=name or getattr(predictor, "name", type(predictor).__name__),
        seed=seed,
        seconds=seconds,
        keep_forecasts=keep_forecasts,
    )


def score_forecasts(
    forecasts: Iterable[Forecast],
    entries: Iterable[DataEntry],
    prediction_length: int,
    *,
    name: str = "forecast",
    seed: int | None = None,
    seconds: float | None = None,
    keep_forecasts: bool = False,
) -> Evaluation:
    """Score forecasts of the last ``prediction_length`` steps of each entry.

    Parameters
    ----------
    forecasts
        One sample forecast per entry, in the same order.
    entries
        Windows *with* the truth at their end.
    prediction_length
        Steps that were forecast.
    name, seed, seconds, keep_forecasts
        Kept in the result; see :class:`Evaluation`.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError
        A forecast without samples.
    ValueError
        Nothing to score, another number of forecasts than of entries, or a forecast that starts
        elsewhere or has another shape than the truth.
    """
    forecasts, entries = tuple(forecasts), tuple(entries)
    if len(forecasts) != len(entries) or not entries:
        raise ValueError(
            f"got {len(forecasts)} forecasts for {len(entries)} entries: expected one for each, "
            "and at least one"
        )
    pairs = [
        _aligned(position, forecast, entry, prediction_length)
        for position, (forecast, entry) in enumerate(zip(forecasts, entries, strict=True))
    ]
    for position, pair in enumerate(pairs):
        if pair[0].shape != pairs[0][0].shape:
            raise ValueError(
                f"forecast {position} has samples [N, T, D] = {pair[0].shape}, forecast 0 has "
                f"{pairs[0][0].shape}: score forecasts of one size at a time"
            )
    samples, target = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    windows, num_samples, steps, dims = samples.shape
    scores, terms = score_windows(samples, target)
    return Evaluation(
        name=name,
        scores=scores,
        terms=terms,
        num_windows=windows,
        num_samples=num_samples,
        prediction_length=steps,
        target_dim=dims,
        seed=seed,
        seconds=seconds,
        forecasts=forecasts if keep_forecasts else (),
        entries=entries if keep_forecasts else (),
        item_ids=_item_ids(entries),
        dimension_names=_dimension_names(entries),
    )


def backtest(
    model: Predictor | Estimator,
    entries: Sequence[DataEntry] | pd.DataFrame,
    *,
    num_windows: int,
    prediction_length: int | None = None,
    stride: int | None = None,
    known_columns: str | Sequence[str] | None = None,
    progress: bool = True,
    **evaluate_kwargs: Any,
) -> Evaluation:
    """Evaluate on rolling windows over the end of each series.

    Parameters
    ----------
    model
        A predictor, or an estimator: it is trained once, on what of all series lies before the
        first window of any.
    entries
        Whole series, or a DataFrame.
    num_windows
        Windows per series.
    prediction_length
        Steps per window; the model's own by default, from which it cannot differ.
    stride
        Steps from one window to the next; ``prediction_length`` by default.
    known_columns
        As in :func:`evaluate`; an estimator is trained with them.
    progress
        Whether training shows progress bars, where the estimator's ``train`` leaves the choice.
    **evaluate_kwargs
        As in :func:`evaluate`.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError
        The model is neither predictor nor estimator, or ``predict`` has no argument of a name
        given. It is checked before training, as all that follows.
    ValueError
        Series too short for the windows, nothing before them to train an estimator on, or another
        ``prediction_length`` than the model's.
    """
    if not isinstance(model, (Predictor, Estimator)):
        raise TypeError(_not_a_predictor(model))
    length = getattr(model, "prediction_length", prediction_length)
    if length is None:
        raise ValueError(
            f"{type(model).__name__} does not say its prediction_length: pass it to backtest()"
        )
    if prediction_length not in (None, length):
        raise ValueError(
            f"prediction_length={prediction_length}, but the model forecasts {length} steps: build "
            "the model for the length you want to score"
        )
    predictor = _made_by(model) if isinstance(model, Estimator) else type(model)
    _check_arguments(predictor, evaluate_kwargs)
    if (check_options := getattr(predictor, "check_options", None)) is not None:
        check_options(**evaluate_kwargs)  # of values, where a class can tell without a model
    entries = entries_of(entries, known_columns, model)
    windows = rolling_windows(entries, length, num_windows, stride)  # type: ignore[arg-type]
    if isinstance(model, Estimator):
        training = cut_before(entries, windows, length)
        estimator, model = model, model.train(training, **_ours(model.train, progress=progress))
        evaluate_kwargs.setdefault("name", getattr(model, "name", type(estimator).__name__))
    return evaluate(model, windows, **evaluate_kwargs)


def _item_ids(entries: Sequence[DataEntry]) -> tuple[str, ...]:
    """The series of each window; nothing where one lacks a name."""
    names = [entry.get("item_id") for entry in entries]
    return () if None in names else tuple(str(name) for name in names)


def _dimension_names(entries: Sequence[DataEntry]) -> tuple[str, ...]:
    """Names that all windows share, in one order; or none."""
    names = {tuple(map(str, entry.get("dimension_names") or ())) for entry in entries}
    return names.pop() if len(names) == 1 else ()


@business_day_periods()
def _aligned(
    position: int, forecast: Forecast, entry: DataEntry, prediction_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples [N, T, D] and truth [T, D] of one window, checked to belong together."""
    if not isinstance(forecast, SampleForecast):
        raise TypeError(
            f"forecast {position} is a {type(forecast).__name__}, expected a SampleForecast: the "
            "scores of a sum need joint samples"
        )
    history, truth = split_window(entry, prediction_length)
    expected = entry["start"] + np.shape(history["target"])[-1]
    if forecast.start_date != expected:
        raise ValueError(
            f"forecast {position} starts at {forecast.start_date}, but the last "
            f"{prediction_length} steps of entry {position} start at {expected}; pass entries that "
            "end with the forecast range, in the order of the forecasts"
        )
    samples = forecast.samples if forecast.samples.ndim == 3 else forecast.samples[..., None]
    truth = np.atleast_2d(truth).T
    if samples.shape[1:] != truth.shape:
        raise ValueError(
            f"forecast {position} has [steps, dimensions] = {samples.shape[1:]}, its truth has "
            f"{truth.shape}"
        )
    return samples, truth


def _made_by(estimator: Estimator) -> type:
    """Class of the predictor that training makes, as far as its annotation tells."""
    try:
        made = get_type_hints(type(estimator).train).get("return")
    except NameError:  # a name that only type checkers import
        made = None
    return made if inspect.isclass(made) else Predictor


def _check_arguments(predictor: type, arguments: Mapping[str, Any]) -> None:
    """Refuse what neither :func:`evaluate` nor ``predict`` of such a predictor takes."""
    if "quantiles" in arguments:
        raise TypeError(
            "scores are computed from samples: leave 'quantiles' out; predictor.predict(data, "
            "quantiles=[0.1, 0.9]) gives a table of them"
        )
    check_positive_integer("evaluate", "num_samples", arguments.get("num_samples", 1))
    parameters = inspect.signature(predictor.predict).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return  # it says itself what it takes
    own = inspect.signature(evaluate).parameters.values()
    known = {p.name: p for p in own if p.kind is p.KEYWORD_ONLY}
    known |= {p.name: p for p in parameters if p.name not in ("self", "dataset", "quantiles")}
    for name in arguments:
        if name not in known:
            raise unknown_argument(f"evaluate with {predictor.__name__}.predict", name, known)


def _ours(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of our arguments that a function names, or any number of samples that it may take."""
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {
        name: value
        for name, value in arguments.items()
        if name in parameters or (open_ended and name == "num_samples")
    }


def _not_a_predictor(thing: Any) -> str:
    return (
        f"expected a GluonTS predictor, got {type(thing).__name__}; an estimator becomes one by "
        "fit() (backtest() also takes estimators)"
    )
