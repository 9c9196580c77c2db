"""Judging samplers by samples: two clouds of points, and the paths that led to them.

===================  =======================================================================
energy distance      ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, zero if and only if the laws agree
                     (Székely and Rizzo, Energy statistics: a class of statistics based on
                     distances, 2013)
two-sample accuracy  share of held-out points that a classifier assigns to the right cloud, 1/2
                     if the laws agree (Lopez-Paz and Oquab, Revisiting classifier two-sample
                     tests, 2017)
straightness         ``S(i) = int_0^1 E|d^2 x_t(i) / dt^2| dt``, zero for straight paths (Deng
                     et al., Variational Schrödinger diffusion models, 2024, eq. 38)
===================  =======================================================================

Axes: clouds are ``[N, D]``, N independent points of D coordinates; trajectories ``[K + 1, N, D]``,
the N points at each of K + 1 times. The energy distance has the units of the coordinates, and the
widest of them weighs most; the accuracy doesn't depend on their scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "CloudScore",
    "energy_distance",
    "evaluations_study",
    "straightness",
    "two_sample_accuracy",
]

_CHUNK = 4_000_000  # pairwise distances held at once: 32 MB


@dataclass(frozen=True)
class CloudScore:
    """How close a sampler's cloud comes to the truth with so many network evaluations."""

    evaluations: int
    energy_distance: float
    accuracy: float


def straightness(trajectory: ArrayLike, times: ArrayLike) -> np.ndarray:
    """How much the paths of a sampler bend, coordinate by coordinate; lower is straighter.

    The acceleration at an inner node is the second divided difference, and holds for half of
    either interval beside it. The first and last inner nodes also stand for the outer halves of
    the end intervals, so that all of the time from first to last is covered. On a uniform grid

        S = sum_k E|x_{k+1} - 2 x_k + x_{k-1}| / dt,   k = 1 ... K - 1,

    with weight 3/2 in place of 1 at k = 1 and K - 1 (2 where they are the same node). ``x = c t^2``
    gives ``2 |c|`` times the covered time exactly; the error falls as 1/K^2 for smooth paths.

    Parameters
    ----------
    trajectory
        ``[K + 1, N, D]``, the paths of a probability-flow ODE. Those of an SDE have no second
        derivative: the sum grows without bound as the grid gets finer.
    times
        ``[K + 1]``, rising or falling, K at least 2; the intervals may differ.

    Returns
    -------
    numpy.ndarray
        S of each coordinate, ``[D]``, in its units per unit of time (per whole path from 1 to 0).

    Raises
    ------
    ValueError
        Shapes that do not fit, fewer than 3 times, times that are not strictly monotone, or values
        that are not finite.

    Examples
    --------
    >>> times = np.linspace(1, 0, 11)
    >>> paths = np.stack([3 * times, times**2], axis=-1)[:, None]  # 11 times, 1 path, 2 dims
    >>> straightness(paths, times).round(6)
    array([0., 2.])
    """
    paths, grid = np.asarray(trajectory, np.float64), np.asarray(times, np.float64)
    if paths.ndim != 3 or not paths.size:
        raise ValueError(f"trajectory has shape {paths.shape}, expected [times, points, dims]")
    if grid.shape != paths.shape[:1]:
        raise ValueError(
            f"times have shape {grid.shape}, expected ({len(paths)},): one for each of the "
            f"trajectory's {len(paths)} states, the first and the last included"
        )
    _finite("trajectory", paths)
    _finite("times", grid)
    if len(grid) < 3:
        raise ValueError(f"straightness needs at least 3 times, got {len(grid)}")
    steps = np.diff(grid)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError("times must be strictly rising or strictly falling: sort them, no repeats")
    bends = np.abs(np.diff(np.diff(paths, axis=0) / steps[:, None, None], axis=0)).mean(axis=1)
    lengths = np.abs(steps)
    between = (lengths[1:] + lengths[:-1]) / 2  # from middle to middle of neighbouring intervals
    covered = between.copy()
    covered[0] += lengths[0] / 2
    covered[-1] += lengths[-1] / 2
    return (covered / between) @ bends


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Energy distance of the laws of two clouds, estimated without bias.

    ``2 mean_ij |x_i - y_j| - mean_{i≠j} |x_i - x_j| - mean_{i≠j} |y_i - y_j|``, Euclidean norms.
    Unbiased, it is zero on average if the laws agree, and then often falls below zero.

    Parameters
    ----------
    x, y
        ``[N, D]`` and ``[M, D]``. Distances are computed in pieces: the time is of the order
        ``(N + M)^2 D``, the memory bounded.

    Returns
    -------
    float
        In the units of the coordinates (the square root of this is called by the same name, as in
        ``scipy.stats.energy_distance``).

    Raises
    ------
    ValueError
        Clouds that are not ``[points, dims]`` with the same dims, have fewer than 2 points, or
        values that are not finite.

    Examples
    --------
    >>> energy_distance([[0.0], [2.0]], [[5.0], [5.0]])  # 2 * 4 - 2 - 0
    6.0
    """
    x, y = _clouds(x, y)
    between = _sum_of_distances(x, y) / (len(x) * len(y))
    within = [_sum_of_distances(cloud, cloud) / (len(cloud) * (len(cloud) - 1)) for cloud in (x, y)]
    return 2 * between - sum(within)


def two_sample_accuracy(
    x: ArrayLike, y: ArrayLike, *, seed: int | np.random.Generator = 0
) -> float:
    """Held-out accuracy of a classifier that tells two clouds apart; 0.5: it cannot.

    The larger cloud is cut at random to the size of the smaller, ``n``. The nearest neighbours of
    a point, among a random half of each cloud, vote on where it comes from; the other halves are
    the test. If the laws agree, the accuracy is 0.5 on average, with a standard deviation of
    ``1 / (2 sqrt(n))`` at most (but for the smallest n). An accuracy of 0.5 doesn't prove them
    equal: from few points, or in many dims, neighbours learn little.

    Parameters
    ----------
    x, y
        ``[N, D]`` and ``[M, D]``. Each coordinate is divided by its standard deviation over both
        clouds, so that its unit is no matter.
    seed
        Of the cut and the halves: a number, or the generator to draw from.

    Raises
    ------
    ValueError
        As :func:`energy_distance`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> cloud = rng.normal(size=(500, 2))
    >>> two_sample_accuracy(cloud, rng.normal(size=(500, 2)) + 20)
    1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _clouds(x, y)
    rng = np.random.default_rng(seed)
    count = min(len(x), len(y))
    half = count // 2
    both = np.concatenate([rng.permutation(x)[:count], rng.permutation(y)[:count]])
    spread = both.std(axis=0)
    x, y = np.split(both / np.where(spread > 0, spread, 1.0), 2)
    # As many of either cloud on both sides, else the majority's label alone would beat 0.5. Few
    # neighbours see fine shapes, many see faint ones; an odd number has no ties.
    classifier = KNeighborsClassifier(int(np.sqrt(count) / 4) | 1)
    classifier.fit(np.concatenate([x[half:], y[half:]]), np.repeat([0, 1], count - half))
    guesses = classifier.predict(np.concatenate([x[:half], y[:half]]))
    return float((guesses == np.repeat([0, 1], half)).mean())


def evaluations_study(
    draw: Callable[[int], ArrayLike],
    truth: ArrayLike,
    budgets: Sequence[int],
    *,
    seed: int | np.random.Generator = 0,
) -> list[CloudScore]:
    """Score a sampler at several numbers of network evaluations, one row for each.

    Parameters
    ----------
    draw
        Takes a number of evaluations, gives samples ``[N, D]``.
    truth
        Points of the true law, ``[M, D]``: an independent sample, not the one that was trained on.
    budgets
        Numbers of evaluations, at least 1 each.
    seed
        See :func:`two_sample_accuracy`; a number splits the points alike for every budget.

    Raises
    ------
    ValueError
        A budget that is not a positive whole number, or as :func:`energy_distance`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> blurred = lambda budget: rng.normal(size=(500, 2)) * (1 + 1 / budget)
    >>> coarse, fine = evaluations_study(blurred, rng.normal(size=(500, 2)), [1, 20])
    >>> coarse.energy_distance > fine.energy_distance
    True
    """
    for budget in budgets:
        if not isinstance(budget, (int, np.integer)) or budget < 1:
            raise ValueError(f"a budget must be a whole number, at least 1, got {budget!r}")
    points, rows = _cloud("truth", truth), []
    for budget in budgets:
        samples = _cloud(f"draw({budget})", draw(budget))
        accuracy = two_sample_accuracy(samples, points, seed=seed)
        rows.append(CloudScore(int(budget), energy_distance(samples, points), accuracy))
    return rows


def _clouds(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds as arrays that fit each other."""
    first, second = _cloud("x", x), _cloud("y", y)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"x has shape {first.shape} and y {second.shape}: expected the same number of dims"
        )
    return first, second


def _cloud(name: str, values: ArrayLike) -> np.ndarray:
    cloud = np.asarray(values, np.float64)
    if cloud.ndim != 2 or not cloud.shape[1]:
        raise ValueError(
            f"{name} has shape {cloud.shape}, expected [points, dims]: "
            "numbers v are a cloud as v[:, None]"
        )
    if len(cloud) < 2:
        raise ValueError(f"{name} needs at least 2 points, got {len(cloud)}")
    _finite(name, cloud)
    return cloud


def _finite(name: str, values: np.ndarray) -> None:
    strays = np.count_nonzero(~np.isfinite(values))
    if strays:
        raise ValueError(
            f"{name}: {strays} of {values.size} values are NaN or infinite; a sampler that "
            "diverged needs more steps, missing data must be left out beforehand"
        )


def _sum_of_distances(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.spatial.distance import cdist

    rows = max(1, _CHUNK // len(y))
    return sum(float(cdist(x[i : i + rows], y).sum()) for i in range(0, len(x), rows))
