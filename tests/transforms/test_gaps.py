"""Long gaps hold what stood at the same step of the season, and nothing that came later unasked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiff.random import seeded
from tsdiff.transforms import filled_by_season


def by_hand(values, observed, season: int, backwards: bool):
    found = values.clone()
    for step, dim in np.argwhere(observed.numpy() == 0.0):
        if observed[max(0, step - season // 4) : step, dim].any():
            continue
        place = range(step % season, len(values), season)
        seen = [i for i in place if observed[i, dim]]
        before, after = [i for i in seen if i < step], [i for i in seen if i > step]
        if before:
            found[step, dim] = values[before[-1], dim]
        elif after and backwards:
            found[step, dim] = values[after[0], dim]
    return found


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("season", [1, 4, 7, 40])
def test_the_nearest_season_that_was_observed(season, backwards):
    values = torch.randn(3, 30, 2, dtype=torch.float64, generator=seeded(0))
    observed = (torch.rand(3, 30, 2, generator=seeded(1)) < 0.4).double()
    found = filled_by_season(values, observed, season, backwards=backwards)
    for row in range(3):
        expected = by_hand(values[row], observed[row], season, backwards)
        assert torch.equal(found[row], expected)
    assert torch.equal(found[observed > 0.0], values[observed > 0.0])


def test_whole_series_are_left_alone():
    values = torch.randn(5, 2, dtype=torch.float64, generator=seeded(0))
    assert filled_by_season(values, torch.ones(5, 2), 3) is values
