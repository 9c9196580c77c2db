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

from collections.abc import Sequence

import numpy as np
import pandas as pd
from gluonts.model.predictor import RepresentablePredictor

from tsdiff.datasets.entries import DataEntry, validate_entries
from tsdiff.evaluation.automatic import AutoARIMA, AutoETS
from tsdiff.evaluation.autoregression import VectorAutoregression
from tsdiff.evaluation.calendars import season_length
from tsdiff.evaluation.climatology import Climatology
from tsdiff.evaluation.forecaster import Baseline, GaussianBaseline, fill_forward
from tsdiff.evaluation.inputs import entries_of
from tsdiff.evaluation.last_seasons import LastSeasons
from tsdiff.evaluation.ridge import SeasonalRidge

__all__ = ["LastValue", "RandomWalk", "SeasonalNaive", "baselines", "season_length"]


class LastValue(Baseline):
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
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        last = fill_forward(history)[:, -1]
        return np.tile(last, (num_samples, self.prediction_length, 1))


class SeasonalNaive(Baseline):
    """Repeat the last season, ``season_length`` steps long.

    A missing value is taken from the season before, and so on back; a place in the season that was
    never observed takes the last observed value.
    """

    def __init__(self, prediction_length: int, season_length: int) -> None:
        super().__init__(prediction_length, season_length=season_length)
        self.season_length = int(season_length)

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        dims, length = history.shape
        lead = -length % self.season_length
        padded = np.concatenate([np.full((dims, lead), np.nan), history], axis=1)
        seasons = padded.reshape(dims, -1, self.season_length).swapaxes(1, 2)  # [D, m, seasons]
        season = fill_forward(seasons)[..., -1]
        season = np.where(np.isnan(season), fill_forward(history)[:, -1:], season)
        steps = np.arange(self.prediction_length) % self.season_length
        return np.tile(season[:, steps].T, (num_samples, 1, 1))


class RandomWalk(GaussianBaseline):
    """Joint Gaussian random walk with the covariance of the last increments.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    window
        Number of increments behind the covariance, the last of each dimension up to its last
        observed value; a shorter history uses all it has.

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
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        steps = self._scaled_increments(history)
        shape = (num_samples, self.prediction_length, len(steps))
        walk = np.cumsum(generator.standard_normal(shape) @ steps, axis=1)
        # A stale value has moved on, unseen, since it was observed: with others that are stale as
        # long as these are, and by itself before that.
        stale = np.argmax(~np.isnan(history[:, ::-1]), axis=1)
        unseen, age = np.zeros((num_samples, 1, len(history))), 0
        for level in np.unique(stale[stale > 0]):
            moved = generator.standard_normal((num_samples, 1, len(steps))) @ steps
            unseen += moved * np.sqrt(level - age) * (stale >= level)
            age = level
        return fill_forward(history)[:, -1] + unseen + walk

    def _surprises(
        self, history: np.ndarray, future: np.ndarray, start: pd.Period
    ) -> tuple[np.ndarray, np.ndarray]:
        steps = self._scaled_increments(history)
        moves = np.diff(np.concatenate([history[:, -1:], future], axis=1), axis=1)
        return moves.T, steps.T @ steps

    def _scaled_increments(self, history: np.ndarray) -> np.ndarray:
        """Rows [R, D] whose Gram matrix is the covariance of one step."""
        observed, count = ~np.isnan(history), history.shape[1] - 1
        increments = np.diff(fill_forward(history), axis=1)
        # Increments before a dimension's first value, or after its last, are unknown, not zero.
        begun = np.logical_or.accumulate(observed, axis=1)[:, :-1]
        going_on = np.logical_or.accumulate(observed[:, ::-1], axis=1)[:, ::-1][:, 1:]
        known = begun & going_on
        known &= np.cumsum(known[:, ::-1], axis=1)[:, ::-1] <= self.window
        # Of a gap that began before the window, as much of its move as the window holds of it.
        first = np.argmax(known, axis=1, keepdims=True)
        steps = np.arange(count)
        last = np.maximum.accumulate(np.where(observed[:, :-1], steps, 0), axis=1)
        held = (steps + 1 - np.maximum(last, first)) / (steps + 1 - last)
        increments = np.where(known, increments * np.sqrt(np.where(known, held, 1.0)), 0.0)
        increments /= np.sqrt(np.maximum(known.sum(axis=1, keepdims=True), 1))
        begin = min(int(first[known.any(axis=1)].min(initial=count)), max(count - self.window, 0))
        return increments[:, begin:].T


def baselines(
    freq: str | pd.DataFrame | Sequence[DataEntry],
    prediction_length: int,
    *,
    statistical: bool = False,
    automatic: bool = False,
) -> dict[str, RepresentablePredictor]:
    """The baselines for a frequency, by the names that stand in tables.

    Parameters
    ----------
    freq
        A pandas frequency such as ``"h"``, ``"B"`` or ``"15min"``, or the data that have it: a
        DataFrame with a regular time index, or entries.
    prediction_length
        Steps to forecast.
    statistical
        Add climatology, a vector autoregression and, where the frequency has a season, the last
        seasons and the ridge regression of a season on those before it: harder to beat, and
        estimated anew for every window, which takes seconds where dimensions are many.
    automatic
        Add exponential smoothing and ARIMA, chosen anew for every dimension of every window, which
        takes about a second each. Forecasting needs the extra ``statistical``.

    Returns
    -------
    dict
        ``"last value"``, ``"seasonal naive"`` (where the frequency has a season longer than one
        step) and ``"random walk"``; if ``statistical``, also ``"climatology"``,
        ``"vector autoregression"``, ``"last seasons"`` and ``"seasonal ridge"``; if ``automatic``,
        ``"auto ETS"`` and ``"auto ARIMA"``.

    Raises
    ------
    ValueError
        pandas does not know the frequency, the data have none, or the length is not a positive
        integer.
    """
    season = season_length(freq if isinstance(freq, str) else _frequency(freq))
    found: dict[str, RepresentablePredictor] = {"last value": LastValue(prediction_length)}
    if season > 1:
        found["seasonal naive"] = SeasonalNaive(prediction_length, season)
    found["random walk"] = RandomWalk(prediction_length)
    if statistical:
        found["climatology"] = Climatology(prediction_length)
        found["vector autoregression"] = VectorAutoregression(prediction_length)
        if season > 1:
            found["last seasons"] = LastSeasons(prediction_length, season)
            found["seasonal ridge"] = SeasonalRidge(prediction_length, season)
    if automatic:
        found["auto ETS"] = AutoETS(prediction_length, season)
        found["auto ARIMA"] = AutoARIMA(prediction_length, season)
    return found


def _frequency(data: pd.DataFrame | Sequence[DataEntry]) -> str:
    """The frequency of a DataFrame or of entries."""
    first = entries_of(data)[:1]
    return validate_entries(first)[0]["start"].freqstr
