"""LSTM over the past, unrolled one step at a time into the future."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell state, ``[num_layers, B, hidden_size]`` each."""


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

    def encode(self, inputs: Tensor) -> tuple[Tensor, LSTMState]:
        """Read ``inputs [B, L, I]`` from a zero state."""
        return self._run(inputs, None)

    def step(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Read one further step, ``inputs [B, 1, I]``."""
        return self._run(inputs, state)

    def _run(self, inputs: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        hidden, after = self.lstm(inputs, state)
        return torch.cat([hidden, self.direct(inputs)], dim=-1), after


def repeat_state(state: LSTMState, num_samples: int) -> LSTMState:
    """One copy of the state per sample, samples of one series in adjacent rows."""
    hidden, cell = state
    return (
        hidden.repeat_interleave(num_samples, dim=1),
        cell.repeat_interleave(num_samples, dim=1),
    )
