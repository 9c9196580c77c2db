"""One run: train, forecast, score, and write down what it took.

What a run computes depends on its job alone: no other run, no order and no process has a say. Bits
may depend on the number of threads, and on a GPU they are not promised at all.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tsdiff.benchmark.data import DatasetSpec, Task, load
from tsdiff.benchmark.excerpts import crps_per_dimension, fans, pit_counts
from tsdiff.benchmark.machine import describe, peak_memory
from tsdiff.benchmark.plan import MODEL, Job, baselines_of, estimator_parameters
from tsdiff.benchmark.record import NAN, Costs, Record
from tsdiff.datasets import split_window
from tsdiff.estimators import (
    ESTIMATORS,
    EnsembleEstimator,
    EnsemblePredictor,
    GenerativePredictor,
)
from tsdiff.evaluation import Evaluation, Score, evaluate, negative_log_likelihood
from tsdiff.networks import Network

__all__ = ["execute", "failure"]

_Trained = GenerativePredictor | EnsemblePredictor


def execute(job: Job) -> Record:
    """Do a run; an error that it ends in is written into its record."""
    started = _now()
    device = "cpu"
    try:
        device = _device(job.accelerator) if job.kind == MODEL else "cpu"
        record = _run(job, device)
    except Exception as error:  # whatever a model may raise: the benchmark goes on
        record = failure(job, f"{type(error).__name__}: {error}", traceback.format_exc())
    costs = replace(record.costs, cpu_seconds=time.process_time(), peak_memory=peak_memory())
    machine = describe("cuda" if device == "cuda" else "")
    return replace(record, costs=costs, machine=machine, started=started, finished=_now())


def failure(job: Job, error: str, trace: str = "") -> Record:
    """The record of a run that came to nothing."""
    now = _now()
    return Record(
        job.key,
        job.kind,
        job.digest,
        _settings(job, {}, None),
        error=" ".join(error.split())[:1000],
        trace=trace[-10_000:],
        started=now,
        finished=now,
    )


def _run(job: Job, device: str) -> Record:
    task = load(job.dataset, job.key.protocol)
    costs, training = Costs(), {}
    if job.kind == MODEL:
        predictor, costs, training = _train(job, task, device)
        # Members have seeds of their own, which follow from the run's.
        parameters = estimator_parameters(predictor.members[0].estimator)
        parameters["seed"] = job.key.seed
        options = {"device": device}
    else:
        (predictor,) = (
            baseline
            for name, (_, baseline) in baselines_of(
                task.freq, task.prediction_length, [job.kind]
            ).items()
            if name == job.key.method
        )
        parameters = dict(getattr(predictor, "_arguments", {}))
        options = {}
    evaluation = evaluate(
        predictor,
        task.windows,
        num_samples=job.num_samples,
        seed=job.key.seed,
        name=job.key.method,
        keep_forecasts=True,
        **options,
    )
    seconds = (evaluation.seconds or NAN) / evaluation.num_windows
    costs = replace(costs, sampling_seconds=seconds, accelerator_memory=_gpu_memory(device))
    surprise, notes = _likelihood(job, predictor, task, options)
    return Record(
        key=job.key,
        kind=job.kind,
        digest=job.digest,
        settings=_settings(job, parameters, task),
        evaluation=_stripped(evaluation, surprise),
        crps_per_dimension=crps_per_dimension(evaluation, task.dimension_names),
        pit_counts=pit_counts(evaluation, task.prediction_length),
        pit_counts_sum=pit_counts(evaluation, task.prediction_length, summed=True),
        fans=fans(evaluation, task),
        training=training,
        notes=notes,
        costs=costs,
    )


def _train(job: Job, task: Task, device: str) -> tuple[_Trained, Costs, dict[str, Any]]:
    trainer: dict[str, Any] = {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1}
    if job.budget.max_seconds is not None:
        trainer["max_time"] = {"seconds": job.budget.max_seconds}
    estimator = ESTIMATORS[job.estimator](
        prediction_length=task.prediction_length,
        max_epochs=job.budget.max_epochs,
        seed=job.key.seed,
        trainer_kwargs=trainer,
        **job.parameters,
    )
    if job.num_members > 1:
        estimator = EnsembleEstimator(estimator, job.num_members)
    watch = _Watch()
    predictor = estimator.fit(task.train, progress=False)
    wall, cpu = watch.read()
    members = predictor.members
    numbers = sum(p.numel() for member in members for p in member.model.parameters())
    costs = Costs(
        training_seconds=wall,
        training_cpu_seconds=cpu,
        evaluations_per_step=_evaluations(predictor, task, device),
        parameters=numbers,
    )
    told = _told(members[0])
    if len(members) > 1:
        told["members"] = [_told(member) for member in members[1:]]
    return predictor, costs, told


def _told(predictor: GenerativePredictor) -> dict[str, Any]:
    """What training found out: coordinates, and when it was best."""
    history = predictor.history
    from tsdiff.estimators.training import MONITOR as score

    scored = [row for row in history if score in row] or [{"epoch": 0.0}]
    best = min(scored, key=lambda row: row.get(score, np.inf))
    return {
        "epochs": max(len(history) - 1, 0),
        "best_epoch": int(best["epoch"]),
        "decoding": predictor.facts.decoding,
        "scaling": predictor.facts.scaling,
        "linear": predictor.facts.linear,
        "calibration": float(predictor.model.calibration),
        "validation": [dict(row) for row in history],
    }


def _evaluations(predictor: _Trained, task: Task, device: str) -> float:
    """How often a network is evaluated for one step of a sample: counted."""
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1

    members = predictor.members
    modules = (module for member in members for module in member.model.modules())
    networks = [module for module in modules if isinstance(module, Network)]
    # Networks are bound to a context and then evaluated many times: each time ends in the outlet.
    hooks = [network.outlet.register_forward_hook(counted) for network in networks]
    try:
        # As windows are forecast: a history with what is known of its future.
        history, _ = split_window(task.windows[0], task.prediction_length)
        list(predictor.predict([history], num_samples=len(members), device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return count / len(members) / task.prediction_length


def _likelihood(
    job: Job, predictor: Any, task: Task, options: dict[str, Any]
) -> tuple[Score, tuple[str, ...]]:
    """Nats per value, NaN where there is no density, and then why."""
    if not job.likelihood:
        return Score(NAN), ("likelihood not asked for",)
    try:
        if job.kind == MODEL:
            options = {**options, "seed": job.key.seed}
        return negative_log_likelihood(predictor, task.windows, **options), ()
    except (TypeError, ValueError) as error:
        return Score(NAN), (f"no likelihood: {' '.join(str(error).split())}",)


def _settings(job: Job, parameters: dict[str, Any], task: Task | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "estimator": job.estimator,
        "given": dict(job.parameters),
        "parameters": parameters,
        "num_samples": job.num_samples,
        "budget": asdict(job.budget),
        "dataset": _told_of(job.dataset),
        "accelerator": job.accelerator,
        "chosen": job.chosen,
    }
    if job.num_members > 1:
        settings["num_members"] = job.num_members
    if task is not None:
        settings["training_steps"] = sum(entry["target"].shape[1] for entry in task.train)
        settings["freq"] = task.freq
        settings["dimension_names"] = list(task.dimension_names)
    return settings


def _told_of(spec: DatasetSpec) -> dict[str, Any]:
    """The data set as a record names it: of a file its name and hash, not where it lies."""
    told = asdict(spec)
    if spec.table is None:
        del told["table"]
    else:
        told["table"]["path"] = Path(spec.table.path).name
    return told


def _stripped(evaluation: Evaluation, surprise: Score) -> Evaluation:
    """Scores without forecasts, and without what they cost."""
    scores = {**evaluation.scores, "nll": surprise}
    return replace(evaluation, scores=scores, forecasts=(), entries=(), seconds=None)


def _device(accelerator: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if accelerator == "gpu" and not available:
        raise RuntimeError("accelerator 'gpu': PyTorch sees no CUDA device here; use 'cpu'")
    return "cuda" if available and accelerator != "cpu" else "cpu"


def _gpu_memory(device: str) -> int | None:
    import torch

    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class _Watch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]
