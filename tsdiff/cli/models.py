"""Models on the command line: estimators by name, and folders of trained models.

Beside a trained model lies ``training.json``: the data that it has seen, and up to when. A model
scored on what it was trained on looks better than it is, and this file lets ``evaluate`` say so.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tsdiff.datasets import DataEntry
    from tsdiff.estimators import EnsemblePredictor, GenerativeEstimator, GenerativePredictor

RECORD = "training.json"


def estimators() -> dict[str, type[GenerativeEstimator]]:
    """Estimator classes by their command-line names, aliases included."""
    import tsdiff.estimators as package
    from tsdiff.estimators.base import title_of

    classes = package.ESTIMATORS | {name: getattr(package, name) for name in package.__all__}
    return {
        title_of(name).lower().replace(" ", "_"): kind
        for name, kind in classes.items()
        if isinstance(kind, type)
        and issubclass(kind, package.GenerativeEstimator)
        and kind is not package.GenerativeEstimator
    }


def find_estimator(name: str) -> type[GenerativeEstimator]:
    """The estimator class of a name, spelt ``flow_matching`` or ``FlowMatching``.

    Raises
    ------
    typer.BadParameter
        No such model.
    """
    known = estimators()
    by_letters = {key.replace("_", ""): kind for key, kind in known.items()}
    letters = re.sub("[^a-z0-9]", "", name.lower()).removesuffix("estimator")
    if letters in by_letters:
        return by_letters[letters]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    advice = f"Did you mean {close[0]!r}? " if close else ""
    raise typer.BadParameter(
        f"unknown model {name!r}. {advice}Known are: {', '.join(sorted(known))}",
        param_hint="--model",
    )


def load(folder: Path) -> GenerativePredictor | EnsemblePredictor:
    """A trained model, or an ensemble.

    Raises
    ------
    FileNotFoundError, SavedModelError
        There is none in the folder, or it is damaged.
    """
    from tsdiff.estimators import SavedModelError
    from tsdiff.estimators import load as load_model

    if not folder.is_dir():
        raise FileNotFoundError(
            f"no model folder at {folder}: train one with 'tsdiff train ... --output {folder}'"
        )
    try:
        return load_model(folder)
    except (FileNotFoundError, SavedModelError):
        raise
    except Exception as error:  # damaged tensors raise errors of all kinds
        raise SavedModelError(f"the model in {folder} can't be loaded: {error}") from error


def write_record(folder: Path, data: str, entries: Sequence[DataEntry]) -> None:
    """Note beside a model what it was trained on, and until when."""
    ends = {str(entry.get("item_id")): _time(entry, -1) for entry in entries}
    content = {"data": data, "trained_until": ends}
    (folder / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def seen_in_training(
    folder: Path, data: str, windows: Iterable[DataEntry], horizon: int
) -> str | None:
    """A sentence of warning if the model has seen what it is to forecast, else None.

    Parameters
    ----------
    folder
        The model's.
    data
        Name of the windows' data set or file. Of another than the one trained on nothing is said:
        series of a file without names are all called the same.
    windows
        Entries whose last ``horizon`` steps are forecast.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        trained, ends = record["data"], record["trained_until"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not trained from here: nothing is known
    if trained != data:
        return None
    for window in windows:
        end = ends.get(str(window.get("item_id")))
        first = _time(window, window["target"].shape[1] - horizon)
        if end is not None and first <= end:
            return (
                f"this model was trained on {data} up to {_date(end)}, and the windows start on "
                f"{_date(first)}: on data it has seen, a model looks better than it is. Train with "
                "--hold-out to keep the last windows apart"
            )
    return None


def _time(entry: DataEntry, step: int) -> str:
    """The time of a step, as text that sorts."""
    from tsdiff.datasets.businessdays import business_day_periods

    with business_day_periods():
        step = step % entry["target"].shape[1]
        return (entry["start"] + step).to_timestamp().isoformat()


def _date(text: str) -> str:
    return text.removesuffix("T00:00:00")
