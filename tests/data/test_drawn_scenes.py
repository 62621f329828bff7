"""Drawn scenes: the same for ever, all different, full of what super-resolution has to learn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from i2i.data.drawn_materials import _MATERIALS, draw_material
from i2i.data.drawn_scenes import Split, draw_scenes
from i2i.data.settings import DrawnScenesSettings
from i2i.data.streams import open_streams
from i2i.errors import DataError


def test_shapes_and_types() -> None:
    for size in (48, 75):
        (scene,) = draw_scenes(size, 1, 0, "train")
        assert (scene.dtype, scene.shape) == (np.uint8, (size, size, 3)) and scene.flags.c_contiguous


def test_scenes_follow_from_seed_split_and_number() -> None:
    scenes = {
        (seed, split, number): scene.tobytes()
        for seed in (0, 1)
        for split in ("train", "test")
        for number, scene in enumerate(draw_scenes(48, 6, seed, split))
    }
    assert len(set(scenes.values())) == 24
    fewer: list[tuple[int, Split]] = [(0, "train"), (1, "test")]
    for seed, split in fewer:
        again = draw_scenes(48, 3, seed, split)
        assert [scene.tobytes() for scene in again] == [scenes[seed, split, number] for number in range(3)]


def test_there_is_detail_that_is_lost_when_shrunk_and_there_are_colours() -> None:
    losses = []
    for scene in draw_scenes(96, 8, 3, "train"):
        small = cv2.resize(scene, (24, 24), interpolation=cv2.INTER_AREA)
        back = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
        losses.append(np.square(back.astype(float) - scene).mean())
        assert np.ptp(scene.astype(int), axis=2).mean() > 8, "not grey"
        assert scene.std() > 25
    # Between 18 and 31 dB, as photographs.
    assert all(50 < loss < 3000 for loss in losses)


@pytest.mark.parametrize("number", range(len(_MATERIALS)), ids=lambda number: _MATERIALS[number].__name__.strip("_"))
@pytest.mark.parametrize("size", [(1, 1), (2, 40), (37, 90)])
def test_every_material_covers_any_patch(number: int, size: tuple[int, int]) -> None:
    field = _MATERIALS[number](np.random.default_rng(number), *size, 3.0)
    assert field.shape == size and field.dtype == np.float32
    assert np.isfinite(field).all() and field.min() >= -0.2 and field.max() <= 1.2


def test_a_material_is_rgb() -> None:
    rng = np.random.default_rng(0)
    patches = [draw_material(rng, 20, 30, 3.0) for _ in range(30)]
    assert {(patch.dtype.name, patch.shape) for patch in patches} == {("uint8", (20, 30, 3))}


@pytest.mark.parametrize(
    ("size", "count", "seed", "message"),
    [(15, 1, 0, "size is 15 pixels"), (48, 0, 0, "0 pictures"), (48, 1, -1, "seed is -1")],
)
def test_impossible_wishes(size: int, count: int, seed: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_scenes(size, count, seed, "train")


def test_as_a_data_set() -> None:
    settings = DrawnScenesSettings(size_pixels=50, pictures=3, test_pictures=2, crop_pixels=32)
    data = open_streams(settings, seed=0)
    assert data.aligned and data.report == []
    assert {name: [picture.shape for picture in test] for name, test in data.test.items()} == {
        "low": [(12, 12, 3)] * 2,
        "high": [(48, 48, 3)] * 2,
    }
    expected = draw_scenes(50, 2, 0, "test")
    assert np.array_equal(data.test["high"][1], expected[1][:48, :48])
    assert data.train["low"][0].shape == (8, 8, 3) and data.train["high"].images_per_epoch == 3
    again = open_streams(settings, seed=1)
    assert again.content_hash == data.content_hash
    assert not np.array_equal(
        [again.train["low"][counter] for counter in range(9)], [data.train["low"][counter] for counter in range(9)]
    )


def test_without_test_pictures_nothing_is_aligned() -> None:
    data = open_streams(DrawnScenesSettings(size_pixels=48, pictures=1, test_pictures=0, crop_pixels=48), seed=0)
    assert (dict(data.test), dict(data.shown), data.aligned) == ({}, {}, False)
