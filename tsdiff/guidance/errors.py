"""What guidance complains of."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


class GuidanceError(ValueError):
    """No sample can have what is asked for."""


class GuidanceWarning(UserWarning):
    """What is asked for is so unlikely that few samples carry the forecast, or none has it."""


def warn_user(message: str) -> None:
    """Raise a :class:`GuidanceWarning` that points at the line which called this package.

    Forecasts are drawn when they are asked for: that line is many frames away, how many depends on
    who asks, and on Python 3.10 and 3.11 none can be left out by the name of their file.
    """
    frame: FrameType | None = sys._getframe(1)
    depth, level = 2, 2
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("tsdiff."):
            level = depth
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, GuidanceWarning, stacklevel=level + 1)
