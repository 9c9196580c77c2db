"""``tsdiff train``: from data to a model in a folder."""

from __future__ import annotations

import contextlib
import functools
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsdiff.cli import models, sources
from tsdiff.cli import options as o
from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.estimators import EnsemblePredictor, GenerativeEstimator, GenerativePredictor

_SCORE = "validation_crps_sum"  # what is told; training goes by its own monitor


@o.bundled
def train(
    ctx: typer.Context,
    data: o.Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where to save the model.", show_default=False
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="flow_matching, ddpm (time_grad), score, vsdm, interpolant, consistency, "
            "schrodinger_bridge or low_rank_gaussian (deep_var).",
        ),
    ] = "flow_matching",
    prediction_length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Steps to forecast. Needed for a file.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="At most so many; training stops when it no longer helps.",
            show_default=False,
        ),
    ] = None,
    seed: o.Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter of the estimator, repeatable.",
            show_default=False,
        ),
    ] = None,
    hold_out: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Last windows of a file to keep unseen."),
    ] = 0,
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep checkpoints here; by default in OUTPUT, until training ends.",
            show_default=False,
        ),
    ] = None,
    members: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Train N models from different seeds, as one."),
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    table: o.Bundle = None,
) -> None:
    """Train a model and save it in a folder.

    Of a data set of the catalog, the training range is used. A file is used
    whole; with --hold-out 5 its last five windows stay unseen, to be scored.

    \b
    Examples:
      tsdiff train exchange_rate --output model
      tsdiff train my.csv --prediction-length 24 --hold-out 5 --output model
      tsdiff train my.csv --prediction-length 24 --output model --resume
      tsdiff train exchange_rate --output model --model ddpm --set hidden_size=32
    """
    screen: Screen = ctx.obj
    with screen.working("Loading ..."):
        kind = models.find_estimator(model)
        given = o.parse_settings(settings or [], kind)
        source = sources.load(data, screen, **table)
    defaults: dict[str, Any] = {
        "prediction_length": prediction_length or source.prediction_length,
        "seed": seed,
    }
    if epochs is not None:
        defaults["max_epochs"] = epochs
    estimator = kind(**{**defaults, **given})
    if estimator.prediction_length is None:
        raise typer.BadParameter(
            f"is needed: {source.name} doesn't say how many steps to forecast",
            param_hint="--prediction-length",
        )
    with telling(screen):
        kept = _kept(source, estimator, hold_out)
    fit(estimator, kept, output, screen, checkpoint_dir, resume, members)


def fit(
    estimator: GenerativeEstimator,
    source: sources.Source,
    output: Path,
    screen: Screen,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
    members: int = 1,
) -> GenerativePredictor | EnsemblePredictor:
    """Train on ``source.train``, save the model in ``output`` and tell how it went."""
    from tsdiff.estimators import EnsembleEstimator
    from tsdiff.estimators.saving import refuse_other_kind

    output.mkdir(parents=True, exist_ok=True)
    checkpoints = checkpoint_dir or output / "checkpoints"
    refuse_other_kind(output, ensemble=members > 1)
    _refuse_to_lose(checkpoints, resume, members)
    steps = sum(entry["target"].shape[1] for entry in source.train)
    dims = source.train[0]["target"].shape[0]
    trained = estimator if members == 1 else EnsembleEstimator(estimator, members)
    screen.note(
        f"Training {trained.title()} on {source.name}: {dims} × {steps} values, "
        f"at most {estimator.max_epochs} epochs of {estimator.num_batches_per_epoch} updates"
    )
    with telling(screen):
        predictor = trained.fit(source.train, checkpoint_dir=checkpoints, progress=screen.progress)
    predictor.save(output)
    models.write_record(output, source.name, source.train)
    if checkpoint_dir is None:
        forget_checkpoints(output)
    for member in predictor.members:
        screen.note(summary(member))
    screen.note(f"Saved to {output}")
    return predictor


@contextlib.contextmanager
def telling(screen: Screen) -> Iterator[None]:
    """Print what is wrong with the data, once for all members of an ensemble."""
    from tsdiff.datasets import DataWarning

    tell = functools.cache(screen.warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = lambda message, *_, **__: tell(str(message))
        yield


def _kept(source: sources.Source, estimator: GenerativeEstimator, hold_out: int) -> sources.Source:
    """The source without the windows that are to stay unseen."""
    if not hold_out:
        return source
    if source.prediction_length is not None:
        raise typer.BadParameter(
            f"is for files: {source.name} has test windows of its own, which training never sees",
            param_hint="--hold-out",
        )
    from tsdiff.datasets import cut_before, rolling_windows

    horizon = estimator.prediction_length
    windows = rolling_windows(source.series, horizon, hold_out)
    train = cut_before(source.series, windows, horizon)
    return sources.Source(source.name, source.series, train, [], None)


def _refuse_to_lose(checkpoints: Path, resume: bool, members: int) -> None:
    """An interrupted run is continued only if that is asked for, and never thrown away."""
    found = {_part(path.relative_to(checkpoints)) for path in checkpoints.rglob("last.ckpt")}
    if found and not resume:
        raise ValueError(
            f"{checkpoints} holds the checkpoint of an interrupted run: add --resume to continue "
            "it, or remove that folder to start afresh"
        )
    if found - ({""} if members == 1 else {f"member-{number}" for number in range(members)}):
        raise ValueError(
            f"{checkpoints} holds a run of another number of --members than {members}: give its "
            "own to continue it, or remove that folder to start afresh"
        )


def _part(path: Path) -> str:
    """The member of an ensemble that a checkpoint belongs to; nothing for a single model's."""
    return path.parts[0] if path.parts[0].startswith("member-") else ""


def forget_checkpoints(output: Path) -> None:
    """Remove what an interrupted run has left in a model's folder."""
    shutil.rmtree(output / "checkpoints", ignore_errors=True)


def summary(predictor: GenerativePredictor) -> str:
    """How long it trained, and what that brought."""
    from tsdiff.estimators.training import MONITOR

    history = predictor.history
    epochs = int(history[-1]["epoch"]) if history else 0
    text = f"Trained {epochs} epoch" + "s" * (epochs != 1)
    if predictor.facts.decoding == "horizon":
        text += ", on whole horizons"
    scored = [entry for entry in history if MONITOR in entry]
    if not scored:
        return text
    best = min(scored, key=lambda entry: entry[MONITOR])
    untrained = scored[0][_SCORE]
    if best is scored[0]:
        return (
            f"{text}: on the validation windows none was better than the untrained model, which "
            f"starts from a simple forecast (CRPS-sum {untrained:.4g}); that one is kept"
        )
    return (
        f"{text}; kept the one after epoch {best['epoch']:.0f}: CRPS-sum on the validation windows "
        f"{best[_SCORE]:.4g} (untrained: {untrained:.4g})"
    )
