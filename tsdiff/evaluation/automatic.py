"""Exponential smoothing and ARIMA with automatic choice of the model, dimension by dimension.

Hyndman & Khandakar, "Automatic time series forecasting: the forecast package for R", Journal of
Statistical Software 27(3) (2008): among state-space models of exponential smoothing (error, trend,
season), and among seasonal ARIMA models, the one with the least AICc. The package statsforecast
searches and simulates; these classes hand it the series.

Every dimension is modelled by itself and **sample paths are independent across dimensions**: where
dimensions move together, the spread of their sum comes out too narrow. They are what univariate
practice reaches, not joint forecasts.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.evaluation.forecaster import Baseline, check_positive_integer, filled_by_place

__all__ = ["AutoARIMA", "AutoETS", "check_installed", "is_installed"]

# Longer seasons are no business of these models: exponential smoothing has a state for each of
# their steps, and an ARIMA's likelihood a matrix of as many rows.
_LONGEST_SEASON = 24
# AICc counts every starting value of a season as a parameter, so that it takes hours for seasonless
# though they are anything but; from this season on, smoothing keeps one.
_LONG_SEASON = 13
_MIN_STEPS = 10


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("statsforecast") is not None


def check_installed() -> None:
    """Raise unless the extra is there.

    Raises
    ------
    ImportError
        It says how to install it.
    """
    if not is_installed():
        raise ImportError(
            "AutoETS and AutoARIMA need statsforecast: pip install 'tsdiff[statistical]', or leave "
            "the automatic baselines out"
        )


class _Automatic(Baseline):
    """A model of one series, chosen anew for every dimension of every entry.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    season_length
        Steps in a season, m: 24 for hourly data, 1 where there is none. Of a season of more than
        24 steps the mean of each place is subtracted first, and what is left is modelled without;
        a history of less than two seasons has none.
    window
        Steps of history that the model is fitted to, the latest, which bounds the cost: a fit takes
        about a second. None is 14 seasons, and at least 336 steps.

    Notes
    -----
    Dimensions are independent, see the module. A missing value is replaced by the last at the same
    place in the season. Fitting raises ``ImportError`` without the extra ``statistical``.
    """

    def __init__(
        self, prediction_length: int, season_length: int = 1, window: int | None = None
    ) -> None:
        super().__init__(prediction_length, season_length=season_length)
        if window is not None:
            check_positive_integer(type(self).__name__, "window", window)
            window = int(window)
        self.season_length, self.window = int(season_length), window
        self._remember(window=window)

    def _check_history(self, history: np.ndarray, position: int) -> None:
        super()._check_history(history, position)
        if history.shape[1] < _MIN_STEPS:
            raise ValueError(
                f"entry {position} has {history.shape[1]} steps of history: {type(self).__name__} "
                f"needs at least {_MIN_STEPS}; give more history, or take RandomWalk"
            )

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        check_installed()
        length, period = history.shape[1], self.season_length
        filled = filled_by_place(history, np.arange(-length, 0) % period)
        series = filled[:, -(self.window or max(14 * period, 336)) :]
        seeds = generator.integers(2**31, size=len(series))
        drawn = [
            self._dimension(row, num_samples, int(seed))
            for row, seed in zip(series, seeds, strict=True)
        ]
        return np.stack(drawn, axis=-1)

    def _dimension(self, series: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
        """Sample paths ``[N, T]`` after one series ``[time]``."""
        horizon, period = self.prediction_length, self.season_length
        if np.ptp(series) == 0.0:  # nothing to choose from
            return np.full((num_samples, horizon), series[-1])
        seasonal = np.zeros(horizon)
        # Models know no units; their optimisers do.
        center, scale = series.mean(), series.std()
        series = (series - center) / scale
        if len(series) < 2 * period + _MIN_STEPS:  # no two seasons to compare
            period = 1
        if period > _LONGEST_SEASON:
            place = np.arange(-len(series), 0) % period
            counts = np.maximum(np.bincount(place, minlength=period), 1)
            profile = np.bincount(place, series, minlength=period) / counts
            series = series - profile[place]
            seasonal, period = profile[np.arange(horizon) % period], 1
        with warnings.catch_warnings():
            # Of candidates that don't converge: others are chosen.
            warnings.simplefilter("ignore")
            model = self._model(period).fit(np.ascontiguousarray(series))
            paths = _simulated(model, horizon, num_samples, seed)
        paths = center + scale * (paths + seasonal)
        if not np.isfinite(paths).all():
            raise ValueError(
                f"{type(self).__name__} simulates values that are not finite: the history has an "
                "outlier that its model can't hold; shorten the window"
            )
        return paths

    def _model(self, season_length: int) -> Any:
        """A model of statsforecast that isn't fitted yet."""
        raise NotImplementedError


def _simulated(model: Any, horizon: int, num_samples: int, seed: int) -> np.ndarray:
    """Sample paths ``[N, T]`` of a fitted model of statsforecast."""
    fitted = model.model_
    form = fitted.get("components", "")
    if form and form[1] != "N" and form[3] == "N":
        # Its simulation (2.1.1) reads the missing damping of a trend as 0, not as 1, and the trend
        # is gone after one step; its forecasts are right.
        fitted["par"][3] = 1.0
    state = np.random.get_state()  # noqa: NPY002
    try:
        return np.asarray(model.simulate(h=horizon, n_paths=num_samples, seed=seed))
    finally:
        np.random.set_state(state)  # noqa: NPY002  # which it seeds as well


class AutoETS(_Automatic):
    __doc__ = f"Exponential smoothing, its form chosen by AICc. {_Automatic.__doc__}"

    def _model(self, season_length: int) -> Any:
        from statsforecast.models import AutoETS as Model

        # Standardised values have both signs: errors, trend and season are additive.
        season = "A" if season_length >= _LONG_SEASON else "Z"
        return Model(season_length=season_length, model=f"AZ{season}")


class AutoARIMA(_Automatic):
    __doc__ = f"Seasonal ARIMA, its orders chosen by AICc. {_Automatic.__doc__}"

    def _model(self, season_length: int) -> Any:
        from statsforecast.models import AutoARIMA as Model

        # Conditional least squares while searching, maximum likelihood for what is chosen.
        return Model(season_length=season_length, approximation=True)
