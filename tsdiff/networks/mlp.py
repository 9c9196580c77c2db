"""Residual MLP whose blocks are modulated by noise time and context.

Every layer sees all target dimensions at once, so that their joint law is learned directly,
and an evaluation is a handful of matrix products: at 8 dimensions some thirty times cheaper
than a dilated convolutional network over the dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsdiff.networks.base import Network
from tsdiff.networks.embedding import TimeEmbedding


class ResidualMLP(Network):
    """``h ← h + W_2 silu(W_1 (norm(h) (1 + scale) + shift))``, ``num_blocks`` times.

    ``scale`` and ``shift`` are sums of a projection of the context and one of the embedded
    time (feature-wise modulation, Perez et al. 2018): the first is computed once per context,
    the second once per time.

    Parameters
    ----------
    target_dim, context_dim
        D and H.
    width
        Hidden width; None takes the power of two next above D, between 64 and 512.
    num_blocks
        Number of residual blocks.
    """

    def __init__(
        self, target_dim: int, context_dim: int, width: int | None = None, num_blocks: int = 3
    ):
        super().__init__()
        if width is None:
            width = min(512, max(64, 1 << (target_dim - 1).bit_length()))
        self.width, self.num_blocks = width, num_blocks
        modulation = 2 * width * num_blocks
        self.time = TimeEmbedding(width)
        self.time_modulation = nn.Linear(width, modulation)
        self.context_modulation = nn.Sequential(
            nn.Linear(context_dim, width), nn.SiLU(), nn.Linear(width, modulation)
        )
        self.inlet = nn.Linear(target_dim, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(num_blocks))
        second = [nn.Linear(width, width) for _ in range(num_blocks)]
        self.second = nn.ModuleList(second)
        self.outlet = nn.Linear(width, target_dim)
        self.start_at_zero(self.outlet, *second)

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return self._bind(context, partial(self.once, self._from_time))

    def bind_to_chain(self, context: Tensor, num_times: int) -> Callable[[Tensor, Tensor], Tensor]:
        def from_time(t: Tensor) -> Tensor:
            times = torch.arange(1, num_times + 1, dtype=t.dtype, device=t.device) / num_times
            table = self._from_time(times.unsqueeze(-1))
            return F.embedding((num_times * t).round().long().squeeze(-1) - 1, table)

        return self._bind(context, from_time)

    def _from_time(self, t: Tensor) -> Tensor:
        return self.time_modulation(self.time(t))

    def _parts(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Scale and shift of every block, ``[B, T, 2, width]`` each."""
        return modulation.unflatten(-1, (2, self.num_blocks, self.width)).unbind(-2)

    def _bind(
        self, context: Tensor, from_time: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        with self.products(context.device):
            from_context = self.context_modulation(context)
        # The one of (1 + scale) is added here, once for all evaluations.
        one = torch.zeros_like(from_context[:1, :1])
        one[..., : self.num_blocks * self.width] = 1.0
        from_context = from_context + one

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with self.products(x.device):
                at_time = self._parts(from_time(t))
                h = self.inlet(x)
                # Added block by block, they don't leave the cache.
                for first, second, given, now in zip(
                    self.first, self.second, self._parts(from_context), at_time, strict=True
                ):
                    scale, shift = (given + now).unbind(-2)
                    normal = F.layer_norm(h, (self.width,)).to(shift.dtype)
                    modulated = torch.addcmul(shift, normal, scale)
                    h = h + second(F.silu(first(modulated)))
                return self.outlet(F.silu(h)).to(x.dtype)

        return predict
