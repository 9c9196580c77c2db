"""The probability integral transform: where in its forecast did each value fall?

For N samples and a value y, with r of the samples below y and m equal to it,

``u = (r + V (m + 1)) / (N + 1)``,  ``V`` uniform on (0, 1),

is uniform if y is one more draw of the same law, for every N and with atoms in the law as well
(Czado, Gneiting and Held 2009; the ranks of Hamill 2001). U-shaped: over-confident; a hump: too
wide; a slope: biased.

The *calibration error* is the mean absolute deviation of the values' distribution from uniform,

``integral_0^1 |F(u) - u| du``,

where F is the share of values at or below u with V averaged out, so that no seed enters, and the
integral is the trapezoid rule on ``k / (N + 1)``. It lies between 0 and 1/2. It is never 0 for
finitely many values, and steps and dimensions that move together count for fewer: *what a
calibrated forecast of this size would have* is found by letting the forecast forecast itself. One
of its own samples takes the place of the truth, another one in each window, the others stay the
forecast. Windows are taken for independent; where they are not, the true figure is larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tsdiff.evaluation.ensemble import Ensemble

__all__ = ["Calibration", "calibration", "calibration_sum", "pit", "pit_sum"]

_REPLICATES = 100


@dataclass(frozen=True)
class Calibration:
    """A calibration error beside that of calibrated forecasts of the same size.

    Attributes
    ----------
    error
        Mean absolute deviation of the values' distribution from uniform, 0 ... 1/2.
    expected
        What it would be on average if the truth were one more sample; NaN for a single sample.
    p_value
        Share of such calibrated forecasts with an error at least as large, never below
        1/(replicates + 1).
    """

    error: float
    expected: float
    p_value: float


def pit(samples: ArrayLike, target: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Randomised probability integral transform of every value.

    Parameters
    ----------
    samples
        Joint samples ``[W, N, T, D]``.
    target
        What happened, ``[W, T, D]``; NaN where it is missing.
    seed
        Seed of V, which places a value between its neighbours.

    Returns
    -------
    numpy.ndarray
        ``[W, T, D]``, between 0 and 1; NaN where the target is.

    Raises
    ------
    ValueError
        Shapes that do not fit, or samples that are not finite.

    Examples
    --------
    >>> samples = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    >>> float(4 * pit(samples, [[[2.5]]])[0, 0, 0]) // 1  # above two of three: in the third quarter
    2.0
    """
    return _transform(Ensemble.check(samples, target), seed)


def pit_sum(samples: ArrayLike, target: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """As :func:`pit`, for the sum over dimensions: ``[W, T, 1]``."""
    return _transform(Ensemble.check(samples, target).summed, seed)


def calibration(samples: ArrayLike, target: ArrayLike, *, seed: int = 0) -> Calibration:
    """Calibration error of the single values, and what it would be if they were calibrated.

    Parameters
    ----------
    samples, target
        As :func:`pit`.
    seed
        Says which sample stands in for the truth in which window.

    Returns
    -------
    Calibration
        Dimensions are pooled: errors of opposite sign in two of them cancel.

    Raises
    ------
    ValueError
        As :func:`pit`.
    """
    return _calibration(Ensemble.check(samples, target), seed)


def calibration_sum(samples: ArrayLike, target: ArrayLike, *, seed: int = 0) -> Calibration:
    """As :func:`calibration`, for the sum over dimensions."""
    return _calibration(Ensemble.check(samples, target).summed, seed)


def pit_distribution(ensemble: Ensemble) -> np.ndarray:
    """Share of values at or below ``k / (N + 1)``, k = 0 ... N + 1: NaN without any value."""
    seen = ~np.isnan(ensemble.target)
    below, ties = (counts[seen][None] for counts in ensemble.ranks)
    return _cumulated(_masses(below, ties, ensemble.num_samples + 1))[0]


def calibrated_distributions(ensemble: Ensemble, seed: int = 0) -> np.ndarray:
    """Such distributions of calibrated forecasts: ``[R, N + 1]``, as of N - 1 samples.

    R is the number of samples, 100 at most. Each replicate takes one sample of every window for
    the truth, drawn without replacement, windows independently.
    """
    generator = np.random.default_rng(seed)
    count = ensemble.num_samples
    replicates = min(count, _REPLICATES)
    masses = np.zeros((replicates, count))
    for cloud, truth in zip(ensemble.samples, ensemble.target, strict=True):
        values = cloud[:, ~np.isnan(truth)]  # [N, values]
        chosen = generator.permutation(count)[:replicates]
        first = rankdata(values, method="min", axis=0)[chosen]
        last = rankdata(values, method="max", axis=0)[chosen]
        masses += _masses((first - 1).astype(int), (last - first).astype(int), count)
    return _cumulated(masses)


def calibration_error(distributions: np.ndarray) -> np.ndarray:
    """Mean absolute deviation from uniform, along the last axis."""
    levels = np.linspace(0, 1, distributions.shape[-1])
    return np.abs(distributions - levels).sum(axis=-1) / (len(levels) - 1)


def _calibration(ensemble: Ensemble, seed: int) -> Calibration:
    error = float(calibration_error(pit_distribution(ensemble)))
    if ensemble.num_samples < 2 or np.isnan(error):
        return Calibration(error, float("nan"), float("nan"))
    calibrated = calibration_error(calibrated_distributions(ensemble, seed))
    at_least = np.count_nonzero(calibrated >= error - 1e-12)
    return Calibration(error, float(calibrated.mean()), (at_least + 1) / (len(calibrated) + 1))


def _transform(ensemble: Ensemble, seed: int) -> np.ndarray:
    below, ties = ensemble.ranks
    between = np.random.default_rng(seed).uniform(size=below.shape)
    values = (below + between * (ties + 1)) / (ensemble.num_samples + 1)
    return np.where(np.isnan(ensemble.target), np.nan, values)


def _masses(below: np.ndarray, ties: np.ndarray, slots: int) -> np.ndarray:
    """How many values fall into each of the slots between samples, for ranks [R, n]: [R, slots].

    A tied value is spread evenly over the slots that it could fall into.
    """
    rows = len(below)
    share = 1.0 / (ties + 1)
    row = np.arange(rows)[:, None] * (slots + 1)
    size = rows * (slots + 1)
    steps = np.bincount((row + below).ravel(), share.ravel(), size).astype(float)  # if n = 0
    steps -= np.bincount((row + below + ties + 1).ravel(), share.ravel(), size)
    return np.cumsum(steps.reshape(rows, slots + 1), axis=1)[:, :-1]


def _cumulated(masses: np.ndarray) -> np.ndarray:
    """Masses of slots [R, slots] as distributions [R, slots + 1] that run from 0 to 1."""
    total = masses.sum(axis=1, keepdims=True)
    shares = np.divide(masses, total, out=np.full_like(masses, np.nan), where=total > 0.5)
    return np.concatenate([np.zeros_like(total), np.cumsum(shares, axis=1)], axis=1)
