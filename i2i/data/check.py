"""Looking through a folder of pictures before a training run spends a day on it."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from i2i.data.decoding import DEFAULT_MAX_PIXELS, PictureHeader, decode_rgb8, read_header
from i2i.data.folders import find_pictures
from i2i.data.originals import ignored_in, plainness
from i2i.errors import DataError

DEFAULT_MIN_SIDE_PIXELS = 16


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What :func:`check_folder` found; all names are relative to `folder`, with forward slashes, and sorted.

    A picture is usable when it can be decoded and is neither too small nor too large; the remarks after `too_small`
    take nothing away from it. `duplicates` lists groups of pictures whose pixels are the same, in each the one first
    that preparing a set would keep. `sizes` counts the usable pictures of each (width, height), as "WIDTHxHEIGHT", most
    frequent first. `enlarged` are those that a training at the size asked for would enlarge. `ignored` are files that
    are no pictures, links without a target, and results of i2i.
    """

    folder: str
    pictures: int
    usable: int
    file_bytes: int
    pictures_by_folder: dict[str, int]
    sizes: dict[str, int]
    smallest_side_pixels: int | None
    largest_side_pixels: int | None
    unreadable: dict[str, str] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    grey: list[str] = field(default_factory=list)
    sixteen_bit: list[str] = field(default_factory=list)
    alpha: list[str] = field(default_factory=list)
    several_frames: list[str] = field(default_factory=list)
    rotated: list[str] = field(default_factory=list)
    enlarged: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """One file: its header if it has a readable one, the hash of its pixels if they could be decoded."""

    name: str
    file_bytes: int
    header: PictureHeader | None = None
    pixel_hash: str | None = None
    looks_grey: bool = False
    error: str | None = None


def check_folder(
    folder: Path,
    *,
    min_side_pixels: int = DEFAULT_MIN_SIDE_PIXELS,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    size_pixels: int | None = None,
) -> CheckReport:
    """Read and decode every picture in `folder` and below it, and say what training would make of it.

    Args:
        folder: where the pictures lie.
        min_side_pixels: a picture with a shorter side is too small.
        max_pixels: a picture with more pixels is too large; it is not decoded.
        size_pixels: of the training, if it shall be said which pictures it would enlarge.

    Raises:
        DataError: the folder is missing or holds no pictures.
    """
    refuse_missing(folder)
    names = find_pictures(folder)
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        findings = list(pool.map(lambda name: _inspect(folder, name, min_side_pixels, max_pixels), names))
    usable = [finding for finding in findings if finding.pixel_hash is not None]
    headers = {finding.name: finding.header for finding in findings if finding.header is not None}
    sizes = Counter(f"{f.header.width}x{f.header.height}" for f in usable if f.header is not None)
    sides = [side for f in usable if f.header is not None for side in (f.header.width, f.header.height)]
    return CheckReport(
        folder=str(folder),
        pictures=len(names),
        usable=len(usable),
        file_bytes=sum(finding.file_bytes for finding in findings),
        pictures_by_folder=dict(sorted(Counter(str(PurePosixPath(name).parent) for name in names).items())),
        sizes=dict(sizes.most_common()),
        smallest_side_pixels=min(sides, default=None),
        largest_side_pixels=max(sides, default=None),
        unreadable={finding.name: finding.error for finding in findings if finding.error is not None},
        too_large=[name for name, header in headers.items() if header.pixels > max_pixels],
        too_small=[name for name, header in headers.items() if _is_small(header, min_side_pixels)],
        duplicates=_duplicates({finding.name: finding.pixel_hash for finding in usable}),
        grey=[finding.name for finding in findings if finding.looks_grey],
        sixteen_bit=[name for name, header in headers.items() if header.bits > 8],
        alpha=[name for name, header in headers.items() if header.has_alpha],
        several_frames=[name for name, header in headers.items() if header.frames > 1],
        rotated=[name for name, header in headers.items() if header.orientation != 1],
        enlarged=[f.name for f in usable if f.header is not None and _is_small(f.header, size_pixels or 0)],
        ignored=ignored_in(folder, names),
    )


def refuse_missing(place: Path) -> None:
    """Refuse a folder or file of pictures that is not there; a name beside it that is nearly the same is proposed.

    Raises:
        DataError: it is missing.
    """
    if place.exists():
        return
    try:
        beside = [path.name for path in place.parent.iterdir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(place.name, beside, n=1)
    hint = f"did you mean {place.with_name(near[0])}?" if near else "check the spelling"
    raise DataError(f"{place}: no such file or folder - {hint}")


def _inspect(folder: Path, name: str, min_side_pixels: int, max_pixels: int) -> _Finding:
    path = folder / name
    file_bytes = 0
    header: PictureHeader | None = None
    try:
        file_bytes = path.stat().st_size
        header = read_header(path)
        if header.pixels > max_pixels or _is_small(header, min_side_pixels):
            return _Finding(name=name, file_bytes=file_bytes, header=header)
        picture = decode_rgb8(path, max_pixels)
    except (DataError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        return _Finding(name=name, file_bytes=file_bytes, header=header, error=reason)
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(picture.data)
    # By the pixels too: most grey photos are stored as RGB.
    grey = header.is_grey or bool(
        np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 1], picture[..., 2])
    )
    return _Finding(name=name, file_bytes=file_bytes, header=header, pixel_hash=digest.hexdigest(), looks_grey=grey)


def _is_small(header: PictureHeader, min_side_pixels: int) -> bool:
    return min(header.width, header.height) < min_side_pixels


def _duplicates(hashes: Mapping[str, str | None]) -> list[list[str]]:
    groups: defaultdict[str | None, list[str]] = defaultdict(list)
    for name, pixel_hash in hashes.items():
        groups[pixel_hash].append(name)
    return [sorted(group, key=plainness) for group in groups.values() if len(group) > 1]
