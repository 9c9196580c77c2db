r"""How wide forecasts should have been, by windows that training didn't see.

Among the samples of a calibrated forecast the truth has a uniform rank ``u``, and lies half of the
way from the middle to the end in the mean,

.. math:: \mathrm{E}\, |2 u - 1| = \tfrac{1}{2}.

It lies farther where forecasts are too narrow, as networks' are more often than not, and less far
where they are too wide. One factor of all spreads puts the mean where it should be (Gneiting,
Balabdaoui & Raftery 2007 on what calibration is). A few windows say little of it, so its logarithm
is shrunk, as if ten more windows had said that forecasts are as wide as they should be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsdiff.estimators.model import ForecastModel
from tsdiff.estimators.prepare import ValidationSet
from tsdiff.random import seeded

_CALIBRATION = 23
_NUM_SAMPLES = 100
_PRIOR_WINDOWS = 10.0
# The largest factor, and its inverse; and halvings of what lies between.
_LARGEST, _HALVINGS = 4.0, 40


@torch.no_grad()
def calibrate(
    model: ForecastModel, validation: ValidationSet, seed: int, sampler: dict[str, Any]
) -> None:
    """Set ``model.calibration`` by the windows of ``validation``.

    Parameters
    ----------
    sampler
        ``solver``, ``num_steps`` and ``grid``, as forecasts will be drawn.
    """
    model.calibration.fill_(1.0)
    windows = len(validation.truth)
    generators = [seeded(seed, _CALIBRATION, number) for number in range(windows)]
    with model.decoder.drawing():
        drawn = model.sample(validation.past, _NUM_SAMPLES, generators, **sampler)
    factor, count = dispersion(drawn, validation.truth, validation.observed)
    model.calibration.fill_(factor ** (count / (count + _PRIOR_WINDOWS)))


def dispersion(samples: Tensor, truth: Tensor, observed: Tensor) -> tuple[float, int]:
    """The factor of samples' distances from their median under which they are calibrated.

    Parameters
    ----------
    samples
        ``[V, N, T, D]``.
    truth, observed
        ``[V, T, D]``. Values that aren't there, or whose samples are all the same, don't count.

    Returns
    -------
    float, int
        The factor, from 1/4 to 4, and how many windows had anything to say; 1 if none had.
    """
    ordered = samples.movedim(1, -1).sort(dim=-1).values
    count = ordered.shape[-1]
    median = ordered[..., (count - 1) // 2 : count // 2 + 1].mean(-1)
    told = (observed > 0.0) & (ordered[..., -1] > ordered[..., 0])
    if not bool(told.any()):
        return 1.0, 0
    ordered, median, distance = ordered[told], median[told], (truth - median)[told]

    def from_middle(factor: float) -> float:
        place = (median + distance / factor).unsqueeze(-1)
        ranks = [torch.searchsorted(ordered, place, right=right) for right in (False, True)]
        rank = (ranks[0] + ranks[1]).double() / (2.0 * count)
        return float((2.0 * rank - 1.0).abs().mean())

    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if from_middle(_LARGEST**middle) > 0.5:
            low = middle
        else:
            high = middle
    return _LARGEST ** (0.5 * (low + high)), int(told.flatten(1).any(1).sum())
