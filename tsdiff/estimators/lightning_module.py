"""One forecast model under Lightning: updates, validation by samples, and what is logged.

All randomness of a training step is a function of (seed, step): windows, noise and dropout are
drawn from generators that are made anew at every step. A run that is killed and resumed from
its last checkpoint therefore ends with the same weights, bit for bit.

Models are chosen by the mean of two ratios to the untrained model, of the loss and of the
CRPS-sum of samples on held-out windows. CRPS-sum is what counts in the end, but of a few
windows' sums it is a noisy judge, and the loss, which sees every dimension, notices
overfitting long before. The loss is compared with what it would be untrained in the decoder's
present state, since a process that adapts changes what there is to be learned. A loss in nats
may be negative, and its zero means nothing: in place of its ratio stands that of the densities of
a value, ``exp(loss - untrained)``.

Between updates a decoder may have phases of its own (:class:`tsdiff.decoders.Phase`). They are
functions of weights, buffers and (seed, step) as well, so that a run stopped between two of them
resumes exactly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from tsdiff.estimators.calibration import ensemble_crps
from tsdiff.estimators.model import ForecastModel
from tsdiff.estimators.prepare import ValidationSet
from tsdiff.random import seeded
from tsdiff.transforms import Window, WindowSampler

MONITOR = "validation_score"
# Worse by so much is as bad as can be; exp of it is still a number.
_MOST_NATS = 700.0
_WINDOWS, _NOISE, _DROPOUT, _VALIDATION, _PHASE = range(5)


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class TrainingOptions:
    """How long and how fast to train; see the estimators for the meaning of each."""

    batch_size: int
    num_batches_per_epoch: int
    max_epochs: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    ema_decay: float
    patience: int
    num_validation_samples: int
    seed: int

    @classmethod
    def of(cls, estimator: Any) -> TrainingOptions:
        """The options among an estimator's parameters."""
        return cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})


def ensemble_crps_sum(samples: Tensor, truth: Tensor, observed: Tensor) -> float:
    """CRPS of the sum over observed dimensions, over the sum's mean size.

    Parameters
    ----------
    samples
        ``[V, N, T, D]``.
    truth, observed
        ``[V, T, D]``.
    """
    target = (truth * observed).sum(-1)
    crps = ensemble_crps((samples * observed.unsqueeze(1)).sum(-1), target)
    size = target.abs().sum()
    return float(crps.sum() / size if size > 0 else crps.mean())


class TrainingModule(pl.LightningModule):
    """One forecast model under Lightning."""

    def __init__(
        self,
        model: ForecastModel,
        sampler: WindowSampler,
        validation: ValidationSet | None,
        options: TrainingOptions,
    ):
        super().__init__()
        self.model = model
        self.history: list[dict[str, float]] = []
        self._sampler, self._validation, self._options = sampler, validation, options
        self._losses: list[Tensor] = []
        # Before training: phases change buffers, and the data have not changed for that.
        self._settings = self._fingerprint()

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingModule:
        # Weight averaging keeps a copy of the weights; the data need no second one.
        copy = TrainingModule(
            deepcopy(self.model, memo), self._sampler, self._validation, self._options
        )
        memo[id(self)] = copy
        return copy

    def configure_optimizers(self) -> dict[str, Any]:
        options = self._options
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=True,
        )
        total = options.max_epochs * options.num_batches_per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmCosine(total))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        options, step, rank = self._options, self.global_step, self.global_rank
        window = self._sampler.draw(
            options.batch_size, seeded(options.seed, _WINDOWS, step, rank)
        ).to(self.device)
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._run_phases(window, step)
        noise = seeded(options.seed, _NOISE, step, rank, device=self.device)
        with dropout_seed(seeded(options.seed, _DROPOUT, step, rank).initial_seed(), self.device):
            loss = self.model.loss(window, noise)
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"the training loss became {loss.item()} at update {step + 1} "
                f"(epoch {self.current_epoch + 1}). Usual mends: a lower learning_rate (now "
                f"{options.learning_rate}), a lower gradient_clip (now {options.gradient_clip}), "
                "or scaling='standard'; look for extreme outliers in the data"
            )
        self._losses.append(loss.detach())
        return loss

    def _run_phases(self, window: Window, step: int) -> None:
        """What the decoder does before this update, apart from its loss."""
        due = [phase for phase in self.model.decoder.phases() if phase.due(step)]
        if not due:
            return
        with _evaluating(self.model):
            events, context = self.model.events(window)
            for number, phase in enumerate(due):
                generator = seeded(self._options.seed, _PHASE, step, number, device=self.device)
                phase.run(events, context, generator)

    def on_train_start(self) -> None:
        if self._validation is not None and not self.history:
            self.history.append({"epoch": 0.0, **self._validate(), MONITOR: 1.0})

    def on_train_epoch_start(self) -> None:
        self._losses.clear()

    def validation_step(self, batch: int, batch_idx: int) -> None:
        if self.trainer.sanity_checking:
            return
        entry = {"epoch": self.current_epoch + 1.0, **self._validate()}
        untrained = self.history[0]
        ratios = (
            _ratio(
                entry["validation_loss"],
                entry.get("untrained_loss", untrained["validation_loss"]),
                in_nats=self.model.decoder.loss_in_nats,
            ),
            _ratio(entry["validation_crps_sum"], untrained["validation_crps_sum"]),
        )
        entry[MONITOR] = sum(ratios) / len(ratios)
        self.history.append(entry)
        for name in (MONITOR, "validation_loss", "validation_crps_sum"):
            self.log(name, entry[name], prog_bar=name == MONITOR, batch_size=1)

    def on_train_epoch_end(self) -> None:
        loss = float(torch.stack(self._losses).mean())
        self.log("train_loss", loss, prog_bar=True, batch_size=1)
        if self._validation is None:
            self.history.append({"epoch": self.current_epoch + 1.0})
        self.history[-1]["train_loss"] = loss

    def settings(self) -> dict[str, Any]:
        """What a run must have in common with one that it continues, as plain values."""
        return self._settings

    def _fingerprint(self) -> dict[str, Any]:
        data = {
            "windows": len(self._sampler),
            "data": self._data_digest(),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
        }
        return asdict(self._options) | data

    def _data_digest(self) -> str:
        """Hash of what was computed of the data: buffers, some of which are infinite or NaN."""
        found = hashlib.sha256()
        for name, buffer in self.model.named_buffers():
            found.update(name.encode())
            found.update(buffer.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["settings"] = self.settings()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Loss and CRPS-sum on the validation windows, with the same noise every time."""
        assert self._validation is not None
        validation, options = self._validation, self._options
        full = validation.full.to(self.device)

        def noise() -> torch.Generator:
            return seeded(options.seed, _VALIDATION, device=self.device)

        generators = [
            seeded(options.seed, _VALIDATION, i, device=self.device)
            for i in range(len(validation.truth))
        ]
        with _evaluating(self.model):
            loss = self.model.validation_loss(full, noise())
            untrained = self.model.untrained_loss(full, noise())
            samples = self.model.sample(
                validation.past.to(self.device), options.num_validation_samples, generators
            )
        score = ensemble_crps_sum(samples.cpu(), validation.truth, validation.observed)
        entry = {"validation_loss": float(loss), "validation_crps_sum": score}
        return entry if untrained is None else entry | {"untrained_loss": float(untrained)}


@contextmanager
def _evaluating(model: ForecastModel) -> Iterator[None]:
    """Without dropout, and then as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _ratio(value: float, untrained: float, *, in_nats: bool = False) -> float:
    """``value / untrained``; 1 where both are 0, infinite where there is no value.

    Of negative log-densities, ``exp(value - untrained)``, which never overflows.
    """
    if not math.isfinite(value):
        return math.inf
    if in_nats:
        return math.exp(min(value - untrained, _MOST_NATS))
    return value / untrained if untrained > 0.0 else 1.0 + value


class WarmCosine:
    """Learning-rate factor: linear over the first 2 %, then half a cosine down to 1 %."""

    def __init__(self, total: int):
        self.total, self.warm = total, max(1, total // 50)

    def __call__(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warm)
        progress = min(1.0, step / max(1, self.total))
        return rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


@contextmanager
def dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generator that dropout uses, and put it back as it was."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
