r"""How wide forecasts should have been, by windows that training didn't see.

Among the samples of a calibrated forecast the truth has a uniform rank ``u``, and lies half of the
way from the middle to the end in the mean,

.. math:: \mathrm{E}\, |2 u - 1| = \tfrac{1}{2}.

It lies farther where forecasts are too narrow, as networks' are more often than not, and less far
where they are too wide. One factor of all spreads puts the mean where it should be (Gneiting,
Balabdaoui & Raftery 2007 on what calibration is). A few windows say little of it, and those of one
date are as good as one, so its logarithm is shrunk, as if ten more had said that forecasts are as
wide as they should be.

Step by step it is residuals that are multiplied, and they may be more than their spread: those of
a season's forecast follow one another closely, and grow without end where each is multiplied again.
So a factor is kept only if the CRPS of the same windows, drawn with it, isn't higher: that of the
dimensions that moved, on average, by more than a hundredth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsdiff.estimators.model import ForecastModel
from tsdiff.estimators.prepare import ValidationSet
from tsdiff.random import seeded

_CALIBRATION, _CHOICE = 23, 24
# More windows tell one number no better.
_MOST_WINDOWS = 200
_NUM_SAMPLES = 100
_PRIOR_WINDOWS = 10.0
# The largest factor, and its inverse; and halvings of what lies between.
_LARGEST, _HALVINGS = 4.0, 40
# Within a hundredth, the CRPS of so few windows tells nothing.
_NO_HIGHER = 1.01


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
    order = torch.randperm(len(validation.truth), generator=seeded(seed, _CHOICE))
    some = order[:_MOST_WINDOWS].sort().values
    past, truth = validation.past.take(some), validation.truth[some]
    # What stands still lies in the middle of forecasts of any width.
    moves = (truth != past.target[:, -1:]).any(1, keepdim=True)
    observed = validation.observed[some] * moves

    def drawn(factor: float) -> Tensor:
        model.calibration.fill_(factor)
        generators = [seeded(seed, _CALIBRATION, number) for number in range(len(truth))]
        with model.decoder.drawing():
            return model.sample(past, _NUM_SAMPLES, generators, **sampler)

    plain = drawn(1.0)
    factor, count = dispersion(plain, truth, observed)
    count = min(count, validation.num_dates)
    widened = drawn(factor ** (count / (count + _PRIOR_WINDOWS)))
    before, after = (_crps(samples, truth, observed) for samples in (plain, widened))
    if not (after / before)[before > 0.0].mean() <= _NO_HIGHER:  # nor kept where it is NaN
        model.calibration.fill_(1.0)


def ensemble_crps(samples: Tensor, truth: Tensor) -> Tensor:
    """CRPS of each value: the fair ensemble estimator (Ferro 2014, eq. 8), by sorting.

    Parameters
    ----------
    samples
        ``[V, N, ...]``.
    truth
        ``[V, ...]``, of which the result has the shape.
    """
    ensemble = samples.sort(dim=1).values
    n = ensemble.shape[1]
    error = (ensemble - truth.unsqueeze(1)).abs().mean(1)
    ranks = torch.arange(1, n + 1, dtype=ensemble.dtype, device=ensemble.device)
    weights = (2.0 * ranks - n - 1.0) / (n * max(n - 1, 1))
    return error - (weights.view(-1, *[1] * (truth.ndim - 1)) * ensemble).sum(1)


def _crps(samples: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """Of each dimension, summed over what was observed, ``[D]``."""
    return (ensemble_crps(samples, truth) * observed).sum((0, 1))


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
