"""The transformations of adaptive augmentation as matrices, one a picture, from uniform draws.

Geometry maps places of the result to places of the picture, (x, y, 1) in pixels from the centre, y downward, so the
inverse of each movement is multiplied on from the right. Colour maps (r, g, b, 1) to (r, g, b), from the left.

Source: Karras et al. 2020, https://arxiv.org/abs/2006.06676, appendix B. Everything here is float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from i2i.core.randomness import to_device

# Strengths, as in the paper's table of augmentations.
_LARGEST_SHIFT = 0.125  # of the side, in whole pixels
_SCALE_DEVIATION = 0.2  # in powers of two
_SHIFT_DEVIATION = 0.125  # of the side
_BRIGHTNESS_DEVIATION = 0.2
_CONTRAST_DEVIATION = 0.5  # in powers of two
_SATURATION_DEVIATION = 1.0  # in powers of two


class _Draws:
    """Hands out one column of uniform draws (N, count) after the other."""

    def __init__(self, draws: Tensor) -> None:
        self._columns: Iterator[Tensor] = iter(draws.unbind(1))

    def happens(self, probability: float) -> Tensor:
        """(N,) bool, True with that probability."""
        return self.uniform() < probability

    def uniform(self) -> Tensor:
        """(N,) in [0, 1)."""
        return next(self._columns)

    def angle(self) -> Tensor:
        """(N,) in [-pi, pi)."""
        return (self.uniform() * 2.0 - 1.0) * math.pi

    def normal(self) -> Tensor:
        """(N,) standard normal."""
        return torch.special.ndtri(self.uniform().clamp(min=1e-16))


def whole_pixel_sources(draws: Tensor, probability: float, width: int, height: int) -> Tensor:
    """Mirroring, quarter turns and shifts by whole pixels: draws (N, 7) to (N, 3, 3)."""
    take = _Draws(draws)
    mirrored = take.happens(probability) & (take.uniform() < 0.5)
    sources = _scaling(_sign(mirrored), torch.ones_like(draws[:, 0]))
    turned = take.happens(probability)
    quarters = (take.uniform() * 4.0).floor()
    sources = sources @ _quarter_turn(torch.where(turned, -quarters, 0.0))
    shifted = take.happens(probability)
    right = ((take.uniform() * 2.0 - 1.0) * _LARGEST_SHIFT * width).round()
    down = ((take.uniform() * 2.0 - 1.0) * _LARGEST_SHIFT * height).round()
    return sources @ _translation(torch.where(shifted, -right, 0.0), torch.where(shifted, -down, 0.0))


def geometric_sources(draws: Tensor, probability: float, width: int, height: int) -> Tensor:
    """Scaling, rotation, stretching in any direction and shifting: draws (N, 11) to (N, 3, 3)."""
    take = _Draws(draws)
    # Two chances of a rotation, either side of the stretching: together they make `probability`.
    rotation_probability = 1.0 - math.sqrt(1.0 - probability)
    scaled = take.happens(probability)
    factor = torch.where(scaled, torch.exp2(take.normal() * _SCALE_DEVIATION), 1.0)
    sources = _scaling(1.0 / factor, 1.0 / factor)
    rotated = take.happens(rotation_probability)
    sources = sources @ _rotation(torch.where(rotated, -take.angle(), 0.0))
    stretched = take.happens(probability)
    factor = torch.where(stretched, torch.exp2(take.normal() * _SCALE_DEVIATION), 1.0)
    sources = sources @ _scaling(1.0 / factor, factor)
    rotated = take.happens(rotation_probability)
    sources = sources @ _rotation(torch.where(rotated, -take.angle(), 0.0))
    shifted = take.happens(probability)
    right, down = (take.normal() * _SHIFT_DEVIATION * side for side in (width, height))
    return sources @ _translation(torch.where(shifted, -right, 0.0), torch.where(shifted, -down, 0.0))


def color_matrices(draws: Tensor, probability: float, channels: int) -> Tensor:
    """Brightness, contrast, luma flip, hue and saturation: draws (N, 10) to (N, channels, channels + 1).

    A grey picture (1 channel) has no hue and no saturation; the rest acts on it as on a colour picture's grey.
    """
    take = _Draws(draws)
    happens = take.happens(probability)
    brightness = torch.where(happens, take.normal() * _BRIGHTNESS_DEVIATION, 0.0)
    happens = take.happens(probability)
    contrast = torch.where(happens, torch.exp2(take.normal() * _CONTRAST_DEVIATION), 1.0)
    flipped = take.happens(probability) & (take.uniform() < 0.5)
    happens = take.happens(probability)
    hue = torch.where(happens, take.angle(), 0.0)
    happens = take.happens(probability)
    saturation = torch.where(happens, torch.exp2(take.normal() * _SATURATION_DEVIATION), 1.0)
    if channels == 1:
        factor = _sign(flipped) * contrast
        return torch.stack([factor, factor * brightness], dim=1)[:, None, :]
    identity = torch.eye(3, dtype=draws.dtype)
    grey = torch.full((3, 3), 1.0 / 3.0, dtype=draws.dtype)  # the projection onto the grey axis
    flip = identity - 2.0 * grey * flipped.to(draws.dtype)[:, None, None]
    saturate = grey + (identity - grey) * saturation[:, None, None]
    linear = saturate @ _rotation_about_grey(hue) @ flip * contrast[:, None, None]
    offset = linear.sum(dim=2, keepdim=True) * brightness[:, None, None]
    return torch.cat([linear, offset], dim=2)


def change_colors(images: Tensor, matrices: Tensor) -> Tensor:
    """Pictures (N, C, H, W) under their matrices (N, C, C + 1)."""
    matrices = to_device(matrices.to(images.dtype), images.device)[:, :, :, None, None]
    result = matrices[:, :, -1]
    for channel in range(images.shape[1]):
        result = torch.addcmul(result, matrices[:, :, channel], images[:, channel : channel + 1])
    return result


def _sign(turned: Tensor) -> Tensor:
    """-1 where True, else 1."""
    return 1.0 - 2.0 * turned.double()


def _matrix(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """(N, len(rows), len(rows[0])) of entries that are numbers or (N,)."""
    entries = [torch.as_tensor(entry, dtype=like.dtype).expand_as(like) for row in rows for entry in row]
    return torch.stack(entries, dim=1).unflatten(1, (len(rows), len(rows[0])))


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return _matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def _translation(x: Tensor, y: Tensor) -> Tensor:
    return _matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


def _turn(cosine: Tensor, sine: Tensor) -> Tensor:
    return _matrix([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]], cosine)


def _rotation(angle: Tensor) -> Tensor:
    return _turn(angle.cos(), angle.sin())


def _quarter_turn(quarters: Tensor) -> Tensor:
    # Whole numbers, which sines of multiples of pi / 2 are not quite.
    return _turn((quarters * (math.pi / 2)).cos().round(), (quarters * (math.pi / 2)).sin().round())


def _rotation_about_grey(angle: Tensor) -> Tensor:
    """Rotation of colours about the grey axis, (N,) to (N, 3, 3), by Rodrigues' formula."""
    cosine, sine = angle.cos(), angle.sin() / math.sqrt(3.0)
    common = (1.0 - cosine) / 3.0
    kept, before, after = common + cosine, common - sine, common + sine
    return _matrix([[kept, before, after], [after, kept, before], [before, after, kept]], angle)
