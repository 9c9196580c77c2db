"""``tsdiff demo``: from nothing to a scored and drawn forecast of real exchange rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsdiff.cli import evaluate, models, plot, sources, train
from tsdiff.cli.reading import reading
from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    import pandas as pd

    from tsdiff.estimators import EnsemblePredictor, GenerativePredictor
    from tsdiff.evaluation import Comparison

DATA = "ecb_exchange_rate"
SETTINGS: dict[str, Any] = {"max_epochs": 12, "patience": 3, "seed": 0}
NUM_SAMPLES = 400  # smooth fans, and a Monte-Carlo error that settles something
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FILES = {
    "forecasts.csv": "quantiles on the test windows, with what happened, and of the next 30 days",
    "scores.json": "all scores, with their Monte-Carlo errors",
    "scores.md": "the table above, with more columns",
    "fan_chart.png": "the last test window: every currency, and the sum",
    "future.png": "the 30 business days after the end of the data",
    "sum.png": "the sum over all test windows",
    "calibration.png": "how often the intervals covered what happened",
    "model": "the trained model, for tsdiff forecast, evaluate and plot",
}


def demo(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where everything goes.")
    ] = Path("forecast"),
    epochs: Annotated[
        int, typer.Option(metavar="N", min=1, help="At most so many; fewer for a quick look.")
    ] = SETTINGS["max_epochs"],
) -> None:
    """Forecast real exchange rates: train, score, draw.

    Flow matching learns eight daily rates of the European Central Bank, is
    scored on five unseen windows of 30 business days beside naive forecasts,
    and forecasts the 30 days after the end of the data. Settings and seeds
    are fixed; it takes some two minutes on two cores, and no download.

    \b
    Examples:
      tsdiff demo
      tsdiff demo --output /tmp/forecast
    """
    screen: Screen = ctx.obj
    with screen.working("Loading ..."):
        source = sources.load(DATA, screen)
        settings = {**SETTINGS, "max_epochs": epochs}
        settings["prediction_length"] = source.prediction_length
        estimator = models.find_estimator("flow_matching")(**settings)
    (output / "model").mkdir(parents=True, exist_ok=True)
    # A demonstration that was interrupted starts afresh, rather than asking what to do.
    train.forget_checkpoints(output / "model")
    predictor = train.fit(estimator, source, output / "model", screen)
    comparison = evaluate.scores(
        predictor, source.test, screen, num_samples=NUM_SAMPLES, keep_forecasts=True
    )
    evaluate.write(comparison, output / "scores.json", output / "scores.md")
    with screen.working("Drawing ..."):
        _write_forecasts(predictor, source, comparison, output)
    title = f"Euro exchange rates: scores on {len(source.test)} unseen windows"
    screen.result(evaluate.readable(comparison, screen, title))
    screen.paragraph(reading(comparison))
    screen.note("")
    for name, content in FILES.items():
        screen.note(f"{output / name!s:<34}{content}")


def _write_forecasts(
    predictor: GenerativePredictor | EnsemblePredictor,
    source: sources.Source,
    comparison: Comparison,
    folder: Path,
) -> None:
    """Pictures and the table of forecasts, of the test windows and of the future."""
    from tsdiff.evaluation import fan_chart

    result = comparison.evaluations[0]
    ahead = list(predictor.predict(source.series, NUM_SAMPLES))
    table = _table([*result.forecasts, *ahead], predictor, source)
    table.to_csv(folder / "forecasts.csv", index=False, float_format="%.6g")
    for name, forecast, entry, when in (
        ("fan_chart.png", result.forecasts[-1], result.entries[-1], "the last test window"),
        ("future.png", ahead[0], source.series[0], "what comes next"),
    ):
        chart = fan_chart(forecast, entry, title=f"Euro exchange rates: {when}")
        chart.savefig(folder / name)
    walk = [e for e in comparison.evaluations if e.name == "random walk"]
    plot.overview([result, *walk], folder, "Euro exchange rates: the sum of all eight")


def _table(
    forecasts: list[Any], predictor: GenerativePredictor | EnsemblePredictor, source: sources.Source
) -> pd.DataFrame:
    """Tidy forecasts, each beside the observed value where there is one."""
    from tsdiff.datasets import entry_to_frame, to_frame

    table = to_frame(forecasts, QUANTILES, predictor.facts.dimension_names)
    observed = entry_to_frame(source.series[0]).reset_index()
    observed = observed.melt("time", var_name="dimension", value_name="observed")
    return table.merge(observed, how="left", on=["time", "dimension"])
