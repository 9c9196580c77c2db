"""What all baselines share: sizes that are checked, a generator per series, missing values.

A baseline is a GluonTS predictor that is not trained: everything is estimated from the history of
the entry at hand, which it continues by sample paths. :class:`GaussianBaseline` also has a density.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import RepresentablePredictor

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.entries import DataEntry
from tsdiff.datasets.frames import check_quantiles, forecast_info, to_frame
from tsdiff.datasets.windows import split_window
from tsdiff.evaluation.inputs import entries_of, unknown_argument

__all__ = ["Baseline", "GaussianBaseline"]

# Below these shares a covariance counts as singular, where a density is asked for.
_FLOOR = 1e-6


class Baseline(RepresentablePredictor):
    """A forecaster that estimates all it needs from the history it continues.

    Keyword arguments of the constructor are positive integers; :meth:`_remember` keeps others.
    """

    def __init__(self, prediction_length: int, **parameters: Any) -> None:
        arguments = {"prediction_length": prediction_length, **parameters}
        for name, value in arguments.items():
            check_positive_integer(type(self).__name__, name, value)
        self._arguments = {name: int(value) for name, value in arguments.items()}
        super().__init__(prediction_length=int(prediction_length))

    def _remember(self, **arguments: Any) -> None:
        """Arguments of the constructor that are no sizes, for equality and serialisation."""
        self._arguments.update(arguments)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        return (), dict(self._arguments)  # what GluonTS' serialize writes

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self)) and self.__getnewargs_ex__() == other.__getnewargs_ex__()
        )

    def __hash__(self) -> int:
        return hash((type(self), *self._arguments.items()))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"

    def predict(  # type: ignore[override]
        self,
        dataset: Iterable[Mapping[str, Any]] | pd.DataFrame,
        num_samples: int = 100,
        *,
        quantiles: Sequence[float] | None = None,
        seed: int = 0,
        **unknown: Any,
    ) -> Any:
        """Forecast what follows each entry's target.

        Parameters
        ----------
        dataset
            Entries with ``target`` ``[D, time]`` or ``[time]`` and ``start``, or a DataFrame with
            one column per dimension and a regular time index.
        num_samples
            Samples per forecast.
        quantiles
            Levels in (0, 1). If given, the result is a DataFrame as that of
            :meth:`tsdiff.GenerativePredictor.predict`.
        seed
            Series number i draws from its own generator, seeded by ``(seed, i)``.

        Returns
        -------
        Iterator of SampleForecast, or DataFrame
            ``samples [N, T, D]``, or ``[N, T]`` where the target is ``[time]``.

        Raises
        ------
        TypeError
            An argument that there isn't: solvers, devices and guidance are for trained models.
        ValueError
            A target that is empty or infinite somewhere, or a dimension without any observation.
        """
        _refuse(f"{type(self).__name__}.predict", unknown, ("num_samples", "quantiles", "seed"))
        check_positive_integer(type(self).__name__, "num_samples", num_samples)
        entries = entries_of(dataset)
        forecasts = self._forecasts(entries, num_samples, seed)
        if quantiles is None:
            return forecasts
        check_quantiles(quantiles)
        return to_frame(forecasts, quantiles)

    def _forecasts(
        self, entries: list[DataEntry], num_samples: int, seed: int
    ) -> Iterator[SampleForecast]:
        for position, entry in enumerate(entries):
            target = np.asarray(entry["target"], dtype=np.float64)
            history = np.atleast_2d(target)
            self._check_history(history, position)
            generator = np.random.default_rng([seed, position])
            paths = self._paths(history, entry["start"], num_samples, generator)
            with business_day_periods():
                start_date = entry["start"] + target.shape[-1]
            yield SampleForecast(
                samples=paths[..., 0] if target.ndim == 1 else paths,
                start_date=start_date,
                item_id=entry.get("item_id"),
                info=forecast_info(dict(entry)),
            )

    def _check_history(self, history: np.ndarray, position: int) -> None:
        if history.ndim != 2:
            raise ValueError(
                f"entry {position}: target has shape {history.shape}, expected [D, time] or [time]"
            )
        rows, steps = np.nonzero(np.isinf(history))
        if rows.size:
            raise ValueError(
                f"entry {position}: the target is infinite in dimension {rows[0]} at position "
                f"{steps[0]} ({rows.size} such values); mark missing values by NaN"
            )
        silent = np.isnan(history).all(axis=1)
        if silent.any():
            raise ValueError(
                f"entry {position}: dimension {int(np.argmax(silent))} has no observed value "
                f"among {history.shape[1]} steps, so there is nothing to continue; drop it"
            )

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Sample paths [N, T, D] that follow a history [D, time] whose first step is at start."""
        raise NotImplementedError


class GaussianBaseline(Baseline):
    """A baseline whose next step is Gaussian, given the steps before it: it has a density."""

    def log_prob(
        self, dataset: Iterable[Mapping[str, Any]] | pd.DataFrame, **unknown: Any
    ) -> np.ndarray:
        """Log-density of the last ``prediction_length`` steps of each entry, given what precedes.

        Every step is given the observed ones before it (teacher forcing); what is estimated, is
        from the steps *before* the window's last ``prediction_length``.

        Parameters
        ----------
        dataset
            Windows: entries with ``target`` ``[D, time]`` or ``[time]``, truth included, or a
            DataFrame as for :meth:`predict`.

        Returns
        -------
        array
            Nats, joint over dimensions, ``[W, T]``; NaN where a value of the step is missing, or
            one that it is measured from.

        Raises
        ------
        DataError
            If an entry leaves no history.
        TypeError
            Any other argument: the density is exact, and there is nothing to choose.
        ValueError
            As for :meth:`predict`.

        Notes
        -----
        The covariance of a step may be singular: there are fewer steps than dimensions, or one did
        not move. What it says can't happen may happen all the same, so that it is widened to have a
        density: standard deviations are at least a millionth of the last value's size (of one,
        where that is zero), and eigenvalues of the correlation at least 1e-6. Where the floors
        bind, so does the figure depend on them.
        """
        _refuse(f"{type(self).__name__}.log_prob", unknown, ("dataset",))
        rows = []
        for position, entry in enumerate(entries_of(dataset)):
            history, truth = split_window(dict(entry), self.prediction_length)
            past, future = (
                np.atleast_2d(np.asarray(part, dtype=np.float64))
                for part in (history["target"], truth)
            )
            self._check_history(past, position)
            surprises, covariance = self._surprises(past, future, entry["start"])
            size = np.abs(fill_forward(past)[:, -1])
            rows.append(_gaussian_log_prob(surprises, _floored_factor(covariance, size)))
        return np.stack(rows) if rows else np.empty((0, self.prediction_length))

    def _surprises(
        self, history: np.ndarray, future: np.ndarray, start: pd.Period
    ) -> tuple[np.ndarray, np.ndarray]:
        """Truth less its mean given all before it ``[T, D]``, and its covariance ``[D, D]``."""
        raise NotImplementedError


def _refuse(owner: str, unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in unknown:
        raise unknown_argument(owner, name, known)


def _floored_factor(covariance: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Square root ``[D, D]`` of a covariance, kept from being singular."""
    smallest = _FLOOR * np.where(size > 0.0, size, 1.0)
    std = np.maximum(np.sqrt(np.diag(covariance)), smallest)
    correlation = covariance / np.outer(std, std)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    return std[:, None] * vectors * np.sqrt(np.maximum(values, _FLOOR))


def _gaussian_log_prob(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Log-density of the rows of ``x [T, D]`` under ``N(0, factor factorᵀ)``; NaN stays NaN."""
    unit = np.linalg.solve(factor, x.T)
    _, volume = np.linalg.slogdet(factor)
    return -0.5 * (unit**2).sum(axis=0) - volume - 0.5 * len(factor) * np.log(2.0 * np.pi)


def fill_forward(values: np.ndarray) -> np.ndarray:
    """Replace NaN by the last observed value along the last axis; leading NaN stay."""
    index = np.where(np.isnan(values), 0, np.arange(values.shape[-1]))
    return np.take_along_axis(values, np.maximum.accumulate(index, axis=-1), axis=-1)


def check_positive_integer(owner: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{owner}: {name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{owner}: {name} must be at least 1, got {value}")


def filled_by_place(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Replace NaN in ``[D, time]`` by the last value at the same place, or else the next.

    ``place [time]`` labels the steps. A place that was never observed takes the last value of all,
    or else the next.
    """
    filled = np.array(values)
    for label in np.unique(place):
        steps = np.flatnonzero(place == label)
        filled[:, steps] = _fill_both_ways(filled[:, steps])
    return _fill_both_ways(filled)


def interpolated(values: np.ndarray) -> np.ndarray:
    """Replace NaN along the last axis of ``[D, time]`` by linear interpolation."""
    times = np.arange(values.shape[1])
    rows = [
        np.interp(times, times[known], row[known])
        for row, known in zip(values, ~np.isnan(values), strict=True)
    ]
    return np.stack(rows)


def _fill_both_ways(values: np.ndarray) -> np.ndarray:
    return fill_forward(fill_forward(values)[..., ::-1])[..., ::-1]
