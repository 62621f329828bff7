"""``i2i data``: look through folders of pictures, prepare them, get published sets."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import typer

from i2i import __version__
from i2i.data.check import DEFAULT_MIN_SIDE_PIXELS, CheckReport, check_folder
from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.data.fetch import CATALOGUE, PublishedSet, fetch_set
from i2i.data.folders import DOWNLOAD_FOLDER
from i2i.data.prepare import MANIFEST_NAME, Manifest, PrepareSettings, prepare_set
from i2i.data.settings import Crop
from i2i.errors import DataError, UsageError

_SHOWN_NAMES = 10


def check(
    folder: Path,
    *,
    min_side_pixels: int = DEFAULT_MIN_SIDE_PIXELS,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    json: bool = False,
) -> None:
    """Print what training would make of the pictures in `folder`, as text or as one JSON object.

    Bad pictures are reported and are no failure, for training skips them.

    Raises:
        DataError: the folder is missing or holds no picture that can be used.
    """
    report = check_folder(folder, min_side_pixels=min_side_pixels, max_pixels=max_pixels)
    if json:
        typer.echo(json_module.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(report_lines(report, min_side_pixels=min_side_pixels, max_pixels=max_pixels)))
    if not report.usable:
        raise DataError(
            f"{folder}: none of {report.pictures} pictures can be used - see the list of what is wrong with each"
        )


def fetch(name: str, *, to: Path = DOWNLOAD_FOLDER, quiet: bool = False) -> None:
    """Get the published set `name` into the folder ``to/<name>``, with a progress bar unless `quiet`.

    Raises:
        UsageError: no such set is known.
        DataError: it cannot be downloaded, or is not what was published.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise UsageError(f"there is no published set {name!r} - known: {', '.join(sorted(CATALOGUE))}")
    folder = fetch_set(entry, to) if quiet else _fetch_with_bar(entry, to)
    counts = ", ".join(f"{count} {part}" for part, count in entry.pictures.items())
    if not quiet:
        typer.echo(f"{folder}: {counts}")


def prepare(
    source: Path,
    out: Path,
    *,
    size: int,
    crop: Crop = "center",
    channels: int = 3,
    min_side_pixels: int = DEFAULT_MIN_SIDE_PIXELS,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    format: Literal["png", "jpg"] = "png",
    enlarge: bool = True,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make a clean set of squares at `out` and print what was done, as text or as one JSON object.

    Raises:
        UsageError: a number is out of range, or `out` holds something already.
        DataError: the source is missing, or none of its pictures can be used.
        StorageError: the result cannot be written.
    """
    if channels not in (1, 3):
        raise UsageError(f"there are no pictures of {channels} channels - give --channels 1 (grey) or 3 (colour)")
    settings = PrepareSettings(
        size_pixels=size,
        crop=crop,
        channels=1 if channels == 1 else 3,
        min_side_pixels=min_side_pixels,
        max_pixels=max_pixels,
        format=format,
        enlarge=enlarge,
    )
    if quiet:
        manifest = prepare_set(source, out, settings, version=__version__)
    else:
        manifest = _prepare_with_bar(source, out, settings)
    if json:
        result = {"folder": str(out), **manifest.summary()}
        typer.echo(json_module.dumps(result, indent=2, ensure_ascii=False))
    elif not quiet:
        typer.echo("\n".join(manifest_lines(manifest, out)))


def manifest_lines(manifest: Manifest, out: Path) -> list[str]:
    """What was done, as lines of text."""
    kept, side = manifest.pictures, manifest.settings.size_pixels
    megabytes = sum(picture.bytes for picture in kept) / 1e6
    lines = [f"{out}: {len(kept)} pictures of {side} x {side}, {megabytes:.1f} MB; {MANIFEST_NAME} lists all"]
    enlarged = [
        f"{picture.name}: from {picture.source_width} x {picture.source_height}" for picture in kept if picture.enlarged
    ]
    lines += _section("enlarged (--no-enlarge leaves them out)", enlarged, where=f"see {MANIFEST_NAME}")
    for reason in sorted({item.reason for item in manifest.left_out}):
        entries = [f"{item.source}: {item.detail}" for item in manifest.left_out if item.reason == reason]
        lines += _section(f"left out, {reason}", entries, where=f"see {MANIFEST_NAME}")
    return lines


def report_lines(report: CheckReport, *, min_side_pixels: int, max_pixels: int) -> list[str]:
    """The report as lines of text."""
    lines = [f"{report.folder}: {report.pictures} pictures, {report.usable} usable, {report.file_bytes / 1e6:.1f} MB"]
    if len(report.pictures_by_folder) > 1:
        lines += [f"  {name}: {count}" for name, count in report.pictures_by_folder.items()]
    if report.sizes:
        common = ", ".join(f"{size} ({count})" for size, count in list(report.sizes.items())[:3])
        more = f" and {len(report.sizes) - 3} other sizes" if len(report.sizes) > 3 else ""
        lines.append(
            f"sizes: {common}{more}; sides {report.smallest_side_pixels} to {report.largest_side_pixels} pixels"
        )
    skipped = "skipped in training"
    lines += _section(f"unreadable, {skipped}", [f"{name}: {reason}" for name, reason in report.unreadable.items()])
    lines += _section(f"larger than {max_pixels:,} pixels, {skipped}", report.too_large)
    lines += _section(f"a side under {min_side_pixels} pixels, {skipped}", report.too_small)
    lines += _section("same pixels", [" = ".join(group) for group in report.duplicates])
    lines += _section("grey, trained on as RGB", report.grey)
    lines += _section("16 bits, reduced to 8", report.sixteen_bit)
    lines += _section("transparent, put on white", report.alpha)
    lines += _section("several frames or pages, only the first is used", report.several_frames)
    lines += _section("turned by their EXIF orientation", report.rotated)
    return lines


def _section(title: str, entries: Sequence[str], *, where: str = "--json lists all") -> list[str]:
    if not entries:
        return []
    hidden = len(entries) - _SHOWN_NAMES
    more = [f"  ... and {hidden} more ({where})"] if hidden > 0 else []
    return [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries[:_SHOWN_NAMES]), *more]


def _fetch_with_bar(entry: PublishedSet, to: Path) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(entry.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(entry.name, total=entry.archive_bytes)
        return fetch_set(entry, to, lambda present: bar.update(task, completed=present))


def _prepare_with_bar(source: Path, out: Path, settings: PrepareSettings) -> Manifest:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None)
        return prepare_set(
            source,
            out,
            settings,
            version=__version__,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
