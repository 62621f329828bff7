"""A TIFF file strip by strip: classic where four gigabytes suffice, else BigTIFF.

Each strip is compressed by itself (deflate of the differences to the left neighbour), several at once.

Source: Adobe, "TIFF Revision 6.0" and "TIFF Technical Note 2"; AWare Systems, "The BigTIFF File Format".
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from i2i.inference.pictures.exif import (
    CAMERA_DIRECTORY,
    INTEROPERABILITY_DIRECTORY,
    PLACE_DIRECTORY,
    Field,
    read_fields,
)
from i2i.inference.pictures.strip_layout import STRIP_BYTES, StripLayout, check_rows

_LEVEL = 6
_COMPRESSORS, _WAITING = 2, 16
# Offsets of four bytes end here; some room is left for directories and for strips that do not compress.
_CLASSIC_BYTES = 2**32 - 2**24
_SHORT, _LONG, _UNDEFINED, _LONG8 = 3, 4, 7, 16
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
# Of the EXIF block's main directory: words about the picture. All else there describes a file that is another one.
_KEPT = frozenset({
    0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
})  # fmt: skip


class TiffStrips:
    """Writes a TIFF of 8 or 16 bits."""

    def __init__(self, file: BinaryIO, layout: StripLayout) -> None:
        self._file, self._layout = file, layout
        # Deflate adds five bytes to each 16 KB that do not compress.
        self._big = layout.total_bytes * 1.001 + len(layout.icc or b"") + len(layout.exif or b"") > _CLASSIC_BYTES
        self._rows_per_strip = min(layout.height, max(1, STRIP_BYTES // layout.row_bytes))
        self._pool = ThreadPoolExecutor(_COMPRESSORS)
        self._waiting: deque[Future[bytes]] = deque()
        self._strips: list[tuple[int, int]] = []
        self._part = np.empty((0, layout.width, layout.channels), np.uint8 if layout.bits == 8 else np.uint16)
        self._rows = 0
        file.write(_header(0, big=self._big))
        self._described = self._write_description()

    def write(self, rows: np.ndarray) -> None:
        """See `StripWriter`."""
        check_rows(rows, self._layout)
        self._rows += len(rows)
        rows = np.concatenate([self._part, rows]) if len(self._part) else rows
        whole = len(rows) // self._rows_per_strip * self._rows_per_strip
        for start in range(0, whole, self._rows_per_strip):
            self._submit(rows[start : start + self._rows_per_strip])
        self._part = rows[whole:].copy()

    def finish(self) -> None:
        """See `StripWriter`."""
        assert self._rows == self._layout.height, (self._rows, self._layout)
        if len(self._part):
            self._submit(self._part)
        self._drain(0)
        place = self._file.seek(0, 2)
        place += self._file.write(b"\0" * (place % 2))
        self._file.write(_directory(self._tags(), place, big=self._big))
        self._file.seek(0)
        self._file.write(_header(place, big=self._big))

    def close(self) -> None:
        """See `StripWriter`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, rows: np.ndarray) -> None:
        # A copy: the caller may go on to use the array.
        self._waiting.append(self._pool.submit(_compressed, rows.copy()))
        self._drain(_WAITING)

    def _drain(self, at_most: int) -> None:
        while self._waiting and (len(self._waiting) > at_most or self._waiting[0].done()):
            content = self._waiting.popleft().result()
            self._strips.append((self._file.tell(), len(content)))
            self._file.write(content)

    def _write_description(self) -> dict[int, Field]:
        """Write the directories of the EXIF block, which the main one points to; returns its own part."""
        if self._layout.exif is None:
            return {}
        block = read_fields(self._layout.exif)
        kept = {tag: field for tag, field in block.main.items() if tag in _KEPT}
        # At the file's beginning, where offsets of four bytes reach in a BigTIFF too.
        if block.interoperability:
            block.camera[INTEROPERABILITY_DIRECTORY] = self._write_directory(block.interoperability)
        for pointer, fields in ((CAMERA_DIRECTORY, block.camera), (PLACE_DIRECTORY, block.place)):
            if fields:
                kept[pointer] = self._write_directory(fields)
        return kept

    def _write_directory(self, fields: Mapping[int, Field]) -> Field:
        place = self._file.tell()
        place += self._file.write(b"\0" * (place % 2))
        self._file.write(_directory(fields, place, big=self._big))
        return _numbers(_LONG, place)

    def _tags(self) -> dict[int, Field]:
        layout = self._layout
        has_alpha = layout.channels in (2, 4)
        offset = _LONG8 if self._big else _LONG
        tags = {
            **self._described,
            256: _numbers(_LONG, layout.width),
            257: _numbers(_LONG, layout.height),
            258: _numbers(_SHORT, *[layout.bits] * layout.channels),
            259: _numbers(_SHORT, 8),  # deflate
            262: _numbers(_SHORT, 1 if layout.channels < 3 else 2),  # black is zero; RGB
            273: _numbers(offset, *[place for place, _ in self._strips]),
            277: _numbers(_SHORT, layout.channels),
            278: _numbers(_LONG, self._rows_per_strip),
            279: _numbers(offset, *[length for _, length in self._strips]),
            284: _numbers(_SHORT, 1),  # samples of a pixel lie together
            317: _numbers(_SHORT, 2),  # differences to the left neighbour
        }
        if has_alpha:
            tags[338] = _numbers(_SHORT, 2)  # the last sample is alpha that is not multiplied into the colours
        if layout.icc is not None:
            tags[34675] = Field(_UNDEFINED, len(layout.icc), layout.icc)
        return tags


def _compressed(rows: np.ndarray) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]  # wraps around, as it should
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<"), copy=False).tobytes(), _LEVEL)


def _header(place: int, *, big: bool) -> bytes:
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, place) if big else struct.pack("<2sHI", b"II", 42, place)


def _numbers(kind: int, *values: int) -> Field:
    return Field(kind, len(values), struct.pack(f"<{len(values)}{_CODES[kind]}", *values))


def _directory(fields: Mapping[int, Field], place: int, *, big: bool) -> bytes:
    """A directory that begins at `place`, with the values that do not fit into it right behind."""
    count, entry, room = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    head = struct.pack(count, len(fields))
    behind = place + len(head) + len(fields) * (struct.calcsize(entry) + room) + room
    entries, values = [head], b""
    for tag in sorted(fields):
        field = fields[tag]
        content = field.content
        if len(content) > room:
            values += b"\0" * ((behind + len(values)) % 2)
            content = (behind + len(values)).to_bytes(room, "little")
            values += field.content
        entries.append(struct.pack(entry, tag, field.kind, field.count) + content.ljust(room, b"\0"))
    return b"".join(entries) + b"\0" * room + values
