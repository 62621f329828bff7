"""What a set is prepared from: files in a folder or archive, or idx files, as pictures with names."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import numpy as np

from i2i.data.archive_names import files_in_zip
from i2i.data.decoding import decode_rgb8_bytes
from i2i.data.folders import PICTURE_SUFFIXES, is_hidden_or_junk
from i2i.data.headers import PictureHeader, parse_header
from i2i.data.idx import find_idx_images, is_idx_images, read_idx_images, read_labels_of
from i2i.data.picture_files import PictureFiles, ZipFiles, open_picture_files

Reduction = Literal["16 bits to 8", "transparent parts to white", "CMYK to RGB", "first of several frames"]
"""What decoding lets go of."""

_COPY = re.compile(r"(?<![a-z])(copy|kopie|copie|copia|duplicate|backup)(?![a-z])|\(\d+\)$|~\d*$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """A decoded picture, uint8 RGB (H, W, 3), and what its file had beyond that."""

    pixels: np.ndarray
    reductions: tuple[Reduction, ...] = ()


class Originals(Protocol):
    """Pictures to prepare: names, the bytes that tell one file from another, and how these are decoded."""

    @property
    def names(self) -> Sequence[str]:
        """Sorted by code point."""
        ...

    @property
    def ignored(self) -> Sequence[str]:
        """Files beside them that are no pictures; hidden ones, and what systems leave behind, aside."""
        ...

    def read(self, name: str) -> bytes: ...
    def decode(self, content: bytes, name: str, max_pixels: int) -> Original: ...


def open_originals(source: Path) -> Originals:
    """The pictures of a folder, a .zip file, a folder of idx files or one idx file.

    Raises:
        DataError: there are none, or they cannot be listed.
    """
    if source.is_dir():
        found = {"train": find_idx_images(source, "train"), "test": find_idx_images(source, "t10k")}
        images = {split: path for split, path in found.items() if path is not None}
    else:
        images = {"test" if "t10k" in source.name else "train": source} if is_idx_images(source) else {}
    return _IdxPictures(images) if images else _Files(open_picture_files(source))


def plainness(name: str) -> tuple[bool, int, int, str]:
    """Sorts equal pictures by their relative paths: what is called a copy last, else the shortest name first."""
    path = PurePosixPath(name)
    return _COPY.search(path.stem) is not None, len(path.parts), len(path.stem), name


def ignored_in(folder: Path, pictures: Sequence[str]) -> list[str]:
    """The files in `folder` and below it that are not among `pictures`, sorted: other kinds, links without a target,
    what i2i made itself; hidden files and what systems leave behind aside.
    """
    known = set(pictures)
    paths = (Path(parent, name) for parent, _, files in os.walk(folder) for name in files)
    return _of_people(name for name in (path.relative_to(folder).as_posix() for path in paths) if name not in known)


class _Files:
    def __init__(self, files: PictureFiles) -> None:
        self._files = files
        self.names = files.names
        is_archive = isinstance(files, ZipFiles)
        self.ignored = _archived(files.place) if is_archive else ignored_in(files.place, files.names)

    def read(self, name: str) -> bytes:
        return self._files.read(name)

    def decode(self, content: bytes, name: str, max_pixels: int) -> Original:
        pixels = decode_rgb8_bytes(content, Path(name), max_pixels)
        return Original(pixels=pixels, reductions=_reductions(parse_header(io.BytesIO(content), Path(name))))


class _IdxPictures:
    """The pictures of idx files, under names that tell split, class and number. No two of them are one file."""

    def __init__(self, images: dict[str, Path]) -> None:
        self._pictures: dict[str, np.ndarray] = {}
        for split, path in images.items():
            pictures = read_idx_images(path)
            labels = read_labels_of(path, len(pictures))
            for index, picture in enumerate(pictures):
                place = split if labels is None else f"{split}/{labels[index]}"
                self._pictures[f"{place}/{index:05d}"] = picture
        self.names = sorted(self._pictures)
        self.ignored: Sequence[str] = ()

    def read(self, name: str) -> bytes:
        return name.encode()

    def decode(self, content: bytes, name: str, max_pixels: int) -> Original:
        return Original(pixels=np.repeat(self._pictures[name], 3, axis=2))


def _reductions(header: PictureHeader) -> tuple[Reduction, ...]:
    found: dict[Reduction, bool] = {
        "16 bits to 8": header.bits > 8,
        "transparent parts to white": header.has_alpha,
        "CMYK to RGB": header.mode == "CMYK",
        "first of several frames": header.frames > 1,
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _archived(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        names = [member.filename for member in files_in_zip(opened)]
    return _of_people(name for name in names if PurePosixPath(name).suffix.lower() not in PICTURE_SUFFIXES)


def _of_people(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not any(map(is_hidden_or_junk, PurePosixPath(name).parts)))
