"""Models on disk: ``config.json`` for what they are, ``model.safetensors`` for what they know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from tsdiff import solvers
from tsdiff._version import __version__
from tsdiff.estimators.model import DataFacts
from tsdiff.solvers import Grid, Solver
from tsdiff.transforms import Plan, Sizes

if TYPE_CHECKING:
    from tsdiff.estimators.predictor import GenerativePredictor

FORMAT = 1
CONFIG, TENSORS = "config.json", "model.safetensors"
# What stands beside the folders of an ensemble's members.
ENSEMBLE = "ensemble.json"
# Lightning's settings say how a model was trained, and may hold anything: they stay behind.
_NOT_SAVED = {"trainer_kwargs"}


class SavedModelError(ValueError):
    """A folder that holds no model that can be loaded."""


def configuration(predictor: GenerativePredictor) -> dict[str, Any]:
    """Everything that rebuilds the model but its tensors, as JSON values.

    Raises
    ------
    SavedModelError
        If a parameter can't be written as JSON.
    """
    parameters = {
        name: _to_json(name, value)
        for name, value in predictor.estimator.get_params().items()
        if name not in _NOT_SAVED
    }
    return {
        "format": FORMAT,
        "tsdiff": __version__,
        "estimator": type(predictor.estimator).__name__,
        "parameters": parameters,
        "data": {
            name: _to_json(name, value)
            for name, value in dataclasses.asdict(predictor.facts).items()
        },
    }


def save(predictor: GenerativePredictor, folder: Path) -> None:
    """Write both files; the configuration last, so that it is there only if all is."""
    config = check_savable(predictor, folder) | {"history": predictor.history}
    text = json.dumps(config, indent=2) + "\n"
    tensors = {name: t.cpu().contiguous() for name, t in predictor.model.state_dict().items()}
    # No moment at which the configuration of one model stands beside the tensors of another.
    (folder / CONFIG).unlink(missing_ok=True)
    for name, write in (
        # Not safetensors' save_file, whose files none but their owner may read.
        (TENSORS, lambda path: path.write_bytes(to_bytes(tensors))),
        (CONFIG, lambda path: path.write_text(text, encoding="utf-8")),
    ):
        part = folder / f".{name}.part"
        write(part)
        part.replace(folder / name)


def check_savable(predictor: GenerativePredictor, folder: Path) -> dict[str, Any]:
    """The configuration, if it can be written to that folder, or a SavedModelError."""
    config = configuration(predictor)
    refuse_other_kind(folder, ensemble=False)
    _refuse_to_overwrite(folder / CONFIG)
    return config


def refuse_other_kind(folder: Path, *, ensemble: bool) -> None:
    """A single model and an ensemble can't share a folder: which one would be loaded?"""
    if ensemble and (folder / CONFIG).exists():
        raise SavedModelError(f"{folder} holds a single model: save an ensemble elsewhere")
    if not ensemble and (folder / ENSEMBLE).exists():
        raise SavedModelError(f"{folder} holds an ensemble: save a single model elsewhere")


def _refuse_to_overwrite(path: Path) -> None:
    """Another model may be replaced; somebody else's file of the same name may not."""
    if not path.exists():
        return
    try:
        ours = {"format", "estimator", "data"} <= json.loads(path.read_text("utf-8")).keys()
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise SavedModelError(f"{path} is not of ours and would be overwritten: save elsewhere")


def load(folder: Path) -> GenerativePredictor:
    """Rebuild a predictor from a folder.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    SavedModelError
        If the configuration isn't ours, is newer than this version, or names an estimator
        that isn't known.
    """
    from tsdiff.estimators.base import ESTIMATORS
    from tsdiff.estimators.predictor import GenerativePredictor

    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no saved model in {folder}: {name} is missing")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version, kind, data = config["format"], config["estimator"], dict(config["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise SavedModelError(f"{folder / CONFIG} is not the configuration of a model") from error
    if version != FORMAT:
        raise SavedModelError(
            f"{folder} has format {version}, and this version of tsdiff ({__version__}) reads "
            f"format {FORMAT}; it was written by tsdiff {config.get('tsdiff')}"
        )
    if kind not in ESTIMATORS:
        raise SavedModelError(
            f"unknown estimator {kind!r}: expected one of {', '.join(sorted(ESTIMATORS))}. If "
            "it is your own, import the module that defines it before loading"
        )
    for name in ("lags", "cardinalities", "dimension_names"):
        data[name] = tuple(data[name])
    # Models of before columns could be known in advance have none of these two.
    data["known_columns"] = tuple(data.get("known_columns", ()))
    unnamed = [()] * len(data["cardinalities"])
    data["categories"] = tuple(map(tuple, data.get("categories", unnamed)))
    if data.get("sizes") is not None:
        sizes = data["sizes"]
        data["sizes"] = Sizes(tuple(sizes["typical"]), sizes["weight"])
    if data.get("plan") is not None:
        data["plan"] = Plan(**data["plan"])
    parameters = {name: _from_json(value) for name, value in config["parameters"].items()}
    estimator = ESTIMATORS[kind](**parameters)
    model = estimator.build_model(DataFacts(**data))
    try:
        # Models of before forecasts could be calibrated have none.
        model.load_state_dict({"calibration": model.calibration} | load_file(folder / TENSORS))
    except (SafetensorError, RuntimeError) as error:
        size = (folder / TENSORS).stat().st_size
        raise SavedModelError(
            f"{folder / TENSORS} ({size} bytes) is damaged or belongs to another model: copy or "
            "save it again"
        ) from error
    return GenerativePredictor(estimator, model, config.get("history"))


def _to_json(name: str, value: Any) -> Any:
    if isinstance(value, (Solver, Grid)):
        plain = {"class": type(value).__name__, "parameters": dataclasses.asdict(value)}
    elif isinstance(value, dict):
        plain = {key: _to_json(name, item) for key, item in value.items()}
    elif isinstance(value, (np.integer, np.floating)):
        plain = value.item()
    elif isinstance(value, (tuple, range, np.ndarray)):
        plain = [_to_json(name, item) for item in value]
    else:
        plain = value
    try:
        json.dumps(plain)
    except TypeError as error:
        raise SavedModelError(f"parameter {name}={value!r} can't be saved as JSON") from error
    return plain


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"class", "parameters"}:
        kind = getattr(solvers, value["class"], None)
        if not (isinstance(kind, type) and issubclass(kind, (Solver, Grid))):
            raise SavedModelError(f"unknown solver or grid {value['class']!r}")
        return kind(**value["parameters"])
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value.items()}
    return value
