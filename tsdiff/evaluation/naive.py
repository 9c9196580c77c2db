"""Naive forecasters that every model has to beat.

* :class:`LastValue`: tomorrow is today, ``y_{n+h} = y_n``, as a point.
* :class:`SeasonalNaive`: ``y_{n+h} = y_{n+h-m}`` with the last complete season of m steps, as a
  point.
* :class:`RandomWalk`: ``y_{n+h} = y_n + sum of h increments``, increments N(0, C) with the joint
  covariance C of the last ``window`` increments about zero: a random walk without drift.

Point forecasts are given as N equal samples, so that one evaluation serves all. A missing value
(NaN) is replaced by the last observed one; the random walk widens by the steps since then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import RepresentablePredictor

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.windows import split_window

__all__ = ["LastValue", "RandomWalk", "SeasonalNaive", "baselines", "season_length"]

# Below these shares a covariance counts as singular, where a density is asked for.
_FLOOR = 1e-6


class _Baseline(RepresentablePredictor):
    """What the baselines share: validated sizes, one random generator per series, NaN filling."""

    def __init__(self, prediction_length: int, **parameters: Any) -> None:
        arguments = {"prediction_length": prediction_length, **parameters}
        for name, value in arguments.items():
            _check_positive_integer(type(self).__name__, name, value)
        self._arguments = {name: int(value) for name, value in arguments.items()}
        super().__init__(prediction_length=int(prediction_length))

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        return (), dict(self._arguments)  # what GluonTS' serialize writes

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self)) and self.__getnewargs_ex__() == other.__getnewargs_ex__()
        )

    def __hash__(self) -> int:
        return hash((type(self), *self._arguments.items()))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"

    def predict(
        self,
        dataset: Iterable[Mapping[str, Any]],
        num_samples: int = 100,
        seed: int = 0,
        **_: Any,
    ) -> Iterator[SampleForecast]:
        """Forecast what follows each entry's target.

        Parameters
        ----------
        dataset
            Entries with ``target`` ``[D, time]`` or ``[time]`` and ``start``.
        num_samples
            Samples per forecast.
        seed
            Series number i draws from its own generator, seeded by ``(seed, i)``.

        Yields
        ------
        SampleForecast
            ``samples [N, T, D]``, or ``[N, T]`` where the target is ``[time]``.

        Raises
        ------
        ValueError
            A target that is empty, or has a dimension without any observation.
        """
        _check_positive_integer(type(self).__name__, "num_samples", num_samples)
        for position, entry in enumerate(dataset):
            target = np.asarray(entry["target"], dtype=np.float64)
            history = np.atleast_2d(target)
            self._check_history(history, position)
            generator = np.random.default_rng([seed, position])
            paths = self._paths(history, num_samples, generator)
            with business_day_periods():
                start_date = entry["start"] + target.shape[-1]
            yield SampleForecast(
                samples=paths[..., 0] if target.ndim == 1 else paths,
                start_date=start_date,
                item_id=entry.get("item_id"),
            )

    def _check_history(self, history: np.ndarray, position: int) -> None:
        if history.ndim != 2:
            raise ValueError(
                f"entry {position}: target has shape {history.shape}, expected [D, time] or [time]"
            )
        silent = np.isnan(history).all(axis=1)
        if silent.any():
            raise ValueError(
                f"entry {position}: dimension {int(np.argmax(silent))} has no observed value "
                f"among {history.shape[1]} steps, so there is nothing to continue; drop it"
            )

    def _paths(
        self, history: np.ndarray, num_samples: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Sample paths [N, T, D] that follow a history [D, time]."""
        raise NotImplementedError


class LastValue(_Baseline):
    """Repeat the last observed value.

    Examples
    --------
    >>> import pandas as pd
    >>> entry = {"target": [[1.0, 2.0, np.nan]], "start": pd.Period("2024-01-01", "D")}
    >>> forecast = next(LastValue(prediction_length=2).predict([entry], num_samples=1))
    >>> forecast.samples.tolist()
    [[[2.0], [2.0]]]
    """

    def __init__(self, prediction_length: int) -> None:
        super().__init__(prediction_length)

    def _paths(
        self, history: np.ndarray, num_samples: int, generator: np.random.Generator
    ) -> np.ndarray:
        last = _fill_forward(history)[:, -1]
        return np.tile(last, (num_samples, self.prediction_length, 1))


class SeasonalNaive(_Baseline):
    """Repeat the last season, ``season_length`` steps long.

    A missing value is taken from the season before, and so on back; a place in the season that was
    never observed takes the last observed value.
    """

    def __init__(self, prediction_length: int, season_length: int) -> None:
        super().__init__(prediction_length, season_length=season_length)
        self.season_length = int(season_length)

    def _paths(
        self, history: np.ndarray, num_samples: int, generator: np.random.Generator
    ) -> np.ndarray:
        dims, length = history.shape
        lead = -length % self.season_length
        padded = np.concatenate([np.full((dims, lead), np.nan), history], axis=1)
        seasons = padded.reshape(dims, -1, self.season_length).swapaxes(1, 2)  # [D, m, seasons]
        season = _fill_forward(seasons)[..., -1]
        season = np.where(np.isnan(season), _fill_forward(history)[:, -1:], season)
        steps = np.arange(self.prediction_length) % self.season_length
        return np.tile(season[:, steps].T, (num_samples, 1, 1))


class RandomWalk(_Baseline):
    """Joint Gaussian random walk with the covariance of the last increments.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    window
        Number of increments behind the covariance; a shorter history uses all it has.

    Notes
    -----
    With R increments as the rows of a matrix Z and ``C = Z^T Z / R``, an increment is drawn as
    ``Z^T g / sqrt(R)``, ``g ~ N(0, I_R)``: exactly N(0, C) at any number of dimensions, with
    nothing to factorise and no trouble where C is singular.

    A gap of k missing steps counts as k increments, the last of them carrying the whole move: the
    variance per step stays right and C positive semi-definite.
    """

    def __init__(self, prediction_length: int, window: int = 60) -> None:
        super().__init__(prediction_length, window=window)
        self.window = int(window)

    def _check_history(self, history: np.ndarray, position: int) -> None:
        super()._check_history(history, position)
        if history.shape[1] < 2:
            raise ValueError(
                f"entry {position} has 1 step of history: a random walk needs at least 2 to know "
                "the size of its steps"
            )

    def _paths(
        self, history: np.ndarray, num_samples: int, generator: np.random.Generator
    ) -> np.ndarray:
        steps = self._scaled_increments(history)
        shape = (num_samples, self.prediction_length, len(steps))
        walk = np.cumsum(generator.standard_normal(shape) @ steps, axis=1)
        # A stale value has moved on, unseen, since it was observed.
        stale = np.argmax(~np.isnan(history[:, ::-1]), axis=1)
        unseen = generator.standard_normal((num_samples, 1, len(steps))) @ steps * np.sqrt(stale)
        return _fill_forward(history)[:, -1] + unseen + walk

    def log_prob(self, dataset: Iterable[Mapping[str, Any]], **_: Any) -> np.ndarray:
        """Log-density of the last ``prediction_length`` steps of each entry, given what precedes.

        Every step is given the observed one before it (teacher forcing): it is ``N(y_{i-1}, C)``,
        with the covariance ``C`` of the increments *before* the window's last ``prediction_length``
        steps.

        Parameters
        ----------
        dataset
            Windows: entries with ``target`` ``[D, time]`` or ``[time]``, truth included.

        Returns
        -------
        array
            Nats, joint over dimensions, ``[W, T]``; NaN where a value of the step or of the one
            before it is missing.

        Raises
        ------
        DataError
            If an entry leaves no history.
        ValueError
            As for :meth:`predict`.

        Notes
        -----
        ``C`` may be singular: there are fewer increments than dimensions, or one did not move. What
        a walk says can't happen may happen all the same, so that ``C`` is widened to have a
        density: standard deviations are at least a millionth of the last value's size (of one,
        where that is zero), and eigenvalues of the correlation at least 1e-6. Where the floors
        bind, so does the figure depend on them.
        """
        rows = []
        for position, entry in enumerate(dataset):
            history, truth = split_window(dict(entry), self.prediction_length)
            past, future = (
                np.atleast_2d(np.asarray(part, dtype=np.float64))
                for part in (history["target"], truth)
            )
            self._check_history(past, position)
            moves = np.diff(np.concatenate([past[:, -1:], future], axis=1), axis=1)
            rows.append(_gaussian_log_prob(moves.T, self._floored_factor(past)))
        return np.stack(rows) if rows else np.empty((0, self.prediction_length))

    def _floored_factor(self, history: np.ndarray) -> np.ndarray:
        """Square root ``[D, D]`` of the covariance of a step, kept from being singular."""
        steps = self._scaled_increments(history)
        size = np.abs(_fill_forward(history)[:, -1])
        std = np.maximum(np.linalg.norm(steps, axis=0), _FLOOR * np.where(size > 0.0, size, 1.0))
        unit = steps / std
        correlation = unit.T @ unit
        np.fill_diagonal(correlation, 1.0)
        values, vectors = np.linalg.eigh(correlation)
        return std[:, None] * vectors * np.sqrt(np.maximum(values, _FLOOR))

    def _scaled_increments(self, history: np.ndarray) -> np.ndarray:
        """Rows [R, D] whose Gram matrix is the covariance of one step."""
        observed = ~np.isnan(history)
        increments = np.diff(_fill_forward(history), axis=1)
        # Increments before a dimension's first value, or after its last, are unknown, not zero.
        begun = np.logical_or.accumulate(observed, axis=1)[:, :-1]
        going_on = np.logical_or.accumulate(observed[:, ::-1], axis=1)[:, ::-1][:, 1:]
        known = (begun & going_on)[:, -self.window :]
        increments = np.where(known, increments[:, -self.window :], 0.0)
        return (increments / np.sqrt(np.maximum(known.sum(axis=1, keepdims=True), 1))).T


def _gaussian_log_prob(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Log-density of the rows of ``x [T, D]`` under ``N(0, factor factorᵀ)``; NaN stays NaN."""
    unit = np.linalg.solve(factor, x.T)
    _, volume = np.linalg.slogdet(factor)
    return -0.5 * (unit**2).sum(axis=0) - volume - 0.5 * len(factor) * np.log(2.0 * np.pi)


def baselines(freq: str, prediction_length: int) -> dict[str, RepresentablePredictor]:
    """The naive forecasters for a frequency, by the names that stand in tables.

    Parameters
    ----------
    freq
        A pandas frequency such as ``"h"``, ``"B"`` or ``"15min"``.
    prediction_length
        Steps to forecast.

    Returns
    -------
    dict
        ``"last value"``, ``"seasonal naive"`` (where the frequency has a season longer than one
        step) and ``"random walk"``.

    Raises
    ------
    ValueError
        pandas does not know the frequency, or the length is not a positive integer.
    """
    season = season_length(freq)
    found: dict[str, RepresentablePredictor] = {"last value": LastValue(prediction_length)}
    if season > 1:
        found["seasonal naive"] = SeasonalNaive(prediction_length, season)
    found["random walk"] = RandomWalk(prediction_length)
    return found


def season_length(freq: str) -> int:
    """Steps in the shortest natural season: 24 for hours, 7 for days, 5 for business days.

    GluonTS' table, except that days have a week and weeks a year, where it has none.

    Raises
    ------
    ValueError
        pandas does not know the frequency.
    """
    from gluonts.time_feature import get_seasonality
    from gluonts.time_feature.seasonality import DEFAULT_SEASONALITIES

    try:
        return get_seasonality(freq, {**DEFAULT_SEASONALITIES, "D": 7, "W": 52})
    except ValueError as error:
        raise ValueError(
            f"unknown frequency {freq!r}; expected a pandas one such as 'h', 'D', 'B' or '15min'"
        ) from error


def _fill_forward(values: np.ndarray) -> np.ndarray:
    """Replace NaN by the last observed value along the last axis; leading NaN stay."""
    index = np.where(np.isnan(values), 0, np.arange(values.shape[-1]))
    return np.take_along_axis(values, np.maximum.accumulate(index, axis=-1), axis=-1)


def _check_positive_integer(owner: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{owner}: {name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{owner}: {name} must be at least 1, got {value}")
