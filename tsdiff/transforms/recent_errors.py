r"""How a forecast has erred of late.

How much of a clear day's power tomorrow will bring is told by the last weeks better than by a year
with all its seasons. A forecast that is made of the past alone has errors that can be had again at
every earlier origin of a window. So the law of a window's errors is that of its own last weeks: the
quantiles of each step and dimension, and the spread of each mode, by weights that halve every
30 seasons,

.. math:: w_k = 2^{-k / 30}, \qquad k = 1, …, 120 \text{ seasons ago},

and drawn towards what is typical of the training data as a few more origins would.

Shapes: ``B`` windows, ``K`` earlier origins, the last first, and those of
:mod:`tsdiff.transforms.profile`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsdiff.transforms.profile import SCORES, Plan, ProfileForecast, ProfileFrame, to_scores

_HALF_LIFE, _SEASONS = 30.0, 120
# Origins' worth of the typical quantiles, and of the typical spread of a mode.
_PRIOR_QUANTILES, _PRIOR_SPREAD = 5.0, 20.0
# A step that never erred has quantiles side by side, and the score of its first error no end.
_LARGEST = 6.0


def history_length(plan: Plan) -> int:
    """Steps of past that tell how a forecast has erred of late; else those that it is made of.

    A regression's errors in its training data are smaller than a forecast's, and those of data
    without a bound have a spread that is regressed: there the past says nothing more.
    """
    own = plan.bounded and not plan.corrected
    return plan.memory + (_SEASONS * plan.season if own else 0)


def lately(
    profile: ProfileForecast, past: Tensor, observed: Tensor, features: Tensor
) -> ProfileFrame:
    """The forecasts of windows, and errors as they were in the last weeks.

    Parameters
    ----------
    past
        Values ``[B, W, D]``, gaps filled; what lies before the plan's memory tells how the forecast
        has erred.
    observed
        1 where a value was there, ``[B, W, D]``.
    features
        ``[B, ≥ W + min(m, T), num_features]``.
    """
    plan, horizon, width = profile.plan, profile.horizon, past.shape[1]
    memory, season = plan.memory, plan.season
    frame = profile(past[:, width - memory :], features[:, width - memory :])
    # The last origin whose future is known, and the first that has its memory.
    first, last = -(-horizon // season), min(_SEASONS, (width - memory) // season)
    if history_length(plan) == memory or last < first:
        return frame
    ago = torch.arange(first, last + 1, device=past.device)
    steps = (width - season * ago).unsqueeze(1)
    before = steps + torch.arange(-memory, 0, device=past.device)
    after = steps + torch.arange(horizon, device=past.device)
    seen = observed.amin(2)[:, after].amin(2) * observed.amax(2)[:, before].amin(2)
    weight = seen * torch.exp2(-ago / _HALF_LIFE)
    count = weight.sum(1).square() / weight.square().sum(1).clamp_min(1e-300)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-300)

    earlier, then = past[:, before].flatten(0, 1), past[:, after].flatten(0, 1)
    plain, unit, restless = profile.plain(earlier)
    unit = unit * restless.unsqueeze(1)
    phase = profile.phase_of(features[:, width])
    spread = profile.spread[phase].unsqueeze(1)

    def standardised(values: Tensor) -> Tensor:
        """``[B, T, D, K]`` of ``[B · K, T, D]``."""
        errors = ((values - plain) / unit).unflatten(0, (len(past), -1)) / spread
        return errors.movedim(1, -1).contiguous()

    assert frame.knots is not None
    errors = standardised(then)
    found = weighted_quantiles(errors, weight)
    share = (count / (count + _PRIOR_QUANTILES)).view(-1, 1, 1, 1)
    knots = frame.knots.lerp(found, share)
    frame = replace(frame, knots=knots)

    def scores(errors: Tensor) -> Tensor:
        """``[B, K, T, D]``."""
        return to_scores(errors, knots).movedim(-1, 1)

    location = profile.location(frame, past, phase)
    repeated = scores(standardised(profile.last_season(earlier)))
    expected = profile.following(frame, repeated, phase)
    square = (frame.along(scores(errors).clamp(-_LARGEST, _LARGEST)) - expected).square()
    recent = (weight.unsqueeze(1) @ square).squeeze(1)
    count = count.unsqueeze(1)
    total = count * recent + _PRIOR_SPREAD * frame.deviation.square()
    deviation = (total / (count + _PRIOR_SPREAD)).sqrt()
    return replace(frame, location=location, deviation=deviation)


def weighted_quantiles(values: Tensor, weight: Tensor) -> Tensor:
    """Quantiles of ``values [B, ..., K]`` at SCORES, each row weighed by its ``weight [B, K]``.

    Each value stands for the middle of its weight (Hyndman & Fan 1996, definition 5), and those
    without weight for nothing.
    """
    weight = weight.view(len(weight), *(1,) * (values.ndim - 2), -1).expand_as(values)
    counted = weight > 0.0
    largest = values.where(counted, -torch.inf).amax(-1, keepdim=True).clamp_min(-1e300)
    ordered, index = values.where(counted, torch.inf).sort(dim=-1)
    ordered = torch.minimum(ordered, largest)
    own = weight.gather(-1, index)
    reached = own.cumsum(-1) - 0.5 * own
    levels = torch.special.ndtr(SCORES).to(values).expand(*values.shape[:-1], -1).contiguous()
    right = torch.searchsorted(reached, levels).clamp(1, max(1, values.shape[-1] - 1))
    left = (right - 1).clamp_min(0)
    right = right.clamp_max(values.shape[-1] - 1)
    low, high = reached.gather(-1, left), reached.gather(-1, right)
    part = ((levels - low) / (high - low).clamp_min(1e-12)).clamp(0.0, 1.0)
    return ordered.gather(-1, left).lerp(ordered.gather(-1, right), part)
