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
from tsdiff.transforms.profile_fit import choose_plan, is_too_large, judged_by, plan_forecasts
from tsdiff.transforms.series import Series

DECODINGS = ("auto", "autoregressive", "horizon")
# Share by which a whole horizon's forecast must err less.
_CLEARLY = 0.1
# Share of futures without a missing value below which few can be learned from as a whole.
_MOSTLY_WHOLE = 0.5


def plan_if_better(
    series: Sequence[Series],
    choice: Choice,
    freq: str,
    *,
    horizon: int,
    context_length: int,
    season: int,
    lags: Sequence[int],
) -> Plan | None:
    """A plan for whole horizons if it errs clearly less than forecasts step by step, else None.

    Parameters
    ----------
    series
        Training data.
    choice
        How single steps are forecast.
    freq
        The data's frequency.
    horizon, context_length, season, lags
        In steps.
    """
    if season == 1 or is_too_large(series, horizon):
        return None
    plan, longest = choose_plan(series, horizon, freq), judged_by(series, season)
    if plan.season == 1 or _share_whole(longest, horizon) < _MOSTLY_WHOLE:
        return None
    found = plan_forecasts(plan, longest, horizon)
    if found is None:
        return None
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
    return plan if at_once < (1.0 - _CLEARLY) * by_steps else None


def _share_whole(series: Series, horizon: int) -> float:
    """Share of the series' windows of ``horizon`` steps in which no value is missing."""
    seen: Tensor = torch.from_numpy(series.observed).amin(1)
    return float(seen.unfold(0, horizon, 1).amin(1).mean())
