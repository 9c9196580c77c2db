"""What a run leaves: scores, pictures' numbers, costs, and all that is needed to repeat it.

``result`` is what the same settings give again, bit by bit; costs, machine and times are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import orjson

from tsdiff.evaluation import Evaluation

__all__ = ["Costs", "Fan", "Key", "Machine", "Record", "RecordError"]

FORMAT = 1
NAN = float("nan")


class RecordError(ValueError):
    """A text is no record."""


@dataclass(frozen=True, order=True)
class Key:
    """Which run it is.

    Attributes
    ----------
    dataset
        Name of the data set.
    protocol
        ``"literature"``, its own test windows, ``"backtest"``, windows before these, or
        ``"ending"``, the last windows of all, these among them.
    method
        Name of the model or baseline, as tables print it.
    seed
        Seed of training and of forecasts.
    """

    dataset: str
    protocol: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset} · {self.protocol} · {self.method} · seed {self.seed}"


@dataclass(frozen=True)
class Fan:
    """Quantiles of a forecast beside what came before and what happened.

    Attributes
    ----------
    window
        Position of the window among those scored.
    label
        ``"sum"`` over dimensions, or a dimension's name.
    dimension
        Index of the dimension; None for the sum.
    start
        Time of the first step that was forecast, ISO 8601.
    freq
        pandas frequency of the steps.
    past, truth
        The steps before, at most two horizons, and the T forecast ones; None where missing.
    quantiles
        Per cent, as ``"5"``, to the T values; six digits.
    """

    window: int
    label: str
    dimension: int | None
    start: str
    freq: str
    past: tuple[float | None, ...]
    truth: tuple[float | None, ...]
    quantiles: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Costs:
    """What a run took; NaN or None where there is no such figure, as training of a baseline.

    Attributes
    ----------
    training_seconds, training_cpu_seconds
        Wall and processor time of training, choice of coordinates included.
    sampling_seconds
        Wall time of the forecast of one window, all its samples and steps.
    cpu_seconds
        Processor time of the whole run, scoring and imports included.
    evaluations_per_step
        Network evaluations for one time step of a sample.
    parameters
        Trainable numbers of the model.
    peak_memory
        Largest resident memory of the run's process, bytes.
    accelerator_memory
        Largest memory allocated on the accelerator, bytes.
    """

    training_seconds: float = NAN
    training_cpu_seconds: float = NAN
    sampling_seconds: float = NAN
    cpu_seconds: float = NAN
    evaluations_per_step: float = NAN
    parameters: int | None = None
    peak_memory: int | None = None
    accelerator_memory: int | None = None


@dataclass(frozen=True)
class Machine:
    """Where a run ran.

    Attributes
    ----------
    cpu
        Model of the processor.
    cores
        Cores that the process might use.
    threads
        Threads that it computed with.
    memory
        Bytes of main memory; None where unknown.
    accelerator
        Name of the GPU, or ``""``.
    system
        Operating system and architecture.
    versions
        Of ``python``, ``tsdiff``, ``torch``, ``numpy``, ``gluonts``.
    commit
        Of the git repository that the package lies in, or ``""``; ends in ``+`` if files differ.
    """

    cpu: str
    cores: int
    threads: int
    memory: int | None
    accelerator: str
    system: str
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""


@dataclass(frozen=True)
class Record:
    """One run and what came of it; see the classes of its parts.

    Attributes
    ----------
    key
        Which run it is.
    kind
        ``"model"``, or of baselines ``"naive"``, ``"statistical"`` or ``"automatic"``.
    digest
        Hash of all that determines the result but the code, of which it has the versions.
    settings
        As used: ``estimator`` and its ``parameters``, ``num_samples``, ``budget``, ``dataset``, and
        for models ``chosen``, how the settings were chosen.
    evaluation
        Every score with its Monte-Carlo error, and what each window adds to it; its ``name`` is the
        method, so that :func:`tsdiff.evaluation.compare` takes seeds together. ``"nll"``, nats per
        value, is NaN where there is no density; its error is over windows. None if the run failed.
    crps_per_dimension
        CRPS of each dimension over its mean absolute value, by dimension name; None without scale.
    pit_counts, pit_counts_sum
        How many values fell into each of 20 equal bins of their forecast distribution: of all
        dimensions, and of the sum. Ties are spread evenly, so counts are not whole numbers.
    fans
        Forecasts to draw: the sum and up to three dimensions of up to five windows.
    training
        ``epochs`` run, ``best_epoch`` kept (0: the untrained model), ``decoding``, ``scaling`` and
        ``linear`` found, and ``validation``: rows of what training logged. Empty for baselines.
    notes
        What a reader should know, such as why there is no likelihood.
    costs, machine
        What it took, and where.
    started, finished
        Times, ISO 8601 in UTC.
    error
        Why the run failed, in a line, or None; ``trace`` says where.
    """

    key: Key
    kind: str
    digest: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    crps_per_dimension: Mapping[str, float | None] = field(default_factory=dict)
    pit_counts: tuple[float, ...] = ()
    pit_counts_sum: tuple[float, ...] = ()
    fans: tuple[Fan, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    costs: Costs = field(default_factory=Costs)
    machine: Machine | None = None
    started: str = ""
    finished: str = ""
    error: str | None = None
    trace: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.evaluation is None

    def result(self) -> dict[str, Any]:
        """What the same settings give again, as plain numbers and strings."""
        content = orjson.loads(self.to_json())
        for name in ("costs", "machine", "started", "finished", "trace"):
            del content[name]
        return content

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            "format": FORMAT,
            **parts,
            "key": asdict(self.key),
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
            "fans": [asdict(fan) for fan in self.fans],
            "costs": asdict(self.costs),
            "machine": None if self.machine is None else asdict(self.machine),
        }

    def to_json(self) -> bytes:
        """The record as UTF-8 text; NaN becomes ``null``."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        return orjson.dumps(self.to_dict(), default=_plain, option=options) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Record:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        RecordError
            Not JSON, no record, or one of another format.
        """
        try:
            content = orjson.loads(text)
            found = content.pop("format")
            if found != FORMAT:
                raise RecordError(f"a record of format {found}, expected {FORMAT}: run it again")
            return cls(**(content | _parts(content)))
        except RecordError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RecordError(f"not a record: {type(error).__name__}: {error}") from error


def _parts(content: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a record that are no plain numbers or strings."""
    evaluation, machine = content["evaluation"], content["machine"]
    # JSON has no NaN: what is null, and a float in the class, was one.
    nan: dict[str, Any] = {f.name: NAN for f in fields(Costs) if f.default is not None}
    costs: dict[str, Any] = {k: v for k, v in content["costs"].items() if v is not None}
    return {
        "key": Key(**content["key"]),
        "evaluation": None if evaluation is None else Evaluation.from_dict(evaluation),
        "pit_counts": tuple(content["pit_counts"]),
        "pit_counts_sum": tuple(content["pit_counts_sum"]),
        "notes": tuple(content["notes"]),
        "fans": tuple(_fan(fan) for fan in content["fans"]),
        "costs": Costs(**(nan | costs)),
        "machine": None if machine is None else Machine(**machine),
    }


def _fan(content: dict[str, Any]) -> Fan:
    quantiles = {level: tuple(values) for level, values in content["quantiles"].items()}
    past, truth = tuple(content["past"]), tuple(content["truth"])
    return Fan(**{**content, "past": past, "truth": truth, "quantiles": quantiles})


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, np.generic):
        return value.item()
    return repr(value)
