"""What an upscaler does not do itself: transparency, shades of grey and EXIF of a picture that grows.

Colours under full transparency are arbitrary, often black, and a network that sees them draws a dark seam around
everything cut out. They are replaced by the nearest colour that can be seen before it looks, and stay replaced.
Transparency is enlarged by bicubic interpolation, for a network would draw texture into it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from i2i.data.decoding import read_header
from i2i.errors import DataError
from i2i.inference.exif import enlarged_exif
from i2i.inference.image_files import Picture
from i2i.inference.runtime import out_of_memory_as_help

# Of red, green and blue in what people see as brightness; ITU-R BT.601, as in Pillow's and OpenCV's grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def check_enlarged_pixels(path: Path, scale: int, max_pixels: int) -> None:
    """Refuse the picture at `path` by its header if, enlarged, it had more than `max_pixels` pixels.

    Raises:
        DataError: it had, or it is no picture.
    """
    header = read_header(path)
    pixels = header.pixels * scale**2
    if pixels > max_pixels:
        raise DataError(
            f"{path}: {header.width} x {header.height} becomes {header.width * scale} x {header.height * scale},"
            f" {pixels:,} pixels, the limit is {max_pixels:,} - shrink the picture or raise --max-pixels"
        )


def fill_hidden(picture: Picture) -> Picture:
    """Give fully transparent pixels the colour of the nearest one that can be seen, if there is one.

    Raises:
        OutOfMemoryError: too little memory for that.
    """
    if picture.alpha is None:
        return picture
    hidden = picture.alpha == 0
    if not hidden.any() or hidden.all():
        return picture
    import cv2

    height, width = hidden.shape
    with out_of_memory_as_help(1, height, width, "shrink the picture"):
        _, labels = cv2.distanceTransformWithLabels(
            hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        # Each visible pixel has a number of its own, which the hidden ones next to it share.
        colours = np.zeros((int(labels.max()) + 1, 3), picture.rgb.dtype)
        colours[labels[~hidden]] = picture.rgb[~hidden]
        rgb = picture.rgb.copy()
        rgb[hidden] = colours[labels[hidden]]
    return replace(picture, rgb=rgb)


def with_pixels(picture: Picture, rgb: np.ndarray) -> Picture:
    """The `picture` with the pixels that a model made of it and with all the rest in their size.

    Args:
        rgb: (H * scale, W * scale, 3), of the picture's own type.

    Raises:
        OutOfMemoryError: too little memory for the rest.
    """
    height, width = rgb.shape[:2]
    scale = height // picture.rgb.shape[0]
    if scale == 1:
        return replace(picture, rgb=rgb)
    with out_of_memory_as_help(1, height, width, "shrink the picture"):
        alpha = picture.alpha
        return replace(
            picture,
            rgb=_grey(rgb) if picture.was_grey else rgb,
            alpha=None if alpha is None else enlarge_alpha(alpha, scale),
            # With a profile for RGB the values mean what they mean in RGB alone.
            as_grey=picture.was_grey and picture.icc is None,
            exif=enlarged_exif(picture.exif, width, height, scale),
        )


def enlarge_alpha(alpha: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge (H, W), uint8 or uint16, by MATLAB's bicubic interpolation, without leaving the range."""
    import torch

    from i2i.core.resize import imresize

    values = torch.from_numpy(alpha.astype(np.float32))[None, None]
    enlarged = imresize(values, scale).round_().clamp_(0, int(np.iinfo(alpha.dtype).max))
    return enlarged[0, 0].numpy().astype(alpha.dtype)


def _grey(rgb: np.ndarray) -> np.ndarray:
    """Brightness as three equal channels: a network may tint what came in grey."""
    luma = np.rint(rgb @ _LUMA)
    return np.repeat(luma.astype(rgb.dtype)[..., None], 3, axis=2)
