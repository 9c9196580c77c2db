"""The border: parameters and data are checked here, before any training starts."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsdiff.datasets import DataError
from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.decoders.likelihood import TRACES
from tsdiff.estimators.layout import names_of
from tsdiff.estimators.model import DataFacts
from tsdiff.guidance import Guidance
from tsdiff.guidance.conditions import check_together
from tsdiff.guidance.reading import Outlook
from tsdiff.networks import NETWORKS, PRECISIONS
from tsdiff.solvers import as_grid, as_solver
from tsdiff.solvers.base import check_steps
from tsdiff.transforms import DECODINGS, LINEAR, SCALINGS
from tsdiff.transforms.coordinates import UNREFERRED
from tsdiff.transforms.lags import base_frequency

if TYPE_CHECKING:
    from tsdiff.estimators.base import GenerativeEstimator

_POSITIVE_INTEGERS = (
    "prediction_length",
    "num_modes",
    "hidden_size",
    "num_layers",
    "embedding_dim",
    "batch_size",
    "num_batches_per_epoch",
    "max_epochs",
    "patience",
)
_SHARES = ("dropout", "condition_dropout", "ema_decay")
_NOT_NEGATIVE = ("weight_decay", "gradient_clip")


def check_parameters(estimator: GenerativeEstimator) -> None:
    """Raise a ValueError that names the first parameter out of range."""
    for name in _POSITIVE_INTEGERS:
        positive_integer(name, getattr(estimator, name))
    if estimator.context_length is not None:
        positive_integer("context_length", estimator.context_length)
    if estimator.num_validation_samples < 2:
        raise ValueError(
            f"num_validation_samples must be at least 2, got {estimator.num_validation_samples}"
        )
    windows = estimator.num_validation_windows
    if windows is not None and (
        isinstance(windows, bool) or int(windows) != windows or windows < 0
    ):
        raise ValueError(
            f"num_validation_windows must be None or an integer of at least 0, got {windows!r}"
        )
    if not isinstance(estimator.calibrate, (bool, np.bool_, type(None))):
        raise ValueError(f"calibrate must be True, False or None, got {estimator.calibrate!r}")
    check_seed(estimator.seed)
    if estimator.lags is not None:
        if not len(estimator.lags):
            raise ValueError("lags must name at least one lag, or be None to choose by frequency")
        for lag in estimator.lags:
            positive_integer("every lag", lag)
    for name, choices in (
        ("scaling", ("auto", *SCALINGS)),
        ("linear", LINEAR),
        ("decoding", DECODINGS),
        ("network", tuple(NETWORKS)),
        ("precision", tuple(PRECISIONS)),
    ):
        if getattr(estimator, name) not in choices:
            raise ValueError(
                f"unknown {name} {getattr(estimator, name)!r}: expected one of {', '.join(choices)}"
            )
    if NETWORKS[estimator.network].over_steps and estimator.decoding == "autoregressive":
        raise ValueError(
            f"network={estimator.network!r} convolves over the steps of an event, and decoding="
            f"{estimator.decoding!r} draws one step at a time: take decoding='horizon' with it, or "
            "another network"
        )
    unreferred = estimator.scaling in UNREFERRED
    if estimator.linear in ("own", "all") and unreferred:
        raise ValueError(
            f"linear={estimator.linear!r} corrects a simple forecast, and scaling="
            f"{estimator.scaling!r} has none: choose another scaling, or linear='none'"
        )
    if estimator.calibrate and unreferred and estimator.decoding != "horizon":
        raise ValueError(
            "calibrate=True makes forecasts wider around a simple forecast, and scaling="
            f"{estimator.scaling!r} has none: choose another scaling, or leave calibrate out"
        )
    for name in (*_SHARES, "learning_rate", *_NOT_NEGATIVE):
        if not isinstance(value := getattr(estimator, name), numbers.Real):
            raise ValueError(f"{name} must be a number, got {value!r}")
    for name in _SHARES:
        if not 0.0 <= getattr(estimator, name) < 1.0:
            raise ValueError(f"{name} must lie in [0, 1), got {getattr(estimator, name)}")
    if not estimator.learning_rate > 0.0:
        raise ValueError(f"learning_rate must be positive, got {estimator.learning_rate}")
    for name in _NOT_NEGATIVE:
        if not getattr(estimator, name) >= 0.0:
            raise ValueError(f"{name} must not be negative, got {getattr(estimator, name)}")
    if estimator.freq is not None:
        base_frequency(estimator.freq)
    check_sampler(estimator.solver, estimator.num_steps, estimator.grid)


def check_lengths(
    estimator: GenerativeEstimator, entries: Sequence[dict[str, Any]], facts: DataFacts
) -> None:
    """Raise a DataError if all training data are too short.

    For a lag or context that was asked for, or for a single forecast of the whole horizon whose
    errors could tell how large errors are.
    """
    longest = max(entry["target"].shape[1] for entry in entries)
    asked = {
        "context_length": estimator.context_length or 0,
        "the longest of lags": 0 if estimator.lags is None else max(estimator.lags),
    }
    for name, value in asked.items():
        if value >= longest:
            raise DataError(
                f"{name} is {value}, and the longest series has {longest} steps to train on: "
                "choose less, or None to choose by frequency"
            )
    needed = 0 if facts.plan is None else facts.plan.memory + facts.prediction_length
    if longest < needed:
        raise DataError(
            f"decoding='horizon' learns how large errors are from forecasts of {needed} steps of "
            f"training data, {facts.prediction_length} of them ahead, and the longest series has "
            f"{longest} steps to train on, validation windows apart. Give more history, or take "
            "decoding='autoregressive'"
        )


def check_sampler(solver: Any, num_steps: Any, grid: Any) -> None:
    """Raise if the solver or grid is unknown, or the number of steps isn't a positive integer."""
    if solver is not None:
        as_solver(solver)
    if num_steps is not None:
        check_steps(num_steps)
    if grid is not None:
        as_grid(grid)


def check_guidance(
    guidance: Guidance | None,
    entries: Sequence[dict[str, Any]],
    facts: DataFacts,
    estimator: GenerativeEstimator,
    solver: Any,
) -> None:
    """Raise a ValueError if conditions don't fit the series, the model or the solver."""
    if guidance is None:
        return
    items = [entry.get("item_id") for entry in entries]
    guidance.check_items(items)
    for item, entry in zip(items, entries, strict=True):
        outlook = outlook_of(entry, facts)
        for condition in guidance.of(item):
            if facts.plan is not None:
                raise ValueError(
                    f"{type(condition).__name__} guides forecasts step by step, and this model "
                    "draws the whole horizon at once: train with decoding='autoregressive'"
                )
            condition.check(outlook)
            if solver is not None:
                raise ValueError(
                    f"{type(condition).__name__} has a sampler of its own, and solver={solver!r} "
                    "can't be used with it: leave solver out (num_steps and grid may stay)"
                )
        check_together(guidance.of(item), outlook)
    weight = guidance.condition_weight
    if weight != 1.0 and not estimator.condition_dropout > 0.0:
        raise ValueError(
            f"ClassifierFree({weight}) needs a model that was trained with condition_dropout above "
            "0 (0.1, say), and this one was not: train it so"
        )


@business_day_periods()
def outlook_of(entry: dict[str, Any], facts: DataFacts) -> Outlook:
    """The steps after a series, its dimensions in its own order."""
    start = entry["start"] + entry["target"].shape[1]
    return Outlook(names_of(entry), facts.prediction_length, start)


_LIKELIHOODS = {
    "ode": ("num_steps", "trace", "num_probes", "source_draws"),
    "elbo": ("num_draws", "source_draws"),
}


def check_likelihood(method: str, options: Mapping[str, Any]) -> None:
    """Raise if a likelihood's method is unknown, or has no option of a name or no sense in one."""
    if method not in _LIKELIHOODS:
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(_LIKELIHOODS)}")
    known = _LIKELIHOODS[method]
    for name, value in options.items():
        if name not in known:
            raise TypeError(
                f"log_prob(method={method!r}) has no option {name!r}; it has: {', '.join(known)}"
            )
        if name == "trace":
            if value not in TRACES:
                raise ValueError(f"unknown trace {value!r}: expected one of {', '.join(TRACES)}")
        else:
            positive_integer(name, value)


def check_compatible(
    entries: Sequence[dict[str, Any]], facts: DataFacts, *, needed: int = 1, future: int = 0
) -> None:
    """Raise a DataError if entries don't fit the data that a model was or will be trained on.

    Parameters
    ----------
    needed
        Fewest steps that an entry must have.
    future
        Steps beyond the target's end for which dynamic covariates must be known.
    """
    for position, entry in enumerate(entries):
        label = f"series {entry.get('item_id', position)!r}"
        dims, length = entry["target"].shape
        if dims != facts.target_dim:
            raise DataError(
                f"{label} has {dims} dimensions, and the model was made for {facts.target_dim}"
            )
        if entry["start"].freqstr != facts.freq:
            raise DataError(
                f"{label} has frequency {entry['start'].freqstr!r}, and the model was made for "
                f"{facts.freq!r}: resample it"
            )
        if length < needed:
            raise DataError(f"{label} has {length} steps, and at least {needed} are needed")
        _check_covariates(entry, label, facts, length + future)


def _check_covariates(entry: dict[str, Any], label: str, facts: DataFacts, length: int) -> None:
    categories = entry.get("feat_static_cat", ())
    for field, wanted, option in (
        ("feat_dynamic_real", facts.num_dynamic_real, "known_columns"),
        ("feat_static_real", facts.num_static_real, "static_columns"),
        ("feat_static_cat", len(facts.cardinalities), "static_columns"),
    ):
        found = len(entry.get(field, ()))
        on_the_command_line = "--" + option.replace("_", "-").removesuffix("s")
        mend = f": name them by tsdiff.from_frame(df, {option}=[...]) or {on_the_command_line}"
        if found != wanted:
            raise DataError(
                f"{label} has {found} rows of {field}, and the model was made for {wanted}"
                + (mend if found < wanted else "")
            )
    if facts.num_dynamic_real and entry["feat_dynamic_real"].shape[1] < length:
        raise DataError(_ends_early(entry, label, length))
    for column, (category, cardinality) in enumerate(
        zip(categories, facts.cardinalities, strict=True)
    ):
        if not 0 <= category < cardinality:
            raise DataError(
                f"feat_static_cat[{column}] of {label} is {category}, and training saw the "
                f"categories 0 to {cardinality - 1}"
            )


def check_device(device: Any) -> None:
    """Raise a ValueError if PyTorch can't compute there."""
    try:
        # Coordinates are float64, which not every device has.
        torch.empty(0, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} can't be used ({reason}; PyTorch {torch.__version__}): leave "
            "it out to compute on the processor, or install a PyTorch that supports your GPU"
        ) from error


@business_day_periods()
def _ends_early(entry: dict[str, Any], label: str, length: int) -> str:
    """That covariates end before the forecast does: where, and where they should."""
    reach, end = entry["feat_dynamic_real"].shape[1], entry["target"].shape[1]
    what = ", ".join(entry.get("known_columns") or ["feat_dynamic_real"])
    return (
        f"{what} of {label} ends after {reach - end} of the {length - end} steps to forecast, at "
        f"{entry['start'] + (reach - 1)}, and must be known until {entry['start'] + (length - 1)}. "
        "In a frame these are rows after the last values, empty in all but the known columns"
    )


def check_seed(seed: Any) -> None:
    """Raise a ValueError unless ``seed`` is an integer."""
    if not isinstance(seed, (int, np.integer)):
        raise ValueError(f"seed must be an integer, got {seed!r}")


def positive_integer(name: str, value: Any) -> None:
    """Raise a ValueError unless ``value`` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
