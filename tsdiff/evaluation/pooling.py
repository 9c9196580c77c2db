"""Scores as functions of sums over windows, and what each window adds to these sums.

Almost every score is a loss pooled over windows over a scale pooled over windows, so the score of
*other* windows, as a bootstrap draws them, needs both of each window. They are kept by name, as
arrays ``[W]``, or ``[W, D]`` where a score divides by the scale of each dimension:

=====================  ===========================================================================
``crps_sum`` etc.      loss of the sum, over ``scale_sum``, the absolute values of the sum
``crps, crps_q19``     loss ``[W, D]``, over ``scale [W, D]``; mean over dimensions
``nd``                 absolute error of the median, over ``scale``
``nrmse``              squared error; the score is ``sqrt(error * values) / scale``
``coverage_L``         values inside, over ``values``; of the sum, over ``values_sum``
``energy_score``       over ``steps`` with an observation
``variogram_score``    over ``pairs`` of observed dimensions
=====================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tsdiff.evaluation import metrics as m
from tsdiff.evaluation.ensemble import Ensemble
from tsdiff.evaluation.variogram import num_pairs

SCALES = ("scale", "scale_sum", "values", "values_sum", "steps", "pairs")
PER_DIMENSION = ("crps", "crps_q19")


def window_sums(ensemble: Ensemble, terms: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Numerators and denominators of every window, from the terms [W] of each score."""
    target, summed = ensemble.target, ensemble.summed.target
    seen = ~np.isnan(target)
    sums = {
        "scale": np.nansum(np.abs(target), axis=1),
        "scale_sum": np.nansum(np.abs(summed), axis=(1, 2)),
        "values": seen.sum(axis=(1, 2)),
        "values_sum": np.count_nonzero(~np.isnan(summed), axis=(1, 2)),
        "steps": seen.any(axis=-1).sum(axis=-1),
        "pairs": num_pairs(target),
    }
    sums = {name: array.astype(float) for name, array in sums.items()}
    for metric, values in terms.items():
        if metric in PER_DIMENSION:
            losses = (
                m.crps_losses(ensemble) if metric == "crps" else m.quantile_losses(ensemble, m.Q19)
            )
            sums[metric] = np.nansum(losses, axis=1)
        elif metric == "nrmse":
            sums[metric] = values * (sums["scale"].sum() ** 2 / (sums["values"].sum() or np.nan))
        else:
            sums[metric] = values * sums[_scale_of(metric)].sum()
    return sums


def resampled_score(metric: str, sums: Mapping[str, np.ndarray], counts: np.ndarray) -> np.ndarray:
    """The score of other collections of the same windows.

    Parameters
    ----------
    metric
        A name of which ``sums`` has the numerator.
    sums
        As :func:`window_sums` makes them.
    counts
        How often each window is taken, ``[B, W]``.

    Returns
    -------
    numpy.ndarray
        One score for each row of counts, ``[B]``; NaN where it has no scale.

    Raises
    ------
    KeyError
        The sums lack the metric.
    """
    numerator = counts @ sums[metric]
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric in PER_DIMENSION:
            scale = counts @ sums["scale"]
            usable = scale > 0
            ratios = np.divide(numerator, scale, out=np.zeros_like(scale), where=usable)
            return ratios.sum(axis=-1) / usable.sum(axis=-1)
        if metric == "nrmse":
            scale = counts @ sums["scale"].sum(axis=-1)
            return np.sqrt(numerator * (counts @ sums["values"])) / scale
        scale = sums[_scale_of(metric)]
        return numerator / (counts @ (scale.sum(axis=-1) if scale.ndim > 1 else scale))


def dimension_scores(metric: str, sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """The score of each dimension on its own, ``[D]``; NaN where it has no scale.

    Raises
    ------
    KeyError
        The sums lack the metric, or don't tell dimensions apart.
    """
    if metric not in PER_DIMENSION:
        raise KeyError(metric)
    scale = sums["scale"].sum(axis=0)
    empty = np.full_like(scale, np.nan)
    return np.divide(sums[metric].sum(axis=0), scale, out=empty, where=scale > 0)


def _scale_of(metric: str) -> str:
    """Name of the denominator of a score that is one ratio."""
    if metric.startswith("coverage"):
        return "values_sum" if "_sum_" in metric else "values"
    known = {"nd": "scale", "energy_score": "steps", "variogram_score": "pairs"}
    return known.get(metric, "scale_sum")


def to_text(array: np.ndarray) -> str | list[str]:
    """An array [W] as one line of numbers, [W, D] as a line per window; nine digits."""
    if array.ndim > 1:
        return [" ".join(f"{value:.9g}" for value in row) for row in array]
    return " ".join(f"{value:.9g}" for value in array)


def from_text(text: str | list[str]) -> np.ndarray:
    """Inverse of :func:`to_text`."""
    if isinstance(text, str):
        return np.array([float(value) for value in text.split()])
    return np.array([[float(value) for value in row.split()] for row in text])
