"""Periods of business days without pandas' warnings.

GluonTS marks time by periods. pandas 2 deprecates periods of frequency "B" and says so at every
construction, sum and conversion; they still work throughout pandas 2, to which this package is
bound, and no other frequency stands for business days.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def business_day_periods() -> Iterator[None]:
    """Silence these two warnings, and no others; a context manager or a decorator."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Period with BDay freq", FutureWarning)
        warnings.filterwarnings("ignore", r"PeriodDtype\[B\] is deprecated", FutureWarning)
        yield
