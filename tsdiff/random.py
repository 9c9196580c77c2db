"""Gaussian noise from generators that are handed in.

A forecast must not depend on how series are batched together. A sampler that draws for
several series therefore holds *one generator per series*; the rows of a tensor are split into
as many equal blocks as there are generators, and each block is filled from its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

# Rows per dimension from which matching leaves noise all but Gaussian.
_ENOUGH = 8


@dataclass(frozen=True)
class Matched:
    """Noise whose first and second moments over rows are exact: where moments are the aim.

    Its mean is 0, its covariance the identity, and it is uncorrelated with the state that it is
    added to, so that the moments of a linear diffusion are simulated without any Monte-Carlo
    error (moment matching; Barraquand 1995, *Numerical valuation of high dimensional multivariate
    European securities*). With fewer than eight rows per dimension noise is left as it is drawn.

    Rows are no longer independent: not for forecasts.
    """

    generator: torch.Generator | None = None

    def draw(self, like: Tensor, *, beside: Tensor | None = None) -> Tensor:
        """Noise of the shape of ``like [..., D]``, uncorrelated with ``beside``, of that shape."""
        noise = standard_normal(like, self.generator)
        dim = noise.shape[-1]
        flat = noise.reshape(-1, dim).double()
        if len(flat) < _ENOUGH * dim:
            return noise
        known = [torch.ones_like(flat[:, :1])]
        if beside is not None:
            known.append(beside.reshape(-1, dim).double())
        # Gram-Schmidt leaves of the last columns what the first do not tell.
        columns, factor = torch.linalg.qr(torch.cat([*known, flat], dim=1))
        signs = factor.diagonal()[-dim:].sign()
        matched = columns[:, -dim:] * signs * len(flat) ** 0.5
        return matched.reshape(noise.shape).to(noise.dtype)


Draw = TypeVar("Draw", Tensor, tuple[Tensor, ...])
"""What a sampler returns: one tensor or several, all with the rows of what they were drawn for."""

Randomness = torch.Generator | Sequence[torch.Generator] | Matched | None
"""One generator, one per block of rows, matched noise, or None for PyTorch's global generator."""


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

    Parameters
    ----------
    like
        The state that the noise is added to; :class:`Matched` noise is uncorrelated with it.
    generator
        Where it comes from.

    Raises
    ------
    ValueError
        If there are several generators and the rows cannot be split evenly among them.
    """
    if isinstance(generator, Matched):
        return generator.draw(like, beside=like)
    return drawn(like, generator, _randn)


def _randn(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def drawn(
    like: Tensor,
    generator: Randomness,
    sampler: Callable[[Tensor, torch.Generator | None], Draw],
) -> Draw:
    """Draw with any sampler, each block of rows from its own generator.

    Parameters
    ----------
    like
        ``[B, ...]``. The sampler is given it, or a block of its rows; what varies by row, such as
        a time, can therefore be handed over as the values of ``like``.
    generator
        As for :func:`standard_normal`; :class:`Matched` lends its inner generator and matches
        nothing.
    sampler
        ``sampler(block, one_generator)`` returns a tensor or a tuple of tensors with the rows of
        ``block``.

    Raises
    ------
    ValueError
        If there are several generators and the rows cannot be split evenly among them.
    """
    if isinstance(generator, Matched):
        generator = generator.generator
    if generator is None or isinstance(generator, torch.Generator):
        return sampler(like, generator)
    rows, blocks = like.shape[0], len(generator)
    if blocks == 0 or rows % blocks:
        raise ValueError(
            f"{rows} rows cannot be split evenly among {blocks} generators: "
            "pass one generator per series, each series having the same number of samples"
        )
    pairs = zip(like.tensor_split(blocks), generator, strict=True)
    parts: list[Any] = [sampler(block, one) for block, one in pairs]
    alone = isinstance(parts[0], Tensor)
    whole: Any = torch.cat(parts) if alone else tuple(map(torch.cat, zip(*parts, strict=True)))
    return whole
