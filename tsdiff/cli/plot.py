"""``tsdiff plot``: fan charts of a model's forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiff.cli import evaluate, models, sources
from tsdiff.cli import options as o
from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.evaluation import Evaluation

PICTURES = (".png", ".pdf", ".svg")
_OTHER_PICTURES = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".eps", ".ps")
MOST_WINDOWS = 12  # that one picture of the sum can show


@o.bundled
def plot(
    ctx: typer.Context,
    model: o.Model,
    data: o.Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A folder, or one .png, .pdf or .svg file."
        ),
    ] = Path("plots"),
    future: Annotated[
        bool,
        typer.Option("--future", help="Draw what comes after the end of the data."),
    ] = False,
    num_windows: evaluate.NumWindows = None,
    dimension: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name or number, repeatable; the first 8 by default.",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Steps shown before the forecast; two horizons by default.",
            show_default=False,
        ),
    ] = None,
    num_samples: o.NumSamples = 200,
    seed: o.Seed = 0,
    sampler: o.Bundle = None,
    table: o.Bundle = None,
) -> None:
    """Draw forecasts of every dimension and the sum.

    A folder receives fan_chart.png (the last window), sum.png (all windows)
    and calibration.png; a single file, and --future, the fan chart alone. Of
    several series, --future draws one chart each: fan_chart_0.png and so on.

    \b
    Examples:
      tsdiff plot model exchange_rate
      tsdiff plot model my.csv --future --output next.png
      tsdiff plot model exchange_rate --dimension AUD --dimension JPY --output two.svg
    """
    screen: Screen = ctx.obj
    if output.suffix.lower() in _OTHER_PICTURES:
        raise typer.BadParameter(
            f"{output.name}: expected a folder, or one file in {', '.join(PICTURES)}",
            param_hint="--output",
        )
    with screen.working("Loading ..."):
        predictor = models.load(model)
        source = sources.load_for(predictor, data, screen, **table)
    names = predictor.facts.dimension_names
    chosen = [_position(one, names) for one in dimension] if dimension else None
    single = output.suffix.lower() in PICTURES
    heading = f"Forecast by {predictor.name}"
    from tsdiff.evaluation import fan_chart

    if future:
        if single and len(source.series) > 1:
            raise typer.BadParameter(
                f"is one picture, and {source.name} holds {len(source.series)} series, of which "
                "--future draws one each: give a folder",
                param_hint="--output",
            )
        with screen.working("Forecasting ..."):
            forecasts = list(predictor.predict(source.series, num_samples, seed=seed, **sampler))
        entries, result = source.series, None
    else:
        windows = source.windows(predictor.prediction_length, num_windows)
        doubt = models.seen_in_training(model, source.name, windows, predictor.prediction_length)
        if doubt:
            screen.warning(doubt)
        comparison = evaluate.scores(
            predictor,
            windows[-1:] if single else windows,
            screen,
            with_baselines=False,
            num_samples=num_samples,
            seed=seed,
            keep_forecasts=True,
            **sampler,
        )
        (result,) = comparison.evaluations
        entries, forecasts = result.entries[-1:], result.forecasts[-1:]
    with screen.working("Drawing ..."):
        written, several = [], len(forecasts) > 1
        for number, (entry, forecast) in enumerate(zip(entries, forecasts, strict=True)):
            chart = fan_chart(
                forecast,
                entry,
                dimensions=chosen,
                history=history,
                names=names,
                title=f"{heading}: {forecast.item_id}" if several else heading,
            )
            file = f"fan_chart_{number}.png" if several else "fan_chart.png"
            path = output if single else output / file
            path.parent.mkdir(parents=True, exist_ok=True)
            chart.savefig(path)
            written.append(path)
        if result is not None and not single:
            written += overview([result], output, f"{heading}: the sum")
    for path in written:
        screen.result(str(path))


def overview(results: Sequence[Evaluation], folder: Path, title: str) -> list[Path]:
    """Draw the sum over all windows of the first result, and how calibrated all of them are."""
    from tsdiff.evaluation import calibration_plot, fan_chart_sum

    first = results[0]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "sum.png", folder / "calibration.png"]
    last = slice(-MOST_WINDOWS, None)
    fan_chart_sum(
        first.forecasts[last],
        first.entries[last],
        title=title,
    ).savefig(paths[0])
    calibration_plot(results).savefig(paths[1])
    return paths


def _position(wanted: str, names: Sequence[str]) -> int:
    """A dimension's number, from its name or its number."""
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise typer.BadParameter(
        f"no dimension {wanted!r}; there are {shown} (or 0 to {len(names) - 1})",
        param_hint="--dimension",
    )
