"""The LSTM read at once, step by step, and once per sample."""

from __future__ import annotations

import pytest
import torch

from tsdiff.encoders import LSTMEncoder
from tsdiff.encoders.lstm import repeat_state
from tsdiff.random import seeded


def encoder(num_layers: int = 2, dropout: float = 0.0) -> LSTMEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LSTMEncoder(3, hidden_size=7, num_layers=num_layers, dropout=dropout).double().eval()


def inputs(rows: int = 4, length: int = 9) -> torch.Tensor:
    return torch.randn(rows, length, 3, dtype=torch.float64, generator=seeded(1))


@pytest.mark.parametrize("num_layers", [1, 3])
def test_reading_at_once_equals_reading_step_by_step(num_layers: int) -> None:
    model, x = encoder(num_layers), inputs()
    together, (hidden, cell) = model.encode(x)
    context, state = model.encode(x[:, :1])
    contexts = [context]
    for i in range(1, x.shape[1]):
        context, state = model.step(x[:, i : i + 1], state)
        contexts.append(context)
    torch.testing.assert_close(torch.cat(contexts, dim=1), together, rtol=0, atol=1e-14)
    torch.testing.assert_close(state[0], hidden, rtol=0, atol=1e-14)
    torch.testing.assert_close(state[1], cell, rtol=0, atol=1e-14)


def test_shapes() -> None:
    model = encoder()
    contexts, (hidden, cell) = model.encode(inputs())
    assert contexts.shape == (4, 9, model.context_dim)
    assert hidden.shape == cell.shape == (2, 4, 7)


def test_contexts_see_no_later_inputs_and_no_other_rows() -> None:
    model, x = encoder(), inputs()
    before = model.encode(x)[0]
    changed = x.clone()
    changed[1, 5] += 1.0
    after = model.encode(changed)[0]
    torch.testing.assert_close(after[1, :5], before[1, :5])
    assert bool(((after[1, 5:] - before[1, 5:]).abs().amax(-1) > 1e-6).all())
    others = [0, 2, 3]
    torch.testing.assert_close(after[others], before[others])


def test_states_are_repeated_in_the_order_of_rows() -> None:
    """Samples of one series in adjacent rows, like ``repeat_interleave`` of everything else."""
    model, x = encoder(), inputs()
    _, state = model.encode(x)
    further = inputs(4, 1) + 0.3
    alone, _ = model.step(further, state)
    repeated, _ = model.step(further.repeat_interleave(5, dim=0), repeat_state(state, 5))
    torch.testing.assert_close(repeated, alone.repeat_interleave(5, dim=0))


def test_dropout_acts_between_layers_only() -> None:
    assert encoder(num_layers=1, dropout=0.5).lstm.dropout == 0.0
    assert encoder(num_layers=2, dropout=0.5).lstm.dropout == 0.5


@pytest.mark.parametrize("split", [1, 90])
def test_an_input_in_two_parts_is_the_input(split: int) -> None:
    """Narrow first parts are joined with the rest, wide ones projected by themselves."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LSTMEncoder(100, hidden_size=7, num_layers=2).double()
    x = torch.randn(4, 9, 100, dtype=torch.float64, generator=seeded(2))
    beside = x[..., split:].clone().requires_grad_()
    whole = x.clone().requires_grad_()
    together, state = model.encode(whole)
    (together.square().sum() + state[1][0].sum()).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    parted, their_state = model.encode(x[..., :split], beside)
    torch.testing.assert_close(parted, together)
    torch.testing.assert_close(their_state, state)
    (parted.square().sum() + their_state[1][0].sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])
    torch.testing.assert_close(beside.grad, whole.grad[..., split:])
    further = torch.randn(4, 1, 100, dtype=torch.float64, generator=seeded(3))
    one, two = (
        model.step(further, state),
        model.step(further[..., :split], state, further[..., split:]),
    )
    torch.testing.assert_close(two, one)
