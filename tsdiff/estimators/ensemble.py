"""Several models that differ in their seeds, and forecast as one: the mixture of their laws.

Where a network has seen little, it follows its random start; models from several starts disagree
there, and their mixture is wider just there (Lakshminarayanan, Pritzel & Blundell 2017). CRPS,
energy score and negative log-likelihood are convex: a mixture's is never worse than its members'
mean, and it is better by how much they disagree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gluonts.model.estimator import Estimator
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import Predictor

from tsdiff.datasets import as_entries, to_frame
from tsdiff.datasets.frames import check_quantiles
from tsdiff.estimators import checks, layout, saving
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.estimators.layout import Layout
from tsdiff.estimators.predictor import GenerativePredictor
from tsdiff.solvers import Grid, Solver

_NESTED = "estimator__"


@dataclass(eq=False)
class EnsembleEstimator(Estimator):
    """An ensemble of one estimator's models, trained one after another.

    Parameters
    ----------
    estimator
        Any estimator of this package; it is copied, not changed. With its seed ``s`` and ``M``
        members, these have the seeds ``s M, s M + 1, ...``: ensembles of one size and different
        seeds have no member in common.
    num_members
        M. Training takes M times as long, drawing a number of samples about as long as by a single
        model.

    Examples
    --------
    >>> from tsdiff import EnsembleEstimator, FlowMatchingEstimator
    >>> estimator = EnsembleEstimator(FlowMatchingEstimator(prediction_length=24), num_members=3)
    >>> [member.seed for member in estimator.make_members()]
    [0, 1, 2]
    """

    lead_time = 0

    estimator: GenerativeEstimator
    num_members: int = 5

    @property
    def prediction_length(self) -> int:
        """Steps to forecast."""
        return self.estimator.prediction_length

    def title(self) -> str:
        """What tables call the model: ``"5 flow matching"``."""
        return f"{self.num_members} {self.estimator.title()}"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Both parameters by name (scikit-learn's convention)."""
        nested = {f"{_NESTED}{k}": v for k, v in self.estimator.get_params().items()}
        own = {"estimator": self.estimator, "num_members": self.num_members}
        return own | nested if deep else own

    def set_params(self, **params: Any) -> EnsembleEstimator:
        """Set parameters by name, the estimator's as ``estimator__name``.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        nested = {n.removeprefix(_NESTED): v for n, v in params.items() if n.startswith(_NESTED)}
        own = {name: value for name, value in params.items() if not name.startswith(_NESTED)}
        for name in own:
            if name not in ("estimator", "num_members"):
                raise ValueError(
                    f"EnsembleEstimator has no parameter {name!r}: expected estimator, "
                    f"num_members, or one of the estimator's as {_NESTED}name"
                )
        # As scikit-learn has it: first the estimator, then what is to be changed of it.
        self.estimator = own.get("estimator", self.estimator).set_params(**nested)
        self.num_members = own.get("num_members", self.num_members)
        return self

    def make_members(self) -> list[GenerativeEstimator]:
        """The estimators of the members.

        Raises
        ------
        TypeError
            If ``estimator`` is none of this package's.
        ValueError
            If ``num_members`` isn't a positive integer, or a parameter of ``estimator`` is out of
            range.
        """
        if not isinstance(self.estimator, GenerativeEstimator):
            raise TypeError(
                "estimator must be an estimator of this package, such as FlowMatchingEstimator("
                f"prediction_length=24), got {self.estimator!r}"
            )
        checks.positive_integer("num_members", self.num_members)
        checks.check_parameters(self.estimator)
        kind, first = type(self.estimator), self.estimator.seed * self.num_members
        return [
            kind(**self.estimator.get_params()).set_params(seed=first + member)
            for member in range(self.num_members)
        ]

    def fit(
        self,
        data: Any,
        validation_data: Any = None,
        *,
        known_columns: str | Sequence[str] | None = None,
        checkpoint_dir: str | Path | None = None,
        progress: bool = True,
    ) -> EnsemblePredictor:
        """Train all members and return their mixture.

        Parameters
        ----------
        data, validation_data, known_columns, progress
            As for :meth:`GenerativeEstimator.fit`.
        checkpoint_dir
            Folder for checkpoints, one folder in it for each member: an interrupted run is
            continued where it stopped.

        Raises
        ------
        DataError, ValueError, CheckpointError, TrainingDivergedError
            As :meth:`GenerativeEstimator.fit` does.
        """
        members = self.make_members()
        # Once for all members: what is handed over may be an iterator.
        freq = self.estimator.freq
        given = layout.without_unread(as_entries(data, freq, known_columns))
        found, unseen = Layout.of(given), None
        if validation_data is not None:
            unseen = layout.read(validation_data, found, freq)
        predictors = []
        for number, member in enumerate(members):
            folder = None if checkpoint_dir is None else _member(Path(checkpoint_dir), number)
            predictors.append(member.fit(given, unseen, checkpoint_dir=folder, progress=progress))
        return EnsemblePredictor(predictors)

    def train(
        self,
        training_data: Any,
        validation_data: Any = None,
        *,
        progress: bool = True,
        **kwargs: Any,
    ) -> EnsemblePredictor:
        """GluonTS' name for :meth:`fit`."""
        return self.fit(training_data, validation_data, progress=progress, **kwargs)


class EnsemblePredictor(Predictor):
    """The mixture of several trained models, each with the same weight.

    Parameters
    ----------
    members
        Predictors of this package for the same dimensions, frequency and horizon; they may be of
        different kinds.

    Raises
    ------
    ValueError
        If there are none, or they don't forecast the same.
    TypeError
        If one is no trained model of this package.

    Attributes
    ----------
    members
        The predictors.
    facts
        The first one's.
    """

    def __init__(self, members: Sequence[GenerativePredictor]):
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            if not isinstance(member, GenerativePredictor):
                raise TypeError(
                    "members must be trained models of this package, what fit() returns, got "
                    f"{type(member).__name__}"
                )
        self.members, self.facts = tuple(members), members[0].facts
        wanted = _forecast_of(members[0])
        for number, member in enumerate(self.members):
            if _forecast_of(member) != wanted:
                raise ValueError(
                    f"members must forecast the same: member {number} has (steps, frequency, "
                    f"dimensions) {_forecast_of(member)}, and member 0 {wanted}"
                )
        super().__init__(prediction_length=members[0].prediction_length)

    @property
    def name(self) -> str:
        """What tables call the model."""
        names = [member.name for member in self.members]
        return " + ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))

    @property
    def history(self) -> list[dict[str, float]]:
        """The first member's."""
        return self.members[0].history

    def __repr__(self) -> str:
        return f"<EnsemblePredictor: {self.name}, {self.members[0]!r}>"

    check_options = staticmethod(GenerativePredictor.check_options)

    def predict(  # type: ignore[override]
        self,
        dataset: Any,
        num_samples: int = 100,
        *,
        quantiles: Sequence[float] | None = None,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        guidance: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        precision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> Any:
        """Forecast by all members, an equal share of the samples each, member by member.

        Parameters
        ----------
        dataset, quantiles, solver, num_steps, grid, seed, batch_size, precision, device
            As for :meth:`GenerativePredictor.predict`.
        num_samples
            Samples per series, of all members together; where they can't be shared equally, the
            first members draw one more.
        guidance
            Must be None: members would have to be weighed by how likely each finds what is known.

        Returns
        -------
        Iterator of SampleForecast, or DataFrame
            As of :meth:`GenerativePredictor.predict`. Samples of a mixture in fixed shares aren't
            independent: with few for each member, scores that count on it (``crps_sum_fair``) are
            too low, by a share of the members' differences that falls as one over the samples.

        Raises
        ------
        ValueError
            If there are fewer samples than members, or ``guidance`` is given. And as a single
            model does.
        DataError, MissingFieldError, NonFiniteForecastError
            As a single model does.
        """
        if guidance is not None:
            raise ValueError(
                "an ensemble takes no guidance, since its members would have to be weighed by how "
                "likely each finds what is known: guide a single one, predictor.members[0]"
            )
        checks.positive_integer("num_samples", num_samples)
        count = len(self.members)
        if num_samples < count:
            raise ValueError(
                f"num_samples must be at least {count}, one for each member, got {num_samples}"
            )
        given = layout.read(dataset, self.facts, self.facts.freq)
        if quantiles is not None:
            check_quantiles(quantiles)
            given = layout.align_dimensions(given, self.facts.dimension_names)
        shares = [num_samples // count + (k < num_samples % count) for k in range(count)]
        options: dict[str, Any] = {"solver": solver, "num_steps": num_steps, "grid": grid}
        options |= {"batch_size": batch_size, "precision": precision, "device": device}
        drawn = [
            member.predict(given, share, seed=_seed_of(seed, number), **options)
            for number, (member, share) in enumerate(zip(self.members, shares, strict=True))
        ]
        forecasts = map(_pooled, zip(*drawn, strict=True))
        if quantiles is None:
            return forecasts
        return to_frame(forecasts, quantiles)

    def log_prob(self, dataset: Any, **options: Any) -> np.ndarray:
        r"""Log-density of each window's steps under the mixture, given what precedes.

        With a window's densities ``p_k`` under member ``k``, the step ``t`` has

        .. math:: \log p(y_t | y_{<t}) =
            \log \sum_k p_k(y_{\le t}) - \log \sum_k p_k(y_{<t}),

        so that members which foresaw the steps before have more of a say, and the sum over steps
        is the log-density of the mixture of paths.

        Parameters
        ----------
        dataset, **options
            As for :meth:`GenerativePredictor.log_prob`.

        Returns
        -------
        array
            Nats, ``[W, prediction_length]``, NaN where any member has none.

        Raises
        ------
        DataError, TypeError, ValueError
            As a single model does.
        """
        given = layout.read(dataset, self.facts, self.facts.freq)
        each = np.stack([member.log_prob(given, **options) for member in self.members])
        missing = np.isnan(each).any(axis=0)
        paths = np.where(missing, 0.0, each).cumsum(axis=2)
        so_far = np.logaddexp.reduce(paths, axis=0) - math.log(len(self.members))
        with np.errstate(invalid="ignore"):
            steps = np.diff(so_far, axis=1, prepend=0.0)
        # What follows the impossible is no likelier.
        steps = np.where(np.isneginf(so_far), -np.inf, steps)
        return np.where(missing, np.nan, steps)

    def save(self, path: str | Path) -> None:
        """Write the members to folders ``member-0``, ``member-1``, … in a folder.

        Raises
        ------
        SavedModelError
            If the folder holds something else under one of these names, or a single model, or a
            parameter can't be written: then what was there before is left.
        """
        folder = Path(path)
        saving.refuse_other_kind(folder, ensemble=True)
        for number, member in enumerate(self.members):
            saving.check_savable(member, _member(folder, number))
        folder.mkdir(parents=True, exist_ok=True)
        # The list comes last, so that it is there only if all is.
        (folder / saving.ENSEMBLE).unlink(missing_ok=True)
        for number, member in enumerate(self.members):
            member.save(_member(folder, number))
        content = {"format": saving.FORMAT, "num_members": len(self.members)}
        (folder / saving.ENSEMBLE).write_text(
            json.dumps(content, indent=2) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, path: str | Path) -> EnsemblePredictor:
        """Read an ensemble that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        SavedModelError
            If the list isn't ours, or a member can't be loaded.
        """
        folder = Path(path)
        if not (folder / saving.ENSEMBLE).is_file():
            raise FileNotFoundError(f"no saved ensemble in {folder}: {saving.ENSEMBLE} is missing")
        try:
            content = json.loads((folder / saving.ENSEMBLE).read_text(encoding="utf-8"))
            version, count = content["format"], int(content["num_members"])
        except (ValueError, KeyError, TypeError) as error:
            raise saving.SavedModelError(
                f"{folder / saving.ENSEMBLE} is no list of an ensemble"
            ) from error
        if version != saving.FORMAT:
            raise saving.SavedModelError(
                f"{folder} has format {version}, and this version of tsdiff reads {saving.FORMAT}"
            )
        return cls([saving.load(_member(folder, number)) for number in range(count)])

    def __eq__(self, other: object) -> bool:
        """Same members in the same order."""
        if not isinstance(other, EnsemblePredictor):
            return NotImplemented
        return self.members == other.members

    __hash__ = None  # type: ignore[assignment]

    def serialize(self, path: Path) -> None:
        """GluonTS' name for :meth:`save`."""
        super().serialize(path)
        self.save(path)

    @classmethod
    def deserialize(cls, path: Path, **kwargs: Any) -> EnsemblePredictor:
        """GluonTS' name for :meth:`load`."""
        return cls.load(path)


def load(path: str | Path) -> GenerativePredictor | EnsemblePredictor:
    """Read a trained model, or an ensemble of them, from the folder that it was saved in.

    Nothing in the folder is executed.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    SavedModelError
        If a configuration isn't ours, is newer than this version, or names an estimator that
        isn't known.
    """
    kind = EnsemblePredictor if (Path(path) / saving.ENSEMBLE).is_file() else GenerativePredictor
    return kind.load(path)


def _pooled(forecasts: tuple[SampleForecast, ...]) -> SampleForecast:
    first = forecasts[0]
    samples = np.concatenate([forecast.samples for forecast in forecasts])
    return SampleForecast(samples, first.start_date, item_id=first.item_id, info=first.info)


def _forecast_of(member: GenerativePredictor) -> tuple[int, str, tuple[str, ...]]:
    return member.prediction_length, member.facts.freq, member.facts.dimension_names


def _seed_of(seed: int, number: int) -> int:
    """The seed of a member's draws: with the same noise, members would draw alike."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed % 2**64, number]).generate_state(1)[0])


def _member(folder: Path, number: int) -> Path:
    return folder / f"member-{number}"


__all__ = ["EnsembleEstimator", "EnsemblePredictor", "load"]
