"""Gaussian noise from generators that are handed in.

A forecast must not depend on how series are batched together. A sampler that draws for
several series therefore holds *one generator per series*; the rows of a tensor are split into
as many equal blocks as there are generators, and each block is filled from its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Randomness = torch.Generator | Sequence[torch.Generator] | None
"""One generator, one per block of rows, or None for PyTorch's global one."""


def seeded(*entropy: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream is fixed by a tuple of integers, such as (seed, step).

    The integers are mixed (with a multiplier of splitmix64), so that neighbouring tuples give
    unrelated streams.
    """
    state = 0x9E3779B97F4A7C15
    for value in entropy:
        state = (state ^ (int(value) & _MASK)) & _MASK
        state = (state * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return torch.Generator(device=device).manual_seed(state >> 1)


_MASK = (1 << 64) - 1


def standard_normal(like: Tensor, generator: Randomness = None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of ``like``.

    Raises
    ------
    ValueError
        If there are several generators and the rows cannot be split evenly among them.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    rows, blocks = like.shape[0], len(generator)
    if blocks == 0 or rows % blocks:
        raise ValueError(
            f"{rows} rows cannot be split evenly among {blocks} generators: "
            "pass one generator per series, each series having the same number of samples"
        )
    shape = (rows // blocks, *like.shape[1:])
    return torch.cat(
        [torch.randn(shape, dtype=like.dtype, device=like.device, generator=g) for g in generator]
    )
