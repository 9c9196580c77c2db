"""``tsdiff forecast``: what comes after the end of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiff.cli import models, sources
from tsdiff.cli import options as o
from tsdiff.cli.screen import Screen
from tsdiff.cli.train import telling

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast


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
    lower: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            help="Samples below are moved there: --lower 0 for sales and counts.",
            show_default=False,
        ),
    ] = None,
    upper: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            help="Samples above are moved there, as to a capacity.",
            show_default=False,
        ),
    ] = None,
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
      tsdiff forecast model sales.csv --lower 0
      tsdiff forecast model exchange_rate --solver heun --num-steps 8 --num-samples 400
    """
    screen: Screen = ctx.obj
    levels = _levels(quantiles)
    if lower is not None and upper is not None and lower >= upper:
        raise typer.BadParameter(
            f"is {lower:g}, and --upper {upper:g}: expected less", param_hint="--lower"
        )
    from tsdiff.datasets import to_frame

    with screen.working("Loading ..."):
        predictor = models.load(model)
        source = sources.load_for(predictor, data, screen, **table)
    with screen.working("Forecasting ..."), telling(screen):
        drawn = predictor.predict(source.series, num_samples, seed=seed, **sampler)
        frame = to_frame(_kept_within(drawn, lower, upper), levels)
    if str(output) == "-":
        screen.result(frame.to_csv(index=False).rstrip("\n"))
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(output, index=False)
    first, last = (str(t).removesuffix(" 00:00:00") for t in frame["time"].agg(["min", "max"]))
    screen.note(f"Forecasts from {first} to {last}, {len(frame)} rows, are in {output}")


def _kept_within(
    forecasts: Iterable[SampleForecast], lower: float | None, upper: float | None
) -> Iterator[SampleForecast]:
    """Forecasts whose samples beyond a bound lie on it, so that means and quantiles keep it."""
    least, most = -math.inf if lower is None else lower, math.inf if upper is None else upper
    for forecast in forecasts:
        forecast.samples = forecast.samples.clip(least, most)
        yield forecast


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
