"""From a decoded picture to the square that a whole-picture method trains on."""

from __future__ import annotations

import numpy as np
from PIL import Image

from i2i.data.settings import Crop

PIXELS_VERSION = 1
"""To be raised with any change of the way from a decoded picture to its square, so that no old cache is taken."""


def cropped(picture: np.ndarray, crop: Crop) -> np.ndarray:
    """Cut the largest square out of the middle of an (H, W, ...) picture, or leave it whole: a view."""
    if crop == "none":
        return picture
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def square(picture: np.ndarray, side: int, channels: int, crop: Crop) -> np.ndarray:
    """Crop a picture, reduce it to its brightness if `channels` is 1, and resize it.

    Resizing is Pillow's bicubic, which takes the mean of what it shrinks; a picture of the right size is not touched.

    Args:
        picture: uint8 RGB (H, W, 3).
        side: height and width of the result, in pixels.

    Returns:
        uint8 (side, side, channels), contiguous.
    """
    image = Image.fromarray(np.ascontiguousarray(cropped(picture, crop)))
    if channels == 1:
        image = image.convert("L")  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(side, side, channels)
