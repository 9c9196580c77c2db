"""The variogram score: are differences between dimensions as large as the forecast says?

For one step, with weights one (Scheuerer and Hamill 2015, Monthly Weather Review 143, 1321):

``VS_p = sum_{i != j} (|y_i - y_j|^p - mean_n |x_ni - x_nj|^p)^2``,  ``p = 1/2`` by default.

It is proper, and sees wrong dependence between dimensions far better than the energy score, but is
blind to a shift that all dimensions share and to a change of all signs: read it beside the others.

Here it is the *mean* over all observed pairs ``i != j`` of all steps and windows, so that its size
does not grow with D: without missing values the paper's score of a step, averaged over steps, is
``D (D - 1)`` times ours. In units of the data to the power ``2 p``: those of the data for p = 1/2.
Dimensions enter in their own units; bring them to a common scale first where these differ much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tsdiff.evaluation.ensemble import Ensemble

__all__ = ["variogram_score"]


def variogram_score(
    samples: ArrayLike, target: ArrayLike, *, p: float = 0.5, fair: bool = False
) -> float:
    """Variogram score of the dimensions of a step, mean over pairs, steps and windows.

    Parameters
    ----------
    samples
        Joint samples ``[W, N, T, D]``, in the units of the target.
    target
        What happened, ``[W, T, D]``; a pair counts where both of its values are there.
    p
        Order of the variogram. Heavy tails call for a small one; the paper recommends 1/2.
    fair
        Unbiased in N: less ``1/N`` of the variance of ``|x_i - x_j|^p`` over samples.

    Returns
    -------
    float
        Lower is better; NaN where there is no pair, as in one dimension.

    Raises
    ------
    ValueError
        Shapes that do not fit, samples that are not finite, ``p`` that is not positive, or
        ``fair`` with a single sample.

    Examples
    --------
    >>> samples = np.array([[[[0.0, 1.0]], [[0.0, 9.0]]]])  # |x_1 - x_2|^(1/2) is 1 and 3
    >>> variogram_score(samples, [[[0.0, 16.0]]])  # (4 - 2)^2
    4.0
    """
    if not 0 < p < np.inf:
        raise ValueError(f"the order p of the variogram must be positive, got {p!r}; try 0.5")
    ensemble = Ensemble.check(samples, target)
    if fair and ensemble.num_samples < 2:
        raise ValueError(
            "the fair score needs at least 2 samples, got 1: draw more, or use fair=False"
        )
    terms, _ = variogram_parts(ensemble, p, fair=fair)
    return float(terms.sum())


def variogram_parts(
    ensemble: Ensemble, p: float = 0.5, *, fair: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Contributions of the windows ``[W]``, and the influence of each sample on them ``[W, N]``.

    With ``a_n = |x_ni - x_nj|^p``, of mean a, and ``v = |y_i - y_j|^p``, a pair adds
    ``(v - a)^2``, whose slope in the weight of sample n is ``-2 (v - a)(a_n - a)``. The variance of
    these slopes over samples, over N, is the Monte-Carlo variance of the score to first order.
    """
    windows, count, _, dims = ensemble.samples.shape
    terms, influence = np.zeros(windows), np.zeros((windows, count))
    total = num_pairs(ensemble.target).sum() or np.nan
    for w in range(windows):
        # [N, T D] with time last: a dimension's row against all that follow it. What is held at
        # once is no more than one window's samples, whatever D (D - 1) / 2 is.
        cloud = np.ascontiguousarray(ensemble.samples[w].transpose(0, 2, 1))
        truth = ensemble.target[w].T
        for i in range(dims - 1):
            apart = _power(cloud[:, i + 1 :] - cloud[:, i : i + 1], p)
            mean = apart.mean(axis=0)
            gap = _power(truth[i + 1 :] - truth[i], p) - mean
            missing = np.isnan(gap)
            gap[missing] = 0.0
            terms[w] += 2 * (gap**2).sum()
            influence[w] -= 4 * np.tensordot(apart, gap, axes=2)
            if fair:
                spread = ((apart - mean) ** 2).sum(axis=0) / (count * (count - 1))
                terms[w] -= 2 * spread[~missing].sum()
    influence -= influence.mean(axis=1, keepdims=True)
    return terms / total, influence / total


def num_pairs(target: np.ndarray) -> np.ndarray:
    """Observed ordered pairs of dimensions in each window of a target [W, T, D]: [W]."""
    seen = np.count_nonzero(~np.isnan(target), axis=-1)
    return (seen * (seen - 1)).sum(axis=-1)


def _power(difference: np.ndarray, p: float) -> np.ndarray:
    """``|difference|^p``, in place; the root of the default is much faster than a power."""
    np.abs(difference, out=difference)
    return np.sqrt(difference, out=difference) if p == 0.5 else difference**p
