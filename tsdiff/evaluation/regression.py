"""Ridge regression of vectors on the vectors before them, and a covariance that is shrunk.

See :mod:`~tsdiff.evaluation.autoregression` for the equations. All orders and penalties are
compared on the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsdiff.evaluation.forecaster import interpolated

# Ridge penalties, in units of the number of rows (deviations have variance one).
_PENALTIES = np.logspace(-6, 1, 15)
# Eigenvalues of a correlation below this count as this, in the determinant.
_FLOOR = 1e-6


@dataclass(frozen=True)
class LaggedRegression:
    """Rows ``y [R, D]``, the ``K`` vectors before each, ``x [R, K D]``, and AR(1)s to start from.

    ``y`` is what the AR(1)s with coefficients ``persistence [D]`` leave unexplained.
    """

    x: np.ndarray
    y: np.ndarray
    persistence: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, series: np.ndarray, lags: int) -> LaggedRegression:
        """From a series ``[time, D]`` that may miss values."""
        y, x = _embedded(series, lags)
        complete = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
        if complete.mean() < 0.5:
            y, x = _embedded(interpolated(series.T).T, lags)
        else:
            y, x = y[complete], x[complete]
        last = x[:, : y.shape[1]]
        power = (last**2).sum(axis=0)
        persistence = (last * y).sum(axis=0) / np.where(power > 0.0, power, 1.0)
        persistence = np.clip(persistence, -1.0, 1.0)
        return cls(x, y - persistence * last, persistence, x.T @ x)

    @property
    def num_rows(self) -> int:
        return len(self.y)

    def criterion(self, order: int, penalty: float) -> float:
        """``log det C + penalty df / R``, joint over dimensions."""
        _, residuals, freedom = self.solve(order)
        std = residuals.std(axis=0)
        unit = residuals / np.where(std > 0.0, std, 1.0)
        values = np.linalg.eigvalsh(unit.T @ unit / len(unit))
        log_det = np.log(np.maximum(values, _FLOOR)).sum() + 2 * np.log(std[std > 0.0]).sum()
        return float(log_det + penalty * freedom * self.y.shape[1] / self.num_rows)

    def solve(self, order: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Coefficients ``[p, D, D]``, residuals ``[R, D]``, degrees of freedom per equation."""
        dims, rows = self.y.shape[1], self.num_rows
        x = self.x[:, : order * dims]
        values, vectors = np.linalg.eigh(self.gram[: order * dims, : order * dims])
        values = np.maximum(values, 0.0)
        products = vectors.T @ (x.T @ self.y)
        total = (self.y**2).sum(axis=0)
        weights = min(
            (1.0 / (values + rows * penalty) for penalty in _PENALTIES),
            key=lambda weights: _cross_validation(weights, values, products, total, rows),
        )
        freedom = 1.0 + float((values * weights).sum())
        flat = vectors @ (weights[:, None] * products)
        residuals = self.y - x @ flat
        coefficients = flat.reshape(order, dims, dims).swapaxes(1, 2).copy()
        coefficients[0] += np.diag(self.persistence)
        return coefficients, residuals, freedom


def _cross_validation(
    weights: np.ndarray, values: np.ndarray, products: np.ndarray, total: np.ndarray, rows: int
) -> float:
    """Generalised cross-validation error, each dimension in units of its own variance."""
    explained = ((2.0 * weights - values * weights**2)[:, None] * products**2).sum(axis=0)
    share = 1.0 - explained / np.where(total > 0.0, total, 1.0)
    freedom = 1.0 + (values * weights).sum()
    return float(share.mean() / max(1.0 - freedom / rows, 1e-3) ** 2)


def shrunk_covariance(residuals: np.ndarray) -> np.ndarray:
    """Covariance about zero, ``[D, D]``, its correlations shrunk towards none.

    By the share that makes the expected squared error least, Schäfer & Strimmer, "A shrinkage
    approach to large-scale covariance matrix estimation", Statistical Applications in Genetics and
    Molecular Biology 4 (2005), target D, with the share estimated from the correlations.
    """
    rows, dims = residuals.shape
    std = np.sqrt((residuals**2).mean(axis=0))
    unit = residuals / np.where(std > 0.0, std, 1.0)
    correlation = unit.T @ unit / rows
    # Var of the mean of products over the rows, all pairs at once.
    noise = ((unit**2).T @ unit**2 / rows - correlation**2) / max(rows - 1, 1)
    off = ~np.eye(dims, dtype=bool)
    signal = (correlation[off] ** 2).sum()
    share = min(noise[off].sum() / signal, 1.0) if signal > 0.0 else 0.0
    correlation[off] *= 1.0 - share
    return correlation * np.outer(std, std)


def _embedded(series: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows from ``lags`` on, and beside each the vectors before it, the latest first."""
    steps = len(series)
    before = [series[lags - lag : steps - lag] for lag in range(1, lags + 1)]
    return series[lags:], np.concatenate(before, axis=1)
