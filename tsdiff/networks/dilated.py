"""TimeGrad's dilated residual network, kept for parity with the literature.

Rasul et al. (2021), *Autoregressive Denoising Diffusion Models for Multivariate Probabilistic
Time Series Forecasting*, fig. 2; gated blocks after DiffWave (Kong et al. 2021). It convolves
*across the target dimensions* as if they were ordered, with dilations 1, 2, 1, 2, …
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsdiff.networks.base import Network
from tsdiff.networks.embedding import TimeEmbedding


class _GatedBlock(nn.Module):
    """Dilated convolution, gated by context and time, with a residual and a skip output."""

    def __init__(self, channels: int, time_width: int, dilation: int):
        super().__init__()
        self.time = nn.Linear(time_width, channels)
        self.dilated = nn.Conv1d(
            channels, 2 * channels, 3, padding=dilation, dilation=dilation, padding_mode="circular"
        )
        self.out = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, h: Tensor, time: Tensor, gate_context: Tensor) -> tuple[Tensor, Tensor]:
        filtered = self.dilated(h + self.time(time).transpose(1, 2)) + gate_context
        gate, value = filtered.chunk(2, dim=1)
        residual, skip = self.out(torch.sigmoid(gate) * torch.tanh(value)).chunk(2, dim=1)
        return (h + residual) / 2.0**0.5, skip


class DilatedResidualNetwork(Network):
    """Gated residual blocks that convolve over the D target dimensions.

    Parameters
    ----------
    target_dim, context_dim
        D and H.
    channels, num_blocks
        8 and 8 in the paper.
    time_width
        Width of the embedded noise time.
    """

    def __init__(
        self,
        target_dim: int,
        context_dim: int,
        channels: int = 8,
        num_blocks: int = 8,
        time_width: int = 64,
    ):
        super().__init__()
        self.time = TimeEmbedding(time_width)
        self.context = nn.Sequential(
            nn.Linear(context_dim, max(1, target_dim // 2)),
            nn.LeakyReLU(0.4),
            nn.Linear(max(1, target_dim // 2), target_dim),
            nn.LeakyReLU(0.4),
        )
        self.inlet = nn.Conv1d(1, channels, 1)
        # A circular pad may not exceed the length it pads, hence dilation 1 below D = 2.
        self.blocks = nn.ModuleList(
            [
                _GatedBlock(channels, time_width, min(2 ** (i % 2), target_dim))
                for i in range(num_blocks)
            ]
        )
        self.gates = nn.ModuleList([nn.Conv1d(1, 2 * channels, 1) for _ in range(num_blocks)])
        self.skip = nn.Conv1d(channels, channels, 3, padding=1, padding_mode="circular")
        self.outlet = nn.Conv1d(channels, 1, 3, padding=1, padding_mode="circular")
        self.start_at_zero(self.outlet)

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        # [B, T, D] becomes B·T rows of one channel and length D, in that row order throughout.
        steps = context.shape[1]
        with self.products(context.device):
            row_context = self.context(context).flatten(0, 1).unsqueeze(1)
            gate_contexts = [gate(row_context) for gate in self.gates]

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with self.products(x.device):
                h = F.leaky_relu(self.inlet(x.flatten(0, 1).unsqueeze(1)), 0.4)
                time = self.once(self.time, t)
                if t.shape[0] > 1:
                    time = time.repeat_interleave(steps, dim=0)
                total = torch.zeros_like(h)
                for block, gate_context in zip(self.blocks, gate_contexts, strict=True):
                    h, skip = block(h, time, gate_context)
                    total = total + skip
                h = F.leaky_relu(self.skip(total / len(self.blocks) ** 0.5), 0.4)
                return self.outlet(h).squeeze(1).unflatten(0, x.shape[:2]).to(x.dtype)

        return predict
