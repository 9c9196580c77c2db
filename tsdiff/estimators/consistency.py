"""Few-step models conditioned by an LSTM: consistency models and inductive moment matching."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tsdiff.decoders import AffineDecoder, Consistency, Decoder, MomentMatching
from tsdiff.decoders.consistency import check_teacher
from tsdiff.decoders.few_step import FewStepDecoder
from tsdiff.estimators.base import ESTIMATORS, GenerativeEstimator, History, TrainingRun
from tsdiff.estimators.model import ForecastModel
from tsdiff.networks import Network

OBJECTIVES = ("training", "distillation", "moments")
"""What the map to the data is learned from."""

# Of a model that is distilled, what fixes its weights' shapes and its coordinates.
_FIXED = (
    "prediction_length",
    "freq",
    "context_length",
    "lags",
    "scaling",
    "linear",
    "decoding",
    "num_modes",
    "hidden_size",
    "num_layers",
    "embedding_dim",
    "network",
    "network_kwargs",
    "preconditioned",
)
_SAMPLER = ("solver", "num_steps", "grid")


@dataclass(kw_only=True, eq=False)
class ConsistencyEstimator(GenerativeEstimator):
    """Autoregressive consistency model (Song et al. 2023; Lu & Song 2025; Zhou et al. 2025).

    Two network evaluations per step by default, one to four by ``num_steps``.

    Parameters
    ----------
    objective
        ``"training"``, from data alone; ``"distillation"``, of a teacher that is trained first,
        under its encoder, for as many epochs again; or ``"moments"``, inductive moment matching.
    teacher
        Name of an estimator, for distillation.
    teacher_kwargs
        Parameters of its process, such as ``{"path": "cosine"}``. Encoder, network and training are
        this estimator's own.
    latent
        Noise for ``"moments"``: ``"gaussian"``, or ``"learned"``, one quantile function per
        dimension.
    particles, context_bandwidth
        For ``"moments"``: see :class:`tsdiff.decoders.MomentMatching`.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    objective: str = "training"
    teacher: str = "FlowMatchingEstimator"
    teacher_kwargs: dict[str, Any] | None = None
    latent: str = "gaussian"
    particles: int = 64
    context_bandwidth: float = 0.5

    @classmethod
    def of(cls, estimator: GenerativeEstimator, **parameters: Any) -> ConsistencyEstimator:
        """The estimator of a student of what ``estimator`` has made.

        Raises
        ------
        ValueError
            If ``estimator`` makes few-step models itself, or a parameter is fixed by its model.
        """
        name = type(estimator).__name__
        if isinstance(estimator, ConsistencyEstimator):
            raise ValueError("a few-step model can't be distilled once more: distil its teacher")
        if parameters.get("objective", "distillation") != "distillation":
            raise ValueError(
                "a trained model is distilled; for another objective fit a ConsistencyEstimator"
            )
        for parameter in (*_FIXED, "objective", "teacher", "teacher_kwargs"):
            if parameter in parameters:
                raise ValueError(f"{parameter} is that of the trained model: leave it out")
        shared = {field.name for field in fields(GenerativeEstimator)}
        theirs = estimator.get_params()
        own = {key: value for key, value in theirs.items() if key not in shared}
        kept = {k: v for k, v in theirs.items() if k in shared and k not in _SAMPLER}
        settings = {"objective": "distillation", "teacher": name, "teacher_kwargs": own or None}
        return cls(**{**kept, **settings, **parameters})

    def make_decoder(self, network: Network, target_dim: int) -> FewStepDecoder:
        sampler = self.sampler_defaults()
        if self.objective == "moments":
            return MomentMatching(
                network,
                target_dim,
                latent=self.latent,
                particles=self.particles,
                context_bandwidth=self.context_bandwidth,
                preconditioned=self.preconditioned,
                **sampler,
            )
        if self.latent != "gaussian":
            raise ValueError(
                f"latent={self.latent!r} is for objective='moments': the others need Gaussian noise"
            )
        if self.objective == "training":
            options = {"preconditioned": self.preconditioned, **sampler}
            return Consistency(network, target_dim, **options)
        if self.objective == "distillation":
            teacher = self._teacher(network, target_dim)
            return Consistency.like(teacher, network, **sampler)
        raise ValueError(
            f"unknown objective {self.objective!r}: expected one of {', '.join(OBJECTIVES)}"
        )

    def _teacher(self, network: Network, target_dim: int) -> AffineDecoder:
        """The decoder that is distilled, around ``network``."""
        kind = ESTIMATORS.get(self.teacher)
        if kind is None or issubclass(kind, ConsistencyEstimator):
            known = sorted(n for n, k in ESTIMATORS.items() if not issubclass(k, type(self)))
            raise ValueError(
                f"unknown teacher {self.teacher!r}: expected one of {', '.join(known)}"
            )
        own = dict(self.teacher_kwargs or {})
        shared = {field.name for field in fields(GenerativeEstimator)}
        for name in own:
            if name in shared:
                raise ValueError(
                    f"teacher_kwargs are of the teacher's process alone: give {name} to the "
                    f"{type(self).__name__} itself"
                )
        estimator = kind(
            prediction_length=self.prediction_length, preconditioned=self.preconditioned, **own
        )
        decoder: Decoder = estimator.make_decoder(network, target_dim)
        check_teacher(decoder)
        assert isinstance(decoder, AffineDecoder)
        return decoder

    def _train(self, model: ForecastModel, run: TrainingRun, folder: Path | None) -> History:
        if self.objective != "distillation":
            return run(folder)
        history: History = []
        teacher = model.decoder
        if isinstance(teacher, FewStepDecoder):
            mean, covariance = teacher.axes.data_moments()
            teacher = self._teacher(teacher.network, model.facts.target_dim)
            teacher.set_data_moments(mean, covariance)
            model.decoder = teacher
            history = [{**row, "teacher": 1.0} for row in run(folder and folder / "teacher")]
        check_teacher(teacher)
        assert isinstance(teacher, AffineDecoder)
        # The law that is distilled is conditioned by what this encoder says.
        model.requires_grad_(False)
        student = Consistency.student(teacher, **self.sampler_defaults())
        model.decoder = student
        history += run(folder and folder / "student")
        model.decoder = student.released()
        model.requires_grad_(True)
        return history
