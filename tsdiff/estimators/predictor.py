"""What a fitted estimator becomes: forecasts, and a model that can be saved and loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import Predictor, RepresentablePredictor

from tsdiff.datasets import DataError, to_frame, truncate
from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.frames import check_quantiles, forecast_info
from tsdiff.estimators import checks, layout, saving
from tsdiff.estimators.model import ForecastModel
from tsdiff.estimators.preferring import Cost, PreferenceOptions, prefer
from tsdiff.guidance import Guidance, as_guidance
from tsdiff.guidance.sampler import check_steerable
from tsdiff.guidance.steering import Steering
from tsdiff.networks import PRECISIONS
from tsdiff.networks.base import computing_in
from tsdiff.random import seeded
from tsdiff.solvers import Grid, Solver
from tsdiff.transforms import Measure, forecast_windows, load_series, measures_of

if TYPE_CHECKING:
    from tsdiff.estimators.base import GenerativeEstimator

SteeringMaker = Callable[..., Steering]
_FORECAST, _LIKELIHOOD = 101, 102
_CHUNK = 1000
# Values of a step, all samples and dimensions of all series, that are drawn at once: a network
# needs many times their memory.
_MOST_VALUES = 2**22


class NonFiniteForecastError(RuntimeError):
    """Samples were NaN or infinite."""


class GenerativePredictor(RepresentablePredictor):
    """A trained model.

    Attributes
    ----------
    estimator
        The estimator that made it.
    model
        Encoder and decoder.
    facts
        What was learned of the data before training.
    history
        Losses and validation scores per epoch; epoch 0 is the untrained model.
    """

    def __init__(
        self,
        estimator: GenerativeEstimator,
        model: ForecastModel,
        history: list[dict[str, float]] | None = None,
    ):
        super().__init__(prediction_length=model.facts.prediction_length)
        self.estimator, self.model, self.facts = estimator, model.eval(), model.facts
        self.history = history or []

    @property
    def name(self) -> str:
        """What tables call the model."""
        return self.estimator.title()

    @property
    def members(self) -> tuple[GenerativePredictor, ...]:
        """Itself: the only member of an ensemble of one."""
        return (self,)

    def __repr__(self) -> str:
        facts = self.facts
        return (
            f"<{type(self).__name__}: {self.name}, {facts.target_dim} dimensions, "
            f"freq {facts.freq!r}, {facts.prediction_length} steps ahead, "
            f"decoding {facts.decoding!r}>"
        )

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
        """Forecast the ``prediction_length`` steps after each series.

        Parameters
        ----------
        dataset
            A GluonTS data set, or a DataFrame as for ``fit``; columns are matched by name, those
            that are known in advance included, whose future stands in rows after the last values.
            NaN is missing; a series shorter than the context is taken as unobserved before its
            start (of whole horizons, the closed form takes its seasons as repeated there), and one
            that ends in steps without any observation is forecast from the last one on. Give all
            the history there is: more than the context tells how large errors have been of late
            (``model.history_length`` steps at most).
        num_samples
            Samples per series.
        quantiles
            Levels in (0, 1). If given, the result is a DataFrame with one row per series, time
            and dimension, and columns for the mean and each quantile; times continue those of
            a DataFrame, also where entries were made of it.
        solver, num_steps, grid
            How samples are drawn; any solver that the decoder's process allows, whatever it
            was trained with. None takes the estimator's.
        guidance
            What is known of the future or wanted of it: a condition of :mod:`tsdiff.guidance`
            (``Observed``, ``Total``, ``Bounds``, ``QuantileTarget``, ``Energy``,
            ``ClassifierFree``), a list of them, a mapping from ``item_id`` to those of one series,
            or a ``Guidance``, which also says how many candidates are tried for each sample. All
            but ``ClassifierFree`` have a sampler of their own, ``num_steps`` transitions of the
            reverse process, and take no ``solver``.
        seed
            The same seed gives the same forecast, whatever the batch size. A series' noise
            depends on its position in the data set and on nothing else.
        batch_size
            Series per batch, at most: memory, not results, depends on it. Of wide data fewer
            are taken at once.
        precision
            ``"fp32"`` or ``"bf16"``, of the network's matrix products; None is the estimator's.
        device
            Where to compute; the model stays there.

        Returns
        -------
        Iterator of SampleForecast, or DataFrame
            Samples are ``[num_samples, prediction_length, D]``, their dimensions in the order
            of the series they continue; a DataFrame's in the order that was trained on. ``info``
            has their names as ``dimension_names``.

        Raises
        ------
        DataError
            If the data don't fit the model.
        ValueError
            If a solver, grid, number, quantile or condition makes no sense, or there is no such
            device.
        MissingFieldError
            If the solver can't sample the decoder's process.
        GuidanceError
            If no sample can have what the conditions ask for.
        NonFiniteForecastError
            If samples are NaN or infinite.

        Warns
        -----
        DataWarning
            If the last ``prediction_length`` steps look like a plan of the future in columns that
            the model takes as history.
        """
        self.check_options(num_samples, solver, num_steps, grid, batch_size, precision)
        if solver is not None:
            self.model.check_solver(solver)
        checks.check_seed(seed)
        checks.check_device(device)
        if quantiles is not None:
            check_quantiles(quantiles)
        given = layout.read(dataset, self.facts, self.facts.freq)
        entries = layout.arranged(given, self.facts)
        checks.check_compatible(entries, self.facts, future=self.prediction_length)
        layout.warn_of_plans(entries, self.prediction_length)
        sampler = {"solver": solver, "num_steps": num_steps, "grid": grid, "precision": precision}
        guidance = as_guidance(guidance)
        checks.check_guidance(guidance, given, self.facts, self.estimator, solver)
        plan = [self._conditions(guidance, entry) for entry in given]
        if any(plan):
            check_steerable(self.model.decoder, torch.zeros(1, 1, self.model.encoder.context_dim))
        if guidance is not None and guidance.condition_weight != 1.0:
            sampler["condition_weight"] = guidance.condition_weight
        forecasts = self._forecasts(entries, plan, num_samples, sampler, seed, batch_size, device)
        if quantiles is None:
            return map(self._in_order_of, given, forecasts)
        return to_frame(forecasts, quantiles)

    @staticmethod
    def check_options(
        num_samples: int = 100,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        batch_size: int = 32,
        precision: str | None = None,
        **_: Any,
    ) -> None:
        """Raise as :meth:`predict` would for options that make no sense, whatever the model.

        Raises
        ------
        ValueError
            An unknown solver, grid or precision, or a number out of range.
        """
        checks.check_sampler(solver, num_steps, grid)
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
            checks.positive_integer(name, value)
        if precision is not None and precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise ValueError(f"unknown precision {precision!r}: expected one of {known}")

    def _forecasts(
        self,
        entries: list[dict[str, Any]],
        plan: list[SteeringMaker | None],
        num_samples: int,
        sampler: dict[str, Any],
        seed: int,
        batch_size: int,
        device: str | torch.device,
    ) -> Iterator[SampleForecast]:
        self.model.to(device)
        values = min(num_samples, _CHUNK) * self.facts.target_dim
        batch_size = max(1, min(batch_size, _MOST_VALUES // values))
        # Where nothing at all was observed at the end, the forecast starts where observation
        # ended, and its first steps are dropped: the longer the silence, the wider the forecast.
        numbered = [(i, *_split_silence(entry)) for i, entry in enumerate(entries)]
        for (silence, guided), group in groupby(
            numbered, key=lambda item: (item[2], plan[item[0]] is not None)
        ):
            remaining = iter(group)
            # Every guided series is a population of its own.
            while batch := list(islice(remaining, 1 if guided else batch_size)):
                steering = plan[batch[0][0]]
                yield from self._batch(batch, silence, num_samples, steering, sampler, seed, device)

    def _batch(
        self,
        batch: list[tuple[int, dict[str, Any], int]],
        silence: int,
        num_samples: int,
        steer: SteeringMaker | None,
        sampler: dict[str, Any],
        seed: int,
        device: str | torch.device,
    ) -> Iterator[SampleForecast]:
        sampler = dict(sampler)
        precision = sampler.pop("precision")
        steps = silence + self.prediction_length
        past = self.model.history_length
        series = load_series(
            [entry for _, entry, _ in batch],
            self.facts.freq,
            steps,
            last=past,
            sizes=self.facts.sizes,
        )
        window = forecast_windows(series, past, steps).to(device)
        measure = Measure(*(part.to(device) for part in measures_of(series)))
        of_samples = Measure(*(part.unsqueeze(1) for part in measure))
        chunks = []
        # Generators belong to a series and a chunk of samples, so that neither batches nor memory
        # have a say in what is drawn.
        # Populations of particles shall be of one size; others are as they always were.
        rounds = -(-num_samples // _CHUNK)
        most = _CHUNK if steer is None else -(-num_samples // rounds)
        for chunk, first in enumerate(range(0, num_samples, most)):
            count = min(most, num_samples - first)
            generators = [
                seeded(seed, _FORECAST, number, chunk, device=device) for number, _, _ in batch
            ]
            steering = steer and steer(
                num_samples=count,
                generator=generators[0],
                ahead=silence,
                measure=Measure(*(part[0, 0] for part in measure)),
            )
            with computing_in(self.model, precision), self.model.decoder.drawing():
                drawn = self.model.sample(
                    window, count, generators, steps=steps, steering=steering, **sampler
                )
            drawn = of_samples.leave(drawn[:, :, silence:])
            if steering is not None and self.facts.sizes is not None:
                drawn = steering.pinned(drawn[0]).unsqueeze(0)
            chunks.append(drawn.cpu().numpy())
        samples = np.concatenate(chunks, axis=1)
        if not np.isfinite(samples).all():
            raise NonFiniteForecastError(
                "samples are NaN or infinite: the model diverged in training, or the solver took "
                "too few steps. Try more steps, another solver, or train again with a lower "
                "learning_rate"
            )
        for (_, entry, _), one, mine in zip(batch, series, samples, strict=True):
            with business_day_periods():
                start = one.start + len(one) + silence
            info = {"dimension_names": list(self.facts.dimension_names)} | forecast_info(entry)
            yield SampleForecast(mine, start, item_id=one.item_id, info=info)

    def _conditions(self, guidance: Guidance | None, entry: dict[str, Any]) -> SteeringMaker | None:
        """What makes the steering of one series' samples; None if nothing is known of it."""
        item_id = entry.get("item_id")
        if guidance is None or not (conditions := guidance.of(item_id)):
            return None
        return partial(
            Steering,
            conditions,
            checks.outlook_of(entry, self.facts),
            self.facts.dimension_names,
            particles=guidance.particles,
            item_id=item_id,
        )

    def log_prob(
        self,
        dataset: Any,
        *,
        method: str = "ode",
        seed: int = 0,
        batch_size: int = 32,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> np.ndarray:
        """Log-density of the last ``prediction_length`` steps of each series, given what precedes.

        Every step is given the *observed* steps before it (teacher forcing); the coordinates are
        those that the history fixes, as in :meth:`predict`. The sum over steps is thus the
        log-density of the whole future as a path.

        Parameters
        ----------
        dataset
            Windows as :func:`tsdiff.evaluate` takes them, truth included; otherwise as for
            :meth:`predict`.
        method
            ``"ode"``: the density of what an ODE solver of many steps samples; ``"elbo"``: a lower
            bound of that of the reverse-time SDE, for processes that have a score.
        seed
            Of what is estimated: Hutchinson's probes, draws of a source, times of the bound.
        batch_size
            Series per batch: memory, not results, depends on it.
        device
            Where to compute; the model stays there.
        **options
            ``num_steps``, ``trace``, ``num_probes`` and ``source_draws`` of
            :meth:`tsdiff.decoders.AffineDecoder.log_prob`, or ``num_draws`` and ``source_draws`` of
            :meth:`~tsdiff.decoders.AffineDecoder.elbo`.

        Returns
        -------
        array
            Nats in the data's units, joint over dimensions, ``[W, prediction_length]``; NaN for
            steps where a value is missing, or the one that it is measured from.

        Raises
        ------
        DataError
            If the data don't fit the model, an entry has no history, or no step has a density.
        TypeError
            If the method has no option of a name given.
        ValueError
            If the method is unknown or not to be had of the model, a number makes no sense, or
            there is no such device.
        """
        checks.check_likelihood(method, options)
        checks.check_seed(seed)
        checks.check_device(device)
        checks.positive_integer("batch_size", batch_size)
        given = layout.read(dataset, self.facts, self.facts.freq)
        entries = layout.arranged(given, self.facts)
        checks.check_compatible(entries, self.facts, needed=self.prediction_length + 1)
        self.model.to(device)
        length = self.model.history_length + self.prediction_length
        found = np.empty((len(entries), self.prediction_length))
        for first in range(0, len(entries), batch_size):
            numbers = range(first, min(first + batch_size, len(entries)))
            some = [entries[number] for number in numbers]
            series = load_series(
                some,
                self.facts.freq,
                0,
                last=length,
                sizes=self.facts.sizes,
                future=self.prediction_length,
            )
            window = forecast_windows(series, length, 0).to(device)
            generators = [seeded(seed, _LIKELIHOOD, number, device=device) for number in numbers]
            nats = self.model.log_prob(window, generators, method=method, **options)
            volume = np.log([one.measure.unit for one in series]).sum(1, keepdims=True)
            found[numbers.start : numbers.stop] = nats.cpu().numpy() - volume
        if len(found) and np.isnan(found).all():
            raise DataError(
                "no step has a density: each lacks a value, or the one that it is measured from, "
                f"which lies up to {self.model.coordinates.reach} steps before it. Give more "
                "history"
            )
        return found

    def _in_order_of(self, entry: dict[str, Any], forecast: SampleForecast) -> SampleForecast:
        """A forecast whose dimensions stand as the entry's do, to be compared with it."""
        mine, theirs = self.facts.dimension_names, layout.names_of(entry)
        if theirs != mine and set(theirs) == set(mine):
            forecast.samples = forecast.samples[..., [mine.index(name) for name in theirs]]
            forecast.info = (forecast.info or {}) | {"dimension_names": list(theirs)}
        return forecast

    def distill(
        self,
        data: Any,
        validation_data: Any = None,
        *,
        num_steps: int = 2,
        checkpoint_dir: str | Path | None = None,
        progress: bool = True,
        **parameters: Any,
    ) -> GenerativePredictor:
        """A consistency model of this one: the same law by one to four evaluations.

        The decoder's flow is distilled along contexts of ``data``, under the encoder and in the
        coordinates that there are. This predictor isn't changed.

        Parameters
        ----------
        data, validation_data, checkpoint_dir, progress
            As for :meth:`GenerativeEstimator.fit`; the dimensions, frequency and covariates must be
            those that were trained on.
        num_steps
            Evaluations per step that samples take by default.
        **parameters
            Of training, such as ``max_epochs`` or ``learning_rate``; otherwise those that this
            model was trained with.

        Returns
        -------
        GenerativePredictor
            Of a :class:`~tsdiff.estimators.ConsistencyEstimator`, which can be saved and loaded.

        Raises
        ------
        ValueError
            If the decoder's noise isn't Gaussian and independent of the data, or a parameter can't
            be changed any more.
        DataError
            If the data don't fit the model, or are too short to hold out validation windows.
        """
        from tsdiff.estimators.consistency import ConsistencyEstimator

        student = ConsistencyEstimator.of(self.estimator, num_steps=num_steps, **parameters)
        return student.resume(
            deepcopy(self.model),
            data,
            validation_data,
            checkpoint_dir=checkpoint_dir,
            progress=progress,
        )

    def prefer(
        self, data: Any, cost: Cost, *, progress: bool = True, **options: Any
    ) -> GenerativePredictor:
        """A model like this one that makes futures likelier the less they would have cost.

        Of futures that the model draws for windows of ``data``, the cheapest and the dearest are
        pairs that the decoder learns to tell apart (direct preference optimisation; see
        :mod:`tsdiff.guidance.preferences`). Forecasts become better plans, and are no longer
        calibrated: look at CRPS-sum as well. This predictor isn't changed.

        Parameters
        ----------
        data
            As for ``fit``: windows that end in known futures.
        cost
            ``(futures [R, T, D], truths [R, T, D]) -> [R]``, float64 tensors in the data's units
            with dimensions in the order that was trained on: what each future would have cost as
            a plan.
        **options
            Of :class:`tsdiff.estimators.preferring.PreferenceOptions`: ``beta``, ``num_windows``,
            ``num_candidates``, ``num_updates``, ``batch_size``, ``learning_rate``, ``seed``.

        Raises
        ------
        DataError
            If the data don't fit the model, or no window has a complete future.
        TypeError
            If there is no option of that name.
        ValueError
            If an option is out of range, or the cost isn't one finite number per future, or is
            the same for all.
        """
        known = [field.name for field in dataclasses.fields(PreferenceOptions)]
        if strangers := sorted(options.keys() - set(known)):
            raise TypeError(f"prefer has no option {strangers[0]!r}; it has: {', '.join(known)}")
        chosen = PreferenceOptions(**options)
        tuned = prefer(self.model, data, cost, chosen, progress=progress)
        return GenerativePredictor(self.estimator, tuned, self.history)

    def save(self, path: str | Path) -> None:
        """Write the model to a folder: ``config.json`` and ``model.safetensors``, no pickle."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        saving.save(self, folder)

    @classmethod
    def load(cls, path: str | Path) -> GenerativePredictor:
        """Read a model that :meth:`save` wrote. Nothing in the folder is executed."""
        return saving.load(Path(path))

    def serialize(self, path: Path) -> None:
        """GluonTS' name for :meth:`save`."""
        Predictor.serialize(self, path)
        self.save(path)

    @classmethod
    def deserialize(cls, path: Path, **kwargs: Any) -> GenerativePredictor:
        """GluonTS' name for :meth:`load`."""
        return cls.load(path)

    def __eq__(self, other: object) -> bool:
        """Same configuration and same weights."""
        if not isinstance(other, GenerativePredictor):
            return NotImplemented
        mine, theirs = self.model.state_dict(), other.model.state_dict()
        return (
            saving.configuration(self) == saving.configuration(other)
            and mine.keys() == theirs.keys()
            and all(torch.equal(tensor.cpu(), theirs[name].cpu()) for name, tensor in mine.items())
        )

    __hash__ = None  # type: ignore[assignment]


def _split_silence(entry: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The entry up to its last observed step, and how many steps follow that one."""
    observed = np.flatnonzero(np.isfinite(entry["target"]).any(axis=0))
    length = entry["target"].shape[1]
    silence = length - 1 - int(observed[-1])
    return (
        (truncate(entry, length - silence, keep_future=10**9), silence) if silence else (entry, 0)
    )


__all__ = ["GenerativePredictor", "NonFiniteForecastError"]
