"""Bicubic resizing that equals MATLAB's ``imresize``.

Super-resolution is defined by it: the low-resolution halves of its benchmarks were made that way, and so is the
enlargement that every paper compares itself with. Other libraries' "bicubic" is something else: without widening the
kernel when shrinking, or with another kernel, results lie up to a decibel apart.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

_REACH_PIXELS = 2
"""Half the width of the cubic kernel."""


def imresize(images: Tensor, scale: Fraction | int) -> Tensor:
    """Resize by `scale`, as exactly as the arithmetic allows; 1e-14 in float64.

    Keys' cubic kernel with a = -1/2, widened by 1 / scale when shrinking (antialiasing), pixel centres at
    half-integers, and the picture continued beyond its border by mirroring it, border pixels included. Where a side
    times `scale` is no whole number, `scale` itself decides where samples lie. Values are neither clamped nor rounded:
    bicubic overshoots at edges. Differentiable.

    Args:
        images: (N, C, H, W), float32 or float64, of any range.
        scale: output side over input side; ``Fraction(1, 4)`` shrinks to a quarter.

    Returns:
        (N, C, ceil(H * scale), ceil(W * scale)), of the same type.

    Raises:
        ValueError: `images` are of another type or shape, or `scale` is not positive.

    Source: MATLAB's documentation of ``imresize``, method "bicubic"; Keys 1981, "Cubic convolution interpolation for
    digital image processing".
    """
    ratio = Fraction(scale)
    if ratio <= 0:
        raise ValueError(f"scale is {scale}; needs more than 0")
    if images.ndim != 4 or images.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"images are {tuple(images.shape)} {images.dtype}; needs (N, C, H, W) float32 or float64")
    if ratio == 1:
        return images
    up, down = ratio.numerator, ratio.denominator
    # Whole periods of the pattern in which input and output pixels lie, so that what is cut off again is whole too.
    margin = _multiple(math.ceil(_REACH_PIXELS * max(Fraction(1), 1 / ratio)) + 1, down)
    height, width = images.shape[-2:]
    padded = _mirrored(_mirrored(images, -2, margin, down), -1, margin, down)
    size = [side * up // down for side in padded.shape[-2:]]
    # With antialias torch's kernel is the one with a = -1/2, enlarging included; without it, another.
    resized = functional.interpolate(padded, size=size, mode="bicubic", align_corners=False, antialias=True)
    start = margin * up // down
    return resized[..., start : start + math.ceil(height * ratio), start : start + math.ceil(width * ratio)]


def resize_levels(levels: Tensor, scale: Fraction | int) -> Tensor:
    """(N, C, H, W) uint8 resized as `imresize` does, in float64, clamped and rounded to uint8 again.

    With ``Fraction(1, 4)`` this makes the low-resolution pictures, of training and of benchmarks; with 4 the bicubic
    baseline.
    """
    # On levels, not on [0, 1]: halves then come out as halves, and are rounded alike (to even) everywhere.
    return imresize(to_float64(levels), scale).round().clamp(0, 255).to(torch.uint8)


def to_float64(images: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (images.cpu() if images.device.type == "mps" else images).double()


def _mirrored(images: Tensor, axis: int, margin: int, multiple: int) -> Tensor:
    """Continue a side by `margin` at both ends, and at its end until it was a multiple of `multiple`."""
    side = images.shape[axis]
    positions = torch.arange(-margin, _multiple(side, multiple) + margin, device=images.device) % (2 * side)
    # 1 0 | 0 1 2 | 2 1: defined for any side, also one shorter than the margin.
    return images.index_select(axis, torch.minimum(positions, 2 * side - 1 - positions))


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of
