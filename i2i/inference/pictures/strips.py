"""Pictures written strip by strip, so that a result may be far larger than memory: PNG and TIFF.

Both are compressed without loss. The other formats are written from a whole picture by their libraries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from i2i.files import atomic_path

STRIP_BYTES = 2**20
"""About so much of a picture is compressed at once."""


@dataclass(frozen=True, kw_only=True)
class StripLayout:
    """What is said of a picture before its first row."""

    width: int
    height: int
    channels: Literal[1, 2, 3, 4]
    """Grey, grey and alpha, RGB, RGB and alpha; alpha is not multiplied into the colours."""
    bits: Literal[8, 16] = 8
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def row_bytes(self) -> int:
        """Of one row as it lies in memory."""
        return self.width * self.channels * self.bits // 8

    @property
    def total_bytes(self) -> int:
        """Of all rows as they lie in memory."""
        return self.row_bytes * self.height


class StripWriter(Protocol):
    """Takes a picture from top to bottom."""

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, W, channels), uint8 or uint16 as the layout says."""
        ...

    def finish(self) -> None:
        """Write what belongs behind the last row."""
        ...

    def close(self) -> None:
        """Give up what runs beside; nothing more is written."""
        ...


@contextlib.contextmanager
def open_strips(path: Path, layout: StripLayout, format: Literal["png", "tiff"]) -> Iterator[StripWriter]:
    """Write the file at `path`, whole or not at all, out of the rows that the caller hands over.

    Raises:
        StorageError: the file cannot be written.
    """
    from i2i.inference.pictures.png_strips import PngStrips
    from i2i.inference.pictures.tiff_strips import TiffStrips

    with atomic_path(path) as temporary, temporary.open("wb") as file:
        strips: StripWriter = PngStrips(file, layout) if format == "png" else TiffStrips(file, layout)
        with contextlib.closing(strips):
            yield strips
            strips.finish()


def check_rows(rows: np.ndarray, layout: StripLayout) -> None:
    """Refuse rows that are not as the layout says: our own mistake, never the user's."""
    kind = np.uint8 if layout.bits == 8 else np.uint16
    assert rows.dtype == kind and rows.shape[1:] == (layout.width, layout.channels), (rows.dtype, rows.shape, layout)
