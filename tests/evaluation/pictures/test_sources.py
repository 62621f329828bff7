"""Where pictures come from: memory, functions and data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.data.settings import (
    DrawnAnimalsSettings,
    DrawnDigitsSettings,
    DrawnScenesSettings,
    UnpairedFoldersSettings,
)
from i2i.data.streams import open_streams
from i2i.errors import DataError
from i2i.evaluation.pictures.sources import (
    ArraySource,
    CallableSource,
    at_most,
    data_source,
    digest_of,
    sha256_of_digests,
    sha256_of_pictures,
    undisturbed,
)
from tests.evaluation.looking_glass import noise


def test_stretches_end_with_the_source() -> None:
    source = noise(10, 1)
    made = CallableSource(count=10, description="made", picture=lambda number: source.images[number])
    for one in (source, made, at_most(noise(20, 1), 10)):
        assert len(one.pictures(8, 40)) == 2
        assert np.array_equal(one.pictures(3, 5)[1], one.pictures(4, 5)[0])


def test_the_first_of_a_source() -> None:
    source = noise(10, 1)
    assert at_most(source, None) is source and at_most(source, 10) is source
    first = at_most(source, 4)
    assert first.count == 4 and first.sha256 == ArraySource(images=source.images[:4]).sha256 != source.sha256
    assert first.description == "the first 4 of noise 1"
    made = CallableSource(count=10, description="made", picture=lambda number: source.images[number])
    assert at_most(made, 4).sha256 is None


def test_the_hash_is_of_what_pictures_show_and_of_their_order() -> None:
    pictures = list(noise(3, 1).images)
    known = sha256_of_pictures(pictures)
    assert known == sha256_of_digests(digest_of(one) for one in pictures)
    assert sha256_of_pictures(pictures[::-1]) != known
    changed = [one.copy() for one in pictures]
    changed[2][0, 0, 0] ^= 1
    assert sha256_of_pictures(changed) != known
    row, column = np.zeros((1, 4, 1), np.uint8), np.zeros((4, 1, 1), np.uint8)
    assert digest_of(row) != digest_of(column)
    grey = noise(1, 1, channels=1).images[0]
    assert digest_of(grey) == digest_of(np.repeat(grey, 3, axis=-1))


def test_halves_of_a_drawn_set() -> None:
    data = open_streams(DrawnDigitsSettings(pictures=12, test_pictures=5), 3)
    train, test = (data_source(data, "real", split, "digits") for split in ("train", "test"))
    assert (train.count, test.count, train.description, test.description) == (12, 5, "digits, train", "digits, test")
    rows = np.asarray(data.train["real"].rows)  # type: ignore[attr-defined]
    assert all(np.array_equal(a, b) for a, b in zip(train.pictures(0, 12), rows, strict=True))
    other_seed = data_source(open_streams(DrawnDigitsSettings(pictures=12, test_pictures=5), 9), "real", "train", "x")
    assert other_seed.sha256 == train.sha256, "the training's seed orders them, and this is not its order"


def test_every_picture_comes_once_without_mirrors_or_crops() -> None:
    data = open_streams(DrawnAnimalsSettings(size_pixels=16, pictures=6, test_pictures=3, flip=True), 0)
    train = data_source(data, "a", "train", "animals")
    assert train.count == 6 and len({digest_of(one) for one in train.pictures(0, 6)}) == 6
    again = data_source(
        open_streams(DrawnAnimalsSettings(size_pixels=16, pictures=6, test_pictures=3), 8), "a", "train", ""
    )
    assert again.sha256 == train.sha256


def test_training_pictures_of_two_folders_get_the_size_of_the_test_ones(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
        for index in range(2):
            picture = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / folder / f"{index}.png")
    settings = UnpairedFoldersSettings(root=str(tmp_path), resize_pixels=36, crop_pixels=32, cache=False)
    data = open_streams(undisturbed(settings), 0)
    train, test = (data_source(data, "b", split, "set") for split in ("train", "test"))
    assert train.pictures(0, 1)[0].shape == (32, 32, 3)
    assert train.sha256 == test.sha256, "the same files, resized by one step each"
    assert test.description == "set, test b"


def test_large_pictures_of_an_upscaling_set() -> None:
    settings = DrawnScenesSettings(size_pixels=64, pictures=3, test_pictures=2, crop_pixels=32, scale=2)
    data = open_streams(settings, 0)
    assert data_source(data, "high", "train", "scenes").pictures(0, 1)[0].shape == (64, 64, 3)
    assert data_source(data, "low", "test", "scenes").pictures(0, 1)[0].shape == (32, 32, 3)
    with pytest.raises(DataError, match="small pictures"):
        data_source(data, "low", "train", "scenes")


def test_a_half_that_is_not_there() -> None:
    data = open_streams(DrawnDigitsSettings(pictures=12, test_pictures=0), 0)
    with pytest.raises(DataError, match="digits: has no test pictures - give it some, or evaluate with --split train"):
        data_source(data, "real", "test", "digits")
