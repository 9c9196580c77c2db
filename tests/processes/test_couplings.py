"""Couplings: permutations, least cost, and what transport across conditions does to them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tsdiff.processes.couplings import COUPLINGS, Coupling, OptimalTransport, as_coupling
from tsdiff.random import seeded


def batch(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = seeded(seed)
    context = torch.randint(2, (rows, 1, 1), generator=rng).float()
    data = 4.0 * context - 2.0 + 0.5 * torch.randn(rows, 2, 1, generator=rng)
    return data, torch.randn(rows, 2, 1, generator=rng), context


@pytest.mark.parametrize("name", list(COUPLINGS))
@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_every_row_of_noise_is_used_once(name: str, rows: int) -> None:
    order = COUPLINGS[name](*batch(rows))
    assert torch.equal(order.sort().values, torch.arange(rows))


def test_independent_pairs_stay_as_drawn() -> None:
    assert torch.equal(Coupling()(*batch(9)), torch.arange(9))
    assert Coupling().independent
    assert not OptimalTransport().independent


def test_plain_transport_is_the_cheapest_permutation() -> None:
    data, noise, context = batch(6)
    cost = torch.cdist(data.flatten(1), noise.flatten(1)).square()
    rows = torch.arange(6)
    least = min(cost[rows, list(p)].sum() for p in itertools.permutations(range(6)))
    order = OptimalTransport(0.0)(data, noise, context)
    torch.testing.assert_close(cost[rows, order].sum(), least)


def test_blocks_are_assigned_within_themselves() -> None:
    order = OptimalTransport(0.0, block=10)(*batch(25))
    assert all(i // 10 == j // 10 for i, j in enumerate(order.tolist()))


def test_transport_with_a_cost_stays_within_conditions() -> None:
    data, noise, context = batch(200)
    order = OptimalTransport()(data, noise, context)
    assert torch.equal(context[order], context)
    crossed = OptimalTransport(0.0)(data, noise, context)
    assert not torch.equal(context[crossed], context)
    assert (data - noise[order]).square().sum() < 0.9 * (data - noise).square().sum()


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_units_have_no_say(unit: float) -> None:
    """The cost of a move between contexts is counted in that between data and noise."""
    rng = seeded(1)
    data, noise, context = (torch.randn(64, 1, 2, generator=rng).double() for _ in range(3))
    coupling = OptimalTransport(0.3)
    order = coupling(data, noise, context)
    for weight in (0.0, 1e9):  # some of both: neither plain transport nor none
        assert not torch.equal(order, OptimalTransport(weight)(data, noise, context))
    assert torch.equal(coupling(unit * data, unit * noise, context), order)
    assert torch.equal(coupling(data, noise, unit * context), order)


def test_one_condition_for_all_is_plain_transport() -> None:
    data, noise, context = batch(50)
    still = torch.zeros_like(context)
    assert torch.equal(
        OptimalTransport()(data, noise, still), OptimalTransport(0.0)(data, noise, still)
    )


def test_the_bias_of_plain_transport() -> None:
    """Noise must be standard normal *given the condition*: that is what sampling draws."""
    means = {}
    for name, coupling in COUPLINGS.items():
        pairs = [(c, n[coupling(d, n, c)]) for d, n, c in (batch(256, seed) for seed in range(40))]
        given = torch.cat([noise[context.flatten() == 1.0] for context, noise in pairs])
        means[name] = given.mean().item()
        error = 1.0 / given.numel() ** 0.5
    assert abs(means["plain_optimal_transport"]) > 0.5
    assert abs(means["optimal_transport"]) < 4.0 * error
    assert abs(means["independent"]) < 4.0 * error


@pytest.mark.parametrize("options", [{"condition_weight": -1.0}, {"block": 1}])
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        OptimalTransport(**options)


def test_names() -> None:
    assert as_coupling("optimal_transport") == OptimalTransport()
    assert as_coupling(OptimalTransport(3.0)).condition_weight == 3.0
    with pytest.raises(ValueError, match="unknown coupling 'sinkhorn'"):
        as_coupling("sinkhorn")
