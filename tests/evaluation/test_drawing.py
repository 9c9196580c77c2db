"""Windows of pictures: the right steps at every frequency."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.forecast import SampleForecast

from tsdiff.evaluation.drawing import Window


@pytest.mark.parametrize("freq", ["D", "30min", "2h"])
def test_a_forecast_lines_up_with_its_series(freq: str) -> None:
    """pandas counts half-hours in minutes: 20 steps of 30 min are not 600."""
    start = pd.Period("2024-01-01", freq=freq)
    entry = {"target": np.arange(24.0)[None], "start": start}
    forecast = SampleForecast(np.zeros((5, 4, 1)), start + 20)
    window = Window.of(forecast, entry, history=3)
    assert window.history[0].tolist() == [17.0, 18.0, 19.0]
    assert window.truth[0].tolist() == [20.0, 21.0, 22.0, 23.0]
