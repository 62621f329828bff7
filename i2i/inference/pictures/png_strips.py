"""A PNG file row by row.

Source: W3C, "Portable Network Graphics (PNG) Specification", third edition.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from i2i.inference.pictures.strip_layout import STRIP_BYTES, StripLayout, check_rows

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_LEVEL = 6
_WAITING = 8
# Each sample less its left neighbour; each less the one above.
_SUB, _UP = 1, 2


class PngStrips:
    """Writes a PNG of 8 or 16 bits; compression runs in a thread of its own, for the stream is one."""

    def __init__(self, file: BinaryIO, layout: StripLayout) -> None:
        self._file, self._layout = file, layout
        self._stream = zlib.compressobj(_LEVEL)
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[bytes]] = deque()
        self._rows = 0
        self._above = np.zeros((1, layout.row_bytes), np.uint8)
        head = (layout.width, layout.height, layout.bits, _COLOUR_TYPES[layout.channels], 0, 0, 0)
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", *head))
        if layout.icc is not None:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.icc))
        if layout.exif is not None:
            self._chunk(b"eXIf", layout.exif.removeprefix(b"Exif\0\0"))

    def write(self, rows: np.ndarray) -> None:
        """See `StripWriter`."""
        check_rows(rows, self._layout)
        step = max(1, STRIP_BYTES // self._layout.row_bytes)
        for start in range(0, len(rows), step):
            part = np.ascontiguousarray(rows[start : start + step].astype(f">u{self._layout.bits // 8}", copy=True))
            # Bytes, not samples, are filtered and compressed.
            content = part.view(np.uint8).reshape(len(part), -1)
            self._waiting.append(self._pool.submit(self._compressed, content))
            self._rows += len(part)
            self._drain(_WAITING)

    def finish(self) -> None:
        """See `StripWriter`."""
        assert self._rows == self._layout.height, (self._rows, self._layout)
        self._drain(0)
        self._chunk(b"IDAT", self._stream.flush())
        self._chunk(b"IEND", b"")

    def close(self) -> None:
        """See `StripWriter`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _compressed(self, content: np.ndarray) -> bytes:
        above = np.concatenate([self._above, content[:-1]])
        self._above = content[-1:]
        pixel_bytes = self._layout.channels * self._layout.bits // 8
        sub, up = content.copy(), content - above
        sub[:, pixel_bytes:] -= content[:, :-pixel_bytes]
        # The rule of thumb of the specification's section on filters: the smaller the differences, the better.
        cost = [np.abs(filtered.view(np.int8).astype(np.int16)).sum(axis=1) for filtered in (sub, up)]
        is_up = (cost[1] < cost[0])[:, None]
        kinds = np.where(is_up, _UP, _SUB).astype(np.uint8)
        return self._stream.compress(np.hstack([kinds, np.where(is_up, up, sub)]).tobytes())

    def _drain(self, at_most: int) -> None:
        while self._waiting and (len(self._waiting) > at_most or self._waiting[0].done()):
            content = self._waiting.popleft().result()
            if content:
                self._chunk(b"IDAT", content)

    def _chunk(self, kind: bytes, content: bytes) -> None:
        self._file.write(struct.pack(">I", len(content)) + kind + content)
        self._file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
