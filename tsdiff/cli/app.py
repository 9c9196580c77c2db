"""The application: its commands, its global options, and what becomes of errors.

Exit codes: 0 all went well; 1 an error that was explained; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tsdiff._version import __version__
from tsdiff.cli import benchmark, datasets, demo, evaluate, forecast, plot, train
from tsdiff.cli.screen import Screen

INTERRUPTED = 130
_ANYWHERE = ("--quiet", "-q", "--debug")
# Errors that data, options or the system cause; the package's own errors come on top of them.
_EXPLAINED = (ValueError, TypeError, OSError, ImportError, MemoryError)


class Commands(TyperGroup):
    """Commands whose errors are told in a sentence, and whose global options stand anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ours = [arg for arg in args[:end] if arg in _ANYWHERE]
        rest = [arg for arg in args[:end] if arg not in _ANYWHERE]
        return super().parse_args(ctx, [*ours, *rest, *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                if not ctx.params.get("debug"):
                    # Advice between libraries; what concerns the user is said in our own words.
                    warnings.simplefilter("ignore")
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            screen = ctx.obj or Screen()
            if screen.debug or not _is_explained(error):
                raise
            screen.error(_message(error), hint=not _is_our_message(error))
            raise typer.Exit(1) from None


def _is_explained(error: Exception) -> bool:
    ours = type(error).__module__.startswith("tsdiff.")
    return ours or isinstance(error, _EXPLAINED)


def _is_our_message(error: Exception) -> bool:
    """Whether this package raised it, so that its words are meant for the user."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    return module.startswith("tsdiff.") or isinstance(error, OSError)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"tsdiff {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors, nothing else.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show warnings, and errors with their traceback.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Probabilistic forecasting of multivariate time series with generative models.

    Train a model, draw forecasts, and judge them beside naive baselines.

    \b
    Start here:
      tsdiff demo                     exchange rates: trained, scored, drawn
      tsdiff train my.csv --prediction-length 24 --output model
      tsdiff forecast model my.csv    writes forecasts.csv

    DATA is a name that [bold]tsdiff datasets[/bold] lists, or a CSV or Parquet file.
    --quiet and --debug may also stand after the command.
    """
    ctx.obj = Screen(quiet=quiet, debug=debug)


app.command("datasets")(datasets.datasets)
app.command("download")(datasets.download)
app.command("train")(train.train)
app.command("forecast")(forecast.forecast)
app.command("evaluate")(evaluate.evaluate)
app.command("plot")(plot.plot)
app.command("benchmark")(benchmark.benchmark)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the ``tsdiff`` command."""
    app(prog_name="tsdiff")
