"""Digits drawn by code: repeatable, all different, whole, and of the class they are said to be."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from i2i.data.drawn_digits import _GLYPHS, CLASS_NAMES, draw_digits
from i2i.data.settings import DrawnDigitsSettings
from i2i.data.streams import open_streams


def _digest(pictures: np.ndarray) -> str:
    return hashlib.sha256(pictures.tobytes()).hexdigest()


@pytest.mark.parametrize("size_pixels", [16, 28, 32, 64])
def test_gives_the_pictures_that_were_asked_for(size_pixels: int) -> None:
    pictures, labels = draw_digits(size_pixels, 25, 0, "train")
    assert pictures.shape == (25, size_pixels, size_pixels, 1) and pictures.dtype == np.uint8
    assert labels.dtype == np.int64 and np.bincount(labels).tolist() == [3] * 5 + [2] * 5
    for picture in pictures:
        assert picture.max() > 150 and 0.03 < (picture > 128).mean() < 0.4
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert edge.max() < (40 if size_pixels == 16 else 10), "whole, with room around it"
        grey = ((picture > 20) & (picture < 200)).sum() / (picture > 20).sum()
        assert grey > 0.05, "smooth edges"


def test_same_arguments_same_pictures_in_another_process() -> None:
    script = (
        "import hashlib\n"
        "from i2i.data.drawn_digits import draw_digits\n"
        "print(hashlib.sha256(draw_digits(28, 20, 7, 'train')[0].tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == _digest(draw_digits(28, 20, 7, "train")[0])


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    assert np.array_equal(draw_digits(28, 40, 1, "train")[0][:15], draw_digits(28, 15, 1, "train")[0])


def test_no_picture_comes_twice() -> None:
    sets = [draw_digits(28, 150, seed, split)[0] for seed in (0, 1) for split in ("train", "test")]
    assert len({picture.tobytes() for pictures in sets for picture in pictures}) == 600


def test_every_size_shows_the_same_composition() -> None:
    large, small = draw_digits(112, 20, 3, "test")[0], draw_digits(28, 20, 3, "test")[0]
    for big, little in zip(large, small, strict=True):
        shrunk = cv2.resize(big[..., 0], (28, 28), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - little[..., 0]).mean() < 8


def test_hands_differ_and_digits_stay_what_they_are() -> None:
    """The nearest of other drawings is mostly of the same class, though no two drawings are near."""
    known, of_known = draw_digits(28, 1000, 0, "train")
    asked, wanted = draw_digits(28, 100, 0, "test")

    def flat(pictures: np.ndarray) -> np.ndarray:
        blurred = [cv2.GaussianBlur(picture[..., 0], (0, 0), 1.5) for picture in pictures]
        return np.stack(blurred).reshape(len(pictures), -1).astype(np.float32)

    distances = np.linalg.norm(flat(asked)[:, None] - flat(known)[None], axis=2)
    assert (of_known[distances.argmin(axis=1)] == wanted).mean() > 0.85
    ink = (known > 128).mean(axis=(1, 2, 3))
    assert ink.max() / ink.min() > 3, "thin and thick"
    columns = [np.flatnonzero(picture[..., 0].max(axis=0) > 64) for picture in known]
    rows = [np.flatnonzero(picture[..., 0].max(axis=1) > 64) for picture in known]
    heights = np.array([place[-1] - place[0] for place in rows])
    assert heights.min() < 18 and heights.max() > 22, "small and large"
    middles = np.array([(place[0] + place[-1]) / 2 for place in columns])
    assert middles.std() > 0.5, "here and there"


def test_every_way_to_write_a_digit_is_well_formed() -> None:
    assert len(_GLYPHS) == len(CLASS_NAMES) == 10
    for glyphs in _GLYPHS:
        assert len(glyphs) >= 2
        for glyph in glyphs:
            used = {number for stroke in glyph.strokes for number in stroke}
            assert used <= set(range(len(glyph.points)))
            assert all(-0.1 <= x <= 1.1 and -0.1 <= y <= 1.1 for x, y in glyph.points)


def test_they_are_streams_like_any_other() -> None:
    settings = DrawnDigitsSettings(pictures=30, test_pictures=11, seed=4, labels=True)
    data = open_streams(settings, seed=0)
    pictures, labels = draw_digits(28, 30, 4, "train")
    assert data.class_names == CLASS_NAMES and data.report == [] and not data.aligned
    real, label = data.train["real"], data.train["label"]
    shown = {real[counter].tobytes(): int(label[counter]) for counter in range(30)}
    assert shown == {picture.tobytes(): int(number) for picture, number in zip(pictures, labels, strict=True)}
    assert [int(number) for number in data.test["label"]] == [*range(10), 0]
    assert np.array_equal(data.test["real"][10], draw_digits(28, 11, 4, "test")[0][10])
    assert open_streams(settings, seed=9).content_hash == data.content_hash
    other = open_streams(DrawnDigitsSettings(pictures=30, test_pictures=0, seed=5), seed=0)
    assert other.content_hash != data.content_hash
    assert set(other.train) == {"real"} and dict(other.test) == {} and other.class_names == ()
