"""A Gaussian vector autoregression around a seasonal mean.

    y_i = m(i) + u_i,    u_i = A_1 u_{i-1} + ... + A_p u_{i-p} + e_i,    e_i ~ N(0, C)

with m the mean of each place in the calendar (see :mod:`~tsdiff.evaluation.calendars`): Lütkepohl,
*New Introduction to Multiple Time Series Analysis* (2005), eq. (2.1.1), in deviations from dummies.
Coefficients are estimated by ridge regression, pulled not towards zero but towards one AR(1) for
each dimension, much as the prior of Litterman (1986) pulls towards random walks:

    A_k = 1{k=1} diag(r) + B_k,    B = argmin sum_i |u_i - r u_{i-1} - sum_k B_k u_{i-k}|² + λ |B|²

in units in which each deviation has variance one. The penalty λ is that of the least generalised
cross-validation error (Golub, Heath & Wahba 1979), the order p that of the least

    log det C + c df / R,    c = log R (BIC) or 2 (AIC),    df the coefficients that R steps afford

(Lütkepohl, eqs. (4.3.9) and (4.3.2), with the ridge's effective degrees of freedom).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsdiff.evaluation.calendars import calendar_groups
from tsdiff.evaluation.forecaster import GaussianBaseline, check_positive_integer
from tsdiff.evaluation.regression import LaggedRegression, shrunk_covariance

__all__ = ["VectorAutoregression"]

_CRITERIA = ("aic", "bic")
# Steps of history below which nothing is estimated, and steps that a seasonal mean is taken from.
_MIN_STEPS, _MIN_PER_PLACE = 10, 10
# Past vectors with missing values are completed by the model itself, from so many orders back.
_WARM_UP = 10


class VectorAutoregression(GaussianBaseline):
    """Gaussian VAR(p) around a seasonal mean, by ridge regression.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    max_lags
        Largest order p that is tried; fewer where coefficients would outnumber a quarter of the
        steps, but at least 1.
    criterion
        ``"bic"`` or ``"aic"``, which chooses the order.
    window
        Steps behind the estimates, the latest; None uses the whole history.

    Raises
    ------
    ValueError
        A size below 1, or an unknown criterion.

    Notes
    -----
    Seasonal means come from the finest grouping of the frequency that has 10 steps in every group,
    or else there is one mean. The covariance of residuals is shrunk towards its diagonal by as much
    as its noise calls for (Schäfer & Strimmer 2005), so that it is regular at any number of
    dimensions. Coefficients with an eigenvalue beyond the unit circle are scaled back onto it,
    ``A_k c^k``: no forecast grows exponentially. Samples know nothing of the estimates' errors.

    Steps that miss a value, or look back at one missing, are left out of the estimates; where these
    are most, missing deviations are interpolated first. Missing values among the last p vectors are
    drawn, sample by sample, from their law given the model, the vectors before them and what is
    observed at the same step (not later).

    Examples
    --------
    >>> import pandas as pd
    >>> target = np.random.default_rng(0).standard_normal((2, 500))
    >>> entry = {"target": target, "start": pd.Period("2024-01-01", "D")}
    >>> forecast = next(VectorAutoregression(prediction_length=3).predict([entry]))
    >>> forecast.samples.shape
    (100, 3, 2)
    """

    def __init__(
        self,
        prediction_length: int,
        max_lags: int = 4,
        criterion: str = "bic",
        window: int | None = None,
    ) -> None:
        super().__init__(prediction_length, max_lags=max_lags)
        if criterion not in _CRITERIA:
            raise ValueError(
                f"VectorAutoregression: unknown criterion {criterion!r}, expected 'aic' or 'bic'"
            )
        if window is not None:
            check_positive_integer("VectorAutoregression", "window", window)
        self.max_lags, self.criterion, self.window = int(max_lags), criterion, window
        self._remember(criterion=criterion, window=window)

    def _check_history(self, history: np.ndarray, position: int) -> None:
        super()._check_history(history, position)
        steps = history.shape[1] if self.window is None else min(self.window, history.shape[1])
        if steps < _MIN_STEPS:
            raise ValueError(
                f"entry {position}: {steps} steps are too few for an autoregression, which needs "
                f"at least {_MIN_STEPS}; take more history, or RandomWalk"
            )
        recent = history[:, -steps:]
        silent = np.isnan(recent).all(axis=1)
        if silent.any():
            raise ValueError(
                f"entry {position}: dimension {int(np.argmax(silent))} has no observed value in "
                f"the last {steps} steps; widen the window, or drop it"
            )

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        law, deviations, mean = self._fit(history, start)
        order, dims = law.order, len(history)
        # Deviations from which samples start, gaps among them filled by drawing.
        back = order
        if np.isnan(deviations[-order:]).any():
            back = min(len(deviations), (_WARM_UP + 1) * order)
        known = deviations[-back:]
        opening = np.where(np.isnan(known[:order]), 0.0, known[:order])
        paths = [np.broadcast_to(vector, (num_samples, dims)) for vector in opening]
        future = np.full((self.prediction_length, dims), np.nan)
        for vector in np.concatenate([known[order:], future]):
            expected = law.mean(np.stack(paths[: -order - 1 : -1], axis=1))
            paths.append(law.complete(vector, expected, generator))
        return mean + np.stack(paths[-self.prediction_length :], axis=1)

    def _surprises(
        self, history: np.ndarray, future: np.ndarray, start: pd.Period
    ) -> tuple[np.ndarray, np.ndarray]:
        law, deviations, mean = self._fit(history, start)
        series = np.concatenate([deviations[-law.order :], future.T - mean])
        expected = [
            law.mean(series[step : step + law.order][::-1][None])[0] for step in range(len(mean))
        ]
        return series[law.order :] - np.stack(expected), law.covariance

    def _fit(self, history: np.ndarray, start: pd.Period) -> tuple[_VAR, np.ndarray, np.ndarray]:
        """The law, the history's deviations [time, D], and the seasonal mean ahead [T, D]."""
        mean, num_places = self._seasonal_mean(history, start)
        steps = history.shape[1]
        deviations = (history.T - mean[:steps])[-(self.window or steps) :]
        return (
            _VAR.fit(deviations, self.max_lags, self.criterion, num_places),
            deviations,
            mean[steps:],
        )

    def _seasonal_mean(self, history: np.ndarray, start: pd.Period) -> tuple[np.ndarray, int]:
        """Mean of each place of the calendar, along history and horizon, and how many it took."""
        steps = history.shape[1]
        recent = slice(steps - min(self.window or steps, steps), steps)
        observed = ~np.isnan(history[:, recent])
        values = np.where(observed, history[:, recent], 0.0)
        length = steps + self.prediction_length
        for groups in [*calendar_groups(start, length), np.zeros(length, dtype=int)]:
            _, place = np.unique(groups, return_inverse=True)
            count = _sums_by_place(observed, place[recent], place.max() + 1)
            if place.max() == 0 or count.min() >= _MIN_PER_PLACE:
                break
        total = _sums_by_place(values, place[recent], count.shape[1])
        return (total / count).T[place], count.shape[1]


def _sums_by_place(values: np.ndarray, place: np.ndarray, num_places: int) -> np.ndarray:
    """Of ``values [D, time]``, those at each place added up: ``[D, places]``."""
    return np.stack([np.bincount(place, row, num_places) for row in values])


@dataclass(frozen=True)
class _VAR:
    """Coefficients ``[p, D, D]`` and noise covariance ``[D, D]`` of a zero-mean VAR."""

    coefficients: np.ndarray
    covariance: np.ndarray

    @property
    def order(self) -> int:
        return len(self.coefficients)

    def mean(self, past: np.ndarray) -> np.ndarray:
        """Expectation [N, D] after vectors ``past [N, p, D]``, the latest first."""
        flat = self.coefficients.swapaxes(1, 2).reshape(-1, past.shape[-1])
        return past.reshape(len(past), -1) @ flat

    def complete(
        self, vector: np.ndarray, expected: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """``vector [D]``, for each sample, with draws in the place of its missing values.

        Of a sample from the law whose observed part is x', x' - x is regressed on and added: what
        is left has the conditional law (Matheron's rule).
        """
        noise = generator.standard_normal(expected.shape)
        drawn = expected + noise @ self._factor.T
        seen = ~np.isnan(vector)
        if seen.any():
            within = self.covariance[np.ix_(seen, seen)]
            gain = self.covariance[:, seen] @ np.linalg.pinv(within, hermitian=True)
            drawn = drawn + (vector[seen] - drawn[:, seen]) @ gain.T
            drawn[:, seen] = vector[seen]
        return drawn

    @functools.cached_property
    def _factor(self) -> np.ndarray:
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))

    @classmethod
    def fit(cls, deviations: np.ndarray, max_lags: int, criterion: str, num_means: int) -> _VAR:
        """Of ``deviations [time, D]``; ``num_means`` were estimated from them before."""
        steps, dims = deviations.shape
        scale = np.nanstd(deviations, axis=0)
        scale = np.where(scale > 0.0, scale, 1.0)
        lags = max(1, min(max_lags, steps // (4 * dims), (steps - 1) // 4))
        regression = LaggedRegression.of(deviations / scale, lags)
        penalty = 2.0 if criterion == "aic" else np.log(regression.num_rows)
        order = min(range(1, lags + 1), key=lambda p: regression.criterion(p, penalty))
        coefficients, residuals, freedom = regression.solve(order)
        left = max(len(residuals) - freedom - num_means, 1.0)
        covariance = shrunk_covariance(residuals) * len(residuals) / left
        units = np.outer(scale, 1.0 / scale)
        return cls(stable(coefficients) * units, covariance * np.outer(scale, scale))


def stable(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients ``[p, D, D]`` with their companion matrix's spectral radius at most one.

    The radius is found from above, as the norm of a high power's root: ``|M^k|^(1/k)``.
    """
    order, dims, _ = coefficients.shape
    companion = np.eye(order * dims, k=-dims)
    companion[:dims] = coefficients.swapaxes(0, 1).reshape(dims, -1)
    log_norm, power, doublings = 0.0, companion, 12
    for _ in range(doublings):
        size = np.linalg.norm(power)
        if size == 0.0:
            return coefficients
        power = (power / size) @ (power / size)
        log_norm = 2.0 * (log_norm + np.log(size))
    size = np.linalg.norm(power)
    radius = np.exp((log_norm + np.log(size)) / 2**doublings) if size > 0.0 else 0.0
    if radius <= 1.0:
        return coefficients
    return coefficients / radius ** np.arange(1, order + 1)[:, None, None]
