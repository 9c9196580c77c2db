"""The past at the same places in the calendar, as a forecast.

    y_{n+1..n+T} = y_{s+1..s+T},    s drawn from {s : g(s+h) = g(n+h) for h = 1..T}

with g the place in the calendar (see :mod:`~tsdiff.evaluation.calendars`): what is known before
anything was observed lately. It is reliable, as the past is, and it has no skill but the season's;
a forecast that isn't sharper has learned nothing. Murphy & Winkler, "A general framework for
forecast verification", Monthly Weather Review 115 (1987), measure skill against it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsdiff.evaluation.calendars import calendar_groups
from tsdiff.evaluation.forecaster import Baseline, check_positive_integer, filled_by_place

__all__ = ["Climatology"]


class Climatology(Baseline):
    """Replay past paths of all dimensions from the same place in the calendar.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    min_paths
        A group of past paths is large enough from this number on.
    max_paths
        Use only so many of a group, the latest: with 10 and hourly data, the last ten weeks' same
        weekday. None uses all.

    Raises
    ------
    ValueError
        A number below 1, or ``max_paths`` below ``min_paths``.

    Notes
    -----
    A sample is a whole path of T past steps, so that it is joint over time as over dimensions. All
    its steps stand at the same places of the calendar as the steps to forecast, by the finest
    grouping of the frequency that has ``min_paths`` such paths. Where none has, because the history
    is short beside T, each step's vector (still all dimensions together) is drawn by itself, from
    the finest grouping that has ``min_paths`` vectors for every step; then the same from the
    groupings that have 2. A frequency without groups, such as business days, and a history of less
    than two seasons take paths from anywhere, or else vectors.

    Paths with a missing value are left out; where most steps have one, missing values are first
    replaced by the last at the same place in the coarsest grouping.

    Examples
    --------
    >>> import pandas as pd
    >>> week = np.arange(7.0)
    >>> entry = {"target": np.tile(week, 12)[None], "start": pd.Period("2024-01-01", "D")}
    >>> next(Climatology(prediction_length=3).predict([entry], num_samples=2)).samples[..., 0]
    array([[0., 1., 2.],
           [0., 1., 2.]])
    """

    def __init__(
        self, prediction_length: int, min_paths: int = 10, max_paths: int | None = None
    ) -> None:
        super().__init__(prediction_length, min_paths=min_paths)
        if max_paths is not None:
            check_positive_integer("Climatology", "max_paths", max_paths)
            if max_paths < min_paths:
                raise ValueError(
                    f"Climatology: max_paths={max_paths} is below min_paths={min_paths}, so that "
                    "no group could have enough; lower min_paths"
                )
        self.min_paths, self.max_paths = int(min_paths), max_paths
        self._remember(max_paths=max_paths)

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        length = history.shape[1]
        groupings = calendar_groups(start, length + self.prediction_length)
        anything = np.zeros(length + self.prediction_length, dtype=int)
        known = np.isnan(history).sum(axis=0) == 0
        if known.mean() < 0.5:
            coarsest = (groupings or [anything])[-1]
            history = filled_by_place(history, coarsest[:length])
            known = np.ones(length, dtype=bool)
        attempts = [(groupings, self.min_paths), (groupings, 2), ([anything], 1)]
        return history.T[self._choose(known, attempts, num_samples, generator)]

    def _choose(
        self,
        known: np.ndarray,
        attempts: list[tuple[list[np.ndarray], int]],
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Past steps [N, T] that the samples replay."""
        horizon = self.prediction_length
        for candidates, enough in attempts:
            for groups in candidates:
                found = self._latest(_path_starts(groups, known, horizon))
                if len(found) >= enough:
                    return generator.choice(found, (num_samples, 1)) + np.arange(horizon)
            for groups in candidates:
                past, future = np.where(known, groups[: len(known)], -1), groups[len(known) :]
                pools = [self._latest(np.flatnonzero(past == place)) for place in future]
                if min(map(len, pools)) >= enough:
                    drawn = [generator.choice(pool, num_samples) for pool in pools]
                    return np.stack(drawn, axis=1)
        raise AssertionError("a history has at least one step that is known or filled")

    def _latest(self, found: np.ndarray) -> np.ndarray:
        return found if self.max_paths is None else found[-self.max_paths :]


def _path_starts(groups: np.ndarray, known: np.ndarray, horizon: int) -> np.ndarray:
    """Steps from which ``horizon`` known ones are in the groups of the last ``horizon``."""
    length = len(known)
    if length < horizon:
        return np.empty(0, dtype=int)
    future = groups[length:]
    starts = np.flatnonzero(groups[: length - horizon + 1] == future[0])
    # Step by step, as most starts drop out at once.
    for ahead in range(horizon):
        at = starts + ahead
        starts = starts[(groups[at] == future[ahead]) & known[at]]
    return starts
