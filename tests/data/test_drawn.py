"""The built-in set: repeatable, true counterparts in test, and a change worth learning."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from typing import Literal

import cv2
import numpy as np
import pytest

from i2i.data.canvas import Picture
from i2i.data.drawn import Split, draw_scene, draw_unpaired, sample_scene
from i2i.errors import DataError


def _digest(pictures: list[Picture]) -> str:
    return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()


def _psnr(first: Picture, second: Picture) -> float:
    error = float(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


@pytest.mark.parametrize("size_pixels", [16, 32, 63, 64, 128, 512])
def test_gives_the_pictures_that_were_asked_for(size_pixels: int) -> None:
    a, b = draw_unpaired(size_pixels, 2, 0, "train")
    assert len(a) == len(b) == 2
    for picture in a + b:
        assert picture.shape == (size_pixels, size_pixels, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert picture.std() > 20


def test_same_arguments_same_pictures_in_another_process() -> None:
    script = (
        "import hashlib\n"
        "from i2i.data.drawn import draw_unpaired\n"
        "a, b = draw_unpaired(48, 4, 7, 'train')\n"
        "print(hashlib.sha256(b''.join(picture.tobytes() for picture in a + b)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    a, b = draw_unpaired(48, 4, 7, "train")
    assert other.stdout.strip() == _digest(a + b)


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    short, long = draw_unpaired(32, 3, 5, "train"), draw_unpaired(32, 9, 5, "train")
    for few, many in zip(short, long, strict=True):
        assert _digest(few) == _digest(many[:3])


def test_seeds_splits_domains_and_indices_give_different_scenes() -> None:
    sources: list[tuple[Split, Literal["a", "b"]]] = [("train", "a"), ("train", "b"), ("test", "a")]
    scenes = [
        draw_scene(sample_scene(seed, split, domain, index), None, 32)
        for seed in (0, 1)
        for split, domain in sources
        for index in range(20)
    ]
    assert len({_digest([scene]) for scene in scenes}) == len(scenes) == 120


def test_a_picture_of_test_is_in_no_training_set() -> None:
    train, test = draw_unpaired(32, 60, 0, "train"), draw_unpaired(32, 60, 0, "test")
    for training_pictures, test_pictures in zip(train, test, strict=True):
        seen = {_digest([picture]) for picture in training_pictures}
        assert len(seen) == 60
        assert not seen & {_digest([picture]) for picture in test_pictures}


@pytest.mark.parametrize("index", range(8))
def test_counterparts_differ_only_where_the_animal_is(index: int) -> None:
    scene = sample_scene(0, "test", "b", index)
    horses, zebras = draw_unpaired(64, index + 1, 0, "test")
    empty, horse, zebra = draw_scene(scene, None, 64), horses[index], zebras[index]
    outside = (horse == empty).all(axis=2)
    assert 0.3 < outside.mean() < 0.75
    np.testing.assert_array_equal(zebra[outside], empty[outside])


def test_the_whole_animal_is_in_sight() -> None:
    for index in range(60):
        scene = sample_scene(3, "train", "a", index)
        changed = (draw_scene(scene, "horse", 64) != draw_scene(scene, None, 64)).any(axis=2)
        columns = np.flatnonzero(changed.any(axis=0))
        rows = np.flatnonzero(changed.any(axis=1))
        assert columns[-1] - columns[0] < 63
        assert rows[0] > 0
        assert rows[-1] < 63


def test_the_counterpart_can_be_read_off_the_picture() -> None:
    """A colour of the horse says the colour of the zebra, nearly everywhere: nothing about the coat is hidden."""
    size_pixels = 256
    horses, zebras = draw_unpaired(size_pixels, 6, 0, "test")
    for horse, zebra in zip(horses, zebras, strict=True):
        colors, group = np.unique(horse.reshape(-1, 3), axis=0, return_inverse=True)
        assert len(colors) < size_pixels**2 / 20
        group = group.reshape(-1)
        target = zebra.reshape(-1, 3).astype(np.float64)
        counts = np.bincount(group, minlength=len(colors))
        means = np.stack([np.bincount(group, target[:, channel]) / counts for channel in range(3)], axis=1)
        assert _psnr(means[group].reshape(zebra.shape).round().astype(np.uint8), zebra) > 30


def test_there_is_much_to_gain() -> None:
    """An untranslated picture is far from its counterpart, and painting the animal in one colour is no way out."""
    horses, zebras = draw_unpaired(64, 40, 0, "test")
    untranslated = [_psnr(horse, zebra) for horse, zebra in zip(horses, zebras, strict=True)]
    assert min(untranslated) > 11
    assert max(untranslated) < 16

    for pictures, others in ((horses, zebras), (zebras, horses)):
        painted = []
        for picture, other in zip(pictures, others, strict=True):
            animal = (picture != other).any(axis=2)
            plain = other.copy()
            plain[animal] = other[animal].mean(axis=0).round()
            painted.append(_psnr(plain, other))
        # The goal of 6 dB is reached only with the markings where they belong (of the zebra: the stripes).
        if others is zebras:
            assert np.mean(painted) < np.mean(untranslated) + 3


def test_both_domains_of_train_show_the_same_world() -> None:
    """Backgrounds of A and B agree in the mean of every place, up to chance."""
    means = []
    for domain in ("a", "b"):
        scenes = [sample_scene(1, "train", domain, index) for index in range(300)]
        means.append(np.mean([draw_scene(scene, None, 16) for scene in scenes], axis=0))
    assert np.abs(means[0] - means[1]).max() < 15
    facing = [sample_scene(1, "train", "a", index).pose.facing for index in range(300)]
    assert 100 < facing.count(1) < 200


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_size_shows_the_same_composition(split: Split) -> None:
    large, small = draw_unpaired(256, 3, 2, split), draw_unpaired(64, 3, 2, split)
    for big, little in zip(large[0] + large[1], small[0] + small[1], strict=True):
        shrunk = cv2.resize(big, (64, 64), interpolation=cv2.INTER_AREA).astype(np.uint8)
        assert _psnr(shrunk, little) > 27


@pytest.mark.parametrize(
    ("size_pixels", "count", "seed", "named"),
    [(15, 1, 0, "size is 15"), (64, 0, 0, "0 pictures"), (64, 1, -1, "seed is -1")],
)
def test_numbers_out_of_range_are_named(size_pixels: int, count: int, seed: int, named: str) -> None:
    with pytest.raises(DataError, match=named) as error:
        draw_unpaired(size_pixels, count, seed, "train")
    assert "\n" not in str(error.value)
