"""What an upscaler does not do itself: transparency, shades of grey and EXIF of a picture that grows.

Colours under full transparency are arbitrary, often black, and a network that sees them draws a dark seam around
everything cut out. They are replaced by the nearest colour that can be seen before it looks, and stay replaced.
Transparency is enlarged by bicubic interpolation, for a network would draw texture into it ("copy"). Who wants that
has it sent through the network as a grey picture ("model", with every kind of model) or leaves it out ("drop": the
picture is opaque then, in the colours that its file has under the transparency).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from i2i.inference.pictures.exif import enlarged_exif
from i2i.inference.pictures.image_files import Picture
from i2i.inference.runtime import out_of_memory_as_help

AlphaMode = Literal["copy", "model", "drop"]
"""What becomes of transparency, see above."""

# Bicubic interpolation looks two pixels far, and one more covers its phase.
_ALPHA_REACH = 3
_ALPHA_PIXELS = 4_000_000
# Of red, green and blue in what people see as brightness; ITU-R BT.601, as in Pillow's and OpenCV's grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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


def with_pixels(picture: Picture, rgb: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    """The `picture` with the pixels that a model made of it and with all the rest in their size.

    Args:
        rgb: (H * scale, W * scale, 3), of the picture's own type.
        alpha: (H * scale, W * scale), to take in place of the picture's own.

    Raises:
        OutOfMemoryError: too little memory for the rest.
    """
    height, width = rgb.shape[:2]
    scale = height // picture.rgb.shape[0]
    with out_of_memory_as_help(1, height, width, "shrink the picture"):
        return band_with_pixels(picture, with_facts(picture, scale), rgb, 0, alpha)


def with_facts(picture: Picture, scale: int) -> Picture:
    """The `picture`, still with its own pixels, with all that is said of them as it is for the result."""
    if scale == 1:
        return picture
    height, width = picture.rgb.shape[:2]
    return replace(
        picture,
        # With a profile for RGB the values mean what they mean in RGB alone.
        as_grey=picture.was_grey and picture.icc is None,
        exif=enlarged_exif(picture.exif, width * scale, height * scale, scale),
    )


def band_with_pixels(
    picture: Picture, facts: Picture, rgb: np.ndarray, first_row: int, alpha: np.ndarray | None = None
) -> Picture:
    """Some rows of a result as a picture.

    Args:
        picture: that the model was given.
        facts: of the result, see `with_facts`.
        rgb: (rows, W * scale, 3).
        first_row: of the result, which these begin with.
        alpha: (rows, W * scale), to take in place of the picture's own.
    """
    rows, width = rgb.shape[:2]
    scale = width // picture.rgb.shape[1]
    if alpha is None and picture.alpha is not None:
        alpha = enlarge_alpha_rows(picture.alpha, scale, first_row, first_row + rows)
    return replace(facts, rgb=grey_of(rgb) if picture.was_grey and scale > 1 else rgb, alpha=alpha)


def enlarge_alpha_rows(alpha: np.ndarray, scale: int, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of what `enlarge_alpha` makes of (H, W); of scale 1 as they are.

    The picture goes on beyond the rows that are needed, as far as the kernel reaches, so that they come out alike.
    """
    if scale == 1:
        return alpha[start:stop]
    rows = max(1, _ALPHA_PIXELS // (alpha.shape[1] * scale))
    enlarged = []
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        above = max(0, first // scale - _ALPHA_REACH)
        below = min(len(alpha), -(-last // scale) + _ALPHA_REACH)
        enlarged.append(enlarge_alpha(alpha[above:below], scale)[first - above * scale : last - above * scale])
    return np.concatenate(enlarged)


def enlarge_alpha(alpha: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge (H, W), uint8 or uint16, by MATLAB's bicubic interpolation, without leaving the range."""
    import torch

    from i2i.core.resize import imresize

    values = torch.from_numpy(alpha.astype(np.float32))[None, None]
    enlarged = imresize(values, scale).round_().clamp_(0, int(np.iinfo(alpha.dtype).max))
    return enlarged[0, 0].numpy().astype(alpha.dtype)


def as_picture(alpha: np.ndarray) -> np.ndarray:
    """Transparency (..., H, W) as a grey picture (..., H, W, 3) that a network can be given."""
    return np.repeat(alpha[..., None], 3, axis=-1)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """Brightness as three equal channels: a network may tint what came in grey."""
    return as_picture(brightness(rgb))


def brightness(rgb: np.ndarray) -> np.ndarray:
    """Brightness (..., H, W) of pictures (..., H, W, 3), of the same type."""
    return np.rint(rgb @ _LUMA).astype(rgb.dtype)
