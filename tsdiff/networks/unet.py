"""A U-Net over the steps of an event.

Ronneberger, Fischer & Brox (2015), *U-Net: Convolutional networks for biomedical image
segmentation*, as a denoising network (Ho, Jain & Abbeel 2020, *Denoising diffusion probabilistic
models*, app. B) in one dimension, time (Janner, Du, Tenenbaum & Levine 2022, *Planning with
diffusion for flexible behavior synthesis*): neighbouring steps are seen together, at one
resolution after another, each half as fine, and back. All steps have the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsdiff.networks.base import Network
from tsdiff.networks.embedding import TimeEmbedding

# Cosines of the place in the event that the network is told, as channels.
_PLACES = 4
_GROUPS = 8


class _Block(nn.Module):
    """``h ← h + W_2 * silu(W_1 * (norm(h) (1 + scale) + shift))`` of ``h [B, C, T]``."""

    def __init__(self, width: int):
        super().__init__()
        self.groups = math.gcd(_GROUPS, width)
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, h: Tensor, modulation: Tensor) -> Tensor:
        scale, shift = modulation.chunk(2, dim=1)
        normal = F.group_norm(h, self.groups).to(shift.dtype)
        return h + self.second(F.silu(self.first(torch.addcmul(shift, normal, 1.0 + scale))))


class TemporalUNet(Network):
    """Residual blocks over the steps, at ``num_levels`` resolutions down and up again.

    Blocks are modulated by context and noise time as in :class:`~tsdiff.networks.ResidualMLP`; at
    coarser resolutions by the mean context of the steps. On the way up, what is coarse is repeated
    (nearest neighbour) and joined with what was there on the way down. Any number of steps will do:
    of an odd one, the last step is half a pair.

    Parameters
    ----------
    target_dim, context_dim
        D and H. The context is ``[B, T, H]``, or ``[B, 1, H]`` for all steps.
    width
        Channels, at all resolutions; None takes the power of two next above D, between 64 and 256.
    num_levels
        Resolutions. With three, a step is joined with the twenty or so on either side.

    Raises
    ------
    ValueError
        If a size is below 1.
    """

    over_steps = True

    def __init__(
        self, target_dim: int, context_dim: int, width: int | None = None, num_levels: int = 3
    ):
        super().__init__()
        for name, value in (("width", width), ("num_levels", num_levels)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if width is None:
            width = min(256, max(64, 1 << (target_dim - 1).bit_length()))
        self.width, self.num_levels = width, num_levels
        coarser = range(num_levels - 1)
        self.time = TimeEmbedding(width)
        self.time_modulation = nn.Linear(width, 2 * width * (2 * num_levels - 1))
        self.context = nn.Sequential(nn.Linear(context_dim, width), nn.SiLU())
        self.context_modulation = nn.ModuleList(
            nn.Linear(width, 2 * width) for _ in range(2 * num_levels - 1)
        )
        self.inlet = nn.Conv1d(target_dim + _PLACES, width, 1)
        falling = [_Block(width) for _ in range(num_levels)]
        self.falling = nn.ModuleList(falling)
        self.down = nn.ModuleList(nn.Conv1d(width, width, 3, stride=2, padding=1) for _ in coarser)
        self.join = nn.ModuleList(nn.Conv1d(2 * width, width, 1) for _ in coarser)
        rising = [_Block(width) for _ in coarser]
        self.rising = nn.ModuleList(rising)
        self.outlet = nn.Conv1d(width, target_dim, 1)
        self.start_at_zero(self.outlet, *(block.second for block in falling + rising))

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        with self.products(context.device):
            hidden = [self.context(context)]
            for _ in self.down:
                hidden.append(_halved(hidden[-1]))
            # Down, and up again.
            levels = zip(self.context_modulation, [*hidden, *hidden[-2::-1]], strict=True)
            given = [modulate(h).mT for modulate, h in levels]

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with self.products(x.device):
                at_time = self.once(self._from_time, t).mT.chunk(len(given), dim=1)
                modulations = iter([a + b for a, b in zip(given, at_time, strict=True)])
                h = self.inlet(torch.cat([x.mT, _places(x)], dim=1))
                kept: list[Tensor] = []
                for level, block in enumerate(self.falling):
                    h = block(self.down[level - 1](h) if level else h, next(modulations))
                    kept.append(h)
                kept.pop()
                for join, block in zip(self.join, self.rising, strict=True):
                    fine = kept.pop()
                    twice = h.unsqueeze(-1).expand(*h.shape, 2).flatten(2)[..., : fine.shape[-1]]
                    h = block(join(torch.cat([twice, fine], dim=1)), next(modulations))
                return self.outlet(F.silu(h)).mT.to(x.dtype)

        return predict

    def _from_time(self, t: Tensor) -> Tensor:
        return self.time_modulation(self.time(t))


def _halved(context: Tensor) -> Tensor:
    """Means of pairs of steps, ``[B, T, C]``; one context for all is left alone."""
    if context.shape[1] == 1:
        return context
    return F.avg_pool1d(context.mT, 2, ceil_mode=True).mT


def _places(x: Tensor) -> Tensor:
    """Where in the event a step stands, ``cos(π k (i + ½) / T)``, ``[B, K, T]``."""
    rows, steps, _ = x.shape
    place = (torch.arange(steps, dtype=x.dtype, device=x.device) + 0.5) / steps
    turns = torch.arange(1, _PLACES + 1, dtype=x.dtype, device=x.device)
    return (math.pi * turns.unsqueeze(1) * place).cos().expand(rows, -1, -1)
