"""A trained forecaster taught which of its own forecasts are the better ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import trange

from tsdiff.datasets import DataError
from tsdiff.decoders import AffineDecoder, Decoder
from tsdiff.decoders.few_step import FewStepDecoder
from tsdiff.estimators import checks, layout
from tsdiff.estimators.model import ForecastModel
from tsdiff.guidance.preferences import Futures, preference_loss
from tsdiff.random import seeded
from tsdiff.transforms import Measure, Window, WindowSampler, load_series

Cost = Callable[[Tensor, Tensor], Tensor]
"""``(futures [R, T, D], truths [R, T, D]) -> [R]``, in the data's units: what each future would
have cost if it had been planned by."""

_WINDOWS, _CANDIDATES, _ROWS, _NOISE = range(201, 205)


@dataclass(frozen=True)
class PreferenceOptions:
    """How pairs are made, and learned from.

    Attributes
    ----------
    beta
        How firmly the model is held near what it was; see
        :mod:`tsdiff.guidance.preferences`.
    num_windows, num_candidates
        Training windows, and futures that are drawn for each: the cheapest and the dearest are a
        pair.
    num_updates, batch_size, learning_rate
        Of AdamW on the decoder; the encoder stays as it is.
    seed
        Of windows, futures, batches and noise.
    """

    beta: float = 1.0
    num_windows: int = 256
    num_candidates: int = 8
    num_updates: int = 150
    batch_size: int = 32
    learning_rate: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_windows", "num_candidates", "num_updates", "batch_size"):
            checks.positive_integer(name, getattr(self, name))
        if self.num_candidates < 2:
            raise ValueError(f"num_candidates must be at least 2, got {self.num_candidates}")
        for name in ("beta", "learning_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def prefer(
    model: ForecastModel, data: Any, cost: Cost, options: PreferenceOptions, *, progress: bool
) -> ForecastModel:
    """A copy of a trained model, tuned on pairs of its own futures of windows of ``data``."""
    _check_decoder(model.decoder)
    model = deepcopy(model).cpu()
    horizon = model.facts.prediction_length
    entries = layout.arranged(layout.read(data, model.facts, model.facts.freq), model.facts)
    checks.check_compatible(entries, model.facts, needed=horizon + 1)
    series = load_series(entries, model.facts.freq, 0, sizes=model.facts.sizes)
    sampler = WindowSampler(series, model.past_length, horizon)
    better, worse = _pairs(model, sampler, cost, options)
    # Without dropout, and by the loss of what samples: as the reference is asked.
    tuned = deepcopy(model).eval()
    optimizer = torch.optim.AdamW(
        (parameter for parameter in tuned.decoder.parameters() if parameter.requires_grad),
        lr=options.learning_rate,
        weight_decay=0.0,
    )
    steps = trange(options.num_updates, desc="preferences", leave=False, disable=not progress)
    for update in steps:
        rows = torch.randint(
            len(better.target),
            (options.batch_size,),
            generator=seeded(options.seed, _ROWS, update),
        )
        with torch.no_grad():
            futures = [_futures(model, pairs.take(rows)) for pairs in (better, worse)]
        loss = preference_loss(
            tuned.decoder,
            model.decoder,
            *futures,
            num_windows=len(rows),
            beta=options.beta,
            entropy=(options.seed, _NOISE, update),
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.decoder.parameters(), 1.0)
        optimizer.step()
    return tuned


def _check_decoder(decoder: Decoder) -> None:
    """Raise a ValueError unless its loss says how likely an event is."""
    if (
        isinstance(decoder, FewStepDecoder)
        or not isinstance(decoder, AffineDecoder)
        or not decoder.gaussian
    ):
        raise ValueError(
            f"preferences can't be learned by {type(decoder).__name__}, whose loss isn't that of "
            "independent Gaussian noise: take a flow or diffusion, and distil that if it is to be "
            "fast"
        )


@torch.no_grad()
def _pairs(
    model: ForecastModel, sampler: WindowSampler, cost: Cost, options: PreferenceOptions
) -> tuple[Window, Window]:
    """Windows whose futures are the cheapest and the dearest candidate."""
    horizon, count = model.facts.prediction_length, options.num_candidates
    which = sampler.numbers(options.num_windows, seeded(options.seed, _WINDOWS))
    windows, measure = sampler.take(which), sampler.measure(which)
    whole = (windows.observed[:, -horizon:] > 0.0).all(2).all(1)
    if not bool(whole.any()):
        raise DataError(
            "no window has a future without missing values, and costs need the whole of it: give "
            "more data, or fill the gaps"
        )
    windows, measure = windows.take(whole), Measure(*(part[whole] for part in measure))
    past = windows._replace(
        target=windows.target[:, :-horizon], observed=windows.observed[:, :-horizon]
    )
    generators = [seeded(options.seed, _CANDIDATES, row) for row in range(len(past.target))]
    truth = measure.leave(windows.target[:, -horizon:])
    _costs(cost, truth, truth)  # before the long part
    drawn = model.sample(past, count, generators)
    of_each = Measure(*(part.repeat_interleave(count, dim=0) for part in measure))
    futures = of_each.leave(drawn.flatten(0, 1))
    costs = _costs(cost, futures, truth.repeat_interleave(count, dim=0))
    costs = costs.view(-1, count)
    telling = costs.amax(1) > costs.amin(1)
    if not bool(telling.any()):
        raise ValueError(
            "all futures of a window cost the same: there is nothing to prefer. Does the cost look "
            "at the futures?"
        )
    windows = windows.take(telling)
    drawn, costs = drawn[telling], costs[telling]
    rows = torch.arange(len(costs))

    def with_future(which: Tensor) -> Window:
        target = windows.target.clone()
        target[:, -horizon:] = drawn[rows, which]
        return windows._replace(target=target)

    return with_future(costs.argmin(1)), with_future(costs.argmax(1))


def _costs(cost: Cost, futures: Tensor, truths: Tensor) -> Tensor:
    costs = cost(futures, truths)
    found = "NaN or infinite ones" if isinstance(costs, Tensor) else type(costs).__name__
    if isinstance(costs, Tensor) and costs.shape != truths.shape[:1]:
        found = f"a tensor of shape {list(costs.shape)}"
    elif isinstance(costs, Tensor) and bool(costs.isfinite().all()):
        return costs.double()
    raise ValueError(
        f"the cost must be a tensor of one finite number per future, [{len(truths)}], got {found}"
    )


def _futures(model: ForecastModel, window: Window) -> Futures:
    events, context = model.events(window)
    # What stands before a gap has no reference: nothing is to be learned of it.
    return Futures(context, torch.nan_to_num(events, 0.0))
