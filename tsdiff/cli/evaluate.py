"""``tsdiff evaluate``: a model's scores beside those of naive baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsdiff.cli import models, sources
from tsdiff.cli import options as o
from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.datasets import DataEntry
    from tsdiff.estimators import EnsemblePredictor, GenerativePredictor
    from tsdiff.evaluation import Comparison, Evaluation

NumWindows = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="The last N windows only; by default all, and 5 of a file.",
        show_default=False,
    ),
]
# Columns of the table on a narrow screen, the least telling left out first.
_METRICS = ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "coverage_80")
_SHORTER = (_METRICS, (*_METRICS[:3], "coverage_80"), _METRICS[:3], _METRICS[:1])


@o.bundled
def evaluate(
    ctx: typer.Context,
    model: o.Model,
    data: o.Data,
    num_windows: NumWindows = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Score naive forecasts, too.")
    ] = True,
    statistical: Annotated[
        bool,
        typer.Option(
            "--statistical",
            help="Score climatology, a vector autoregression, the last seasons and a seasonal "
            "ridge regression, too.",
        ),
    ] = False,
    automatic: Annotated[
        bool,
        typer.Option(
            "--automatic", help="Score exponential smoothing and ARIMA, too; takes a while."
        ),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write all scores as JSON.", show_default=False
        ),
    ] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write the table as Markdown.", show_default=False
        ),
    ] = None,
    num_samples: o.NumSamples = 100,
    seed: o.Seed = 0,
    sampler: o.Bundle = None,
    table: o.Bundle = None,
) -> None:
    """Score a model beside last value, seasonal naive and random walk.

    --statistical adds climatology, a vector autoregression, the last seasons
    and a ridge regression of each season on those before it: harder to beat.
    --automatic adds exponential smoothing and ARIMA, chosen anew for every
    dimension and window, about a second each.

    A data set of the catalog is scored on its test windows, a file on rolling
    windows at its end, which the model must not have seen: see --hold-out of
    [bold]tsdiff train[/bold].

    \b
    Examples:
      tsdiff evaluate model exchange_rate --markdown scores.md
      tsdiff evaluate model my.csv --num-windows 5 --json scores.json
      tsdiff evaluate model exchange_rate --num-steps 32 --no-baselines
    """
    screen: Screen = ctx.obj
    if baselines and automatic:
        from tsdiff.evaluation.automatic import check_installed

        check_installed()  # before anything is computed
    with screen.working("Loading ..."):
        predictor = models.load(model)
        source = sources.load_for(predictor, data, screen, **table)
        windows = source.windows(predictor.prediction_length, num_windows)
    doubt = models.seen_in_training(model, source.name, windows, predictor.prediction_length)
    comparison = scores(
        predictor,
        windows,
        screen,
        with_baselines=baselines,
        statistical=statistical,
        automatic=automatic,
        num_samples=num_samples,
        seed=seed,
        **sampler,
    )
    screen.result(readable(comparison, screen, f"Scores on {source.name}"))
    if doubt:
        screen.warning(doubt)
    write(comparison, json_file, markdown_file)
    for path in filter(None, (json_file, markdown_file)):
        screen.note(f"Scores are in {path}")


def scores(
    predictor: GenerativePredictor | EnsemblePredictor,
    windows: Sequence[DataEntry],
    screen: Screen,
    *,
    with_baselines: bool = True,
    statistical: bool = False,
    automatic: bool = False,
    num_samples: int = 100,
    seed: int = 0,
    keep_forecasts: bool = False,
    **sampler: Any,
) -> Comparison:
    """Evaluate a model on windows, and the baselines on the same."""
    from tsdiff import evaluation

    shared: dict[str, Any] = {
        "num_samples": num_samples,
        "seed": seed,
        "keep_forecasts": keep_forecasts,
    }
    results: list[Evaluation] = []
    with screen.working(f"Forecasting {len(windows)} windows ..."):
        name = predictor.name
        results.append(evaluation.evaluate(predictor, windows, name=name, **shared, **sampler))
    if with_baselines:
        baselines = evaluation.baselines(
            predictor.facts.freq,
            predictor.prediction_length,
            statistical=statistical,
            automatic=automatic,
        )
        with screen.working("Scoring the baselines ..."):
            for name, baseline in baselines.items():
                try:
                    results.append(evaluation.evaluate(baseline, windows, name=name, **shared))
                except ValueError as error:  # a history too short for this one
                    screen.warning(f"{name} is left out: {error}")
    return evaluation.compare(results)


def readable(comparison: Comparison, screen: Screen, title: str) -> Any:
    """The widest table that fits the screen: one cut off would hide figures."""
    from rich.console import Console

    for metrics in _SHORTER:
        found = comparison.to_rich(metrics, title=title)
        found.caption, caption = None, found.caption
        needed = Console(width=1000).measure(found).maximum
        found.caption = caption
        if needed <= screen.width():
            break
    return found


def write(comparison: Comparison, json_file: Path | None, markdown_file: Path | None) -> None:
    """Write the files that were asked for."""
    for path in filter(None, (json_file, markdown_file)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if json_file is not None:
        comparison.to_json(json_file)
    if markdown_file is not None:
        comparison.to_markdown(path=markdown_file)
