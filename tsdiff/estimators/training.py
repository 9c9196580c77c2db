"""The training run: callbacks, checkpoints, resuming, and the choice of the best weights."""

from __future__ import annotations

import logging
import math
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    WeightAveraging,
)
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from tsdiff.estimators.lightning_module import (
    MONITOR,
    TrainingDivergedError,
    TrainingModule,
    TrainingOptions,
)
from tsdiff.estimators.model import ForecastModel
from tsdiff.estimators.prepare import ValidationSet
from tsdiff.transforms import WindowSampler

__all__ = ["CheckpointError", "TrainingDivergedError", "TrainingOptions", "train"]

BEST, LAST = "best", "last"


class CheckpointError(ValueError):
    """A folder holds the checkpoint of another run."""


def train(
    model: ForecastModel,
    sampler: WindowSampler,
    validation: ValidationSet | None,
    options: TrainingOptions,
    *,
    trainer_kwargs: dict[str, Any],
    checkpoint_dir: Path | None,
    progress: bool,
) -> list[dict[str, float]]:
    """Train ``model`` in place, leaving it with the best averaged weights.

    "Best" is by the validation score, the untrained model taking part with a score of 1: where
    training helps nothing, nothing is changed. Without validation windows the last averaged
    weights stay.

    Parameters
    ----------
    checkpoint_dir
        Where checkpoints are kept; a run found there is resumed, or, if it has ended, its
        result is taken. None uses a temporary folder.

    Returns
    -------
    list of dict
        Losses and scores per epoch; epoch 0 is the untrained model.

    Raises
    ------
    TrainingDivergedError
        If the loss becomes NaN or infinite.
    CheckpointError
        If ``checkpoint_dir`` holds a run with other settings or other data.
    KeyboardInterrupt
        If the user wants it to end.
    """
    untrained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = TrainingModule(model, sampler, validation, options)
    with tempfile.TemporaryDirectory() as scratch, _quiet(progress):
        folder = Path(scratch) if checkpoint_dir is None else checkpoint_dir
        last = folder / f"{LAST}.ckpt"
        started = last.exists()
        state = _read_checkpoint(last, module.settings()) if started else {}
        if _has_ended(state.get("history", []), options):
            module.history = state["history"]
            _load_weights(model, state)
        else:
            trainer = _trainer(folder, options, validation, trainer_kwargs, progress)
            with _interruptible():
                trainer.fit(
                    module,
                    train_dataloaders=range(options.num_batches_per_epoch),
                    val_dataloaders=None if validation is None else range(1),
                    ckpt_path=str(last) if started else None,
                    weights_only=True,
                )
        if validation is not None:
            _keep_best(model, module.history, folder / f"{BEST}.ckpt", untrained)
    model.cpu().eval()
    return module.history


class TrainingBar(Callback):
    """One bar over all epochs, with the losses so far; Lightning draws three for each epoch."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar = tqdm(
            total=(trainer.max_epochs or 1) * int(trainer.num_training_batches),
            initial=trainer.global_step,
            desc="training",
            unit=" updates",
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {bar} {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]",
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            figures = trainer.callback_metrics
            shown = {"loss": figures.get("train_loss"), "validation": figures.get(MONITOR)}
            shown = {name: f"{float(x):.3f}" for name, x in shown.items() if x is not None}
            self._bar.set_postfix(shown)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()


def _trainer(
    folder: Path,
    options: TrainingOptions,
    validation: ValidationSet | None,
    trainer_kwargs: dict[str, Any],
    progress: bool,
) -> pl.Trainer:
    def keep(filename: str, monitor: str | None) -> ModelCheckpoint:
        return ModelCheckpoint(
            str(folder),
            filename=filename,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    # "last" comes last: when it is there, so is the best of its epoch.
    checkpoints = [keep(BEST, MONITOR)] if validation is not None else []
    checkpoints.append(keep(LAST, None))
    # Buffers are state, not weights: an average of two bases is no basis.
    averaging = WeightAveraging(
        use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay)
    )
    callbacks: list[Callback] = [averaging, *checkpoints]
    if validation is not None:
        patience = EarlyStopping(MONITOR, patience=options.patience, check_on_train_epoch_end=True)
        callbacks.append(patience)
    settings: dict[str, Any] = {
        "max_epochs": options.max_epochs,
        "gradient_clip_val": options.gradient_clip,
        # Coordinates are float64, which Apple's GPUs don't have.
        "accelerator": "gpu" if torch.cuda.is_available() else "cpu",
        "devices": 1,
        "logger": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        **trainer_kwargs,
    }
    if progress and not settings["enable_progress_bar"]:
        callbacks.append(TrainingBar())
    callbacks += _as_list(trainer_kwargs.get("callbacks"))
    settings["callbacks"] = callbacks
    return pl.Trainer(**settings)


def _read_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    theirs = state.get("settings", {})
    different = sorted(
        name for name in settings.keys() | theirs.keys() if settings.get(name) != theirs.get(name)
    )
    if different:
        changes = ", ".join(
            f"{name}: {theirs.get(name)!r} there, {settings.get(name)!r} here" for name in different
        )
        raise CheckpointError(
            f"{path} was written by a run with other settings or data ({changes}): choose "
            "another folder, or delete this one"
        )
    return state


def _has_ended(history: list[dict[str, float]], options: TrainingOptions) -> bool:
    """Whether a run with this history took all its epochs or lost its patience."""
    if not history:
        return False
    if history[-1]["epoch"] >= options.max_epochs:
        return True
    scores = [row[MONITOR] for row in history if row["epoch"] > 0 and MONITOR in row]
    return bool(scores) and len(scores) - 1 - scores.index(min(scores)) >= options.patience


def _keep_best(
    model: ForecastModel,
    history: list[dict[str, float]],
    best: Path,
    untrained: dict[str, Tensor],
) -> None:
    trained = min((row[MONITOR] for row in history[1:]), default=math.inf)
    if trained > history[0][MONITOR] or not best.exists():
        model.load_state_dict(untrained)
    else:
        _load_weights(model, torch.load(best, map_location="cpu", weights_only=True))


def _load_weights(model: ForecastModel, checkpoint: dict[str, Any]) -> None:
    """The averaged weights of a checkpoint, which stand under ``state_dict``."""
    state = checkpoint["state_dict"]
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})


def _as_list(callbacks: Any) -> list[Callback]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interrupt be one: Lightning has the process exit, and all further ones ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        # Only the main thread may set it, and only there has Lightning done so.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet(progress: bool) -> Iterator[None]:
    """Keep Lightning's advice on workers, devices and loggers from the user's screen."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.WARNING if progress else logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric")
            warnings.filterwarnings("ignore", message=r".*num_workers.*|.*LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)
