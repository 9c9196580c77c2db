"""Step by step, or the whole horizon at once: which forecasts the training data better?

Both start from a forecast in closed form: of the next step, from those before it, or of all steps,
from the seasons before. These are fitted to the first four fifths of the longest series, and go on
from the same steps of the last fifth. A whole horizon can't be guided, and has no density where
data rest on a lowest value: it must be clearly better.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsdiff.transforms.choose import Choice, is_mostly_least, mean_error, step_forecasts
from tsdiff.transforms.profile import Plan
from tsdiff.transforms.profile_fit import judged_by, plan_forecasts
from tsdiff.transforms.series import Series

DECODINGS = ("auto", "autoregressive", "horizon")
# Share by which a whole horizon's forecast must err less.
_CLEARLY = 0.1
# Share of futures without a missing value below which few can be learned from as a whole.
_MOSTLY_WHOLE = 0.5


def prefers_whole_horizons(
    series: Sequence[Series],
    plan: Plan,
    choice: Choice,
    *,
    horizon: int,
    context_length: int,
    season: int,
    lags: Sequence[int],
) -> bool:
    """Whether forecasts by ``plan`` err clearly less than those step by step.

    Parameters
    ----------
    series
        Training data.
    plan, choice
        How whole horizons, and single steps, are forecast.
    horizon, context_length, season, lags
        In steps.
    """
    longest = judged_by(series, season)
    if plan.season == 1 or _share_whole(longest, horizon) < _MOSTLY_WHOLE:
        return False
    found = plan_forecasts(plan, longest, horizon)
    if found is None:
        return False
    split, origins, forecast = found
    one_by_one = step_forecasts(
        choice,
        longest,
        split,
        origins,
        horizon=horizon,
        context_length=context_length,
        season=season,
        lags=lags,
    )
    squared = is_mostly_least(longest)
    at_once, by_steps = (
        mean_error(longest, origins, one, squared=squared) for one in (forecast, one_by_one)
    )
    return at_once < (1.0 - _CLEARLY) * by_steps


def _share_whole(series: Series, horizon: int) -> float:
    """Share of the series' windows of ``horizon`` steps in which no value is missing."""
    seen: Tensor = torch.from_numpy(series.observed).amin(1)
    return float(seen.unfold(0, horizon, 1).amin(1).mean())
