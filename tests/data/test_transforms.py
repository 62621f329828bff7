"""Crop and mirror: exact pixels, fair draws, and nothing but the key decides."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from i2i.data.transforms import CropAndFlip

# Every pixel says where it came from.
_ROWS, _COLUMNS = np.mgrid[:9, :12].astype(np.uint8)
_PICTURE = np.stack([_ROWS, _COLUMNS, np.zeros_like(_ROWS)], axis=2)


def _place(crop: np.ndarray) -> tuple[int, int, bool]:
    """Top, left and whether it is mirrored; fails unless the crop is a window of the picture."""
    mirrored = bool(crop[0, 0, 1] > crop[0, -1, 1])
    straight = crop[:, ::-1] if mirrored else crop
    top, left = int(straight[0, 0, 0]), int(straight[0, 0, 1])
    assert np.array_equal(straight, _PICTURE[top : top + len(crop), left : left + crop.shape[1]])
    return top, left, mirrored


def test_every_window_is_drawn_equally_often_and_half_are_mirrored() -> None:
    transform = CropAndFlip(crop_pixels=7, flip=True)
    places = Counter(_place(transform(_PICTURE, 3, "a", counter)) for counter in range(3600))
    assert set(places) == {(top, left, flip) for top in range(3) for left in range(6) for flip in (False, True)}
    assert min(places.values()) > 60
    assert max(places.values()) < 140


def test_flip_can_be_left_out() -> None:
    transform = CropAndFlip(crop_pixels=7, flip=False)
    assert not any(_place(transform(_PICTURE, counter))[2] for counter in range(50))


def test_same_key_same_crop_whatever_came_before() -> None:
    transform = CropAndFlip(crop_pixels=5, flip=True)
    forward = [transform(_PICTURE, 1, "b", counter) for counter in range(20)]
    np.random.default_rng().random(5)
    backward = [transform(_PICTURE, 1, "b", counter) for counter in reversed(range(20))][::-1]
    assert all(np.array_equal(first, second) for first, second in zip(forward, backward, strict=True))
    assert any(not np.array_equal(forward[0], crop) for crop in forward[1:])


@pytest.mark.parametrize(("crop_pixels", "flip"), [(9, False), (9, True), (4, True)])
def test_the_result_is_contiguous_and_the_caller_s_own(crop_pixels: int, flip: bool) -> None:
    square = np.ascontiguousarray(_PICTURE[:, :9])
    square.flags.writeable = False
    for counter in range(8):
        crop = CropAndFlip(crop_pixels=crop_pixels, flip=flip)(square, counter)
        assert crop.flags.c_contiguous and crop.shape == (crop_pixels, crop_pixels, 3)
        crop[:] = 0
    assert square.any()


def test_albumentations_is_told_not_to_call_home() -> None:
    script = (
        "import os; os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "import numpy, sys\n"
        "from i2i.data.transforms import CropAndFlip\n"
        "assert 'albumentations' not in sys.modules\n"
        "CropAndFlip(crop_pixels=4, flip=True)(numpy.zeros((8, 8, 3), numpy.uint8), 0)\n"
        "assert 'albumentations' in sys.modules\n"
        "print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
