"""Windows of a picture as a network sees them, and results as pictures hold them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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


def floats_of(rgb: np.ndarray, device: torch.device) -> Tensor:
    """(N, H, W, 3), uint8 or uint16, to float32 (N, 3, H, W) in [-1, 1], in channels-last memory."""
    levels = int(np.iinfo(rgb.dtype).max)
    values = torch.from_numpy(np.ascontiguousarray(rgb, np.int32 if levels > 255 else np.uint8)).to(device)
    return values.permute(0, 3, 1, 2).float().mul_(2.0 / levels).sub_(1.0)


def levels_of(images: Tensor, dtype: np.dtype) -> np.ndarray:
    """Float32 (N, 3, H, W) in about [-1, 1] to (N, H, W, 3) of the type, each value the nearest level."""
    levels = int(np.iinfo(dtype).max)
    # Rounded, not truncated: truncation darkens every picture by half a level.
    rounded = images.add(1.0).mul_(levels / 2.0).round_().clamp_(0, levels)
    integers = rounded.to(torch.int32 if levels > 255 else torch.uint8)
    return integers.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(dtype, copy=False)
