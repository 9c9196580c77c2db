"""From the past to a context vector per step."""

from tsdiff.encoders.lstm import LSTMEncoder, LSTMState

__all__ = ["LSTMEncoder", "LSTMState"]
