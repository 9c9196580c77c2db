"""What all estimators share: parameters, fitting, and the way from data to a predictor."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from gluonts.model.estimator import Estimator

from tsdiff.datasets import DataError, DataWarning, as_entries, cut_before
from tsdiff.datasets.faults import faults_of, magnitudes_of
from tsdiff.decoders import Decoder
from tsdiff.estimators import checks, layout, prepare
from tsdiff.estimators.calibration import calibrate
from tsdiff.estimators.horizon import HorizonModel
from tsdiff.estimators.horizon_events import HorizonEvents, LeadingModes, WhitenedSteps
from tsdiff.estimators.layout import Layout
from tsdiff.estimators.model import DataFacts, ForecastModel
from tsdiff.estimators.predictor import GenerativePredictor
from tsdiff.networks import NETWORKS, Network
from tsdiff.solvers import Grid, Solver
from tsdiff.transforms import WindowSampler, load_series, sizes_of
from tsdiff.transforms.coordinates import UNREFERRED

History = list[dict[str, float]]
"""Losses and scores, epoch by epoch."""
TrainingRun = Callable[[Path | None], History]
"""A run of training, whose checkpoints are kept in that folder."""

ESTIMATORS: dict[str, type[GenerativeEstimator]] = {}
"""Every estimator class by name; a saved model is rebuilt from here, and from nowhere else."""


def title_of(class_name: str) -> str:
    """``"FlowMatchingEstimator" -> "flow matching"``, ``"DDPMEstimator" -> "DDPM"``."""
    name = class_name.removesuffix("Estimator")
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z][a-z0-9]*", name)
    return " ".join(word if word.isupper() else word.lower() for word in words)


_NO_VALIDATION = (
    "the data are too short to hold out validation windows, without which training would only "
    "memorise them: {} is left untrained, which is the simple forecast in closed form. Give more "
    "data or a shorter horizon, or set num_validation_windows=0 to train all the same"
)
# Share of held-out steps from which they are too many to be lost on an untrained model.
_MUCH_HELD_OUT = 0.1
# Share of whole windows below which training on whole horizons is next to none.
_FEW_WHOLE = 0.1
_FEW_ARE_WHOLE = (
    "{:.1%} of the training windows have a future without a missing value, and decoding='horizon' "
    "learns from no others: {} stays close to the simple forecast in closed form, which is fitted "
    "to all values. Fill the gaps beforehand, or take decoding='autoregressive', which masks "
    "single values"
)

_BEGINS_LATE = (
    "hardly any value of {} comes before the windows that are held out to validate on: levels and "
    "spreads are taken from all data, these windows among them, and the network learns nothing of "
    "what begins so late. Set num_validation_windows lower to train on more, or drop it"
)


@dataclass(kw_only=True, eq=False)
class GenerativeEstimator(Estimator):
    """An LSTM that conditions a generative decoder, trained by :meth:`fit`.

    A subclass is a dataclass that adds its own parameters and names its decoder in
    :meth:`make_decoder`. Parameters are stored untouched, so a second ``fit`` repeats the
    first, and scikit-learn's ``clone`` and parameter searches work.

    Parameters
    ----------
    prediction_length
        Steps to forecast.
    freq
        pandas frequency; None takes the data's.
    context_length
        Steps that the LSTM reads and that scale and covariance are taken from; None chooses
        by frequency: two horizons, three seasons or 60 steps, whichever is more.
    lags
        Lags in steps; None chooses by frequency.
    scaling
        Coordinates in which the series are modelled: ``"auto"``, or one of
        :data:`tsdiff.transforms.SCALINGS`. ``"auto"`` finds out which of last value, seasonal
        value and level forecasts the training data best, and models what it gets wrong.
    linear
        Linear correction of that simple forecast, a ridge regression in closed form:
        ``"none"``, ``"own"`` (each dimension's own lags), ``"all"`` (every dimension's), or
        ``"auto"``: the best of the three on the last fifth of the training data.
    decoding
        ``"autoregressive"``: step by step, each step given those before; ``"horizon"``: the whole
        horizon at once, around a day-ahead regression of all its steps
        (:mod:`tsdiff.transforms.profile`), for series with a strong season. ``"auto"``: the one of
        the two whose simple forecast errs less on the last fifth of the training data, a whole
        horizon by a tenth at least; step by step where ``scaling``, ``linear`` or ``lags`` say
        how.
    num_modes
        Leading modes of the horizon's errors that the decoder models; the others stay Gaussian.
        Of ``decoding="horizon"`` alone, and not with ``network="unet"``, which models them all.
    hidden_size, num_layers, dropout
        The LSTM's.
    embedding_dim
        Width of the embedding per dimension.
    condition_dropout
        Share of training steps whose past is withheld from the decoder, so that forecasts can be
        guided by :class:`tsdiff.guidance.ClassifierFree`.
    network, network_kwargs
        ``"mlp"``; ``"dilated"``, as TimeGrad has it; or, with ``decoding="horizon"``, ``"unet"``,
        which convolves over the horizon's steps (:class:`tsdiff.networks.TemporalUNet`). And
        arguments for it.
    precision
        What the network's matrix products are computed in: ``"fp32"``, or ``"bf16"``, which is
        faster on wide data where the processor has instructions for it, and slower elsewhere.
        Also an argument of ``predict``.
    compile
        Whether samplers have PyTorch compile the network; where there is no compiler, a warning
        says so. On processors it rarely pays for the time that compilation takes.
    preconditioned
        Whether the network learns only what a Gaussian law leaves open (the default) or the
        whole prediction, as published.
    solver, num_steps, grid
        Default sampler; None is the decoder's own choice. Also arguments of ``predict``.
    batch_size, num_batches_per_epoch, max_epochs
        Windows per update, updates per epoch, and the most epochs.
    learning_rate, weight_decay, gradient_clip
        Of AdamW, with a short warm-up and a cosine decay; the clip is on the norm. Weights decay
        strongly, towards the simple forecast that zero stands for.
    ema_decay
        Decay of the averaged weights, which are the ones used.
    patience
        Epochs without a better validation score (the mean of loss and CRPS-sum on held-out
        windows, each relative to the untrained model) before training stops.
    num_validation_windows
        Rolling windows held out at the end of the training data when none are given; None
        holds out a tenth of the data, more if they are short (a simple forecast that no training
        was better than is then fitted to them, too), and leaves the model untrained, with a
        warning, if there is no room at all. 0 trains on everything for ``max_epochs``.
        Series that are too short, or end before those windows, have none and are trained on.
    num_validation_samples
        Samples per validation window.
    calibrate
        Whether forecasts are made wider or narrower after training, by one factor under which the
        held-out windows lie in them as they should, if their CRPS hardly rises for it
        (:mod:`tsdiff.estimators.calibration`). None does so step by step around the last value,
        where residuals are hardly more than their spread.
    seed
        Seed of weights, windows and noise; the same seed gives the same model.
    trainer_kwargs
        Passed on to :class:`pytorch_lightning.Trainer`; never changed.
    """

    lead_time: ClassVar[int] = 0

    prediction_length: int
    freq: str | None = None
    context_length: int | None = None
    lags: Sequence[int] | None = None
    scaling: str = "auto"
    linear: str = "auto"
    decoding: str = "auto"
    num_modes: int = 32
    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.0
    embedding_dim: int = 4
    condition_dropout: float = 0.0
    network: str = "mlp"
    network_kwargs: dict[str, Any] | None = None
    precision: str = "fp32"
    compile: bool = False
    preconditioned: bool = True
    solver: str | Solver | None = None
    num_steps: int | None = None
    grid: str | Grid | None = None
    batch_size: int = 32
    num_batches_per_epoch: int = 50
    max_epochs: int = 40
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    patience: int = 6
    num_validation_windows: int | None = None
    num_validation_samples: int = 50
    calibrate: bool | None = None
    seed: int = 0
    trainer_kwargs: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ESTIMATORS[cls.__name__] = cls

    @classmethod
    def title(cls) -> str:
        """What tables call the model: ``"flow matching"``, ``"DDPM"``."""
        return title_of(cls.__name__)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name (scikit-learn's convention)."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> GenerativeEstimator:
        """Set parameters by name and return the estimator (scikit-learn's convention).

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}: expected one of "
                    f"{', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def check(self) -> None:
        """Raise as :meth:`fit` would for parameters that make no sense, whatever the data.

        Raises
        ------
        ValueError, TypeError
            A parameter is out of range or of the wrong kind.
        """
        checks.check_parameters(self)
        with torch.random.fork_rng(devices=[]):
            self._decoder_around_network(2, self.hidden_size)

    def num_outputs(self, target_dim: int) -> int:
        """Width of the network around which the decoder of ``target_dim`` dimensions is made."""
        return target_dim

    def make_decoder(self, network: Network, target_dim: int) -> Decoder:
        """The decoder of events of ``target_dim`` dimensions around ``network``."""
        raise NotImplementedError(f"{type(self).__name__} defines no make_decoder")

    def fit(
        self,
        data: Any,
        validation_data: Any = None,
        *,
        known_columns: str | Sequence[str] | None = None,
        checkpoint_dir: str | Path | None = None,
        progress: bool = True,
    ) -> GenerativePredictor:
        """Train on ``data`` and return a predictor.

        Parameters
        ----------
        data
            A GluonTS data set (targets ``[D, time]``; NaN is missing), or a DataFrame with one
            column per dimension and a regular time index.
        validation_data
            Entries whose last ``prediction_length`` steps choose when to stop. Training data
            are cut before the first of these steps. None holds out windows by itself.
        known_columns
            Columns of a DataFrame that are known in advance and not forecast, as
            :func:`tsdiff.from_frame` has them. The predictor finds them by name in every DataFrame
            that it is given.
        checkpoint_dir
            Folder for checkpoints. If it holds the checkpoint of an interrupted run, that run
            is continued, and ends as if it had never been interrupted.
        progress
            Whether to show progress bars.

        Raises
        ------
        DataError
            If the data can't be used: the message says why and how to mend it.
        ValueError
            If a parameter is out of range.
        CheckpointError
            If ``checkpoint_dir`` holds a run with other settings or other data.
        TrainingDivergedError
            If the loss becomes NaN or infinite.

        Warns
        -----
        DataWarning
            If there is no room for validation windows, some series have nothing before them, gaps
            leave hardly a whole horizon, a value lies so far out that it can't be data, values are
            so small that rounding is all they are, a dimension begins too late to be learned, there
            are covariates that no model reads, or some columns look like covariates.
        """
        checks.check_parameters(self)
        entries = layout.without_unread(as_entries(data, self.freq, known_columns))
        found = Layout.of(entries)
        entries = layout.arranged(entries, found)
        layout.warn_of_plans(entries, self.prediction_length)
        for told in (magnitudes_of(entries), faults_of(entries)):
            if told:
                warnings.warn(told, DataWarning, stacklevel=2)
        held_out, kept = self._divided(entries, validation_data, found)
        # Of the mean, every window has a unit of its own, and "none" is none.
        measured = self.decoding == "horizon" or self.scaling not in UNREFERRED
        sizes = sizes_of(kept) if measured and len(kept) > 1 else None
        series = load_series(kept, entries[0]["start"].freqstr, 0, sizes=sizes)
        facts = prepare.gather_facts(
            entries,
            series,
            prediction_length=self.prediction_length,
            freq=self.freq,
            context_length=self.context_length,
            lags=self.lags,
            scaling=self.scaling,
            linear=self.linear,
            decoding=self._decoding,
            sizes=sizes,
            layout=found,
        )
        checks.check_compatible(held_out, facts, needed=self.prediction_length + 1)
        checks.check_lengths(self, kept, facts)
        model = self.build_model(facts)
        sampler = WindowSampler(series, model.past_length, self.prediction_length)
        if isinstance(model, HorizonModel) and (share := sampler.share_whole()) < _FEW_WHOLE:
            warnings.warn(_FEW_ARE_WHOLE.format(share, self.title()), DataWarning, stacklevel=2)
        if late := prepare.late_dimensions(series, entries):
            listed = ", ".join(repr(facts.dimension_names[d]) for d in late)
            warnings.warn(_BEGINS_LATE.format(listed), DataWarning, stacklevel=2)
            self._fit_statistics_to_all(model, entries)
        else:
            prepare.fit_statistics(model, series, sampler, self.seed)
        if not held_out and self.num_validation_windows is None:
            warnings.warn(_NO_VALIDATION.format(self.title()), DataWarning, stacklevel=2)
            return self._predictor(model, [])
        before = [weight.detach().clone() for weight in model.parameters()]
        predictor = self._session(model, sampler, held_out, checkpoint_dir, progress)
        # Validation windows have done their service: the latest data know the season best.
        if isinstance(model, HorizonModel) and held_out:
            model.fit(load_series(entries, facts.freq, 0, sizes=sizes), again=True)
        elif prepare.share_held_out(entries, kept) > _MUCH_HELD_OUT and all(
            map(torch.equal, before, model.parameters())
        ):
            # What is in closed form alone stands on no weights, and of short data much was kept
            # from it.
            self._fit_statistics_to_all(model, entries)
        return predictor

    def _fit_statistics_to_all(self, model: ForecastModel, entries: list[dict[str, Any]]) -> None:
        """Statistics in closed form of all data, the windows that are held out among them."""
        series = load_series(entries, model.facts.freq, 0, sizes=model.facts.sizes)
        sampler = WindowSampler(series, model.past_length, self.prediction_length)
        prepare.fit_statistics(model, series, sampler, self.seed)

    def resume(
        self,
        model: ForecastModel,
        data: Any,
        validation_data: Any = None,
        *,
        checkpoint_dir: str | Path | None = None,
        progress: bool = True,
    ) -> GenerativePredictor:
        """Train a model on, whose facts, coordinates and statistics are given, in place.

        For what is made of a trained predictor. ``model`` is what :meth:`_train` is handed; the
        estimator's parameters of training hold, and its parameters of the model must be those that
        ``model`` was built with.

        Parameters
        ----------
        data, validation_data, checkpoint_dir, progress
            As for :meth:`fit`.

        Raises
        ------
        DataError
            If the data don't fit the model, or are too short to hold out validation windows.
        """
        checks.check_parameters(self)
        facts = model.facts
        entries = layout.arranged(layout.read(data, facts, facts.freq), facts)
        held_out, kept = self._divided(entries, validation_data, facts)
        checks.check_compatible(entries, facts)
        checks.check_compatible(held_out, facts, needed=self.prediction_length + 1)
        if not held_out and self.num_validation_windows is None:
            raise DataError(
                "the data are too short to hold out validation windows: give more of them, or set "
                "num_validation_windows=0 to train all the same"
            )
        series = load_series(kept, facts.freq, 0, sizes=facts.sizes)
        sampler = WindowSampler(series, model.past_length, self.prediction_length)
        return self._session(model, sampler, held_out, checkpoint_dir, progress)

    def _divided(
        self, entries: list[dict[str, Any]], validation_data: Any, found: Layout | DataFacts
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Entries that end in a validation window, and those that are left to train on."""
        horizon = self.prediction_length
        if self.calibrate and validation_data is None and self.num_validation_windows == 0:
            raise ValueError(
                "calibrate=True compares forecasts with windows that were held out, and "
                "num_validation_windows=0 holds out none: give validation_data, or hold out some"
            )
        if validation_data is None:
            held_out = prepare.hold_out(entries, horizon, self.num_validation_windows)
        else:
            unseen = layout.read(validation_data, found, self.freq)
            held_out = layout.arranged(unseen, found)
        return held_out, cut_before(entries, held_out, horizon)

    def _session(
        self,
        model: ForecastModel,
        sampler: WindowSampler,
        held_out: list[dict[str, Any]],
        checkpoint_dir: str | Path | None,
        progress: bool,
    ) -> GenerativePredictor:
        """All runs of training that there are."""
        from tsdiff.estimators import training

        validation = prepare.validation_set(held_out, model) if held_out else None

        def run(folder: Path | None) -> History:
            return training.train(
                model,
                sampler,
                validation,
                training.TrainingOptions.of(self),
                trainer_kwargs=dict(self.trainer_kwargs or {}),
                checkpoint_dir=folder,
                progress=progress,
            )

        model.keep_residuals(sampler)
        folder = None if checkpoint_dir is None else Path(checkpoint_dir)
        history = self._train(model, run, folder)
        if validation is not None and self._calibrates(model):
            calibrate(model, validation, self.seed, self.sampler_defaults())
        return self._predictor(model, history)

    @property
    def _decoding(self) -> str:
        """What the parameters leave to the data, ``"auto"``, or don't."""
        if self.decoding != "auto":
            return self.decoding
        if NETWORKS[self.network].over_steps:
            return "horizon"
        told = (self.scaling, self.linear) != ("auto", "auto") or self.lags is not None
        return "autoregressive" if told else "auto"

    def _calibrates(self, model: ForecastModel) -> bool:
        if self.calibrate is not None:
            return self.calibrate
        return not isinstance(model, HorizonModel) and model.coordinates.reference == "last"

    def _train(self, model: ForecastModel, run: TrainingRun, folder: Path | None) -> History:
        """Train ``model`` by ``run(folder)``, once for most."""
        return run(folder)

    def _predictor(self, model: ForecastModel, history: History) -> GenerativePredictor:
        # A copy: what becomes of this estimator afterwards is no business of the predictor's.
        return GenerativePredictor(type(self)(**self.get_params()), model, history)

    def train(
        self,
        training_data: Any,
        validation_data: Any = None,
        *,
        progress: bool = True,
        **kwargs: Any,
    ) -> GenerativePredictor:
        """GluonTS' name for :meth:`fit`."""
        return self.fit(training_data, validation_data, progress=progress, **kwargs)

    def build_model(self, facts: DataFacts) -> ForecastModel:
        """An untrained model, its weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            settings = {} if facts.plan is None else {"events": self._horizon_events(facts)}
            kind = ForecastModel if facts.plan is None else HorizonModel
            return kind(
                facts,
                self._decoder_around_network,
                hidden_size=self.hidden_size,
                num_layers=self.num_layers,
                dropout=self.dropout,
                embedding_dim=self.embedding_dim,
                condition_dropout=self.condition_dropout,
                **settings,
            )

    def _horizon_events(self, facts: DataFacts) -> HorizonEvents:
        """What the decoder draws of a whole horizon, and the network is made for."""
        shape = facts.prediction_length, facts.target_dim
        if NETWORKS[self.network].over_steps:
            return WhitenedSteps(*shape)
        return LeadingModes(self.num_modes, *shape)

    def sampler_defaults(self) -> dict[str, Any]:
        """``solver``, ``num_steps`` and ``grid``, where the user has chosen them."""
        chosen = {"solver": self.solver, "num_steps": self.num_steps, "grid": self.grid}
        return {name: value for name, value in chosen.items() if value is not None}

    def _decoder_around_network(self, target_dim: int, context_dim: int) -> Decoder:
        outputs = self.num_outputs(target_dim)
        network = NETWORKS[self.network](outputs, context_dim, **(self.network_kwargs or {}))
        network.precision, network.compiled = self.precision, self.compile
        return self.make_decoder(network, target_dim)
