"""The last seasons as an ensemble: what the recent past was, tomorrow may be.

    y_{n+1..n+T} = y_{n+1-k m .. n+T-k m},    k one of the last seasons, all equally likely

with m steps in a season: the last fourteen days, of hourly data. Where levels move slowly beside
what differs from day to day, this is hard to beat, and it costs nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsdiff.evaluation.forecaster import Baseline, filled_by_place

__all__ = ["LastSeasons"]


class LastSeasons(Baseline):
    """Replay the last seasons, whole paths of all dimensions.

    Parameters
    ----------
    prediction_length
        Steps to forecast, T.
    season_length
        Steps in a season, m: 24 for hourly data.
    num_seasons
        Paths in the ensemble, one season apart, the latest that are over; a shorter history gives
        fewer. Fourteen days hold every weekday twice.

    Notes
    -----
    Samples are joint over time as over dimensions. Every path is drawn equally often, or once more:
    an ensemble of 14 has no other randomness to offer. A missing value is replaced by the last at
    the same place in the season.

    Examples
    --------
    >>> import pandas as pd
    >>> entry = {"target": np.arange(12.0)[None], "start": pd.Period("2024-01-01", "D")}
    >>> ensemble = LastSeasons(prediction_length=2, season_length=3, num_seasons=2)
    >>> sorted(next(ensemble.predict([entry], num_samples=2)).samples[..., 0].tolist())
    [[6.0, 7.0], [9.0, 10.0]]
    """

    def __init__(self, prediction_length: int, season_length: int, num_seasons: int = 14) -> None:
        super().__init__(prediction_length, season_length=season_length, num_seasons=num_seasons)
        self.season_length, self.num_seasons = int(season_length), int(num_seasons)

    @property
    def _reach(self) -> int:
        """Steps back to the latest path that is over: the horizon in whole seasons."""
        return -(-self.prediction_length // self.season_length) * self.season_length

    def _check_history(self, history: np.ndarray, position: int) -> None:
        super()._check_history(history, position)
        if history.shape[1] < self._reach:
            raise ValueError(
                f"entry {position} has {history.shape[1]} steps of history: to replay seasons of "
                f"{self.season_length} steps over a horizon of {self.prediction_length} takes "
                f"{self._reach}; give more history, or take LastValue"
            )

    def _paths(
        self,
        history: np.ndarray,
        start: pd.Period,
        num_samples: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        length = history.shape[1]
        filled = filled_by_place(history, np.arange(-length, 0) % self.season_length)
        starts = np.arange(length - self._reach, -1, -self.season_length)[: self.num_seasons]
        taken = generator.permutation(starts)[np.arange(num_samples) % len(starts)]
        return filled.T[taken[:, None] + np.arange(self.prediction_length)]
