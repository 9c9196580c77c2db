"""What a user may know of a future, or want of it: the values of ``predict(guidance=...)``.

Conditions are given in the units of the data, for the T steps of a forecast and the D dimensions of
its series. Several are combined by a list; all hold at once. What pandas has indexed by times is
matched by time, and else rows are the first steps of the forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.timegrid import to_regular_periods
from tsdiff.guidance.potentials import EnergyPotential, QuantilePotential


class GuidanceError(ValueError):
    """No sample can have what is asked for."""


class GuidanceWarning(UserWarning):
    """What is asked for is so unlikely that few samples carry the forecast."""


class Outlook(NamedTuple):
    """The steps that conditions are about.

    Attributes
    ----------
    names
        Of the D dimensions, in the order of the series that is forecast.
    length
        T.
    start
        Period of the first step.
    """

    names: tuple[str, ...]
    length: int
    start: pd.Period


class LinearPart(NamedTuple):
    """``H v = y`` up to standard deviations: ``[m, D]``, ``[m]`` and ``[m]``."""

    matrix: np.ndarray
    values: np.ndarray
    noise: np.ndarray


class Condition:
    """One thing that is known or wanted; a subclass overrides the parts that it has.

    Parts belong to one step, counted from 0; what isn't said of a step is None.
    """

    def check(self, outlook: Outlook) -> None:
        """Raise a ValueError if it doesn't fit the series and its forecast."""

    def linear(self, step: int, outlook: Outlook) -> LinearPart | None:
        """Linear observations."""
        return None

    def box(self, step: int, outlook: Outlook) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper bounds, ``[D]`` each."""
        return None

    def potential(self, step: int, outlook: Outlook) -> Any | None:
        """A likelihood, as :data:`tsdiff.guidance.sampler.Potential`."""
        return None


@dataclass(frozen=True, eq=False)
class Observed(Condition):
    """Some values of the future are known: dimensions, steps, or single cells.

    Parameters
    ----------
    values
        ``[T, D]``, NaN where nothing is known: an array, its columns in the order of the series'
        dimensions, or a DataFrame whose columns name some of them. There may be fewer rows than T.
    std
        Standard deviation of their errors: one number, ``[D]``, or like ``values``; 0 for values
        that samples shall have exactly. With it another model's point forecast becomes a
        distribution.
    """

    values: Any
    std: Any = 0.0

    def check(self, outlook: Outlook) -> None:
        table = _table("Observed: values", self.values, outlook)
        if np.isinf(table).any():
            raise ValueError("Observed: values must be finite, or NaN where nothing is known")
        _check_std("Observed", self._std(table, outlook)[np.isfinite(table)])

    def linear(self, step: int, outlook: Outlook) -> LinearPart | None:
        table = _table("Observed: values", self.values, outlook)
        if step >= len(table):
            return None
        known = np.isfinite(table[step])
        noise = self._std(table, outlook)[step][known]
        return LinearPart(np.eye(len(outlook.names))[known], table[step][known], noise)

    def _std(self, table: np.ndarray, outlook: Outlook) -> np.ndarray:
        std = self.std
        if isinstance(std, pd.DataFrame) or np.ndim(std) == 2:
            std = _table("Observed: std", std, outlook)
        try:
            return np.broadcast_to(np.asarray(std, dtype=float), table.shape)
        except ValueError:
            raise ValueError(
                f"Observed: std has shape {np.shape(std)}, and values have {table.shape}: give one "
                "number, one per dimension, or one per value"
            ) from None


@dataclass(frozen=True, eq=False)
class Total(Condition):
    """The sum over dimensions is known at some steps: an area's load, a portfolio's value.

    Parameters
    ----------
    values
        ``[T]``, NaN where it isn't known; there may be fewer than T.
    weights
        Weight of each dimension, ``[D]``, or a mapping from names (0 for those it doesn't name);
        None is one for all.
    std
        Standard deviation of its error, one number or ``[T]``; 0 if samples shall add up exactly.
    """

    values: Any
    weights: Any = None
    std: Any = 0.0

    def check(self, outlook: Outlook) -> None:
        values, std = self._values(outlook), np.asarray(self.std, dtype=float)
        if np.isinf(values).any():
            raise ValueError("Total: values must be finite, or NaN where nothing is known")
        if std.ndim and std.shape != values.shape:
            raise ValueError(
                f"Total: std has shape {std.shape}, and values have {values.shape}: give one "
                "number, or one for each value"
            )
        _check_std("Total", std)
        if not np.any(_weights("Total", self.weights, outlook.names)):
            raise ValueError("Total: all weights are 0")

    def linear(self, step: int, outlook: Outlook) -> LinearPart | None:
        values = self._values(outlook)
        if step >= len(values) or np.isnan(values[step]):
            return None
        std = np.broadcast_to(np.asarray(self.std, dtype=float), values.shape)
        weights = _weights("Total", self.weights, outlook.names)
        return LinearPart(weights[None], values[step : step + 1], std[step : step + 1])

    def _values(self, outlook: Outlook) -> np.ndarray:
        return _rows("Total: values", self.values, outlook, "T", 1)


@dataclass(frozen=True, eq=False)
class Bounds(Condition):
    """No value lies beyond: loads aren't negative, and a plant has a capacity.

    Samples are those of the forecast's law that keep the bounds, not ones that were moved there.

    Parameters
    ----------
    lower, upper
        One number, ``[D]``, ``[T, D]``, a mapping from names, or a DataFrame whose columns name
        dimensions; None or NaN is no bound.
    """

    lower: Any = None
    upper: Any = None

    def check(self, outlook: Outlook) -> None:
        if self.lower is None and self.upper is None:
            raise ValueError("Bounds: give lower, upper, or both")
        for step in range(outlook.length):
            lower, upper = self.box(step, outlook)
            if (lower >= upper).any():
                d = int(np.argmax(lower >= upper))
                raise ValueError(
                    f"Bounds: lower must lie below upper, got {lower[d]} and {upper[d]} for "
                    f"dimension {outlook.names[d]!r} at step {step}"
                )

    def box(self, step: int, outlook: Outlook) -> tuple[np.ndarray, np.ndarray]:
        return (
            _bound("Bounds: lower", self.lower, step, outlook, -np.inf),
            _bound("Bounds: upper", self.upper, step, outlook, np.inf),
        )


@dataclass(frozen=True, eq=False)
class QuantileTarget(Condition):
    """Quantiles of the forecast shall be these: an expert's range, another model's quantiles.

    The law is changed no more than that takes (in relative entropy, step by step).

    Parameters
    ----------
    levels
        Increasing, in (0, 1), ``[K]``.
    values
        Quantiles at these levels, increasing, ``[T, K]``; a row with NaN is no target, and there
        may be fewer than T.
    weights
        Of the sum over dimensions whose quantiles they are, as for :class:`Total`; or the name of
        one dimension.
    """

    levels: Any
    values: Any
    weights: Any = None

    def check(self, outlook: Outlook) -> None:
        levels = np.asarray(self.levels, dtype=float)
        rising = levels.ndim == 1 and len(levels) > 0 and (np.diff(levels) > 0).all()
        if not rising or levels[0] <= 0.0 or levels[-1] >= 1.0:
            raise ValueError(f"QuantileTarget: levels must rise within (0, 1), got {self.levels!r}")
        values = self._values(outlook)
        if values.shape[1] != len(levels):
            raise ValueError(
                f"QuantileTarget: values must be [T, {len(levels)}], one column per level, got "
                f"shape {values.shape}"
            )
        if (np.diff(values, axis=1) <= 0).any():
            raise ValueError("QuantileTarget: values must rise with their levels")
        if not np.any(_weights("QuantileTarget", self.weights, outlook.names)):
            raise ValueError("QuantileTarget: all weights are 0")

    def potential(self, step: int, outlook: Outlook) -> QuantilePotential | None:
        values = self._values(outlook)
        if step >= len(values) or not np.isfinite(values[step]).all():
            return None
        weights = _weights("QuantileTarget", self.weights, outlook.names)
        return QuantilePotential(np.asarray(self.levels, dtype=float), values[step], weights)

    def _values(self, outlook: Outlook) -> np.ndarray:
        return _rows("QuantileTarget: values", self.values, outlook, "T, K", 2)


@dataclass(frozen=True, eq=False)
class Energy(Condition):
    """Anything that can be computed: the law's density is multiplied by ``exp(-energy)``.

    Parameters
    ----------
    function
        ``(values [R, D], step) -> [R]``: of R samples of one step, float64 tensors in the series'
        units, differentiable in the values; infinite for what must not be.
    """

    function: Callable[[Tensor, int], Tensor]

    def potential(self, step: int, outlook: Outlook) -> EnergyPotential:
        return EnergyPotential(lambda values: self.function(values, step))


@dataclass(frozen=True)
class ClassifierFree(Condition):
    """Heed the past more (above 1) or less (below 1) than the model learned to.

    Needs a model that was trained with ``condition_dropout`` above 0 (Ho & Salimans 2022). A
    weight of 1 changes nothing, bit for bit. Works with any solver.
    """

    weight: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight):
            raise ValueError(f"ClassifierFree: the weight must be finite, got {self.weight}")


@dataclass(frozen=True, eq=False)
class Guidance:
    """Conditions, and how many samples are tried for each one that is kept.

    Parameters
    ----------
    conditions
        A condition or several, for every series; or a mapping from ``item_id`` to those of one.
    particles
        Candidates per sample: the more of them, the nearer are the samples kept to the law that
        is asked for. Time and memory are in proportion.
    """

    conditions: Any
    particles: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.particles, bool) or int(self.particles) != self.particles:
            raise ValueError(f"particles must be an integer, got {self.particles!r}")
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, got {self.particles}")
        given = self.conditions
        groups = given.values() if isinstance(given, Mapping) else [given]
        for condition in (one for group in groups for one in _as_tuple(group)):
            if not isinstance(condition, Condition):
                raise TypeError(
                    f"guidance is made of conditions, such as Observed or Bounds, got "
                    f"{type(condition).__name__}"
                )
        if isinstance(given, Mapping) and any(map(_weights_of, map(_as_tuple, given.values()))):
            raise ValueError("ClassifierFree holds for all series, and can't be given for some")
        if len(_weights_of(() if isinstance(given, Mapping) else _as_tuple(given))) > 1:
            raise ValueError("ClassifierFree is given more than once")

    @property
    def condition_weight(self) -> float:
        """That of classifier-free guidance."""
        if isinstance(self.conditions, Mapping):
            return 1.0
        return next(iter(_weights_of(_as_tuple(self.conditions))), 1.0)

    def of(self, item_id: Any) -> tuple[Condition, ...]:
        """Conditions of one series that steer its samples."""
        given = self.conditions
        if isinstance(given, Mapping):
            given = given.get(item_id, ())
        return tuple(c for c in _as_tuple(given) if not isinstance(c, ClassifierFree))

    def check_items(self, item_ids: Iterable[Any]) -> None:
        """Raise a ValueError if conditions are given for a series that isn't there."""
        if isinstance(self.conditions, Mapping):
            known = set(item_ids)
            if strangers := [item for item in self.conditions if item not in known]:
                raise ValueError(
                    f"guidance is given for {strangers[0]!r}, which is no series of the data: "
                    f"item_ids are {', '.join(sorted(map(repr, known))[:5])}"
                )


def as_guidance(given: Any) -> Guidance | None:
    """A :class:`Guidance` of a condition, several, or a mapping; None for None.

    Raises
    ------
    TypeError
        If there is anything but conditions.
    """
    return given if given is None or isinstance(given, Guidance) else Guidance(given)


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)


def _weights_of(conditions: tuple[Any, ...]) -> list[float]:
    return [float(one.weight) for one in conditions if isinstance(one, ClassifierFree)]


def _table(what: str, given: Any, outlook: Outlook) -> np.ndarray:
    """``[T, D]`` of an array, or of a DataFrame that names some dimensions."""
    names = outlook.names
    if isinstance(given, pd.DataFrame):
        if strangers := [str(c) for c in given.columns if str(c) not in names]:
            raise ValueError(
                f"{what} has a column {strangers[0]!r}, which is no dimension of the series: "
                f"expected some of {', '.join(names)}"
            )
        given = given.rename(columns=str).reindex(columns=list(names))
    table = _rows(what, given, outlook, f"T, {len(names)}", 2)
    if table.shape[1] != len(names):
        raise ValueError(
            f"{what} must be [T, {len(names)}], one column per dimension, got shape {table.shape}"
        )
    return table


def _rows(what: str, given: Any, outlook: Outlook, shape: str, rank: int) -> np.ndarray:
    """Numbers by step, matched by time where they have times; at most T rows."""
    index = getattr(given, "index", None)
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        given = _dated(what, given, outlook)
    try:
        rows = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers [{shape}], got {type(given).__name__}") from error
    if rows.ndim != rank:
        raise ValueError(f"{what} must be [{shape}], got shape {rows.shape}")
    if len(rows) > outlook.length:
        raise ValueError(f"{what} has {len(rows)} steps, and {outlook.length} are forecast")
    return rows


@business_day_periods()
def _dated(what: str, given: Any, outlook: Outlook) -> np.ndarray:
    """Rows of the forecast's own T steps, NaN where ``given`` has none."""
    start = outlook.start
    periods = to_regular_periods(given.index, start.freqstr, what, fill_gaps=True)
    steps = (periods.asi8 - start.ordinal) // start.freq.n
    inside = (steps >= 0) & (steps < outlook.length)
    if not inside.any():
        last = start + (outlook.length - 1)
        raise ValueError(
            f"{what} has rows from {periods[0]} to {periods[-1]}, and the forecast is from {start} "
            f"to {last}: none is about it"
        )
    values = np.asarray(given, dtype=float)
    rows = np.full((outlook.length, *values.shape[1:]), np.nan)
    rows[steps[inside]] = values[inside]
    return rows


def _weights(what: str, given: Any, names: Sequence[str]) -> np.ndarray:
    if given is None:
        return np.ones(len(names))
    if isinstance(given, str):
        given = {given: 1.0}
    if isinstance(given, (Mapping, pd.Series)):
        named = {str(name): float(weight) for name, weight in given.items()}
        if strangers := [name for name in named if name not in names]:
            raise ValueError(
                f"{what}: weights name {strangers[0]!r}, which is no dimension of the series: "
                f"expected some of {', '.join(names)}"
            )
        return np.array([named.get(name, 0.0) for name in names])
    weights = np.asarray(given, dtype=float)
    if weights.shape != (len(names),) or not np.isfinite(weights).all():
        raise ValueError(
            f"{what}: weights must be {len(names)} finite numbers, got shape {weights.shape}"
        )
    return weights


def _bound(what: str, given: Any, step: int, outlook: Outlook, none: float) -> np.ndarray:
    """One step's bounds ``[D]``, infinite where there are none."""
    names = outlook.names
    if given is None:
        return np.full(len(names), none)
    if isinstance(given, pd.DataFrame) or np.ndim(given) == 2:
        rows = _table(what, given, outlook)
        bounds = rows[step] if step < len(rows) else np.full(len(names), np.nan)
    elif isinstance(given, (Mapping, pd.Series)):
        named = pd.DataFrame([{str(name): value for name, value in given.items()}])
        bounds = _table(what, named, outlook)[0]
    else:
        bounds = np.asarray(given, dtype=float)
        if bounds.ndim and bounds.shape != (len(names),):
            raise ValueError(
                f"{what} must be one number, [{len(names)}] or [T, {len(names)}], got shape "
                f"{bounds.shape}"
            )
        bounds = np.broadcast_to(bounds, (len(names),))
    return np.where(np.isnan(bounds), none, bounds)


def _check_std(what: str, std: np.ndarray) -> None:
    if not np.isfinite(std).all() or (std < 0.0).any():
        raise ValueError(f"{what}: std must be finite and not negative")
