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

from tsdiff.guidance.errors import GuidanceError
from tsdiff.guidance.potentials import EnergyPotential, QuantilePotential
from tsdiff.guidance.reading import (
    Outlook,
    bounds_of_step,
    by_name,
    check_std,
    dimension_table,
    dimension_weights,
    labelled_alike,
    step_rows,
)


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
        ``[T, D]``, NaN where nothing is known: a DataFrame whose columns name some dimensions, a
        Series named like one, or an array, its columns in the order of the series' dimensions.
        There may be fewer rows than T.
    std
        Standard deviation of their errors: one number, ``[D]``, a mapping from names, or like
        ``values``; 0 for values that samples shall have exactly. With it another model's point
        forecast becomes a distribution.
    """

    values: Any
    std: Any = 0.0

    def check(self, outlook: Outlook) -> None:
        table = dimension_table("Observed: values", self.values, outlook)
        if np.isinf(table).any():
            raise ValueError("Observed: values must be finite, or NaN where nothing is known")
        if not np.isfinite(table).any():
            raise ValueError("Observed: nothing is known, all values are NaN")
        check_std("Observed", self._std(table, outlook)[np.isfinite(table)])

    def linear(self, step: int, outlook: Outlook) -> LinearPart | None:
        table = dimension_table("Observed: values", self.values, outlook)
        if step >= len(table):
            return None
        known = np.isfinite(table[step])
        noise = self._std(table, outlook)[step][known]
        return LinearPart(np.eye(len(outlook.names))[known], table[step][known], noise)

    def _std(self, table: np.ndarray, outlook: Outlook) -> np.ndarray:
        std = labelled_alike(self.std, self.values)
        if isinstance(std, (Mapping, pd.Series)) and not isinstance(std, pd.DataFrame):
            std = by_name("Observed: std", std, outlook.names, np.nan)
        elif isinstance(std, pd.DataFrame) or np.ndim(std) == 2:
            std = dimension_table("Observed: std", std, outlook)
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
        values = self._values(outlook)
        if np.isinf(values).any():
            raise ValueError("Total: values must be finite, or NaN where nothing is known")
        if not np.isfinite(values).any():
            raise ValueError("Total: nothing is known, all values are NaN")
        check_std("Total", self._std(values, outlook)[np.isfinite(values)])
        if not np.any(dimension_weights("Total", self.weights, outlook.names)):
            raise ValueError("Total: all weights are 0")

    def linear(self, step: int, outlook: Outlook) -> LinearPart | None:
        values = self._values(outlook)
        if step >= len(values) or np.isnan(values[step]):
            return None
        std = self._std(values, outlook)
        weights = dimension_weights("Total", self.weights, outlook.names)
        return LinearPart(weights[None], values[step : step + 1], std[step : step + 1])

    def _values(self, outlook: Outlook) -> np.ndarray:
        return step_rows("Total: values", self.values, outlook, "T", 1)

    def _std(self, values: np.ndarray, outlook: Outlook) -> np.ndarray:
        if not np.ndim(self.std):
            return np.full(values.shape, float(self.std))
        std = step_rows("Total: std", labelled_alike(self.std, self.values), outlook, "T", 1)
        if std.shape != values.shape:
            raise ValueError(
                f"Total: std has shape {std.shape}, and values have {values.shape}: give one "
                "number, or one for each value"
            )
        return std


@dataclass(frozen=True, eq=False)
class Bounds(Condition):
    """No value lies beyond: loads aren't negative, and a plant has a capacity.

    Samples are those of the forecast's law that keep the bounds, not ones that were moved there.

    Parameters
    ----------
    lower, upper
        One number, ``[D]``, ``[T, D]``, a mapping from names, a DataFrame whose columns name
        dimensions, or a Series over time; None or NaN is no bound.
    """

    lower: Any = None
    upper: Any = None

    def check(self, outlook: Outlook) -> None:
        bounds = [self.box(step, outlook) for step in range(outlook.length)]
        if not np.isfinite(bounds).any():
            raise ValueError("Bounds: give lower, upper, or both")
        for step, (lower, upper) in enumerate(bounds):
            if (lower >= upper).any():
                d = int(np.argmax(lower >= upper))
                raise ValueError(
                    f"Bounds: lower must lie below upper, got {lower[d]} and {upper[d]} for "
                    f"dimension {outlook.names[d]!r} at step {step}"
                )

    def box(self, step: int, outlook: Outlook) -> tuple[np.ndarray, np.ndarray]:
        return (
            bounds_of_step("Bounds: lower", self.lower, step, outlook, -np.inf),
            bounds_of_step("Bounds: upper", self.upper, step, outlook, np.inf),
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
        if not np.any(dimension_weights("QuantileTarget", self.weights, outlook.names)):
            raise ValueError("QuantileTarget: all weights are 0")

    def potential(self, step: int, outlook: Outlook) -> QuantilePotential | None:
        values = self._values(outlook)
        if step >= len(values) or not np.isfinite(values[step]).all():
            return None
        weights = dimension_weights("QuantileTarget", self.weights, outlook.names)
        return QuantilePotential(np.asarray(self.levels, dtype=float), values[step], weights)

    def _values(self, outlook: Outlook) -> np.ndarray:
        return step_rows("QuantileTarget: values", self.values, outlook, "T, K", 2)


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

    def check(self, outlook: Outlook) -> None:
        if not callable(self.function):
            raise TypeError(
                "Energy: give a function of (values [R, D], step), got "
                f"{type(self.function).__name__}"
            )

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
        number = isinstance(self.weight, (int, float, np.number))
        if not number or not np.isfinite(self.weight):
            raise ValueError(f"ClassifierFree: the weight must be finite, got {self.weight!r}")


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
        whole = isinstance(self.particles, (int, np.integer))
        if not whole or isinstance(self.particles, bool) or self.particles < 1:
            raise ValueError(f"particles must be an integer of at least 1, got {self.particles!r}")
        given = self.conditions
        groups = given.values() if isinstance(given, Mapping) else [given]
        for condition in (one for group in groups for one in _as_tuple(group)):
            if not isinstance(condition, Condition):
                table = isinstance(condition, (pd.DataFrame, pd.Series, np.ndarray))
                raise TypeError(
                    f"guidance is made of conditions, such as Observed or Bounds, got "
                    f"{type(condition).__name__}"
                    + (": known values are Observed(values)" if table else "")
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
            given = given.get(item_id, given.get(str(item_id), ()))
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


def check_together(conditions: Sequence[Condition], outlook: Outlook) -> None:
    """Raise a GuidanceError if what is known exactly contradicts itself, or a bound."""
    for step in range(outlook.length):
        parts = [c.linear(step, outlook) for c in conditions]
        some = [part for part in parts if part is not None]
        if not some:
            continue
        matrix, values, noise = (np.concatenate(side) for side in zip(*some, strict=True))
        matrix, values = matrix[noise == 0.0], values[noise == 0.0]
        solved = np.linalg.lstsq(matrix, values, rcond=None)[0]
        missed = np.abs(matrix @ solved - values).max(initial=0.0)
        if missed > 1e-6 * (1.0 + np.abs(values).max(initial=0.0)):
            raise GuidanceError(
                f"what is known of step {step} contradicts itself, by {missed:.6g}: values that "
                "are observed twice, or don't add up to a total. Correct them, or give errors (std)"
            )
        _check_known_in_bounds(conditions, outlook, step, matrix, values)


def _check_known_in_bounds(
    conditions: Sequence[Condition],
    outlook: Outlook,
    step: int,
    matrix: np.ndarray,
    values: np.ndarray,
) -> None:
    boxes = [box for c in conditions if (box := c.box(step, outlook)) is not None]
    alone = (matrix != 0.0).sum(1) == 1
    for row, value in zip(matrix[alone], values[alone], strict=True):
        d = int(np.argmax(row != 0.0))
        for lower, upper in boxes:
            if not lower[d] <= value / row[d] <= upper[d]:
                raise GuidanceError(
                    f"{outlook.names[d]!r} is known to be {value / row[d]:.6g} at step {step}, and "
                    f"its bounds are {lower[d]:.6g} and {upper[d]:.6g}: correct one of them, or "
                    "give the value an error (std)"
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
