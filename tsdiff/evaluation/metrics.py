"""Scores of sample forecasts: CRPS-sum and its kin.

Axes, here and nowhere else: ``samples [W, N, T, D]`` and ``target [W, T, D]``, with ``W`` windows
(or series), ``N`` joint samples, ``T`` forecast steps and ``D`` dimensions. A NaN in the target is
a missing value: it counts neither in a score nor in the scale that divides it. The *sum* of a step
is missing as soon as one of its dimensions is (GluonTS would take the missing one for zero). NaN
or infinite samples are an error.

The three scores of the summed series, with ``y = sum_d y_d``, all divided by ``sum |y|`` over
windows and steps, so that windows are pooled before the ratio is taken:

=================  ==================================================================
``crps_sum_q19``   ``2 sum |(q_hat - y)(1{y <= q_hat} - q)|``, mean over q = 0.05 ... 0.95
``crps_sum_q9``    the same over q = 0.1 ... 0.9
``crps_sum``       ``mean_i |x_i - y| - 1/(2 N^2) sum_ij |x_i - x_j|`` (the ensemble CRPS)
=================  ==================================================================

The first two are GluonTS' ``m_sum_mean_wQuantileLoss``, sample quantiles taken by its rule; most
papers print the first. The third is what ``properscoring.crps_ensemble`` computes; its ``fair``
form divides the double sum by ``N (N - 1)``, which makes it unbiased in N (Ferro 2014). For a
calibrated Gaussian q19 lies 4.8 % and q9 9.4 % above the CRPS: compare like with like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsdiff.evaluation.ensemble import Ensemble

__all__ = [
    "coverage",
    "coverage_sum",
    "crps",
    "crps_q19",
    "crps_sum",
    "crps_sum_q9",
    "crps_sum_q19",
    "energy_score",
    "nd",
    "nrmse",
]

Q19 = tuple(np.arange(1, 20) / 20)
Q9 = tuple(np.arange(1, 10) / 10)
DEFAULT_LEVELS = (0.5, 0.8, 0.95)
_CHUNK = 4_000_000  # pairwise distances held at once: 32 MB


# Every score is a sum of one contribution per window. `*_terms` return these contributions [W]:
# they are what the Monte-Carlo error is computed from (see scores.py).


def quantile_losses(ensemble: Ensemble, quantiles: Sequence[float]) -> np.ndarray:
    """Quantile loss of each value, mean over quantiles: [W, T, D], NaN where it is missing."""
    target = ensemble.target
    loss = np.zeros(target.shape)
    for q in quantiles:
        forecast = ensemble.quantile(q)
        loss += 2 * np.abs((forecast - target) * ((target <= forecast) - q))
    return loss / len(quantiles)


def quantile_loss_terms(ensemble: Ensemble, quantiles: Sequence[float]) -> np.ndarray:
    """Weighted quantile loss, mean over quantiles and dimensions, one contribution per window."""
    return _scaled(quantile_losses(ensemble, quantiles), ensemble.target)


def crps_losses(ensemble: Ensemble, *, fair: bool = False) -> np.ndarray:
    """Ensemble CRPS of each value: [W, T, D], NaN where it is missing.

    Sorted samples give the double sum in O(N log N): ``sum_ij |x_i - x_j| = 2 sum_i (2i - N - 1)
    x_(i)``, i = 1 ... N. properscoring's own fallback needs N^2 memory per value.
    """
    count = ensemble.num_samples
    rank_weights = (2 * np.arange(1, count + 1) - count - 1) / (count * _pairs(count, fair))
    accuracy = np.abs(ensemble.samples - ensemble.target[:, None]).mean(axis=1)
    # Centring changes no difference, and keeps digits where the level dwarfs the spread.
    centred = ensemble.sorted - ensemble.sorted[:, :1]
    half_spread = np.einsum("n,wntd->wtd", rank_weights, centred)
    return accuracy - half_spread


def crps_terms(ensemble: Ensemble, *, fair: bool = False) -> np.ndarray:
    """Ensemble CRPS over the scale of the target, mean over dimensions, one term per window."""
    return _scaled(crps_losses(ensemble, fair=fair), ensemble.target)


def energy_parts(ensemble: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """What each sample adds to the energy score, mean over steps: two arrays [W, N].

    The distance of sample i from the truth, and its mean distance from all samples, itself
    included. The biased score is the mean over i of the first less half the second.
    """
    observed = ~np.isnan(ensemble.target)
    steps = observed.any(axis=-1)
    windows, count, length, dims = ensemble.samples.shape
    rows = max(1, _CHUNK // (count * max(count, dims)))
    accuracy, spread = np.zeros((2, windows, count))
    for w in range(windows):
        for first in range(0, length, rows):
            chunk = slice(first, first + rows)
            seen = observed[w, chunk]
            cloud = np.where(seen, ensemble.samples[w, :, chunk], 0.0).swapaxes(0, 1)  # [t, N, D]
            truth = np.where(seen, ensemble.target[w, chunk], 0.0)
            accuracy[w] += np.linalg.norm(cloud - truth[:, None], axis=-1).sum(axis=0)
            spread[w] += _mean_distances(cloud).sum(axis=0)
    total = steps.sum() or np.nan
    return accuracy / total, spread / total


def energy_terms(ensemble: Ensemble, *, fair: bool = False) -> np.ndarray:
    """Energy score averaged over steps, one contribution per window."""
    count = ensemble.num_samples
    accuracy, spread = energy_parts(ensemble)
    return (accuracy - 0.5 * spread * count / _pairs(count, fair)).mean(axis=1)


def nd_terms(ensemble: Ensemble) -> np.ndarray:
    """Absolute error of the median over the absolute target, pooled over dimensions."""
    error = np.nansum(np.abs(ensemble.quantile(0.5) - ensemble.target), axis=(1, 2))
    return _divide(error, np.nansum(np.abs(ensemble.target)))


def squared_nrmse_terms(ensemble: Ensemble) -> np.ndarray:
    """Terms of NRMSE squared: the root is taken after the sum over windows."""
    error = np.nansum((ensemble.samples.mean(axis=1) - ensemble.target) ** 2, axis=(1, 2))
    count = np.count_nonzero(~np.isnan(ensemble.target))
    return _divide(error * count, np.nansum(np.abs(ensemble.target)) ** 2)


def coverage_terms(ensemble: Ensemble, level: float) -> np.ndarray:
    """Share of observed values inside the central interval, one contribution per window."""
    low, high = (1 - level) / 2, (1 + level) / 2
    lower, upper = ensemble.interpolated_quantile(low), ensemble.interpolated_quantile(high)
    inside = ((lower <= ensemble.target) & (ensemble.target <= upper)).astype(np.float64)
    # A value with a probability of its own, such as no sun at night, fills a stretch of the
    # distribution, and lies inside by the share of it that the interval holds.
    below, equal = ensemble.ranks
    atom = equal > 1
    start, length = below[atom], equal[atom] + 1
    ranks = ensemble.num_samples + 1
    held = np.minimum(start + length, high * ranks) - np.maximum(start, low * ranks)
    inside[atom] = np.clip(held, 0.0, None) / length
    return _divide(inside.sum(axis=(1, 2)), np.count_nonzero(~np.isnan(ensemble.target)))


def crps_sum(samples: ArrayLike, target: ArrayLike, *, fair: bool = False) -> float:
    """Normalised ensemble CRPS of the sum over dimensions.

    Parameters
    ----------
    samples
        Joint samples ``[W, N, T, D]``, in the units of the target.
    target
        What happened, ``[W, T, D]``; NaN where it is missing.
    fair
        Use the estimator that is unbiased in N; the default is ``properscoring.crps_ensemble``'s.

    Returns
    -------
    float
        Lower is better; NaN where every observed sum is zero, as there is no scale then.

    Raises
    ------
    ValueError
        Shapes that do not fit, samples that are not finite, or ``fair`` with a single sample.

    Examples
    --------
    >>> samples = np.array([[[[1.0, 1.0]], [[2.0, 2.0]]]])  # 1 window, 2 samples, 1 step, 2 dims
    >>> crps_sum(samples, [[[1.0, 3.0]]])  # sums 2 and 4 against 4: (2 + 0)/2 - 2/4, over 4
    0.125
    """
    return _total(crps_terms(Ensemble.check(samples, target).summed, fair=fair))


def crps_sum_q19(samples: ArrayLike, target: ArrayLike) -> float:
    """CRPS-sum by 19 quantiles, 0.05 ... 0.95: the figure that most papers print.

    Equals ``m_sum_mean_wQuantileLoss`` of GluonTS' ``MultivariateEvaluator`` with these quantiles.
    See :func:`crps_sum` for parameters, result and errors.
    """
    return _total(quantile_loss_terms(Ensemble.check(samples, target).summed, Q19))


def crps_sum_q9(samples: ArrayLike, target: ArrayLike) -> float:
    """CRPS-sum by 9 quantiles, 0.1 ... 0.9; see :func:`crps_sum_q19`."""
    return _total(quantile_loss_terms(Ensemble.check(samples, target).summed, Q9))


def crps(samples: ArrayLike, target: ArrayLike, *, fair: bool = False) -> float:
    """Ensemble CRPS of each dimension over that dimension's ``sum |y|``, mean over dimensions.

    Dimensions without any non-zero observation have no scale and are left out of the mean. See
    :func:`crps_sum` for parameters, result and errors.
    """
    return _total(crps_terms(Ensemble.check(samples, target), fair=fair))


def crps_q19(samples: ArrayLike, target: ArrayLike) -> float:
    """As :func:`crps`, by 19 quantiles."""
    return _total(quantile_loss_terms(Ensemble.check(samples, target), Q19))


def nd(samples: ArrayLike, target: ArrayLike) -> float:
    """Normalised deviation, ``sum |median - y| / sum |y|``, pooled over dimensions (as GluonTS)."""
    return _total(nd_terms(Ensemble.check(samples, target)))


def nrmse(samples: ArrayLike, target: ArrayLike) -> float:
    """Root mean square error of the sample mean over ``mean |y|``, pooled (GluonTS' NRMSE)."""
    return float(np.sqrt(_total(squared_nrmse_terms(Ensemble.check(samples, target)))))


def energy_score(samples: ArrayLike, target: ArrayLike, *, fair: bool = False) -> float:
    """Energy score of the D-dimensional forecast of a step, mean over steps and windows.

    ``mean_i |x_i - y| - 1/(2 N^2) sum_ij |x_i - x_j|`` with Euclidean norms, in the units of the
    target: the multivariate CRPS (Gneiting and Raftery 2007, eq. 22). Missing dimensions are left
    out of the norms of their step. See :func:`crps_sum` for parameters and errors.
    """
    return _total(energy_terms(Ensemble.check(samples, target), fair=fair))


def coverage(
    samples: ArrayLike, target: ArrayLike, levels: Sequence[float] = DEFAULT_LEVELS
) -> dict[float, float]:
    """Share of observed values inside central prediction intervals, all dimensions pooled.

    Interval ends are sample quantiles at the plotting position ``q (N + 1)``, so that the expected
    coverage of a calibrated forecast *is* its level (GluonTS' rule loses 2 points at N = 100). The
    same holds where samples equal the truth, two or more of them: such a value counts by the share
    of its probability that lies inside, 0.8 of one that is certain. So nights don't flatter solar
    power. But no interval reaches beyond the samples, which hold ``(N - 1)/(N + 1)``: a level of
    0.95 takes 39 of them, of 20 it is 0.90.

    Returns
    -------
    dict
        Level to share. Above the level: too wide; below it: over-confident.

    Raises
    ------
    ValueError
        As :func:`crps_sum`, or a level outside (0, 1).
    """
    return _coverage(Ensemble.check(samples, target), levels)


def coverage_sum(
    samples: ArrayLike, target: ArrayLike, levels: Sequence[float] = DEFAULT_LEVELS
) -> dict[float, float]:
    """As :func:`coverage`, for the sum over dimensions."""
    return _coverage(Ensemble.check(samples, target).summed, levels)


def _coverage(ensemble: Ensemble, levels: Sequence[float]) -> dict[float, float]:
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"coverage level {level!r} is not between 0 and 1; write 80 % as 0.8")
    return {float(level): _total(coverage_terms(ensemble, level)) for level in levels}


def _scaled(loss: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Sum a loss [W, T, D] over steps, divide by each dimension's scale, average: [W]."""
    scale = np.nansum(np.abs(target), axis=(0, 1))
    usable = scale > 0
    if not usable.any():
        return np.full(len(target), np.nan)
    return (np.nansum(loss, axis=1)[:, usable] / scale[usable]).mean(axis=-1)


def _divide(terms: np.ndarray, scale: Any) -> np.ndarray:
    return terms / scale if scale > 0 else np.full(len(terms), np.nan)


def _total(terms: np.ndarray) -> float:
    return float(terms.sum())


def _pairs(count: int, fair: bool) -> int:
    if fair and count < 2:
        raise ValueError(
            "the fair score needs at least 2 samples, got 1: draw more, or use fair=False"
        )
    return count - 1 if fair else count


def _mean_distances(cloud: np.ndarray) -> np.ndarray:
    """Mean distance of each point from all points of its cloud, for clouds [t, N, D]: [t, N]."""
    cloud = cloud - cloud.mean(axis=1, keepdims=True)  # digits, as in crps_terms
    norms = (cloud**2).sum(axis=-1)
    squared = cloud @ cloud.swapaxes(1, 2)
    squared *= -2
    squared += norms[:, :, None]
    squared += norms[:, None, :]
    diagonal = np.arange(cloud.shape[1])
    squared[:, diagonal, diagonal] = 0.0
    np.maximum(squared, 0.0, out=squared)
    return np.sqrt(squared, out=squared).mean(axis=-1)
