"""``i2i data``: look through folders of pictures, prepare them, get published sets."""

from __future__ import annotations

import json as json_module
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from i2i import __version__
from i2i.data.check import DEFAULT_MIN_SIDE_PIXELS, CheckReport, check_folder
from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.data.fetch import CATALOGUE, PUBLISHED_WEIGHTS, PublishedFile, fetch_file, fetch_set, weights_folder
from i2i.data.folders import DOWNLOAD_FOLDER
from i2i.data.prepare import MANIFEST_NAME, Change, Manifest, PrepareSettings, prepare_set
from i2i.data.settings import Crop
from i2i.errors import DataError, UsageError, printable_lines

if TYPE_CHECKING:
    from rich.progress import Progress

_SHOWN_NAMES = 10


def check(
    folder: Path,
    *,
    min_side_pixels: int = DEFAULT_MIN_SIDE_PIXELS,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    size_pixels: int | None = None,
    json: bool = False,
) -> None:
    """Print what training would make of the pictures in `folder`, as text or as one JSON object.

    Bad pictures are reported and are no failure, for training skips them. With `size_pixels`, the size of a training,
    those that it would enlarge are reported too.

    Raises:
        UsageError: a size below 1.
        DataError: the folder is missing or holds no picture that can be used.
    """
    if size_pixels is not None and size_pixels < 1:
        raise UsageError(f"the size is {size_pixels} pixels - give --size 1 or more")
    report = check_folder(folder, min_side_pixels=min_side_pixels, max_pixels=max_pixels, size_pixels=size_pixels)
    if json:
        typer.echo(json_module.dumps(report.to_json(), indent=2))
    else:
        typer.echo(printable_lines(report_lines(report, min_side_pixels=min_side_pixels, max_pixels=max_pixels)))
    if not report.usable:
        raise DataError(
            f"{folder}: none of {report.pictures} pictures can be used - see the list of what is wrong with each"
        )


def fetch(name: str, *, to: Path = DOWNLOAD_FOLDER, quiet: bool = False) -> None:
    """Get what is published as `name`, with a progress bar unless `quiet`.

    A set goes into the folder ``to/<name>``. Weights go where training looks for them, unless `to` is another folder.

    Raises:
        UsageError: nothing of that name is known.
        DataError: it cannot be downloaded, or is not what was published.
    """
    published = CATALOGUE.get(name)
    weights = PUBLISHED_WEIGHTS.get(name)
    if published is not None:
        folder = _with_bar(published, quiet, lambda progress: fetch_set(published, to, progress))
        line = f"{folder}: {', '.join(f'{count} {part}' for part, count in published.pictures.items())}"
    elif weights is not None:
        place = weights_folder() if to == DOWNLOAD_FOLDER else to
        file = _with_bar(weights, quiet, lambda progress: fetch_file(weights, place, progress))
        line = f"{file}: {file.stat().st_size:,} bytes, as published"
    else:
        known = ", ".join(sorted([*CATALOGUE, *PUBLISHED_WEIGHTS]))
        raise UsageError(f"there is no published set {name!r} - known: {known}")
    if not quiet:
        typer.echo(line)


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
        typer.echo(json_module.dumps(result, indent=2))
    elif not quiet:
        typer.echo(printable_lines(manifest_lines(manifest, out)))


def manifest_lines(manifest: Manifest, out: Path) -> list[str]:
    """What was done, as lines of text."""
    kept, side = manifest.pictures, manifest.settings.size_pixels
    megabytes = sum(picture.bytes for picture in kept) / 1e6
    lines = [f"{out}: {len(kept)} pictures of {side} x {side}, {megabytes:.1f} MB; {MANIFEST_NAME} lists all"]
    folders = manifest.by_folder()
    if list(folders) != ["."]:
        lines.append(f"folders as in the source: {_counts(folders)}")
    changed = manifest.changed()
    for change, what in _CHANGES.items():
        if change in ("cropped", "squeezed"):
            # Nearly all photos are: their names would say nothing.
            lines += [f"{what}: {len(changed[change])}"] if change in changed else []
            continue
        pictures = changed.get(change, [])
        sizes = [f"{one.source}: from {one.source_width} x {one.source_height}" for one in pictures]
        entries = sizes if change == "enlarged" else [one.source for one in pictures]
        lines += _section(what, entries, where=f"see {MANIFEST_NAME}")
    for reason in sorted({item.reason for item in manifest.left_out}):
        entries = [f"{item.source}: {item.detail}" for item in manifest.left_out if item.reason == reason]
        lines += _section(f"left out, {reason}", entries, where=f"see {MANIFEST_NAME}")
    return [*lines, *_ignored_lines(manifest.ignored)]


def _ignored_lines(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    endings = Counter(Path(name).suffix.lower() or "no ending" for name in names)
    counts = f"{len(names)} ({_counts(dict(endings.most_common()))})"
    return [f"ignored (no pictures, broken links, results of i2i): {counts}"]


_CHANGES: dict[Change, str] = {
    "cropped": "cut to the square in their middle (--crop none squeezes instead)",
    "squeezed": "squeezed to squares (--crop center cuts instead)",
    "enlarged": "enlarged (--no-enlarge leaves them out)",
    "16 bits to 8": "16 bits, reduced to 8",
    "transparent parts to white": "transparent, put on white",
    "CMYK to RGB": "CMYK, converted to RGB without their colour profile",
    "first of several frames": "several frames or pages, only the first is used",
}


def _counts(numbers: Mapping[str, int]) -> str:
    """``cats 3, dogs 2, ...``."""
    shown = [f"{name} {number}" for name, number in list(numbers.items())[:_SHOWN_NAMES]]
    return ", ".join(shown) + (f" and {len(numbers) - _SHOWN_NAMES} more" if len(numbers) > _SHOWN_NAMES else "")


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
    lines += _section("smaller than the size of the training, enlarged", report.enlarged)
    lines += _section("same pixels, data prepare keeps the first", [" = ".join(group) for group in report.duplicates])
    lines += _section("grey, trained on as RGB", report.grey)
    lines += _section("16 bits, reduced to 8", report.sixteen_bit)
    lines += _section("transparent, put on white", report.alpha)
    lines += _section("several frames or pages, only the first is used", report.several_frames)
    lines += _section("turned by their EXIF orientation", report.rotated)
    return [*lines, *_ignored_lines(report.ignored)]


def _section(title: str, entries: Sequence[str], *, where: str = "--json lists all") -> list[str]:
    if not entries:
        return []
    hidden = len(entries) - _SHOWN_NAMES
    more = [f"  ... and {hidden} more ({where})"] if hidden > 0 else []
    return [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries[:_SHOWN_NAMES]), *more]


def _with_bar(entry: PublishedFile, quiet: bool, get: Callable[[Callable[[int], None] | None], Path]) -> Path:
    """What `get` gets, given something to tell its progress to."""
    if quiet:
        return get(None)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(entry.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _in_a_terminal(Progress(*columns, console=Console(stderr=True), transient=True)) as bar:
        task = bar.add_task(entry.name, total=entry.archive_bytes)
        return get(lambda present: bar.update(task, completed=present))


def _prepare_with_bar(source: Path, out: Path, settings: PrepareSettings) -> Manifest:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _in_a_terminal(Progress(*columns, console=Console(stderr=True), transient=True)) as bar:
        task = bar.add_task("preparing", total=None)
        return prepare_set(
            source,
            out,
            settings,
            version=__version__,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _in_a_terminal(bar: Progress) -> Progress:
    """Elsewhere a bar that ends leaves an empty line."""
    bar.disable = not bar.console.is_terminal
    return bar
