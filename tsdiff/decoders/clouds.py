"""Any decoder as a model of a point cloud: an event of one step under an empty context.

For studies of a process where pictures can be drawn, without series, encoders or trainers.

>>> import torch
>>> from tsdiff.decoders import FlowMatching
>>> from tsdiff.networks import ResidualMLP
>>> points = torch.randn(1000, 2) * torch.tensor([1.0, 3.0])
>>> decoder = fit_points(FlowMatching(ResidualMLP(2, 1), 2), points, num_updates=10)
>>> sample_points(decoder, 5).shape
torch.Size([5, 2])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tsdiff.decoders.base import AffineDecoder
from tsdiff.decoders.decoder import Decoder
from tsdiff.random import seeded

_BATCH, _NOISE, _PHASE, _SAMPLE = range(4)

D = TypeVar("D", bound=Decoder)


def empty_context(num_points: int, like: Tensor) -> Tensor:
    """The context ``[N, 1, 1]`` of points that nothing is known about."""
    return torch.zeros(num_points, 1, 1, dtype=like.dtype, device=like.device)


def fit_points(
    decoder: D,
    points: Tensor,
    *,
    num_updates: int = 5000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    ema_decay: float = 0.995,
    seed: int = 0,
    watch: Callable[[int, Decoder], None] | None = None,
) -> D:
    """Train a decoder, made for a context of width 1, on points ``[N, D]``, in place.

    Adam with a cosine decay; the decoder is left with averaged weights. Its phases run as they do
    under an estimator.

    Parameters
    ----------
    ema_decay
        Of the averaged weights.
    seed
        Of batches, times and noise, update by update; weights are the caller's.
    watch
        Is called with the number of the next update, and the decoder, after every phase.

    Raises
    ------
    ValueError
        If the points aren't ``[N, D]``, finite, at least two.
    """
    if points.ndim != 2 or len(points) < 2 or not bool(points.isfinite().all()):
        raise ValueError(
            f"points must be [N, D] with at least two rows, all finite, got {list(points.shape)}"
        )
    covariance = torch.atleast_2d(torch.cov(points.double().T))
    decoder.set_data_moments(points.double().mean(0), covariance)
    average = AveragedModel(decoder, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
    optimizer = torch.optim.Adam(decoder.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    context, device = empty_context(batch_size, points), points.device
    decoder.train()
    for update in range(num_updates):
        generator = seeded(seed, _BATCH, update, device=device)
        rows = torch.randint(len(points), (batch_size,), generator=generator, device=device)
        events = points[rows].unsqueeze(1)
        for phase in decoder.phases():
            if phase.due(update):
                decoder.eval()
                phase.run(events, context, seeded(seed, _PHASE, update, device=device))
                decoder.train()
                if watch is not None:
                    watch(update, decoder)
        noise = seeded(seed, _NOISE, update, device=device)
        loss = decoder.loss(events, context, generator=noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(decoder)
    decoder.load_state_dict(average.module.state_dict())
    return decoder.eval()


@torch.no_grad()
def sample_points(decoder: Decoder, num_points: int, *, seed: int = 0, **sampler: Any) -> Tensor:
    """Draw points ``[N, D]``; ``sampler`` is that of :meth:`Decoder.sample`."""
    like = next(decoder.parameters())
    generator = seeded(seed, _SAMPLE, device=like.device)
    context = empty_context(num_points, like)
    return decoder.sample(context, generator=generator, **sampler).squeeze(1)


@torch.no_grad()
def trajectories(
    decoder: AffineDecoder, num_points: int, *, seed: int = 0, **sampler: Any
) -> tuple[Tensor, Tensor]:
    """The ways that points take from the source to the data, in the data's units.

    Returns
    -------
    x, t
        ``[num_steps + 1, N, D]`` and ``[num_steps + 1]``, from ``t = 1`` to 0.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    sample_points(decoder, num_points, seed=seed, watch=lambda x, t: seen.append((x, t)), **sampler)
    states = torch.stack([decoder.restore(x, t).squeeze(1) for x, t in seen])
    return states, torch.stack([t.squeeze() for _, t in seen])
