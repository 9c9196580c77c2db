"""Long gaps filled with what stood there a season before, for forecasts that repeat seasons.

A last value that is carried through a day would be a day without morning and evening. For a quarter
of a season it is nearer than the last season's, where levels wander.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def filled_by_season(
    values: Tensor, observed: Tensor, season: int, *, backwards: bool = False
) -> Tensor:
    """Values whose long gaps hold the last observed one at the same step of the season.

    A gap is long from a quarter of a season after the last observation on.

    Parameters
    ----------
    values, observed
        ``[..., L, D]``; what is no long gap, or has no such value, stays as it is.
    season
        In steps.
    backwards
        Whether the next observed value may stand where there is no last one. It tells a past of
        what came later: for windows all of which is past.
    """
    seen = observed > 0.0
    if bool(seen.all()):
        return values
    length = values.shape[-2]
    step = torch.arange(length, device=values.device).unsqueeze(1).expand_as(values)

    def by_season(steps: Tensor, beyond: int) -> Tensor:
        """``[..., L / m, m, D]``."""
        padded = functional.pad(steps, (0, 0, 0, -length % season), value=beyond)
        return padded.unflatten(-2, (-1, season))

    def by_step(steps: Tensor) -> Tensor:
        return steps.flatten(-3, -2)[..., :length, :]

    last = step.where(seen, -length).cummax(-2).values
    long = step - last > season // 4
    source = by_step(by_season(step.where(seen, -1), -1).cummax(-3).values)
    if backwards:
        reverse = by_season(step.where(seen, length), length).flip(-3)
        later = by_step(reverse.cummin(-3).values.flip(-3))
        source = source.where((source >= 0) | (later == length), later)
    return values.gather(-2, source.clamp_min(0)).where(long & (source >= 0), values)
