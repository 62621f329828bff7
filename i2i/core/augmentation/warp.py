"""Affine transformations of a batch of pictures, each its own: sharp, and differentiable as often as wanted."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from i2i.core.randomness import to_device

# Neighbours on either side from which a pixel half-way between two others is made.
_REACH = 6


def warp(images: Tensor, sources: Tensor) -> Tensor:
    """Each picture (N, C, H, W), H and W at least 2, through its own affine transformation.

    `sources` (N, 2, 3) or (N, 3, 3) says for each pixel of the result where it comes from: (x, y, 1) to (x, y), in
    pixels, x to the right, y downward, from the picture's centre. Beyond its border a picture goes on as its own
    reflection, as often as needed.

    The picture is enlarged twofold by a long symmetric filter and that is read bilinearly, which blurs much less than
    reading the picture itself would; whole pixels come back as they are. `grid_sample` would do the reading, but it
    cannot be differentiated twice, and its gradient is not reproducible on CUDA.
    """
    channels, height, width = images.shape[1:]
    enlarged = images @ _enlarging(width, images.device, images.dtype).T
    enlarged = _enlarging(height, images.device, images.dtype) @ enlarged  # (N, C, 2 H - 1, 2 W - 1)
    # Places are computed on the device: they are as many as pixels, the matrices are few.
    matrices = to_device(sources[:, :2].to(images.dtype), images.device)[:, :, :, None, None]  # (N, 2, 3, 1, 1)
    across = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    down = (torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2)[:, None]
    places = matrices[:, :, 0] * across + matrices[:, :, 1] * down + matrices[:, :, 2]  # (N, 2, H, W)
    left, right_share = _neighbours(places[:, 0], width)
    top, lower_share = _neighbours(places[:, 1], height)
    line = 2 * width - 1
    corners = to_device(torch.tensor([0, 1, line, line + 1]), images.device)
    # (N, 1, 4 H W): all four at once, so that their gradients are gathered up in one array.
    index = ((top * line + left).flatten(1)[:, None] + corners[:, None]).flatten(1)[:, None]
    read = enlarged.flatten(2).gather(2, index.expand(-1, channels, -1)).unflatten(2, (2, 2, height, width))
    above_below = torch.lerp(read[:, :, :, 0], read[:, :, :, 1], right_share[:, None, None])
    return torch.lerp(above_below[:, :, 0], above_below[:, :, 1], lower_share[:, None])


def _neighbours(places: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Of places in pixels from the centre: the index of the enlarged pixel before each, the share of that after it."""
    last = 2.0 * (side - 1)
    folded = (2.0 * places + last / 2).remainder(2.0 * last)
    folded = torch.minimum(folded, 2.0 * last - folded)  # in [0, last]
    before = folded.floor().clamp(0, last - 1)
    return before.long(), folded - before


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept may serve a call that wants gradients
def _enlarging(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(2 side - 1, side): a line of pixels to the same with one made between each two; reflecting at the ends.

    Those between are a windowed sinc (Lanczos) of their neighbours; the kernel's symmetry makes the enlarged line go on
    as its own reflection too.
    """
    assert side >= 2
    matrix = torch.zeros(2 * side - 1, side, dtype=torch.float64)
    matrix[::2] = torch.eye(side, dtype=torch.float64)
    distances = torch.arange(2 * _REACH, dtype=torch.float64) - (_REACH - 0.5)
    taps = torch.sinc(distances) * torch.sinc(distances / _REACH)
    taps = taps / taps.sum()
    period = 2 * (side - 1)
    for between in range(side - 1):
        for offset, tap in enumerate(taps.tolist()):
            place = (between - _REACH + 1 + offset) % period
            matrix[2 * between + 1, min(place, period - place)] += tap
    return matrix.to(device, dtype)
