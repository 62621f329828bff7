"""Pictures as whole levels and as numbers in [-1, 1]: how the one becomes the other, wherever that happens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def floats_of(rgb: np.ndarray, device: torch.device) -> Tensor:
    """(N, H, W, C), uint8 or uint16, to float32 (N, C, H, W) in [-1, 1], in channels-last memory."""
    levels = int(np.iinfo(rgb.dtype).max)
    # A copy only where it must be: pictures that lie in a mapped file are read-only, which torch warns of.
    whole = np.require(rgb, np.int32 if levels > 255 else np.uint8, ("C_CONTIGUOUS", "WRITEABLE"))
    values = torch.from_numpy(whole).to(device)
    return values.permute(0, 3, 1, 2).float().mul_(2.0 / levels).sub_(1.0)


def levels_of(images: Tensor, dtype: np.dtype | type[np.unsignedinteger]) -> np.ndarray:
    """Float32 (N, C, H, W) in about [-1, 1] to (N, H, W, C) of the type, each value the nearest level."""
    levels = int(np.iinfo(dtype).max)
    integers = pixels_of(images, levels)
    return integers.cpu().numpy().astype(dtype, copy=False)


def pixels_of(images: Tensor, levels: int = 255) -> Tensor:
    """Float32 (N, C, H, W) in about [-1, 1] to (N, H, W, C) on the same device, uint8 or, of more levels, int32."""
    return rounded(images, levels).to(torch.int32 if levels > 255 else torch.uint8).permute(0, 2, 3, 1).contiguous()


def rounded(images: Tensor, levels: int = 255) -> Tensor:
    """Numbers in about [-1, 1] as the nearest whole levels from 0 to `levels`, still float32."""
    # Rounded, not truncated: truncation darkens every picture by half a level.
    return images.add(1.0).mul_(levels / 2.0).round_().clamp_(0, levels)
