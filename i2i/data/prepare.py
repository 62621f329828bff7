"""Making a set fit for training: cleaned, without doubles, cropped and resized, with a list of what was done.

The result depends on the source and the settings only: the same call gives the same bytes. It is written beside its
place and renamed into it, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from i2i.data.check import DEFAULT_MIN_SIDE_PIXELS, refuse_missing
from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.data.originals import Originals, Reduction, open_originals, plainness
from i2i.data.settings import Crop
from i2i.data.squares import square
from i2i.errors import DataError, StorageError, UsageError
from i2i.files import flush_to_disk

MANIFEST_NAME = "manifest.json"
_BLOCK = 64
_JPEG_QUALITY = 95

Progress = Callable[[int, int], None]
"""Called with the number of pictures looked at so far, and of all."""
Reason = Literal["unreadable", "too small", "would be enlarged", "same file", "same pixels"]
Change = Literal["cropped", "squeezed", "enlarged"] | Reduction
"""What was done to a picture besides making it smaller, turning it upright and, for one channel, grey."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How pictures are prepared.

    `size_pixels`: side of the squares. `crop`: "center" cuts the largest square out of the middle, "none" squeezes.
    `channels`: 1 (grey) or 3 (colour). Pictures with a side under `min_side_pixels` are left out, and without
    `enlarge` those that would have to be made larger. `format`: "png", without loss, or "jpg" (quality 95).
    """

    size_pixels: int
    crop: Crop = "center"
    channels: Literal[1, 3] = 3
    min_side_pixels: int = DEFAULT_MIN_SIDE_PIXELS
    enlarge: bool = True
    format: Literal["png", "jpg"] = "png"
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        if not 4 <= self.size_pixels <= 4096:
            raise UsageError(f"the size is {self.size_pixels} pixels - give --size 4 to 4096")
        if self.min_side_pixels < 0:
            raise UsageError(f"the smallest side is {self.min_side_pixels} - give --min-side 0 or more")
        if self.max_pixels < 1:
            raise UsageError(f"the most pixels are {self.max_pixels} - give --max-pixels 1 or more")


@dataclass(frozen=True, kw_only=True)
class PreparedPicture:
    """One picture of the result: its `name` there and SHA-256, the `source` it came from, that one's size, and what
    was changed about it.
    """

    name: str
    bytes: int
    sha256: str
    source: str
    source_width: int
    source_height: int
    changes: list[Change]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One picture that is not in the result, and why; `detail` says more, or names the picture that it doubles."""

    source: str
    reason: Reason
    detail: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was made of what; ``manifest.json`` beside the pictures holds the same.

    `ignored`: files of the source that are no pictures, links without a target, and what i2i itself made of pictures.
    """

    i2i: str
    source: str
    settings: PrepareSettings
    pictures: list[PreparedPicture] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def changed(self) -> dict[Change, list[PreparedPicture]]:
        """The pictures that each change was made to, of those that were made."""
        found: dict[Change, list[PreparedPicture]] = {}
        for picture in self.pictures:
            for change in picture.changes:
                found.setdefault(change, []).append(picture)
        return dict(sorted(found.items()))

    def by_folder(self) -> dict[str, int]:
        """How many pictures of the result lie in each folder; "." is the result itself."""
        return dict(sorted(Counter(str(PurePosixPath(picture.name).parent) for picture in self.pictures).items()))

    def summary(self) -> dict[str, object]:
        """Counts and settings, without the list of pictures that are in the result, as plain JSON values."""
        sizes = Counter(f"{picture.source_width}x{picture.source_height}" for picture in self.pictures)
        return {
            "i2i": self.i2i,
            "source": self.source,
            "settings": asdict(self.settings),
            "counts": {
                "found": len(self.pictures) + len(self.left_out),
                "kept": len(self.pictures),
                "changes": {change: len(pictures) for change, pictures in self.changed().items()},
                "left_out": len(self.left_out),
                "left_out_by_reason": dict(sorted(Counter(item.reason for item in self.left_out).items())),
                "ignored": len(self.ignored),
                "by_folder": self.by_folder(),
            },
            "bytes": sum(picture.bytes for picture in self.pictures),
            "source_sizes": dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
            "left_out": [asdict(item) for item in self.left_out],
            "ignored": self.ignored,
        }

    def to_json(self) -> dict[str, object]:
        """All of it as plain JSON values."""
        return {**self.summary(), "pictures": [asdict(picture) for picture in self.pictures]}


def prepare_set(
    source: Path, out: Path, settings: PrepareSettings, *, version: str, progress: Progress | None = None
) -> Manifest:
    """Make a set at `out` from the pictures at `source`.

    Of pictures with the same bytes or the same decoded pixels, the one with the plainest name is kept (no "copy of",
    the shortest). Folders within the source, such as one a class, are kept. Idx files become ``train/CLASS`` and
    ``test/CLASS``, as far as they are there.

    Args:
        source: a folder, a .zip file, a folder of idx files, or one idx file of pictures.
        out: the folder to make; it may be there if it is empty.
        settings: see there.
        version: of the program, for the manifest.
        progress: called now and then.

    Raises:
        UsageError: `out` is not empty, or lies within `source`.
        DataError: the source is missing, holds no pictures, or none that can be used.
        StorageError: the result cannot be written; nothing is left of it.
    """
    source, out = source.expanduser(), out.expanduser()
    refuse_missing(source)
    _check_out(source, out)
    originals = open_originals(source)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            folder = Path(temporary, "set")
            folder.mkdir()
            name, ignored = source.resolve().name, list(originals.ignored)
            manifest = Manifest(i2i=version, source=name, settings=settings, ignored=ignored)
            _make_pictures(originals, folder, manifest, progress)
            if not manifest.pictures:
                first = manifest.left_out[0]
                raise DataError(
                    f"{source}: none of {len(manifest.left_out)} pictures can be used; the first: {first.source}:"
                    f" {first.reason}, {first.detail}"
                )
            listing = folder / MANIFEST_NAME
            text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False) + "\n"
            # Of names that are no text, the bytes are written as JSON's escapes.
            listing.write_text(text, encoding="utf-8", errors="backslashreplace")
            flush_to_disk(listing)
            if out.is_dir():
                out.rmdir()  # it is empty, and not every system renames onto an empty folder
            folder.rename(out)
            flush_to_disk(out.parent)
    except OSError as error:
        raise StorageError(
            f"{out}: cannot be written: {error.strerror or error} - free space or choose another folder"
        ) from error
    return manifest


def _check_out(source: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file - name a folder that does not exist yet")
    if out.is_dir() and next(out.iterdir(), None) is not None:
        raise UsageError(f"{out}: is not empty - remove it or name another folder")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out}: lies within the pictures it is made from - name a folder elsewhere")


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A picture ready to be written, and the hashes of its file and of its decoded pixels, which tell a double."""

    content: bytes
    file_hash: str
    pixel_hash: str
    width: int
    height: int
    changes: tuple[Change, ...]


def _make_pictures(originals: Originals, folder: Path, manifest: Manifest, progress: Progress | None) -> None:
    """Fill `folder` and the lists of `manifest`, both in the order of the sources' names."""
    of_file: dict[str, str] = {}
    of_pixels: dict[str, str] = {}
    kept: list[PreparedPicture] = []
    # The plainest names first: of doubles the first one stays.
    names = sorted(originals.names, key=plainness)
    for count, (source, made) in enumerate(_in_order(originals, names, manifest.settings), 1):
        if progress is not None:
            progress(count, len(names))
        if isinstance(made, _Made):
            made = _double(source, made, of_file, of_pixels) or made
        if isinstance(made, LeftOut):
            manifest.left_out.append(made)
            continue
        of_file[made.file_hash] = of_pixels[made.pixel_hash] = source
        # Its place follows when all are known, for names that clash get their numbers in order.
        (folder.parent / f"{len(kept)}").write_bytes(made.content)
        kept.append(_listed(source, made, f"{len(kept)}"))
    # A folder and a file of one name cannot lie beside each other.
    taken = {str(folder).casefold() for picture in kept for folder in PurePosixPath(picture.source).parents}
    for picture in sorted(kept, key=lambda one: one.source):
        name = _free_name(picture.source, manifest.settings.format, taken)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / picture.name).rename(folder / name)
        manifest.pictures.append(replace(picture, name=name))
    manifest.left_out.sort(key=lambda one: one.source)


def _double(source: str, made: _Made, of_file: dict[str, str], of_pixels: dict[str, str]) -> LeftOut | None:
    """Why this picture is left out, if one like it is known already."""
    if made.file_hash in of_file:
        return LeftOut(source=source, reason="same file", detail=f"as {of_file[made.file_hash]}")
    if made.pixel_hash in of_pixels:
        return LeftOut(source=source, reason="same pixels", detail=f"as {of_pixels[made.pixel_hash]}")
    return None


def _listed(source: str, made: _Made, name: str) -> PreparedPicture:
    return PreparedPicture(
        name=name,
        bytes=len(made.content),
        sha256=hashlib.sha256(made.content).hexdigest(),
        source=source,
        source_width=made.width,
        source_height=made.height,
        changes=list(made.changes),
    )


def _in_order(
    originals: Originals, names: Sequence[str], settings: PrepareSettings
) -> Iterator[tuple[str, _Made | LeftOut]]:
    """Every picture, made by several threads, in the order of `names`."""
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        # In blocks, so that finished pictures do not pile up in memory.
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            yield from zip(block, pool.map(lambda name: _make(originals, name, settings), block), strict=True)


def _make(originals: Originals, name: str, settings: PrepareSettings) -> _Made | LeftOut:
    try:
        content = originals.read(name)
        original = originals.decode(content, name, settings.max_pixels)
    except DataError as error:
        return LeftOut(source=name, reason="unreadable", detail=str(error).removeprefix(f"{name}: "))
    picture = original.pixels
    height, width = picture.shape[:2]
    smaller = min(height, width)
    if smaller < settings.min_side_pixels:
        detail = f"{width} x {height}, a side under {settings.min_side_pixels}"
        return LeftOut(source=name, reason="too small", detail=detail)
    if smaller < settings.size_pixels and not settings.enlarge:
        detail = f"{width} x {height}, a side under {settings.size_pixels}"
        return LeftOut(source=name, reason="would be enlarged", detail=detail)
    pixel_hash = hashlib.sha256(repr(picture.shape).encode())
    pixel_hash.update(np.ascontiguousarray(picture).data)
    return _Made(
        content=_encoded(square(picture, settings.size_pixels, settings.channels, settings.crop), settings.format),
        file_hash=hashlib.sha256(content).hexdigest(),
        pixel_hash=pixel_hash.hexdigest(),
        width=width,
        height=height,
        changes=_changes(width, height, original.reductions, settings),
    )


def _changes(
    width: int, height: int, reductions: tuple[Reduction, ...], settings: PrepareSettings
) -> tuple[Change, ...]:
    changes: list[Change] = [*reductions]
    if width != height:
        changes.append("cropped" if settings.crop == "center" else "squeezed")
    if min(width, height) < settings.size_pixels:
        changes.append("enlarged")
    return tuple(changes)


def _encoded(picture: np.ndarray, format: Literal["png", "jpg"]) -> bytes:
    """A picture file, always the same for the same pixels."""
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    buffer = io.BytesIO()
    if format == "png":
        image.save(buffer, "PNG")
    else:
        # Colours at full resolution: of small squares, halving it would be seen.
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _free_name(source: str, format: str, taken: set[str]) -> str:
    """The name in the result: with the new ending, and a number where another picture has that name already.

    Names that differ in case only count as one, for some file systems hold them so.
    """
    stem = str(PurePosixPath(source).with_suffix(""))
    name, number = f"{stem}.{format}", 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}.{format}"
    taken.add(name.casefold())
    return name
