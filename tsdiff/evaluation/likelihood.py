r"""The negative log-likelihood of what happened, per value.

.. math:: \mathrm{NLL} = -\frac{1}{D\,|O|} \sum_{(w, i) \in O} \log p(y_{w,i} \mid y_{w,<i})

over the steps ``O`` whose values, and the values they are measured from, were all observed. It is
the logarithmic score (Gneiting & Raftery 2007, eq. 9), proper like the others; but it is in nats
per value, has no scale, is changed by a constant where the data's units are, and no samples are
needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataEntry
from tsdiff.evaluation.inputs import entries_of
from tsdiff.evaluation.scores import Score

__all__ = ["negative_log_likelihood"]


def negative_log_likelihood(
    predictor: Any, dataset: Iterable[DataEntry] | pd.DataFrame, **options: Any
) -> Score:
    """Nats per value that a predictor is surprised by, one step ahead.

    Every step is given the observed steps before it, so that nothing is drawn but what a density is
    estimated by.

    Parameters
    ----------
    predictor
        What has a ``log_prob(dataset) -> [W, T]``: models of this package, and
        :class:`~tsdiff.evaluation.RandomWalk` and
        :class:`~tsdiff.evaluation.VectorAutoregression`.
    dataset
        Windows as for :func:`evaluate`: the last ``prediction_length`` steps are scored.
    **options
        Handed to ``predictor.log_prob``: a method, a number of steps, a seed.

    Returns
    -------
    Score
        Lower is better; NaN where no step can be scored. Its error is the standard error over
        *windows*, NaN for a single one: unlike that of other scores it says how few these were, and
        nothing of Monte Carlo.

    Raises
    ------
    TypeError
        The predictor has no ``log_prob``.
    ValueError
        No entries, or entries of different dimensions.

    Examples
    --------
    >>> from tsdiff.evaluation import RandomWalk
    >>> walk = np.random.default_rng(0).standard_normal((2, 500)).cumsum(axis=1)
    >>> entry = {"target": walk, "start": pd.Period("2024-01-01", "D")}
    >>> 1.3 < negative_log_likelihood(RandomWalk(50), [entry]).value < 1.6
    True
    """
    density = getattr(predictor, "log_prob", None)
    if not callable(density):
        if callable(getattr(predictor, "fit", None)):
            raise TypeError(f"{type(predictor).__name__} is not trained: fit it, and score that")
        raise TypeError(
            f"{type(predictor).__name__} has no log_prob, and its samples tell no density: "
            "score it with evaluate(), or take a model of this package, RandomWalk or "
            "VectorAutoregression"
        )
    windows = entries_of(dataset, model=predictor)
    if not windows:
        raise ValueError("nothing to score: pass at least one window")
    dims = {np.atleast_2d(np.asarray(window["target"])).shape[0] for window in windows}
    if len(dims) > 1:
        raise ValueError(
            f"windows have {sorted(dims)} dimensions: score those of one size at a time"
        )
    steps = -np.asarray(density(windows, **options), dtype=np.float64) / dims.pop()
    scored = ~np.isnan(steps)
    total, count = np.where(scored, steps, 0.0).sum(axis=1), scored.sum(axis=1)
    if not count.any():
        return Score(float("nan"))
    value = total.sum() / count.sum()
    return Score(float(value), _standard_error(total, count, value))


def _standard_error(total: np.ndarray, count: np.ndarray, value: float) -> float:
    """Of a ratio of sums over windows, from what it leaves of each window's sum."""
    windows = int((count > 0).sum())
    if windows < 2 or not np.isfinite(value):
        return float("nan")
    left = total - value * count
    return float(np.sqrt(windows / (windows - 1) * (left**2).sum()) / count.sum())
