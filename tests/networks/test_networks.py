"""One contract for all networks: shapes, rows that don't mix, zero at first."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.networks import (
    NETWORKS,
    DilatedResidualNetwork,
    Network,
    ResidualMLP,
    TemporalUNet,
    TimeEmbedding,
)
from tsdiff.random import seeded

CONTEXT = 5
every_network = pytest.mark.parametrize("kind", list(NETWORKS))
every_shape = pytest.mark.parametrize(
    ("target_dim", "steps"), [(1, 1), (2, 1), (3, 4), (8, 1), (1, 3), (70, 2)]
)


def build(kind: str, target_dim: int, *, zero: bool = False) -> Network:
    """A network whose last layer is no longer zero, unless asked for."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[kind](target_dim, CONTEXT).double()
        if not zero:
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    return network


def inputs(rows: int, steps: int, target_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    generator = seeded(rows, steps, target_dim)
    t = torch.rand(rows, 1, 1, dtype=torch.float64, generator=generator)
    return draw(rows, steps, target_dim), t, draw(rows, steps, CONTEXT)


@every_network
@every_shape
def test_output_is_shaped_like_the_event_and_starts_at_zero(
    kind: str, target_dim: int, steps: int
) -> None:
    x, t, context = inputs(6, steps, target_dim)
    start = build(kind, target_dim, zero=True)(x, t, context)
    assert start.shape == x.shape
    assert torch.equal(start, torch.zeros_like(x))
    later = build(kind, target_dim)(x, t, context)
    assert later.shape == x.shape
    assert later.abs().max() > 1e-3


@every_network
@every_shape
def test_one_time_for_all_rows_equals_it_for_each(kind: str, target_dim: int, steps: int) -> None:
    x, t, context = inputs(6, steps, target_dim)
    network = build(kind, target_dim)
    torch.testing.assert_close(
        network(x, t[:1], context), network(x, t[:1].expand(6, 1, 1), context)
    )


@every_network
@every_shape
def test_binding_the_context_changes_nothing(kind: str, target_dim: int, steps: int) -> None:
    x, t, context = inputs(6, steps, target_dim)
    network = build(kind, target_dim)
    bound = network.bind(context)
    assert torch.equal(bound(x, t), network(x, t, context))
    assert torch.equal(bound(2 * x, 1 - t), network(2 * x, 1 - t, context))


@every_network
@every_shape
def test_rows_travel_together(kind: str, target_dim: int, steps: int) -> None:
    """A permutation of rows, times and contexts permutes the output, and no more."""
    x, t, context = inputs(6, steps, target_dim)
    network, order = build(kind, target_dim), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(
        network(x[order], t[order], context[order]), network(x, t, context)[order]
    )


@every_network
@every_shape
@pytest.mark.parametrize("which", ["x", "t", "context"])
def test_a_row_sees_itself_only(kind: str, target_dim: int, steps: int, which: str) -> None:
    arguments = dict(zip(("x", "t", "context"), inputs(6, steps, target_dim), strict=True))
    network = build(kind, target_dim)
    before = network(**arguments)
    changed = arguments[which].clone()
    changed[2] = changed[2] * 0.3 + 0.1
    after = network(**(arguments | {which: changed}))
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[others], before[others])
    # Every step of the row depends on it.
    assert bool(((after[2] - before[2]).abs().amax(-1) > 1e-6).all())


@pytest.mark.parametrize("kind", [name for name in NETWORKS if not NETWORKS[name].over_steps])
def test_steps_of_an_event_keep_their_own_context(kind: str) -> None:
    """Most networks don't mix the steps of an event: step i sees context and point i."""
    x, t, context = inputs(4, 3, 2)
    network = build(kind, 2)
    together = network(x, t, context)
    for step in range(3):
        alone = network(x[:, step : step + 1], t, context[:, step : step + 1])
        torch.testing.assert_close(together[:, step : step + 1], alone)


@every_network
def test_every_dimension_may_depend_on_every_other(kind: str) -> None:
    x, t, context = inputs(1, 1, 8)
    network = build(kind, 8)
    jacobian = torch.autograd.functional.jacobian(lambda at: network(at, t, context), x)
    assert bool((jacobian.view(8, 8).abs() > 0).all())


@every_network
@pytest.mark.parametrize("target_dim", [1, 3])
def test_training_reaches_every_parameter(kind: str, target_dim: int) -> None:
    network = build(kind, target_dim)
    network(*inputs(4, 2, target_dim)).square().sum().backward()
    unreached = [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert not unreached


@every_network
def test_a_zero_start_can_be_left(kind: str) -> None:
    """Zero outlets must not be stuck: a few updates move the output."""
    network = build(kind, 3, zero=True)
    x, t, context = inputs(16, 1, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (network(x, t, context) - x).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("target_dim", "width"), [(1, 64), (64, 64), (65, 128), (370, 512), (2000, 512)]
)
def test_default_width_follows_the_dimensions(target_dim: int, width: int) -> None:
    assert ResidualMLP(target_dim, 4, num_blocks=1).width == width
    assert ResidualMLP(target_dim, 4, width=32, num_blocks=1).width == 32


def test_dilated_network_is_circular_over_the_dimensions() -> None:
    """Without a context, rotating the dimensions rotates the output."""
    network = build("dilated", 6)
    assert isinstance(network, DilatedResidualNetwork)
    torch.nn.init.zeros_(network.context[2].weight)
    torch.nn.init.zeros_(network.context[2].bias)
    x, t, context = inputs(2, 1, 6)
    torch.testing.assert_close(
        network(x.roll(2, -1), t, context), network(x, t, context).roll(2, -1)
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 24, 29])
def test_a_unet_sees_all_steps_and_what_each_is_told(steps: int) -> None:
    x, t, context = inputs(1, steps, 2)
    network = build("unet", 2)
    for at in (0, steps // 2, steps - 1):
        for other, told in ((0, 1), (1, 0)):
            near = (x.clone(), context.clone())
            near[other][:, at] += 1.0
            moved = (network(near[0], t, near[1]) - network(x, t, context)).abs().amax(-1)
            assert bool((moved > 1e-9).all()), (at, told)


@pytest.mark.parametrize("steps", [1, 3, 4, 7])
def test_one_context_for_all_steps_of_a_unet_is_the_same_for_each(steps: int) -> None:
    x, t, context = inputs(6, steps, 3)
    network = build("unet", 3)
    one = context[:, :1]
    torch.testing.assert_close(network(x, t, one), network(x, t, one.expand_as(context)))


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_a_unet_of_other_depths_and_widths(levels: int) -> None:
    x, t, context = inputs(4, 5, 3)
    network = TemporalUNet(3, CONTEXT, width=12, num_levels=levels)
    network.double()
    torch.nn.init.normal_(network.outlet.weight)
    network(x, t, context).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network(x, t, context).shape == x.shape


@pytest.mark.parametrize(("target_dim", "width"), [(1, 64), (65, 128), (300, 256)])
def test_default_width_of_a_unet_follows_the_dimensions(target_dim: int, width: int) -> None:
    assert TemporalUNet(target_dim, 4, num_levels=1).width == width


def test_a_unet_computes_in_bfloat16() -> None:
    network = build("unet", 3).float()
    x, t, context = (part.float() for part in inputs(4, 5, 3))
    exact = network(x, t, context)
    network.precision = "bf16"
    found = network(x, t, context)
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()


def test_time_embedding_tells_neighbouring_times_apart() -> None:
    embedding = TimeEmbedding(16, num_frequencies=4, max_frequency=8.0)
    turns = embedding.frequencies / (2 * torch.pi)
    assert turns[0].item() == pytest.approx(0.5)
    assert turns[-1].item() == pytest.approx(8.0)
    out = embedding(torch.linspace(0, 1, 101).view(-1, 1, 1))
    assert out.shape == (101, 1, 16)
    assert torch.cdist(out.squeeze(1), out.squeeze(1)).fill_diagonal_(1.0).min() > 1e-4


def test_the_base_binds_nothing() -> None:
    with pytest.raises(NotImplementedError, match="Network defines no bind"):
        Network()(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))


@every_network
@every_shape
def test_times_of_a_chain_are_as_good_as_any(kind: str, target_dim: int, steps: int) -> None:
    x, _, context = inputs(12, steps, target_dim)
    network, number = build(kind, target_dim), torch.tensor([1, 7, 7, 2, 5, 3, 3, 3, 1, 7, 4, 6])
    t = number.double().view(-1, 1, 1) / 7
    gradients = []
    for predict in (network.bind(context), network.bind_to_chain(context, 7)):
        network.zero_grad()
        output = predict(x, t)
        output.square().sum().backward()
        gradients.append([output.detach()] + [p.grad for p in network.parameters()])
    for usual, chained in zip(*gradients, strict=True):
        torch.testing.assert_close(chained, usual)
