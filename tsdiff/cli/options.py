"""Options that several commands share, and ``--set key=value``."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

_FILE = "Options of a file"
_DRAW = "How samples are drawn"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", show_default=False, help="Name in the catalog, or a CSV or Parquet file."
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", show_default=False, help="Folder that 'tsdiff train' has written."
    ),
]
NumSamples = Annotated[
    int,
    typer.Option(metavar="N", min=2, help="Joint samples per forecast.", rich_help_panel=_DRAW),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="The same seed gives the same result.")]

Bundle = Any
"""Annotation of a parameter ``table`` or ``sampler``, which :func:`bundled` makes options of."""


def _option(kind: Any, text: str, panel: str, **kwargs: Any) -> Any:
    option = typer.Option(help=text, rich_help_panel=panel, show_default=False, **kwargs)
    return Annotated[kind, option]


_BUNDLES: dict[str, dict[str, Any]] = {
    "table": {
        "time_column": _option(
            str | None, "Column of the times; the first one by default.", _FILE, metavar="NAME"
        ),
        "date_format": _option(
            str | None,
            "How dates are written, as %d.%m.%Y; needed where day and month may be mistaken.",
            _FILE,
            metavar="FORMAT",
        ),
        "target_column": _option(
            list[str] | None,
            "Column of values, repeatable; all others by default.",
            _FILE,
            metavar="NAME",
        ),
        "known_column": _option(
            list[str] | None,
            "Column known in advance, repeatable: not forecast, its future in rows after the last "
            "values; a model remembers its own.",
            _FILE,
            metavar="NAME",
        ),
        "static_column": _option(
            list[str] | None,
            "Long tables: column that never changes within a series, repeatable.",
            _FILE,
            metavar="NAME",
        ),
        "item_column": _option(
            str | None, "Long tables: column that names the series.", _FILE, metavar="NAME"
        ),
        "dimension_column": _option(
            str | None,
            "Long tables: column that names the dimensions.",
            _FILE,
            metavar="NAME",
        ),
        "freq": _option(
            str | None, "Time step, as h, D or 15min; inferred by default.", _FILE, metavar="STEP"
        ),
        "separator": _option(
            str | None,
            "What separates columns, as ; or \\t; a comma by default.",
            _FILE,
            metavar="CHAR",
        ),
        "decimal": _option(
            str | None, "What stands before decimals; a point by default.", _FILE, metavar="CHAR"
        ),
        "fill_gaps": Annotated[
            bool | None,
            typer.Option(
                "--fill-gaps", help="Take absent times as missing values.", rich_help_panel=_FILE
            ),
        ],
    },
    "sampler": {
        "solver": _option(
            str | None,
            "heun, exponential_adams, dpm++2m, ancestral, …: any that the documentation names; the "
            "model's own by default.",
            _DRAW,
            metavar="NAME",
        ),
        "num_steps": _option(
            int | None,
            "Steps of the solver; the model's own by default.",
            _DRAW,
            min=1,
            metavar="N",
        ),
        "grid": _option(
            str | None,
            "How the steps are spaced; the model's own by default.",
            _DRAW,
            metavar="NAME",
        ),
    },
}


def bundled(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take options that belong together as one dict.

    Its parameters ``table`` and ``sampler`` become the options listed above, all None by default.
    """
    # Not get_type_hints: Python 3.10's hides in an Optional what is Annotated and None by default.
    signature = inspect.signature(command, eval_str=True)
    bundles = _BUNDLES.keys() & signature.parameters.keys()
    parameters = []
    for name, parameter in signature.parameters.items():
        if name not in bundles:
            parameters.append(parameter)
        for option, hint in _BUNDLES.get(name, {}).items():
            parameters.append(parameter.replace(name=option, annotation=hint, default=None))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for bundle in bundles:
            values[bundle] = {option: values.pop(option) for option in _BUNDLES[bundle]}
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def parse_settings(settings: list[str], estimator: type) -> dict[str, Any]:
    """Arguments for an estimator from texts ``key=value``, checked against its parameters.

    Raises
    ------
    typer.BadParameter
        No ``=``, an unknown key, or a value of another type.
    """
    hints = get_type_hints(estimator)
    fields = {field.name: field for field in dataclasses.fields(estimator)}
    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise _bad_setting(f"{setting!r} has no '='; write key=value, as in hidden_size=32")
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=2)
            advice = f"Did you mean {' or '.join(close)}?" if close else "It has: "
            known = "" if close else ", ".join(fields)
            raise _bad_setting(f"{estimator.__name__} has no parameter {key!r}. {advice}{known}")
        fitting = [v for v in _readings(text.strip()) if _fits(v, hints[key])]
        if not fitting:
            raise _bad_setting(f"{key} takes {fields[key].type}, got {text.strip()!r}")
        found[key] = fitting[0]
    return found


def _bad_setting(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--set")


def _readings(text: str) -> Iterator[Any]:
    """What a text may stand for, the most specific first."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        yield words[text.lower()]
    with contextlib.suppress(ValueError, SyntaxError):
        yield ast.literal_eval(text)
    yield text


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    base = get_origin(hint) or hint
    if isinstance(value, bool):
        return base is bool
    if isinstance(value, str):
        return base is str
    if base is float:
        return isinstance(value, (int, float))
    return isinstance(value, base)
