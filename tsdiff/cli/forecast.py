"""``tsdiff forecast``: what comes after the end of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsdiff.cli import models, sources
from tsdiff.cli import options as o
from tsdiff.cli.screen import Screen
from tsdiff.cli.train import telling


@o.bundled
def forecast(
    ctx: typer.Context,
    model: o.Model,
    data: o.Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="CSV file to write; - prints it.")
    ] = Path("forecasts.csv"),
    quantiles: Annotated[
        str, typer.Option(metavar="LEVELS", help="Levels between 0 and 1, separated by commas.")
    ] = "0.1,0.5,0.9",
    num_samples: o.NumSamples = 100,
    seed: o.Seed = 0,
    sampler: o.Bundle = None,
    table: o.Bundle = None,
) -> None:
    """Forecast what comes after the end of the data, as a table.

    It has one row per series, time and dimension: the mean and the quantiles.

    \b
    Examples:
      tsdiff forecast model my.csv
      tsdiff forecast model my.csv --quantiles 0.05,0.5,0.95 --output next.csv
      tsdiff forecast model exchange_rate --solver heun --num-steps 8 --num-samples 400
    """
    screen: Screen = ctx.obj
    levels = _levels(quantiles)
    with screen.working("Loading ..."):
        predictor = models.load(model)
        source = sources.load_for(predictor, data, screen, **table)
    with screen.working("Forecasting ..."), telling(screen):
        frame = predictor.predict(
            source.series,
            num_samples,
            quantiles=levels,
            seed=seed,
            **sampler,
        )
    if str(output) == "-":
        screen.result(frame.to_csv(index=False).rstrip("\n"))
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(output, index=False)
    first, last = (str(t).removesuffix(" 00:00:00") for t in frame["time"].agg(["min", "max"]))
    screen.note(f"Forecasts from {first} to {last}, {len(frame)} rows, are in {output}")


def _levels(text: str) -> list[float]:
    try:
        levels = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        levels = []
    if not levels or not all(0 < level < 1 for level in levels):
        raise typer.BadParameter(
            f"expected levels between 0 and 1 separated by commas, as in 0.1,0.5,0.9; got {text!r}",
            param_hint="--quantiles",
        )
    return levels
