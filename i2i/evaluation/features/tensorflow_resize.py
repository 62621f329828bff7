"""Bilinear resizing as TensorFlow 1 did it, on which the published Inception features rest."""

from __future__ import annotations

import torch
from torch import Tensor


def tensorflow_resize(pictures: Tensor, size_pixels: int) -> Tensor:
    """Resize pictures to squares, to the last bit as ``tf.image.resize_bilinear`` with its defaults of 2015.

    Output pixel i lies at i * in / out, so corners are aligned with nothing at the far sides, and each of its values
    comes from two neighbours a side however much the picture shrinks: no antialiasing. Modern resizing would be better
    and would give other figures.

    Args:
        pictures: (N, H, W, C), uint8 or float32.
        size_pixels: of the squares.

    Returns:
        (N, size_pixels, size_pixels, C), float32, not rounded.

    Source: TensorFlow 1, ``core/kernels/resize_bilinear_op.cc``: positions, weights and sums in float32, columns first.
    """
    height, width = pictures.shape[1:3]
    top, bottom, down = _neighbours(height, size_pixels, pictures.device)
    left, right, across = _neighbours(width, size_pixels, pictures.device)
    # Of a large picture only the rows that are looked at.
    rows, places = torch.unique(torch.cat([top, bottom]), return_inverse=True)
    levels = pictures.index_select(1, rows).float()
    from_left, from_right = levels.index_select(2, left), levels.index_select(2, right)
    levels = from_left + (from_right - from_left) * across.view(1, 1, -1, 1)
    above, below = levels.index_select(1, places[:size_pixels]), levels.index_select(1, places[size_pixels:])
    return above + (below - above) * down.view(1, -1, 1, 1)


def _neighbours(side: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each output position the input position before it and behind it, and how far it lies between them."""
    positions = torch.arange(size, dtype=torch.float32, device=device) * torch.tensor(side / size, dtype=torch.float32)
    before = positions.long()
    return before, (before + 1).clamp_max(side - 1), positions - before.float()
