"""What a benchmark is: data sets, models, baselines, seeds and a budget, from one TOML file.

.. code-block:: toml

    seeds = [0, 1, 2]
    num_samples = 100
    baselines = ["naive", "statistical"]

    [budget]                       # of one training, the same for all models
    max_epochs = 40

    [[datasets]]
    name = "exchange_rate"
    protocols = ["literature", "backtest"]
    num_windows = 30               # of the backtest

    [models."flow matching"]       # what is no word of ours is a parameter of the estimator
    estimator = "FlowMatchingEstimator"

    [models."5 flow matching"]     # an ensemble of so many, trained from different seeds
    estimator = "FlowMatchingEstimator"
    num_members = 5

    [models."flow matching".on.exchange_rate]
    scaling = "whitened"
    chosen = "of three scalings, the lowest CRPS-sum on the validation windows"

    [[datasets]]                   # a file of one's own, whose last windows are scored
    path = "sales.csv"
    name = "sales"
    prediction_length = 28

Everything is checked as it is read, estimators are made, and an error names the file, the key and
what is accepted.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tsdiff.benchmark.data import PROTOCOLS, DatasetSpec, Synthetic, Table
from tsdiff.datasets import UnknownDatasetError, get_info
from tsdiff.estimators import ESTIMATORS, GenerativeEstimator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

__all__ = ["BASELINES", "Budget", "Configuration", "ConfigurationError", "ModelSpec"]

BASELINES = ("naive", "statistical", "automatic")
SHIPPED = Path(__file__).parent / "configurations"
_FOLDER = "folder = "
_TOP = (
    "folder",
    "title",
    "seeds",
    "num_samples",
    "likelihood",
    "baselines",
    "against",
    "budget",
    "datasets",
    "models",
)
_DATASET = ("name", "protocols", "num_windows", "baselines", "likelihood")
_TABLE = tuple(f.name for f in fields(Table) if f.name != "sha256")
_OURS = ("estimator", "num_members", "chosen", "on")
# What the benchmark itself decides, and where it is said instead.
_RESERVED = {
    "prediction_length": "the data set says it",
    "freq": "the data set says it",
    "seed": "see 'seeds'",
    "max_epochs": "see [budget], the same for all models",
    "trainer_kwargs": "see [budget] and the option --accelerator",
}


class ConfigurationError(ValueError):
    """A configuration that can't be run; the message says where and what is accepted."""


@dataclass(frozen=True)
class Budget:
    """What one training may take: epochs, and seconds if given (results then vary with speed)."""

    max_epochs: int = 40
    max_seconds: float | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A model: its estimator's class, parameters, those on single data sets, and how chosen.

    Of ``num_members`` above one it is an ensemble.
    """

    name: str
    estimator: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen: str = ""
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chosen_on: Mapping[str, str] = field(default_factory=dict)
    num_members: int = 1

    def parameters(self, dataset: str) -> dict[str, Any]:
        """Parameters of the estimator on a data set."""
        return {**self.settings, **self.on.get(dataset, {})}

    def make(
        self, dataset: str, prediction_length: int, budget: Budget, seed: int
    ) -> GenerativeEstimator:
        """The estimator, of a single member, ready to be trained."""
        return ESTIMATORS[self.estimator](
            prediction_length=prediction_length,
            max_epochs=budget.max_epochs,
            seed=seed,
            **self.parameters(dataset),
        )


@dataclass(frozen=True)
class Configuration:
    """A benchmark, see the module.

    ``against`` names the model that tables take differences from, or nothing: the best baseline.
    ``source`` is the file that all was read from.
    """

    title: str
    seeds: tuple[int, ...]
    num_samples: int
    likelihood: bool
    baselines: tuple[str, ...]
    budget: Budget
    datasets: tuple[DatasetSpec, ...]
    models: tuple[ModelSpec, ...]
    against: str | None = None
    source: str = ""

    def baselines_on(self, dataset: DatasetSpec) -> tuple[str, ...]:
        """Kinds of baselines on a data set; the naive ones are always there."""
        chosen = self.baselines if dataset.baselines is None else dataset.baselines
        return tuple(kind for kind in BASELINES if kind == "naive" or kind in chosen)

    @classmethod
    def read(cls, source: str | Path) -> Configuration:
        """Read a file, or a configuration that the package ships by its name.

        Raises
        ------
        ConfigurationError
            No such file, no TOML, or a key or value that is not accepted.
        """
        path = find(source)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} is no TOML: {error}") from error
        return _Reader(path.name, path.parent).configuration(content)


def text_to_keep(source: str | Path) -> str:
    """A configuration's text that means the same in another folder."""
    path = find(source)
    text = path.read_text(encoding="utf-8")
    content = tomllib.loads(text)
    if "folder" in content or not any("path" in table for table in content["datasets"]):
        return text
    return f"{_FOLDER}{json.dumps(str(path.parent.absolute()), ensure_ascii=False)}\n{text}"


def without_folder(text: str) -> str:
    """A text as it was before :func:`text_to_keep`: where files lay is of no use to others."""
    return text.partition("\n")[2] if text.startswith(_FOLDER) else text


def shipped() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(source: str | Path) -> Path:
    """The file of a configuration: a path, or the name of one that is shipped."""
    known = {name: SHIPPED / f"{name}.toml" for name in shipped()}
    path = known.get(str(source), Path(source))
    if not path.is_file():
        raise ConfigurationError(
            f"no configuration {str(source)!r}: give the path of a TOML file, or one of "
            f"{', '.join(known)}"
        )
    return path


class _Reader:
    """Parts of a configuration from parts of a TOML file, whose name every error carries."""

    def __init__(self, file: str, folder: Path) -> None:
        self.file, self.folder = file, folder.absolute()

    def configuration(self, content: dict[str, Any]) -> Configuration:
        self.keys(content, _TOP, "")
        if folder := self.value(content, "folder", str, ""):
            self.folder = Path(folder)
            if not self.folder.is_absolute():
                self.fail("folder", f"must be an absolute path, got {folder!r}")
        seeds = self.integers(content, "seeds", [0, 1, 2])
        datasets = tuple(self.dataset(d) for d in self.tables(content, "datasets"))
        self.distinct([d.name for d in datasets], "datasets")
        found = Configuration(
            title=self.value(content, "title", str, "Benchmark"),
            seeds=tuple(seeds),
            num_samples=self.positive(content, "num_samples", 100, least=2),
            likelihood=self.value(content, "likelihood", bool, True),
            baselines=self.choices(content, "baselines", BASELINES, ("naive", "statistical")),
            budget=self.budget(self.value(content, "budget", dict, {})),
            datasets=datasets,
            models=tuple(
                self.model(name, table, [d.name for d in datasets])
                for name, table in self.value(content, "models", dict, {}).items()
            ),
            against=self.value(content, "against", str, "") or None,
            source=self.file,
        )
        names = [model.name for model in found.models]
        if found.against is not None and found.against not in names:
            self.fail("against", _unknown(found.against, names))
        self.make_estimators(found)
        return found

    def budget(self, table: dict[str, Any]) -> Budget:
        self.keys(table, [f.name for f in fields(Budget)], "budget")
        seconds = table.get("max_seconds")
        if seconds is not None and not (_is_number(seconds) and seconds > 0):
            self.fail("budget.max_seconds", f"must be a positive number, got {seconds!r}")
        epochs = self.positive(table, "max_epochs", Budget.max_epochs, "budget")
        return Budget(epochs, seconds)

    def dataset(self, table: dict[str, Any]) -> DatasetSpec:
        own = "path" in table
        self.keys(table, (*_DATASET, *(_TABLE if own else ("synthetic", "path"))), "datasets")
        name = self.value(table, "name", str, None, "datasets")
        where = f"datasets.{name}"
        synthetic = self.value(table, "synthetic", dict, {}, where)
        if not synthetic and not own:
            try:
                get_info(name)
            except UnknownDatasetError as error:
                self.fail("datasets.name", f"{error}. A file of your own has a 'path' as well")
        usual = PROTOCOLS[2:] if own else PROTOCOLS[:2]
        protocols = self.choices(table, "protocols", PROTOCOLS, usual, where)
        if own and protocols and protocols != usual:
            self.fail(
                f"{where}.protocols",
                f"{protocols[0]!r} is not for files, which have no test windows of their "
                'own: leave it out, and the last num_windows windows are scored ("ending")',
            )
        given = (
            self.choices(table, "baselines", BASELINES, (), where) if "baselines" in table else None
        )
        return DatasetSpec(
            name=name,
            protocols=protocols,
            num_windows=self.positive(table, "num_windows", 30, where, least=2),
            baselines=given,
            likelihood=self.value(table, "likelihood", bool, True, where),
            synthetic=self.synthetic(synthetic, f"{where}.synthetic") if synthetic else None,
            table=self.own_table(table, where) if own else None,
        )

    def own_table(self, table: dict[str, Any], where: str) -> Table:
        def text(name: str) -> str | None:
            return self.value(table, name, str, "", where) or None

        columns = table.get("target_column")
        columns = [columns] if isinstance(columns, str) else columns
        if columns is not None and not (
            isinstance(columns, list) and columns and all(isinstance(c, str) for c in columns)
        ):
            self.fail(
                f"{where}.target_column", f"must be a text or a list of texts, got {columns!r}"
            )
        if "prediction_length" not in table:
            self.fail(f"{where}.prediction_length", "is missing: how many steps to forecast")
        return Table(
            path=str(self.folder / Path(self.value(table, "path", str, None, where)).expanduser()),
            prediction_length=self.positive(table, "prediction_length", None, where),
            freq=text("freq"),
            time_column=text("time_column"),
            target_column=None if columns is None else tuple(columns),
            item_column=text("item_column"),
            dimension_column=text("dimension_column"),
            fill_gaps=self.value(table, "fill_gaps", bool, False, where),
        )

    def synthetic(self, table: dict[str, Any], where: str) -> Synthetic:
        self.keys(table, [f.name for f in fields(Synthetic)], where)
        return Synthetic(
            **{f.name: self.positive(table, f.name, f.default, where) for f in fields(Synthetic)}
        )

    def model(self, name: str, table: Any, datasets: list[str]) -> ModelSpec:
        where = f"models.{name}"
        if not isinstance(table, dict):
            self.fail(where, f"must be a table [{where}], got {table!r}")
        kind = self.value(table, "estimator", str, None, where)
        if kind not in ESTIMATORS:
            self.fail(f"{where}.estimator", _unknown(kind, ESTIMATORS))
        special = self.value(table, "on", dict, {}, where)
        for dataset, settings in special.items():
            if dataset not in datasets:
                self.fail(f"{where}.on.{dataset}", _unknown(dataset, datasets))
            self.settings(settings, kind, f"{where}.on.{dataset}", ("chosen",))
        self.settings(table, kind, where, _OURS)
        return ModelSpec(
            name=name,
            estimator=kind,
            num_members=self.positive(table, "num_members", 1, where),
            settings={k: v for k, v in table.items() if k not in _OURS},
            chosen=self.value(table, "chosen", str, "", where),
            on={d: {k: v for k, v in s.items() if k != "chosen"} for d, s in special.items()},
            chosen_on={
                d: self.value(s, "chosen", str, None, f"{where}.on.{d}") for d, s in special.items()
            },
        )

    def settings(self, table: Any, kind: str, where: str, ours: Iterable[str]) -> None:
        if not isinstance(table, dict):
            self.fail(where, f"must be a table of parameters, got {table!r}")
        for key in table:
            if key in _RESERVED:
                self.fail(f"{where}.{key}", f"is not for models: {_RESERVED[key]}")
        parameters = [f.name for f in fields(ESTIMATORS[kind]) if f.name not in _RESERVED]
        self.keys(table, [*ours, *parameters], where)

    def make_estimators(self, found: Configuration) -> None:
        """Every estimator is made once, so that no wrong setting is found after hours."""
        for model in found.models:
            if model.num_members > found.num_samples:
                self.fail(
                    f"models.{model.name}.num_members",
                    f"must be at most num_samples, {found.num_samples}, got {model.num_members}",
                )
            for dataset in found.datasets:
                place = f"models.{model.name}" + f".on.{dataset.name}" * (dataset.name in model.on)
                try:
                    model.make(dataset.name, 2, found.budget, 0).check()
                except (TypeError, ValueError, KeyError) as error:
                    self.fail(place, str(error))

    # Values of the kinds that there are.

    def keys(self, table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        known = list(known)
        for key in table:
            if key not in known:
                self.fail(f"{where}.{key}".lstrip("."), _unknown(key, known))

    def value(
        self, table: Mapping[str, Any], key: str, kind: type, default: Any, where: str = ""
    ) -> Any:
        place = f"{where}.{key}".lstrip(".")
        if key not in table:
            if default is None:
                self.fail(place, "is missing")
            return default
        if not isinstance(table[key], kind):
            names = {str: "a text", bool: "true or false", dict: "a table", list: "a list"}
            self.fail(place, f"must be {names[kind]}, got {table[key]!r}")
        return table[key]

    def positive(
        self, table: Mapping[str, Any], key: str, default: Any, where: str = "", least: int = 1
    ) -> int:
        value = table.get(key, default)
        if not _is_integer(value) or value < least:
            place = f"{where}.{key}".lstrip(".")
            self.fail(place, f"must be an integer of at least {least}, got {value!r}")
        return value

    def integers(self, table: Mapping[str, Any], key: str, default: list[int]) -> list[int]:
        values = self.value(table, key, list, default)
        if not values or not all(_is_integer(v) and v >= 0 for v in values):
            self.fail(key, f"must be a list of integers of at least 0, got {values!r}")
        self.distinct(values, key)
        return values

    def tables(self, table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        values = self.value(table, key, list, None)
        if not values or not all(isinstance(value, dict) for value in values):
            self.fail(key, f"must be tables [[{key}]], at least one, got {values!r}")
        return values

    def choices(
        self,
        table: Mapping[str, Any],
        key: str,
        known: tuple[str, ...],
        default: tuple[str, ...],
        where: str = "",
    ) -> tuple[str, ...]:
        values = self.value(table, key, list, list(default), where)
        for value in values:
            if value not in known:
                self.fail(f"{where}.{key}".lstrip("."), _unknown(value, known))
        return tuple(value for value in known if value in values)

    def distinct(self, values: list[Any], key: str) -> None:
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            self.fail(key, f"has {', '.join(twice)} twice")

    def fail(self, key: str, message: str) -> Any:
        raise ConfigurationError(f"{self.file}: {key}: {message}") from None


def _unknown(value: Any, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(str(value), known, n=1)
    advice = f"did you mean {close[0]!r}? " if close else ""
    return f"{value!r} is not known; {advice}accepted: {', '.join(known)}"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
