r"""Preferences between forecasts: a decoder learns to make the better one likelier than the worse.

Wallace et al. (2024), *Diffusion model alignment using direct preference optimization*, eq. 14.
For a pair of futures ``y⁺, y⁻`` of one past, and the model's error ``ℓ`` (the loss of a decoder,
summed over steps and dimensions, at the same times and noise for model and reference),

.. math:: L = -\log σ\Bigl(-β\,\bigl[(ℓ_θ(y^+) - ℓ_{ref}(y^+))
   - (ℓ_θ(y^-) - ℓ_{ref}(y^-))\bigr]\Bigr).

Were errors log-densities, and the better of a pair better by the odds of a reward alone, the
law that it leads to would be the reference's times ``exp(reward/β)``. The errors are unweighted
ones, and where the better future is known for sure only the number of updates ends the learning.
A large ``β`` keeps the law near the reference for longer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tsdiff.decoders import Decoder
from tsdiff.random import seeded


class Futures(NamedTuple):
    """Futures of ``B`` windows, step by step: events and contexts, ``[B · T, 1, ·]`` each."""

    context: Tensor
    events: Tensor


def preference_loss(
    decoder: Decoder,
    reference: Decoder,
    better: Futures,
    worse: Futures,
    *,
    num_windows: int,
    beta: float,
    entropy: tuple[int, ...],
) -> Tensor:
    """``L``, mean over windows.

    Parameters
    ----------
    num_windows
        B.
    entropy
        What seeds times and noise: the same for all four errors.
    """

    def error(model: Decoder, futures: Futures) -> Tensor:
        noise = seeded(*entropy, device=futures.context.device)
        loss = model.loss(futures.events, futures.context, generator=noise)
        return loss.reshape(num_windows, -1).sum(1)

    with torch.no_grad():
        known = [error(reference, futures) for futures in (better, worse)]
    gain = (error(decoder, better) - known[0]) - (error(decoder, worse) - known[1])
    return -F.logsigmoid(-beta * gain).mean()
