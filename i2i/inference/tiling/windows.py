"""Windows of a picture as a network sees them, and results as pictures hold them."""

from __future__ import annotations

import numpy as np
import torch

from i2i.inference.sizes import pad_mirrored


class MirroredPicture:
    """A picture that goes on at the bottom and at the right by mirroring, as networks that need multiples see it.

    Args:
        rgb: (H, W, 3), uint8 or uint16.
        height: with what is mirrored.
        width: with what is mirrored.
    """

    def __init__(self, rgb: np.ndarray, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._rgb = rgb
        self._rows, self._columns = (
            pad_mirrored(torch.arange(have)[None, None, :, None], want, 1).flatten().numpy()
            for have, want in zip(rgb.shape[:2], (height, width), strict=True)
        )

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """(bottom - top, right - left, 3)."""
        height, width = self._rgb.shape[:2]
        if bottom <= height and right <= width:
            return self._rgb[top:bottom, left:right]
        return self._rgb[self._rows[top:bottom, None], self._columns[None, left:right]]
