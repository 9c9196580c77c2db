"""Data with a known law: a seasonal vector autoregression, and two point clouds.

The series is a Gaussian VAR(1) around a seasonal mean,

    y_i = m(i) + u_i,    u_i = Φ u_{i−1} + ε_i,    ε_i ~ N(0, Q),    i = 0, 1, 2, ...

m(i) is a level plus daily and weekly harmonics, the spectral radius of Φ lies below one, and u_0
has the stationary law N(0, P), P = Φ P Φᵀ + Q. Given the past up to i, the future is Gaussian (a
VAR(1) is Markov, so that the last vector says everything):

    E y_{i+k}                = m(i+k) + Φᵏ u_i
    Cov(y_{i+k})             = C_k = Σ_{j<k} Φʲ Q (Φʲ)ᵀ,        C_k = Φ C_{k−1} Φᵀ + Q
    Cov(y_{i+k}, y_{i+l})    = C_k (Φ^{l−k})ᵀ                   for l ≥ k

See Lütkepohl, *New Introduction to Multiple Time Series Analysis* (2005), eq. (2.1.15) for P and
(2.2.11) for C_k. No model can expect a better score than this law, so a model's score over the
law's is its regret.

The clouds are the anisotropic ones of Deng et al., *Variational Schrödinger Diffusion Models*
(2024), section 7.2, one coordinate much wider than the other:

    spiral-8Y           0.4 [(θ + π)(cos θ, sin θ) + 0.25 ε],  θ = 3π√u − π/2,   then Y times 8
    checkerboard-6X     uniform where sin x sin y < 0 on [−2π, 2π]²,             then X times 6
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataEntry, DataError

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast

HOURS_PER_DAY, HOURS_PER_WEEK = 24, 168


@dataclass(frozen=True, eq=False)
class SeasonalVAR:
    """A Gaussian VAR(1) around a seasonal mean, with its exact predictive law.

    Parameters
    ----------
    transition
        Φ, ``[D, D]``, spectral radius below one.
    noise_covariance
        Q, ``[D, D]``, positive definite.
    level
        ``[D]``.
    periods
        ``[K]``, period of each harmonic in steps.
    amplitudes
        ``[K, 2, D]``, factors of the cosine and the sine of each harmonic.
    start
        Time of step 0; its frequency is the frequency of all samples.

    Raises
    ------
    ValueError
        Shapes that do not fit, Φ not stable, or Q not positive definite.

    Examples
    --------
    >>> law = SeasonalVAR.from_seed(0, num_dims=3)
    >>> history = law.sample(500, seed=1)
    >>> mean, covariance = law.predictive(history, horizon=24)
    >>> mean.shape, covariance.shape
    ((24, 3), (24, 3, 3))
    """

    transition: np.ndarray
    noise_covariance: np.ndarray
    level: np.ndarray
    periods: np.ndarray
    amplitudes: np.ndarray
    start: pd.Period

    def __post_init__(self) -> None:
        dims, harmonics = len(self.level), len(self.periods)
        for name, shape in (
            ("transition", (dims, dims)),
            ("noise_covariance", (dims, dims)),
            ("amplitudes", (harmonics, 2, dims)),
        ):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")
        radius = np.abs(np.linalg.eigvals(self.transition)).max()
        if radius >= 1:
            raise ValueError(f"the transition is not stable: spectral radius {radius:.3g}, not < 1")
        try:
            np.linalg.cholesky(self.noise_covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError("noise_covariance is not positive definite") from error

    @classmethod
    def from_seed(
        cls,
        seed: int,
        num_dims: int = 8,
        *,
        spectral_radius: float = 0.8,
        weekly: bool = True,
        start: str = "2020-01-06",
    ) -> SeasonalVAR:
        """Draw an hourly law: levels 5 to 20, daily swings of 20 to 40 % of the level, noise of 5
        to 10 % correlated between dimensions, and dimensions that drive one another.

        ``start`` is step 0, a Monday by default.
        """
        rng = np.random.default_rng(seed)
        beginning: Any = pd.Period(start, freq="h")  # for a type checker this might be NaT
        level = rng.uniform(5, 20, num_dims)
        # A common phase with a spread: dimensions peak at different hours of the same daytime.
        phase = 2 * np.pi * (14 + rng.normal(0, 2, num_dims)) / HOURS_PER_DAY
        shapes = [(HOURS_PER_DAY, 1, rng.uniform(0.2, 0.4, num_dims))]
        shapes += [(HOURS_PER_DAY, 2, rng.uniform(0.02, 0.1, num_dims))]
        if weekly:
            shapes += [(HOURS_PER_WEEK, 1, rng.uniform(0.05, 0.15, num_dims))]
        periods = np.array([period / order for period, order, _ in shapes])
        amplitudes = np.stack(
            [
                level * swing * np.stack([np.cos(order * phase), np.sin(order * phase)])
                for _, order, swing in shapes
            ]
        )
        scale = level * rng.uniform(0.05, 0.1, num_dims)
        loading = rng.normal(0, 1, (num_dims, 2))
        mixed = loading @ loading.T + np.eye(num_dims)
        deviation = np.sqrt(np.diag(mixed))
        correlation = mixed / np.outer(deviation, deviation)
        raw = 0.6 * np.eye(num_dims) + rng.normal(0, 0.3 / np.sqrt(num_dims), (num_dims, num_dims))
        raw *= spectral_radius / np.abs(np.linalg.eigvals(raw)).max()
        return cls(
            transition=raw * np.outer(scale, 1 / scale),
            noise_covariance=correlation * np.outer(scale, scale),
            level=level,
            periods=periods,
            amplitudes=amplitudes,
            start=beginning,
        )

    @property
    def num_dims(self) -> int:
        """D."""
        return len(self.level)

    def seasonal_mean(self, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """m at the given steps (counted from ``start``), ``[T, D]``."""
        angle = 2 * np.pi * np.asarray(steps)[:, None] / self.periods
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return self.level + np.einsum("tkw,kwd->td", waves, self.amplitudes)

    @functools.cached_property
    def stationary_covariance(self) -> np.ndarray:
        """P = Φ P Φᵀ + Q, by doubling: each round squares Φ and adds as many terms again."""
        total, power = np.array(self.noise_covariance), np.array(self.transition)
        for _ in range(64):
            added = power @ total @ power.T
            total, power = total + added, power @ power
            if np.abs(added).max() <= 1e-16 * np.abs(total).max():
                break
        return total

    def sample(self, num_steps: int, *, seed: int | np.random.Generator = 0) -> DataEntry:
        """Draw a series of ``num_steps`` from step 0 on, beginning in the stationary law."""
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        rng = np.random.default_rng(seed)
        first = (
            rng.standard_normal(self.num_dims) @ np.linalg.cholesky(self.stationary_covariance).T
        )
        rest = self._paths(first, num_steps - 1, 1, rng)[0]
        target = self.seasonal_mean(np.arange(num_steps)) + np.vstack([first, rest])
        return {"target": target.T.copy(), "start": self.start, "item_id": "seasonal_var"}

    def predictive(self, history: DataEntry, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``[T, D]`` and covariance ``[T, D, D]`` of each step after the history's end.

        Raises
        ------
        DataError
            The last vector is not complete, or the series is not on this law's grid of times.
        """
        step, deviation = self._state(history)
        mean = self.seasonal_mean(step + 1 + np.arange(horizon))
        covariance = np.zeros((horizon, self.num_dims, self.num_dims))
        running = np.zeros_like(self.stationary_covariance)
        for ahead in range(horizon):
            deviation = self.transition @ deviation
            running = self.transition @ running @ self.transition.T + self.noise_covariance
            mean[ahead] += deviation
            covariance[ahead] = running
        return mean, covariance

    def predictive_joint(self, history: DataEntry, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``[T, D]`` and covariance ``[T, D, T, D]`` of the whole future."""
        mean, marginal = self.predictive(history, horizon)
        joint = np.zeros((horizon, self.num_dims, horizon, self.num_dims))
        for early in range(horizon):
            block = marginal[early]
            for late in range(early, horizon):
                joint[early, :, late, :] = block
                joint[late, :, early, :] = block.T
                block = block @ self.transition.T
        return mean, joint

    def predictive_sum(self, history: DataEntry, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, ``[T]`` each, of the sum over dimensions at each step."""
        step, deviation = self._state(history)
        mean = self.seasonal_mean(step + 1 + np.arange(horizon)).sum(axis=1)
        variance, running = np.zeros(horizon), 0.0
        weight = np.ones(self.num_dims)  # 1ᵀ Φᵏ: no matrix is multiplied by a matrix
        for ahead in range(horizon):
            running += weight @ self.noise_covariance @ weight
            weight = weight @ self.transition
            mean[ahead] += weight @ deviation
            variance[ahead] = running
        return mean, np.sqrt(variance)

    def sample_forecast(
        self,
        history: DataEntry,
        horizon: int,
        num_samples: int = 100,
        *,
        seed: int | np.random.Generator = 0,
    ) -> SampleForecast:
        """Draw the future: the forecast of someone who knows the law, samples ``[N, T, D]``."""
        from gluonts.model.forecast import SampleForecast

        step, deviation = self._state(history)
        rng = np.random.default_rng(seed)
        mean = self.seasonal_mean(step + 1 + np.arange(horizon))
        return SampleForecast(
            samples=mean + self._paths(deviation, horizon, num_samples, rng),
            start_date=self.start + (step + 1),
            item_id=history.get("item_id"),
        )

    def _state(self, history: DataEntry) -> tuple[int, np.ndarray]:
        """Index of the history's last step, and the deviation u from the seasonal mean there."""
        start, target = history["start"], np.asarray(history["target"], dtype=np.float64)
        if start.freqstr != self.start.freqstr:
            raise DataError(f"frequency {start.freqstr!r}, but the law has {self.start.freqstr!r}")
        if target.ndim != 2 or target.shape[0] != self.num_dims or not target.shape[1]:
            raise DataError(f"target has shape {target.shape}, expected ({self.num_dims}, time)")
        if not np.isfinite(target[:, -1]).all():
            raise DataError("the last vector of the history has missing values: the law needs it")
        step = start.ordinal - self.start.ordinal + target.shape[1] - 1
        return step, target[:, -1] - self.seasonal_mean([step])[0]

    def _paths(
        self, deviation: np.ndarray, steps: int, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``count`` continuations ``[N, T, D]`` of a deviation u."""
        noise = rng.standard_normal((count, steps, self.num_dims))
        noise = noise @ np.linalg.cholesky(self.noise_covariance).T
        paths = np.empty_like(noise)
        current = np.broadcast_to(deviation, (count, self.num_dims))
        for step in range(steps):
            current = current @ self.transition.T + noise[:, step]
            paths[:, step] = current
        return paths


def seasonal_var_law(num_dims: int = 8) -> SeasonalVAR:
    """The hourly law behind ``get_dataset("seasonal_var")``; with 370, ``"seasonal_var_370"``."""
    return _law(num_dims)


@functools.cache
def _law(num_dims: int) -> SeasonalVAR:
    return SeasonalVAR.from_seed(2024, num_dims)


def crps_gaussian(mean: np.ndarray, std: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """CRPS of Gaussian forecasts in closed form; arguments broadcast.

    Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation (2007), p. 367:
    ``CRPS(N(μ, σ²), y) = σ [z (2Φ(z) − 1) + 2φ(z) − 1/√π]``, ``z = (y − μ)/σ``.

    Raises
    ------
    ValueError
        A standard deviation that is not positive.
    """
    from properscoring import crps_gaussian as closed_form

    if not (np.asarray(std) > 0).all():
        raise ValueError("std must be positive everywhere")
    scores: Any = closed_form(observed, mean, std)
    return scores


def spiral(
    num_points: int,
    *,
    seed: int | np.random.Generator,
    stretch: tuple[float, float] = (1.0, 8.0),
) -> np.ndarray:
    """Draw points ``[N, 2]`` around a spiral of one and a half turns; "spiral-8Y" by default.

    Parameters
    ----------
    num_points
        N, at least 1.
    seed
        A number, or the generator to draw from.
    stretch
        Factors of X and Y, applied last; without them noise has standard deviation 0.1.

    Raises
    ------
    ValueError
        Not a positive number of points, or factors that are not two positive numbers.
    """
    factors, rng = _cloud_arguments(num_points, stretch), np.random.default_rng(seed)
    angle = 3 * np.pi * np.sqrt(rng.random(num_points)) - np.pi / 2
    curve = (angle + np.pi)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return 0.4 * (curve + 0.25 * rng.standard_normal((num_points, 2))) * factors


def checkerboard(
    num_points: int,
    *,
    seed: int | np.random.Generator,
    stretch: tuple[float, float] = (6.0, 1.0),
) -> np.ndarray:
    """Draw points ``[N, 2]`` from the dark cells of a 4 × 4 board; "checkerboard-6X" by default.

    The cells have side π before they are stretched. See :func:`spiral` for parameters and errors.
    """
    factors, rng = _cloud_arguments(num_points, stretch), np.random.default_rng(seed)
    # The sign of the sine alternates from cell to cell: two differ where column + row is odd.
    column = rng.integers(4, size=num_points)
    row = 2 * rng.integers(2, size=num_points) + (column + 1) % 2
    corner = np.stack([column, row], axis=1) - 2
    return np.pi * (corner + rng.random((num_points, 2))) * factors


POINT_CLOUDS: dict[str, Callable[..., np.ndarray]] = {
    "spiral-8Y": spiral,
    "checkerboard-6X": checkerboard,
}
"""The clouds by the names that the paper prints: ``POINT_CLOUDS[name](num_points, seed=0)``."""


def _cloud_arguments(num_points: int, stretch: tuple[float, float]) -> np.ndarray:
    """The factors as an array [2], once the arguments have been checked."""
    if not isinstance(num_points, (int, np.integer)) or num_points < 1:
        raise ValueError(f"num_points must be a whole number, at least 1, got {num_points!r}")
    factors = np.asarray(stretch, dtype=np.float64)
    if factors.shape != (2,) or not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError(f"stretch must be two positive factors, of X and Y, got {stretch!r}")
    return factors
