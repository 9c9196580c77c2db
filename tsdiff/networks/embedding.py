"""Noise time as a vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Sines and cosines of ``t`` at geometric frequencies, then two dense layers.

    ``[B, 1, 1] -> [B, 1, width]`` (Ho et al. 2020; Vaswani et al. 2017). Frequencies run from
    half a turn to ``max_frequency`` turns over [0, 1].
    """

    frequencies: Tensor

    def __init__(self, width: int, num_frequencies: int = 16, max_frequency: float = 32.0):
        super().__init__()
        exponents = torch.linspace(0.0, 1.0, num_frequencies)
        frequencies = math.pi * (2.0 * max_frequency) ** exponents
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def limit(self, max_frequency: float) -> None:
        """Feel nothing of frequencies above so many turns over [0, 1]."""
        fast = self.frequencies > 2.0 * math.pi * max_frequency * (1.0 + 1e-6)
        self.frequencies.masked_fill_(fast, 0.0)

    def forward(self, t: Tensor) -> Tensor:
        angles = t * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=-1))
