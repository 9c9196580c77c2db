"""``tsdiff datasets`` and ``tsdiff download``: the catalog, and its archives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.datasets import DatasetInfo

Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of downloads; else TSDIFF_CACHE, else the system's cache.",
        show_default=False,
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Folder or address with the archives; else TSDIFF_MIRROR.",
        show_default=False,
    ),
]


def datasets(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Show all that is known of one data set.", show_default=False
        ),
    ] = None,
    cache: Cache = None,
) -> None:
    """List the data sets of the catalog.

    \b
    Examples:
      tsdiff datasets
      tsdiff datasets exchange_rate      source, licence and citation of one
    """
    from tsdiff.datasets import get_info, list_datasets

    screen: Screen = ctx.obj
    infos = list_datasets() if name is None else [get_info(name)]
    screen.result(_table(infos, cache) if name is None else _card(infos[0], cache))


def download(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Data sets of the catalog.", show_default=False),
    ],
    cache: Cache = None,
    mirror: Mirror = None,
) -> None:
    """Download data sets, verify and unpack them.

    An interrupted download is continued. What is there already is not downloaded again.

    \b
    Examples:
      tsdiff download exchange_rate
      tsdiff download solar traffic --mirror /data/archives
    """
    from tsdiff.datasets import get_info
    from tsdiff.datasets.archive import unpacked

    screen: Screen = ctx.obj
    for info in [get_info(name) for name in names]:
        if not info.archive:
            screen.note(f"{info.name} needs no download")
            continue
        folder = unpacked(info, cache=cache, mirror=mirror, progress=screen.progress)
        screen.result(f"{info.name}: {folder}")


def _table(infos: list[DatasetInfo], cache: Path | None) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("step", no_wrap=True)
    for heading in ("dimensions", "horizon", "windows"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("at hand", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for info in infos:
        sizes = (info.target_dim, info.prediction_length, info.num_test_windows)
        table.add_row(info.name, info.freq, *map(str, sizes), _at_hand(info, cache), info.licence)
    return table


def _card(info: DatasetInfo, cache: Path | None) -> Any:
    from rich.table import Table
    from rich.text import Text

    size = (
        f"{info.target_dim} dimensions, step {info.freq}; {info.num_test_windows} test windows of "
        f"{info.prediction_length} steps"
    )
    card = Table.grid(padding=(0, 2))
    card.add_column(style="bold", no_wrap=True)
    card.add_column(overflow="fold")
    for label, text in (
        ("name", info.name),
        ("what", info.description),
        ("size", size),
        ("names", ", ".join(info.dimension_names)),
        ("licence", info.licence),
        ("citation", info.citation),
        ("source", info.url or "\n".join(info.originals)),
        ("at hand", _at_hand(info, cache)),
    ):
        if text:
            card.add_row(label, Text(text))
    return card


def _at_hand(info: DatasetInfo, cache: Path | None) -> str:
    """Whether a data set can be used without a download."""
    from tsdiff.datasets.download import cache_folder

    if not info.archive:
        return "built in"
    folder = cache_folder(cache)
    unpacked = folder.glob(info.archive.removesuffix(".tar.gz") + "-*")
    return "cached" if (folder / info.archive).is_file() or any(unpacked) else "to download"
