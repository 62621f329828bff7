"""``i2i data``: look through folders of pictures, get published sets."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path

import typer

from i2i.data.check import DEFAULT_MIN_SIDE_PIXELS, CheckReport, check_folder
from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.data.fetch import CATALOGUE, PublishedSet, fetch_set
from i2i.data.folders import DOWNLOAD_FOLDER
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


def _section(title: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    hidden = len(entries) - _SHOWN_NAMES
    more = [f"  ... and {hidden} more (--json lists all)"] if hidden > 0 else []
    return [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries[:_SHOWN_NAMES]), *more]


def _fetch_with_bar(entry: PublishedSet, to: Path) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(entry.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(entry.name, total=entry.archive_bytes)
        return fetch_set(entry, to, lambda present: bar.update(task, completed=present))
