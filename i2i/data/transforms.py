"""Random crop and mirror of a training picture, through albumentations and seeded by a key.

albumentations' own seeding would do (54 microseconds a picture against 9), but ties the pictures of a run to that
library's internals; so the numbers are drawn here and only the pixels are moved there.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from i2i.data.keyed import below, keyed_words

if TYPE_CHECKING:
    import albumentations


@dataclass(frozen=True, kw_only=True)
class CropAndFlip:
    """Crop a square of `crop_pixels` at a random place and, with `flip`, mirror every second picture left to right."""

    crop_pixels: int
    flip: bool

    def __call__(self, picture: np.ndarray, *key: int | str) -> np.ndarray:
        """Transform one picture; the result depends on the picture and `key` only.

        Args:
            picture: uint8 (height, width, 3), both sides at least `crop_pixels`.
            key: what tells this draw from all others, such as seed, stream name and sample counter.

        Returns:
            uint8 (crop_pixels, crop_pixels, 3), contiguous, never a view of `picture`.
        """
        height, width = picture.shape[:2]
        size = self.crop_pixels
        assert height >= size and width >= size, "settings refuse a crop larger than the picture"
        down, right, mirror, _ = keyed_words("crop and flip", *key)
        top = below(down, height - size + 1)
        left = below(right, width - size + 1)
        crop, flip = _operations()
        result = crop.apply(picture, crop_coords=(left, top, left + size, top + size))
        if self.flip and below(mirror, 2):
            result = flip.apply(result)
        result = np.ascontiguousarray(result)
        return result.copy() if np.may_share_memory(result, picture) else result


@functools.cache
def _operations() -> tuple[albumentations.RandomCrop, albumentations.HorizontalFlip]:
    # On import albumentations asks the package index for updates unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations.RandomCrop(1, 1), albumentations.HorizontalFlip(p=1.0)
