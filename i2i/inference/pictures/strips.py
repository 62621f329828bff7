"""Pictures written strip by strip, so that a result may be far larger than memory: PNG and TIFF.

Both are compressed without loss. The other formats are written from a whole picture by their libraries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from i2i.files import atomic_path
from i2i.inference.pictures.png_strips import PngStrips
from i2i.inference.pictures.strip_layout import StripLayout
from i2i.inference.pictures.tiff_strips import TiffStrips


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
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        strips: StripWriter = PngStrips(file, layout) if format == "png" else TiffStrips(file, layout)
        with contextlib.closing(strips):
            yield strips
            strips.finish()
