"""The verbs below `i2i data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from i2i.cli.options import Json, MaxPixels, Quiet

data_app = typer.Typer(rich_markup_mode=None)


@data_app.callback()
def data(context: typer.Context) -> None:
    """Look through, prepare and fetch sets of pictures."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures; folders inside it count.")],
    min_side_pixels: Annotated[int, typer.Option(help="Pictures with a shorter side are skipped.")] = 16,
    max_pixels: MaxPixels = 200_000_000,
    size: Annotated[
        int | None, typer.Option(help="Of the training: say which pictures would be enlarged for it.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what is usable, damaged, doubled or odd in a folder."""
    from i2i.commands import data as command

    command.check(folder, min_side_pixels=min_side_pixels, max_pixels=max_pixels, size_pixels=size, json=json)


@data_app.command("prepare")
def data_prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder, a .zip file, or idx files (MNIST).")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    size: Annotated[int, typer.Option(help="Side of the squares, in pixels.")],
    crop: Annotated[
        Literal["center", "none"], typer.Option(help="Cut the largest square out of the middle, or squeeze.")
    ] = "center",
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.")] = 3,
    min_side: Annotated[int, typer.Option(help="Pictures with a shorter side are left out.")] = 16,
    enlarge: Annotated[
        bool, typer.Option("--enlarge/--no-enlarge", help="Make small pictures larger, or leave them out.")
    ] = True,
    format: Annotated[Literal["png", "jpg"], typer.Option(help="Of the pictures made.")] = "png",
    max_pixels: MaxPixels = 200_000_000,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a clean set of squares of one size.

    Damaged and doubled pictures are left out; a manifest lists what was done.
    """
    from i2i.commands import data as command

    command.prepare(
        source, out, size=size, crop=crop, channels=channels, min_side_pixels=min_side, max_pixels=max_pixels,
        format=format, enlarge=enlarge, json=json, quiet=quiet,
    )  # fmt: skip


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Name of the set or of the weights, e.g. horse2zebra, inception.")],
    to: Annotated[Path, typer.Option(help="Folder that gets a folder with this name.")] = Path("datasets"),
    quiet: Quiet = False,
) -> None:
    """Download a published set, or weights for metrics and losses.

    What comes is checked to be what was published.
    """
    from i2i.commands import data as command

    command.fetch(name, to=to, quiet=quiet)
