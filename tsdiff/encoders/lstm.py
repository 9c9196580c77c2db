"""LSTM over the past, unrolled one step at a time into the future."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell state, ``[num_layers, B, hidden_size]`` each."""

# Inputs so many times wider than the state are projected apart from the recurrence.
_WIDE = 4


class LSTMEncoder(nn.Module):
    """Inputs ``[B, L, I]`` to contexts ``[B, L, context_dim]``.

    The context of a step joins the LSTM's output with a projection of that step's input: the
    decoder sees the latest lags and the calendar at first hand, and the LSTM is left to carry
    what they don't say.

    Parameters
    ----------
    input_dim
        I, the width of one step's input.
    hidden_size, num_layers, dropout
        As in :class:`torch.nn.LSTM`; dropout acts between layers.
    """

    def __init__(
        self, input_dim: int, hidden_size: int = 64, num_layers: int = 2, dropout: float = 0.0
    ):
        super().__init__()
        self.lstm = nn.LSTM(
            input_dim,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        self.direct = nn.Linear(input_dim, hidden_size)
        self.context_dim = 2 * hidden_size

    def encode(self, inputs: Tensor, beside: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        """Read ``inputs [B, L, I]`` from a zero state.

        Parameters
        ----------
        inputs, beside
            An input may be handed over in two parts, the first and the last columns: gradients
            are then computed for those alone that ask for them.
        """
        return self._run(inputs, beside, None)

    def step(
        self, inputs: Tensor, state: LSTMState, beside: Tensor | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Read one further step, ``inputs [B, 1, I]``."""
        return self._run(inputs, beside, state)

    def _run(
        self, inputs: Tensor, beside: Tensor | None, state: LSTMState | None
    ) -> tuple[Tensor, LSTMState]:
        if beside is not None and inputs.shape[-1] > _WIDE * self.lstm.hidden_size:
            return self._run_wide(inputs, beside, state)
        if beside is not None:
            inputs = torch.cat([inputs, beside], dim=-1)
        hidden, after = self.lstm(inputs, state)
        return torch.cat([hidden, self.direct(inputs)], dim=-1), after

    def _run_wide(
        self, inputs: Tensor, beside: Tensor, state: LSTMState | None
    ) -> tuple[Tensor, LSTMState]:
        """The same, with all projections of the input in one product for each of its parts.

        The LSTM is handed its gates through an identity. Of wide inputs, most of which need no
        gradient, a training step costs a third of what it does otherwise.
        """
        lstm, split = self.lstm, inputs.shape[-1]
        flat: list[Any] = lstm._flat_weights
        first, recurrent, first_bias, recurrent_bias, *rest = flat
        weight = torch.cat([first, self.direct.weight])
        bias = torch.cat([first_bias, self.direct.bias])
        joint = functional.linear(inputs, weight[:, :split])
        joint = joint + functional.linear(beside, weight[:, split:], bias)
        gates, direct = joint.split([len(first), lstm.hidden_size], dim=-1)
        if state is None:
            zeros = gates.new_zeros(lstm.num_layers, len(gates), lstm.hidden_size)
            state = zeros, zeros
        identity = torch.eye(len(first), dtype=gates.dtype, device=gates.device)
        nothing = torch.zeros_like(first_bias)
        hidden, *after = torch.lstm(
            gates,
            state,
            [identity, recurrent, nothing, recurrent_bias, *rest],
            has_biases=True,
            num_layers=lstm.num_layers,
            dropout=lstm.dropout,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return torch.cat([hidden, direct], dim=-1), (after[0], after[1])


def repeat_state(state: LSTMState, num_samples: int) -> LSTMState:
    """One copy of the state per sample, samples of one series in adjacent rows."""
    hidden, cell = state
    return (
        hidden.repeat_interleave(num_samples, dim=1),
        cell.repeat_interleave(num_samples, dim=1),
    )
