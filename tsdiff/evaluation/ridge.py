"""The next season's profile, regressed on those of seasons before.

With the profile ``Y_k = (y_{km+1}, ..., y_{km+m})`` of season k, of one dimension, and lags L,

    Y_k = c + sum over l in L of B_l Y_{k-l} + e_k

is estimated by ridge regression, one for each dimension, and residuals are drawn as whole seasons
of all dimensions together. Day-ahead forecasts of load regress tomorrow's hours on those of 1, 2
and 7 days ago: the similar days of Weron, "Electricity price forecasting", International Journal of
Forecasting 30 (2014), section 3.8.1. Seasons are counted back from the forecast's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsdiff.evaluation.forecaster import Baseline, check_positive_integer, filled_by_place

__all__ = ["SeasonalRidge"]

# Regressions on fewer seasons than these are no regressions.
_MIN_ROWS = 8
# Ridge penalties, in units of the number of seasons times the variance of a value.
_PENALTIES = np.logspace(-5, 2, 15)


class SeasonalRidge(Baseline):
    """Ridge regression of a season on earlier ones, with bootstrapped joint residuals.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T. Beyond one season the forecast goes on from its own samples.
    season_length
        Steps in a season, m: 24 for hourly data.
    lags
        Which seasons before are looked at. Lags that would leave fewer than 8 seasons to learn from
        are dropped.
    window
        Seasons behind the regression, the latest; 730 days are two years.

    Raises
    ------
    ValueError
        A size below 1, no lags, or lags that repeat.

    Notes
    -----
    Each dimension has its own penalty, by the leave-one-out error over a grid, which a ridge
    regression has in closed form: ``e / (1 - h)``, with h the diagonal of the hat matrix (Hastie,
    Tibshirani & Friedman, *The Elements of Statistical Learning* (2009), eq. (7.64)). These are
    also the residuals that are drawn: those in sample would be too small.

    Seasons with a missing value are neither learned from nor drawn, unless most have one; where
    they are looked back at, a missing value is replaced by the one a season before.

    Examples
    --------
    >>> import pandas as pd
    >>> entry = {"target": np.tile(np.arange(24.0), 30)[None], "start": pd.Period("2024", "h")}
    >>> forecast = next(SeasonalRidge(3, season_length=24).predict([entry], num_samples=1))
    >>> forecast.samples.round(6).tolist()
    [[[0.0], [1.0], [2.0]]]
    """

    def __init__(
        self,
        prediction_length: int,
        season_length: int,
        lags: Sequence[int] = (1, 2, 7),
        window: int = 730,
    ) -> None:
        super().__init__(prediction_length, season_length=season_length, window=window)
        lags = tuple(lags)
        for lag in lags:
            check_positive_integer("SeasonalRidge", "each of lags", lag)
        if not lags or len(set(lags)) < len(lags):
            raise ValueError(
                f"SeasonalRidge: lags={lags} must be different numbers of seasons, such as (1, 2)"
            )
        self.lags = tuple(sorted(int(lag) for lag in lags))
        self.season_length, self.window = int(season_length), int(window)
        self._remember(lags=self.lags)

    def _check_history(self, history: np.ndarray, position: int) -> None:
        super()._check_history(history, position)
        needed = (self.lags[0] + _MIN_ROWS) * self.season_length
        if history.shape[1] < needed:
            raise ValueError(
                f"entry {position} has {history.shape[1]} steps of history: a regression of "
                f"seasons of {self.season_length} steps on the one {self.lags[0]} before needs at "
                f"least {needed}; take more history, or SeasonalNaive"
            )

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        place = np.arange(-history.shape[1], 0) % self.season_length
        seasons = self._seasons(filled_by_place(history, place))
        missing = np.isnan(self._seasons(history)).sum(axis=(1, 2))  # [seasons]
        lags = [lag for lag in self.lags if len(seasons) - lag >= _MIN_ROWS]
        first = max(lags[-1], len(seasons) - self.window)
        rows = np.arange(first, len(seasons))
        whole = rows[missing[rows] == 0]
        if len(whole) >= max(len(rows) / 2, _MIN_ROWS):
            rows = whole
        past = np.concatenate([seasons[rows - lag] for lag in lags], axis=2)
        fits = [_Ridge.fit(past[:, d], seasons[rows, d]) for d in range(len(history))]

        count = -(-self.prediction_length // self.season_length)
        known = np.broadcast_to(seasons[-lags[-1] :], (num_samples, *seasons[-lags[-1] :].shape))
        paths = list(known.swapaxes(0, 1))  # of [N, D, m], the latest last
        for _ in range(count):
            inputs = np.concatenate([paths[-lag] for lag in lags], axis=2)
            drawn = generator.integers(len(rows), size=num_samples)
            following = [
                fit.predict(inputs[:, d]) + fit.residuals[drawn] for d, fit in enumerate(fits)
            ]
            paths.append(np.stack(following, axis=1))
        future = np.concatenate(paths[-count:], axis=2)
        return future.swapaxes(1, 2)[:, : self.prediction_length]

    def _seasons(self, values: np.ndarray) -> np.ndarray:
        """Whole seasons [seasons, D, m] of values [D, time], the last ending with them."""
        dims, length = values.shape
        whole = values[:, length % self.season_length :]
        return whole.reshape(dims, -1, self.season_length).swapaxes(0, 1)


@dataclass(frozen=True)
class _Ridge:
    """A ridge regression of profiles on features, with leave-one-out residuals."""

    center: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        return (features - self.center) @ self.coefficients + self.intercept

    @classmethod
    def fit(cls, features: np.ndarray, profiles: np.ndarray) -> _Ridge:
        """Of ``profiles [R, m]`` on ``features [R, F]``, the penalty by leave-one-out error."""
        rows = len(features)
        center, intercept = features.mean(axis=0), profiles.mean(axis=0)
        x, y = features - center, profiles - intercept
        values, vectors = np.linalg.eigh(x.T @ x)
        values = np.maximum(values, 0.0)
        scores = x @ vectors
        products = scores.T @ y
        best, chosen = np.inf, None
        for penalty in _PENALTIES * rows * (x.var() or 1.0):
            weights = 1.0 / (values + penalty)
            hat = 1.0 / rows + scores**2 @ weights
            left_out = (y - scores @ (weights[:, None] * products)) / (1.0 - hat)[:, None]
            error = float((left_out**2).sum())
            if error < best:
                best, chosen = error, (weights, left_out)
        assert chosen is not None  # all errors are finite
        weights, residuals = chosen
        return cls(center, vectors @ (weights[:, None] * products), intercept, residuals)
