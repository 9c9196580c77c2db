"""Records for a whole report: models and baselines on two data sets, with all that is drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from tests.benchmark.records import failed, record
from tsdiff.benchmark import Costs, Fan, Record

LEVELS = (5, 10, 25, 50, 75, 90, 95)
HOSTILE = '</script><script>window.hacked = 1</script><b title="x">\u2028&amp;'


def full(
    method: str,
    seed: int = 0,
    *,
    steps: int = 8,
    seconds: float = 0.1,
    **options: Any,
) -> Record:
    """A record with fans of two windows and three series, histograms and costs."""
    rng = np.random.default_rng([seed, len(method)])
    fans = []
    for window in (0, 3):
        for dimension, label in ((None, "sum"), (0, "north <1>"), (1, "south")):
            past = np.cumsum(rng.normal(size=2 * steps))
            cloud = past[-1] + np.cumsum(rng.normal(size=(50, steps)), axis=1)
            quantiles = {str(q): tuple(np.percentile(cloud, q, axis=0).tolist()) for q in LEVELS}
            truth = (*cloud[0, 1:].tolist(), None)
            start = "2024-03-04T00:00:00"
            where = (window, label, dimension, start, "D", tuple(past.tolist()))
            fans.append(Fan(*where, truth, quantiles))  # type: ignore[arg-type]
    counts = tuple(rng.uniform(1, 3, 20).tolist())
    training = None if options.get("kind", "model") != "model" else 60.0 * seconds
    costs = Costs(
        sampling_seconds=seconds,
        cpu_seconds=10 + seconds,
        peak_memory=300 * 2**20,
        **({} if training is None else {"training_seconds": training, "parameters": 1000}),
    )
    made = record(method, seed, **options)
    return replace(made, fans=tuple(fans), pit_counts=counts, pit_counts_sum=counts, costs=costs)


@cache
def benchmark() -> tuple[Record, ...]:
    """Two seeds of three models and three baselines on two data sets, one of them hostile."""
    records = []
    for dataset, better in (("walks", "model"), ('tides "high"', "statistical")):
        for seed in (0, 1):
            for place, (method, kind) in enumerate(
                [
                    ("flow matching", "model"),
                    ("VSDM", "model"),
                    (HOSTILE, "model"),
                    ("random walk", "naive"),
                    ("seasonal ridge", "statistical"),
                    ("exponential smoothing", "automatic"),
                ]
            ):
                shift = 0.0 if kind == better else 1.0 + 0.2 * place
                options = {"dataset": dataset, "kind": kind, "shift": shift}
                # Points close together in the picture of cost and score.
                records.append(full(method, seed, seconds=0.1 + 0.002 * place, **options))
    return (*records, failed(seed=1, dataset="walks"))
