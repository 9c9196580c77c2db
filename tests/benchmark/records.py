"""A record like a run's, from random forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsdiff.benchmark import Costs, Fan, Key, Machine, Record
from tsdiff.evaluation import Evaluation, Score
from tsdiff.evaluation.scores import score_windows


def record(
    method: str = "flow matching",
    seed: int = 0,
    *,
    dataset: str = "walk",
    protocol: str = "literature",
    kind: str = "model",
    shift: float = 0.0,
    windows: int = 4,
    constant: float | None = None,
    spread: float = 1.0,
) -> Record:
    """Two dimensions, three steps, 20 samples; ``shift`` makes the forecasts worse.

    ``constant`` takes the truth's place in all steps, ``spread`` is that of the samples about it.
    """
    truth = np.random.default_rng(0).normal(10.0, 1.0, (windows, 3, 2))
    truth = truth if constant is None else np.full_like(truth, constant)
    rng = np.random.default_rng([seed, len(method)])
    level = 10.0 if constant is None or np.isnan(constant) else constant
    samples = rng.normal(level + shift, spread, (windows, 20, 3, 2))
    scores, terms = score_windows(samples, truth, num_replicates=5)
    scores["nll"] = Score(float("nan")) if kind == "naive" else Score(1.25 + seed, 0.1)
    evaluation = Evaluation(method, scores, windows, 20, 3, 2, seed=seed, terms=terms)
    fan = Fan(
        window=0,
        label="sum",
        dimension=None,
        start="2024-01-01T00:00:00",
        freq="D",
        past=(1.0, None, 3.0),
        truth=tuple(truth[0].sum(axis=-1)),
        quantiles={"50": (20.0, 20.5, 21.0)},
    )
    return Record(
        key=Key(dataset, protocol, method, seed),
        kind=kind,
        digest=f"{seed:064x}",
        settings={"estimator": "FlowMatchingEstimator", "parameters": {"lags": [1, 2]}},
        evaluation=evaluation,
        crps_per_dimension={"a": 0.1, "b": None},
        pit_counts=(3.0, 2.5),
        pit_counts_sum=(1.0, 2.0),
        fans=(fan,),
        training={"epochs": 2, "validation": [{"epoch": 0.0, "score": 1.0}]},
        costs=Costs(training_seconds=1.5, parameters=10),
        machine=Machine("cpu", 2, 1, None, "", "Linux", {"torch": "2"}),
        started="2024-01-01T00:00:00+00:00",
        finished="2024-01-01T00:00:01+00:00",
    )


def failed(method: str = "broken", seed: int = 0, **where: str) -> Record:
    """A run that ended in an error."""
    good = record(method, seed, **where)  # type: ignore[arg-type]
    nothing = {"evaluation": None, "crps_per_dimension": {}, "fans": (), "training": {}}
    return replace(good, **nothing, pit_counts=(), pit_counts_sum=(), error="ValueError: no")
