"""Cropped in the middle or squeezed, in colour or grey, and never touched without need."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from i2i.data.squares import cropped, square


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (6, 9), (6, 10), (11, 6), (1, 5)])
def test_the_crop_is_the_largest_square_in_the_middle(height: int, width: int) -> None:
    picture = _picture(height, width)
    side = min(height, width)
    part = cropped(picture, "center")
    assert part.shape == (side, side, 3)
    top, left = (height - side) // 2, (width - side) // 2
    assert np.array_equal(part, picture[top : top + side, left : left + side])
    assert abs((height - side) - 2 * top) <= 1 and abs((width - side) - 2 * left) <= 1
    assert cropped(picture, "none") is picture


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_right_size_keeps_its_pixels(channels: int) -> None:
    grey = np.repeat(_picture(8, 8)[..., :1], 3, axis=2)
    result = square(grey, 8, channels, "center")
    assert result.shape == (8, 8, channels) and result.flags.c_contiguous
    assert np.array_equal(result, grey[..., :channels])
    colour = _picture(8, 12)
    assert np.array_equal(square(colour, 8, 3, "center"), colour[:, 2:10])


def test_colours_weigh_as_the_eye_sees_them() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    assert square(colours, 2, 1, "none")[..., 0].tolist() == [[76, 150], [29, 255]]


@pytest.mark.parametrize("crop", ["center", "none"])
def test_resizing_is_pillow_s_bicubic_of_what_was_cropped(crop: str) -> None:
    picture = _picture(30, 40)
    part = picture[:, 5:35] if crop == "center" else picture
    expected = Image.fromarray(np.ascontiguousarray(part)).resize((8, 8), Image.Resampling.BICUBIC)
    result = square(picture, 8, 3, "center" if crop == "center" else "none")
    assert np.array_equal(result, np.asarray(expected))


def test_shrinking_takes_the_mean() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(square(stripes, 8, 1, "center").astype(int) - 128).max() <= 6
