"""Benchmarks: every model on every data set, from one configuration, a record for each run.

A *run* is one method on one data set, under one protocol, with one seed. What came of it is a
:class:`Record`, kept as a file in a :class:`Store`; tables and reports are made of records alone.
"""

from __future__ import annotations

from tsdiff.benchmark.record import Costs, Fan, Key, Machine, Record
from tsdiff.benchmark.store import Store

__all__ = ["Costs", "Fan", "Key", "Machine", "Record", "Store"]
