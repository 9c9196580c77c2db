"""What a decoder is given of a horizon's errors: their leading modes, or every step of them.

Both are made of all modes ``z [B, T · D]``, which the closed form has as independent standard
normal (:mod:`tsdiff.transforms.profile`), by an orthogonal map: so that an untrained decoder, which
draws ``N(0, I)``, is the closed form either way.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tsdiff.transforms import ProfileFrame


class HorizonEvents(Protocol):
    """How modes become an event, and what is left of them.

    Attributes
    ----------
    length, dim
        Steps and width of an event.
    num_left
        R, modes that stay Gaussian.
    """

    length: int
    dim: int
    num_left: int

    def split(self, frame: ProfileFrame, modes: Tensor) -> tuple[Tensor, Tensor]:
        """Events ``[B, length, dim]`` of modes ``[B, T · D]``, and what they leave, ``[B, R]``."""
        ...

    def join(self, frame: ProfileFrame, event: Tensor, left: Tensor) -> Tensor:
        """The inverse of :meth:`split`, for ``B · N`` rows, those of a window adjacent."""
        ...


class LeadingModes:
    """The first K modes, ``[1, K]``."""

    length = 1

    def __init__(self, num_modes: int, horizon: int, target_dim: int):
        self.dim = min(num_modes, horizon * target_dim)
        self.num_left = horizon * target_dim - self.dim

    def split(self, frame: ProfileFrame, modes: Tensor) -> tuple[Tensor, Tensor]:
        leading, left = modes.split([self.dim, self.num_left], dim=1)
        return leading.unsqueeze(1), left

    def join(self, frame: ProfileFrame, event: Tensor, left: Tensor) -> Tensor:
        return torch.cat([event.squeeze(1), left], dim=1)


class WhitenedSteps:
    """All modes, turned back onto the steps and dimensions that they came from, ``[T, D]``.

    ``V Z Uᵀ`` with the eigenvectors ``V`` of steps and ``U`` of dimensions: of all white versions
    of the errors the one that is nearest to them (ZCA; Kessy, Lewin & Strimmer 2018, *Optimal
    whitening and decorrelation*, sec. 3), so that neighbours are still neighbours.
    """

    num_left = 0

    def __init__(self, horizon: int, target_dim: int):
        self.length, self.dim = horizon, target_dim

    def split(self, frame: ProfileFrame, modes: Tensor) -> tuple[Tensor, Tensor]:
        return frame.across(modes.unsqueeze(1)).squeeze(1), modes[:, :0]

    def join(self, frame: ProfileFrame, event: Tensor, left: Tensor) -> Tensor:
        return frame.along(event.unflatten(0, (len(frame.mean), -1))).flatten(0, 1)
