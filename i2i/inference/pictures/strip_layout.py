"""What a picture is like that is written strip by strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

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


def check_rows(rows: np.ndarray, layout: StripLayout) -> None:
    """Refuse rows that are not as the layout says: our own mistake, never the user's."""
    kind = np.uint8 if layout.bits == 8 else np.uint16
    assert rows.dtype == kind and rows.shape[1:] == (layout.width, layout.channels), (rows.dtype, rows.shape, layout)
