"""DATA on the command line: a data set of the catalog, or the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.datasets import DataEntry
    from tsdiff.estimators import EnsemblePredictor, GenerativePredictor

DEFAULT_WINDOWS = 5
_TABLES = (".csv", ".parquet", ".pq")
_OPTIONS = {"known_column": "known_columns", "static_column": "static_columns"}  # of read_series


@dataclass(frozen=True)
class Source:
    """Series to learn from and to forecast.

    ``series`` are whole, ``train`` is what a model may learn from; ``test`` holds the windows that
    a data set of the catalog fixes and is empty for a file, as ``prediction_length`` is None.
    """

    name: str
    series: list[DataEntry]
    train: list[DataEntry]
    test: list[DataEntry]
    prediction_length: int | None

    def windows(self, prediction_length: int, num_windows: int | None) -> list[DataEntry]:
        """Windows to score: the data set's own, or rolling ones at the end of the series.

        Raises
        ------
        typer.BadParameter
            More windows than a data set of the catalog has: training has seen what is before them.
        DataError
            Series too short for the windows.
        """
        from tsdiff.datasets import rolling_windows

        if prediction_length == self.prediction_length:
            if num_windows is not None and num_windows > len(self.test):
                raise typer.BadParameter(
                    f"is {num_windows}, and {self.name} has {len(self.test)} test windows: ask for "
                    "no more than these",
                    param_hint="--num-windows",
                )
            return self.test[-(num_windows or len(self.test)) :]
        if num_windows is None and self.prediction_length is not None:
            num_windows = max(1, len(self.test) * self.prediction_length // prediction_length)
        return rolling_windows(self.series, prediction_length, num_windows or DEFAULT_WINDOWS)


def load(
    data: str,
    screen: Screen,
    *,
    freq: str | None = None,
    remembered: Sequence[str] = (),
    **table: Any,
) -> Source:
    """Read ``data``, a catalog name or a file; ``table`` are options of a file.

    ``remembered`` are the known columns of a file for which none are given.

    Raises
    ------
    UnknownDatasetError, FileNotFoundError
        Nothing of that name.
    DataError, DownloadError
        What the readers refuse.
    typer.BadParameter
        Options of a file beside a catalog name.
    """
    from tsdiff.datasets import UnknownDatasetError, get_info, read_series

    given = {name: value for name, value in table.items() if value}
    try:
        get_info(data)
    except UnknownDatasetError as error:
        path = Path(data)
        if not path.exists() and path.parent == Path() and path.suffix.lower() not in _TABLES:
            raise UnknownDatasetError(
                f"{error}. For a file of your own, give its path, ending in .csv or .parquet"
            ) from None
        options = {_OPTIONS.get(name, name): value for name, value in given.items()}
        series = read_series(path, freq=freq, **{"known_columns": list(remembered), **options})
        return Source(path.name, series, series, [], None)
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise typer.BadParameter(
            f"describes the columns of a file, and {data} is a data set of the catalog: leave it "
            "out",
            param_hint=option,
        )
    return _catalog(data, screen)


def _catalog(name: str, screen: Screen) -> Source:
    from tsdiff.datasets import get_dataset

    dataset = get_dataset(name, progress=screen.progress)
    for note in dataset.metadata.notes:
        screen.note(f"note: {note}")
    length = dataset.metadata.prediction_length
    return Source(name, [dataset.test[-1]], dataset.train, dataset.test, length)


def load_for(
    predictor: GenerativePredictor | EnsemblePredictor, data: str, screen: Screen, **table: Any
) -> Source:
    """Read data that a trained model is to forecast: its frequency, its dimensions in its order.

    Raises
    ------
    DataError
        Other dimensions than the model's.
    """
    from tsdiff.estimators.layout import align_dimensions

    freq = table.pop("freq", None) or predictor.facts.freq
    known = predictor.facts.known_columns
    source = load(data, screen, freq=freq, remembered=known, **table)
    names = predictor.facts.dimension_names
    return replace(
        source,
        series=align_dimensions(source.series, names),
        train=align_dimensions(source.train, names),
        test=align_dimensions(source.test, names),
    )
