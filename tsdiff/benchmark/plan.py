"""The runs of a benchmark, and for each a hash of all that determines its result but the code."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

import tsdiff.evaluation as evaluation
from tsdiff.benchmark.configuration import BASELINES, Budget, Configuration, ModelSpec
from tsdiff.benchmark.data import DatasetSpec, Missing, Synthetic, Table, Task, load, pinned
from tsdiff.benchmark.machine import versions
from tsdiff.benchmark.record import FORMAT, Key
from tsdiff.evaluation.automatic import is_installed

__all__ = ["Job", "Plan", "UnknownNameError", "make_plan"]

MODEL = "model"
# Rough costs against each other, until records tell: a model's training is a hundred naive
# baselines, whose forecasts take no time.
_WEIGHTS = {MODEL: 100.0, "automatic": 300.0, "statistical": 10.0, "naive": 1.0}


class UnknownNameError(ValueError):
    """``only`` names what the benchmark doesn't have."""


@dataclass(frozen=True)
class Job:
    """A run to be done: all that a worker needs to know, as plain values."""

    key: Key
    kind: str
    digest: str
    dataset: DatasetSpec
    num_samples: int
    budget: Budget
    likelihood: bool
    accelerator: str
    estimator: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    chosen: str = ""
    weight: float = 1.0
    num_members: int = 1

    def to_json(self) -> bytes:
        """One line of text."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Job:
        """Inverse of :meth:`to_json`."""
        content = orjson.loads(text)
        dataset = content["dataset"]
        synthetic = dataset["synthetic"]
        baselines, table = dataset["baselines"], dataset["table"]
        if table is not None:
            columns = table["target_column"]
            table["target_column"] = None if columns is None else tuple(columns)
        dataset |= {
            "protocols": tuple(dataset["protocols"]),
            "baselines": None if baselines is None else tuple(baselines),
            "synthetic": None if synthetic is None else Synthetic(**synthetic),
            "table": None if table is None else Table(**table),
        }
        content |= {"key": Key(**content["key"]), "budget": Budget(**content["budget"])}
        return cls(**(content | {"dataset": DatasetSpec(**dataset)}))


@dataclass(frozen=True)
class Plan:
    """The jobs, in the order of tables, and why others are left out."""

    jobs: tuple[Job, ...]
    skipped: tuple[str, ...] = ()


def make_plan(
    configuration: Configuration, *, accelerator: str = "auto", only: Collection[str] = ()
) -> Plan:
    """All runs of a configuration, or those of the data sets, protocols and methods in ``only``.

    Raises
    ------
    UnknownNameError
        A name in ``only`` that the benchmark has not.
    DataError
        A data set that is too short for its windows, or a file that can't be read.
    """
    jobs: list[Job] = []
    skipped: list[str] = []
    for spec in map(pinned, configuration.datasets):
        for protocol in spec.protocols:
            try:
                task = load(spec, protocol)
            except Missing as error:
                skipped.append(f"{spec.name} is left out: {error}")
                break
            jobs += _jobs(configuration, spec, protocol, task, accelerator)
            missing = _missing_baselines(configuration, spec)
            skipped += [note for note in missing if note not in skipped]
    return Plan(tuple(_chosen(jobs, only, configuration)), tuple(skipped))


def baselines_of(
    freq: str, prediction_length: int, kinds: Collection[str]
) -> dict[str, tuple[str, Any]]:
    """Baselines by name, each with its kind; later kinds are those that earlier ones have not."""
    found: dict[str, tuple[str, Any]] = {}
    for kind in ("naive", *(k for k in BASELINES if k in kinds and _is_there(k))):
        options = {} if kind == "naive" else {kind: True}
        made = evaluation.baselines(freq, prediction_length, **options)
        for name, baseline in made.items():
            found.setdefault(name, (kind, baseline))
    return found


def estimator_parameters(estimator: Any) -> dict[str, Any]:
    """All parameters of an estimator, defaults included, but for where and how loudly it trains."""
    return {k: v for k, v in estimator.get_params().items() if k != "trainer_kwargs"}


def _is_there(kind: str) -> bool:
    """Whether baselines of a kind can be computed here."""
    return kind != "automatic" or is_installed()


def _missing_baselines(configuration: Configuration, spec: DatasetSpec) -> Iterator[str]:
    for kind in configuration.baselines_on(spec):
        if not _is_there(kind):
            yield f"{kind} baselines are left out: they need pip install 'tsdiff[statistical]'"


def _jobs(
    configuration: Configuration, spec: DatasetSpec, protocol: str, task: Task, accelerator: str
) -> Iterator[Job]:
    fingerprint = task.fingerprint()
    likelihood = configuration.likelihood and spec.likelihood
    common = {
        "dataset": spec,
        "num_samples": configuration.num_samples,
        "likelihood": likelihood,
        "accelerator": accelerator,
    }
    size = float(task.prediction_length * (task.target_dim + 10) * (len(task.windows) + 10))

    def job(name: str, kind: str, seed: int, parts: Any, budget: Budget, **more: Any) -> Job:
        key = Key(spec.name, protocol, name, seed)
        known = {name: value for name, value in versions().items() if name != "python"}
        where = accelerator if kind == MODEL else "cpu"
        facts = [FORMAT, asdict(key), kind, parts, configuration.num_samples, likelihood]
        facts += [asdict(budget), fingerprint, known, where]
        facts += [spec.table.sha256] if spec.table is not None else []
        text = orjson.dumps(facts, default=repr, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(text).hexdigest()
        weight = _WEIGHTS[kind] * size * more.get("num_members", 1)
        return Job(key, kind, digest, **common, budget=budget, weight=weight, **more)

    kinds = configuration.baselines_on(spec)
    for name, (kind, baseline) in baselines_of(task.freq, task.prediction_length, kinds).items():
        # Those that search for a model take long, and their seeds differ in the draws alone.
        seeds = configuration.seeds[:1] if kind == "automatic" else configuration.seeds
        for seed in seeds:
            yield job(name, kind, seed, repr(baseline), Budget(1))
    for model in configuration.models:
        for seed in configuration.seeds:
            estimator = model.make(spec.name, task.prediction_length, configuration.budget, seed)
            parts = [model.estimator, estimator_parameters(estimator)]
            parts += [model.num_members] * (model.num_members > 1)
            yield job(
                model.name,
                MODEL,
                seed,
                parts,
                configuration.budget,
                estimator=model.estimator,
                num_members=model.num_members,
                parameters=model.parameters(spec.name),
                chosen=_how_chosen(model, spec.name),
            )


def _how_chosen(model: ModelSpec, dataset: str) -> str:
    return " ".join(part for part in (model.chosen, model.chosen_on.get(dataset, "")) if part)


def _chosen(jobs: list[Job], only: Collection[str], configuration: Configuration) -> list[Job]:
    """Jobs that have all the kinds of names in ``only``: a data set *and* a method."""
    if not only:
        return jobs
    sets = {d.name for d in configuration.datasets}
    protocols = {job.key.protocol for job in jobs}
    methods = {job.key.method for job in jobs} | {model.name for model in configuration.models}
    known = [*sorted(sets), *sorted(protocols), *sorted(methods)]
    for name in only:
        if name not in known:
            raise UnknownNameError(f"there is no {name!r} in this benchmark: {', '.join(known)}")

    def matches(job: Job) -> bool:
        parts = (
            (job.key.dataset, sets),
            (job.key.protocol, protocols),
            (job.key.method, methods),
        )
        return all(
            not (wanted := {name for name in only if name in names}) or part in wanted
            for part, names in parts
        )

    naive = {job.key.method for job in jobs if job.kind == "naive"}
    wanted = [job for job in jobs if matches(job)]
    # A model is never shown without the baselines that it has to beat.
    places = {(job.key.dataset, job.key.protocol) for job in wanted}
    return [
        job
        for job in jobs
        if job in wanted
        or (job.key.method in naive and (job.key.dataset, job.key.protocol) in places)
    ]
