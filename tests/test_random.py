"""Noise from generators: reproducible, unrelated, and independent of batching."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tsdiff.random import Matched, seeded, standard_normal


def first(*entropy: int, count: int = 256) -> torch.Tensor:
    return torch.randn(count, generator=seeded(*entropy))


@pytest.mark.parametrize("entropy", [(0,), (7, 3), (-1, 2**63), (2**70, 5, 0)])
def test_the_same_integers_give_the_same_stream(entropy: tuple[int, ...]) -> None:
    assert torch.equal(first(*entropy), first(*entropy))


def test_numpy_integers_seed_like_python_ones() -> None:
    assert torch.equal(first(np.int64(7), np.int32(3)), first(7, 3))


def test_neighbouring_tuples_give_unrelated_streams() -> None:
    """No two of a thousand neighbours share a seed, and none of their streams correlate."""
    tuples = [*itertools.product(range(10), range(100)), *((i,) for i in range(100))]
    streams = torch.stack([first(*entropy) for entropy in tuples])
    correlation = torch.corrcoef(streams)
    correlation.fill_diagonal_(0.0)
    # The largest of 600,000 correlations of 256 pairs: 6 standard errors.
    assert correlation.abs().max() < 6.5 / 256**0.5
    seeds = {seeded(*entropy).initial_seed() & 0xFFFFFFFF for entropy in tuples}
    assert len(seeds) == len(tuples)


def test_order_and_length_of_the_tuple_matter() -> None:
    streams = [first(1, 2), first(2, 1), first(1), first(1, 2, 0), first(0, 1, 2)]
    for one, other in itertools.combinations(streams, 2):
        assert not torch.equal(one, other)


def test_seeding_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    standard_normal(torch.zeros(3), seeded(1))
    assert torch.equal(before, torch.get_rng_state())


def test_blocks_are_filled_from_their_own_generators() -> None:
    like = torch.zeros(6, 2, 3, dtype=torch.float64)
    together = standard_normal(like, [seeded(1), seeded(2), seeded(3)])
    for block in range(3):
        alone = standard_normal(like[:2], seeded(block + 1))
        assert torch.equal(together[2 * block : 2 * block + 2], alone)
    assert together.dtype == torch.float64


def test_without_generators_pytorch_decides() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = torch.randn(4, 1)
        torch.manual_seed(3)
        assert torch.equal(standard_normal(torch.zeros(4, 1)), expected)


@pytest.mark.parametrize("blocks", [0, 4])
def test_rows_that_cannot_be_split_are_an_error(blocks: int) -> None:
    with pytest.raises(ValueError, match=f"6 rows .* {blocks} generators"):
        standard_normal(torch.zeros(6, 1), [seeded(i) for i in range(blocks)])


class TestMatched:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_moments_are_exact(self, dtype: torch.dtype) -> None:
        """Over rows of all steps together, and with the state that the noise is added to."""
        state = 3.0 + torch.randn(50, 4, 3, generator=seeded(1), dtype=dtype).cumsum(0)
        state[..., 2] = 2.0 * state[..., 0]  # a state of lower rank is no trouble
        noise = standard_normal(state, Matched(seeded(2)))
        assert (noise.shape, noise.dtype) == (state.shape, dtype)
        flat, x = noise.flatten(0, 1).double(), state.flatten(0, 1).double()
        limit = 2e-6 if dtype == torch.float32 else 1e-13
        assert flat.mean(0).abs().max() < limit
        assert (flat.mT @ flat / 200 - torch.eye(3)).abs().max() < limit
        assert (x.mT @ flat / 200).abs().max() < limit * x.abs().max()

    def test_its_rows_are_all_but_normal(self) -> None:
        """One row of each of many draws: mean 0, variance 1, and it follows the plain noise."""
        like = torch.zeros(24, 1, 3)
        drawn = torch.stack([Matched(seeded(k)).draw(like)[5, 0] for k in range(4000)])
        plain = torch.stack([standard_normal(like, seeded(k))[5, 0] for k in range(4000)])
        assert drawn.mean(0).abs().max() < 0.06
        assert (drawn.var(0) - 1.0).abs().max() < 0.09
        for pair in zip(drawn.T, plain.T, strict=True):
            assert torch.corrcoef(torch.stack(pair))[0, 1] > 0.9

    def test_few_rows_are_left_as_drawn(self) -> None:
        like = torch.zeros(23, 1, 3)
        assert torch.equal(
            standard_normal(like, Matched(seeded(3))), standard_normal(like, seeded(3))
        )
