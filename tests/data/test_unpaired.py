"""Opening folders, and the order in which their pictures come."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.data.settings import DrawnAnimalsSettings, UnpairedFoldersSettings
from i2i.data.streams import DataSet, open_streams
from i2i.data.unpaired import UnpairedStream
from i2i.errors import DataError
from tests.data.pictures import write_pictures, write_unpaired


def _settings(root: Path, **changes: object) -> UnpairedFoldersSettings:
    small = UnpairedFoldersSettings(root=str(root), resize_pixels=20, crop_pixels=16)
    return replace(small, **changes)  # type: ignore[arg-type]


def _stream(data: DataSet, name: str) -> UnpairedStream:
    stream = data.train[name]
    assert isinstance(stream, UnpairedStream)
    return stream


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_unpaired(tmp_path / "set")


def test_an_epoch_shows_every_a_evenly_in_a_new_order(root: Path) -> None:
    stream = _stream(open_streams(_settings(root), seed=7), "a")
    assert stream.images_per_epoch == 8
    epochs = [[stream.picture_index(counter) for counter in range(8 * epoch, 8 * epoch + 8)] for epoch in range(20)]
    for epoch in epochs:
        assert Counter(epoch) == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1}  # 8 positions modulo 5 pictures
    assert len({tuple(epoch) for epoch in epochs}) == 20


def test_b_is_drawn_uniformly_and_independently(root: Path) -> None:
    data = open_streams(_settings(root), seed=7)
    stream = _stream(data, "b")
    assert stream.images_per_epoch == 8
    draws = [stream.picture_index(counter) for counter in range(4000)]
    assert set(Counter(draws)) == set(range(8))
    assert all(400 < count < 600 for count in Counter(draws).values())
    assert any(len(set(draws[start : start + 8])) < 8 for start in range(0, 4000, 8)), "with replacement"
    pairs = Counter((_stream(data, "a").picture_index(counter), draws[counter]) for counter in range(4000))
    assert len(pairs) == 5 * 8, "every B meets every A"


def test_a_picture_depends_on_seed_stream_and_counter_only(root: Path) -> None:
    first, second = open_streams(_settings(root), seed=1), open_streams(_settings(root, cache=False), seed=1)
    for name in ("a", "b"):
        forward = [first.train[name][counter] for counter in range(30)]
        backward = [second.train[name][counter] for counter in reversed(range(30))][::-1]
        assert all(np.array_equal(x, y) for x, y in zip(forward, backward, strict=True))
        assert forward[0].shape == (16, 16, 3) and forward[0].dtype == np.uint8
    other = open_streams(_settings(root), seed=2)
    same = sum(np.array_equal(first.train["a"][counter], other.train["a"][counter]) for counter in range(30))
    assert same < 10


def test_a_numpy_counter_is_a_counter(root: Path) -> None:
    stream = open_streams(_settings(root), seed=1).train["a"]
    assert np.array_equal(stream[np.int64(11)], stream[11])  # type: ignore[index]
    with pytest.raises(IndexError):
        stream[-1]


def test_streams_can_be_sent_to_another_process(root: Path) -> None:
    stream = open_streams(_settings(root), seed=1).train["b"]
    content = pickle.dumps(stream)
    assert len(content) < 2000
    assert np.array_equal(pickle.loads(content)[5], stream[5])


def test_pixels_are_pillow_s_bicubic_of_the_file(root: Path) -> None:
    data = open_streams(_settings(root, crop_pixels=20, flip=False), seed=0)
    stream = _stream(data, "a")
    with Image.open(root / "trainA" / f"{stream.picture_index(0):02d}.png") as picture:
        expected = np.asarray(picture.resize((20, 20), Image.Resampling.BICUBIC))
    assert np.array_equal(stream[0], expected)


def test_test_pictures_are_whole_and_of_the_crop_s_size(root: Path) -> None:
    data = open_streams(_settings(root), seed=0)
    assert {name: len(pictures) for name, pictures in data.test.items()} == {"a": 3, "b": 3}
    with Image.open(root / "testB" / "b02.png") as picture:
        expected = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(data.test["b"][2], expected)
    assert not data.aligned


def test_test_folders_may_be_absent_or_one(tmp_path: Path) -> None:
    root = write_unpaired(tmp_path / "set", test=0)
    data = open_streams(_settings(root), seed=0)
    assert (dict(data.test), data.aligned) == ({}, False)
    write_pictures(root / "testA", 2)
    data = open_streams(_settings(root), seed=0)
    assert {name: len(pictures) for name, pictures in data.test.items()} == {"a": 2}


def test_same_names_in_both_test_folders_are_counterparts(tmp_path: Path) -> None:
    root = write_unpaired(tmp_path / "set", test=0)
    write_pictures(root / "testA", 4, seed=5)
    write_pictures(root / "testB", 4, seed=6)
    (root / "testB" / "03.png").rename(root / "testB" / "03.PNG")
    assert open_streams(_settings(root), seed=0).aligned
    (root / "testA" / "01.png").write_bytes(b"no picture")
    data = open_streams(_settings(root), seed=0)
    assert data.aligned
    assert [len(data.test[name]) for name in "ab"] == [3, 3]
    with Image.open(root / "testB" / "02.png") as picture:
        expected = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(data.test["b"][1], expected), "the counterpart of the bad picture is left out, too"


def test_any_folders_will_do(tmp_path: Path) -> None:
    for index, name in enumerate(("horses", "zebras", "more horses")):
        write_pictures(tmp_path / name / "nested", 2 + index, seed=index)
    settings = UnpairedFoldersSettings(
        a=str(tmp_path / "horses"),
        b=str(tmp_path / "zebras"),
        test_a=str(tmp_path / "more horses"),
        resize_pixels=20,
        crop_pixels=16,
    )
    data = open_streams(settings, seed=0)
    assert data.train["a"].images_per_epoch == 3
    assert {name: len(pictures) for name, pictures in data.test.items()} == {"a": 4}


@pytest.mark.parametrize("cache", [True, False])
def test_bad_pictures_are_reported_and_skipped(root: Path, caplog: pytest.LogCaptureFixture, cache: bool) -> None:
    (root / "trainB" / "02.png").write_bytes((root / "trainB" / "02.png").read_bytes()[:200])
    (root / "trainB" / "nested").mkdir()
    Image.fromarray(np.zeros((3, 40, 3), np.uint8)).save(root / "trainB" / "nested" / "small.png")
    for _ in range(2):  # made, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data = open_streams(_settings(root, cache=cache), seed=0)
        assert data.train["b"].images_per_epoch == 7
        assert len(data.report) == 2
        assert data.report[0].startswith(f"{root}/trainB/02.png: damaged")
        assert data.report[1].startswith(f"{root}/trainB/nested/small.png: 40 x 3 is smaller than min_side_pixels 16")
        # The report alone says it: whoever opens the data decides whether it is shown.
        assert not caplog.records
        for counter in range(50):
            data.train["b"][counter]


def test_if_no_picture_is_good_the_folder_is_named(root: Path) -> None:
    for path in (root / "trainA").iterdir():
        path.write_bytes(b"no picture")
    message = r"trainA: none of 5 pictures can be used; the first: 00\.png: not a JPEG"
    with pytest.raises(DataError, match=message) as caught:
        open_streams(_settings(root), seed=0)
    assert "\n" not in str(caught.value)


def test_both_missing_folders_are_reported_at_once(tmp_path: Path) -> None:
    settings = UnpairedFoldersSettings(a=str(tmp_path / "summer"), b=str(tmp_path / "winter"))
    with pytest.raises(DataError, match=r"summer: no such folder.*\n.*winter: no such folder"):
        open_streams(settings, seed=0)


def test_a_missing_published_set_is_an_error_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"horse2zebra: no such folder - get it with: i2i data fetch horse2zebra --to "):
        open_streams(_settings(tmp_path / "horse2zebra", fetch="horse2zebra"), seed=0)
    with pytest.raises(DataError, match="other: no such folder - create it with trainA and trainB"):
        open_streams(_settings(tmp_path / "other"), seed=0)
    (tmp_path / "horse2zebra").mkdir()
    with pytest.raises(DataError, match="trainA: no such folder - check the spelling, or put the pictures there"):
        open_streams(_settings(tmp_path / "horse2zebra", fetch="horse2zebra"), seed=0)


def test_changed_pictures_are_seen_in_spite_of_the_cache(root: Path) -> None:
    before = open_streams(_settings(root), seed=0)
    write_pictures(root / "trainA", 5, seed=99)
    after = open_streams(_settings(root), seed=0)
    assert before.content_hash != after.content_hash
    fresh = open_streams(_settings(root, cache=False), seed=0)
    assert after.content_hash == fresh.content_hash
    for counter in range(8):
        assert np.array_equal(after.train["a"][counter], fresh.train["a"][counter])
        assert not np.array_equal(after.train["a"][counter], before.train["a"][counter])


def test_content_hash_knows_names_and_roles_but_not_the_place(root: Path, tmp_path: Path) -> None:
    content_hash = open_streams(_settings(root), seed=0).content_hash
    assert len(content_hash) == 64
    moved = root.rename(tmp_path / "elsewhere")
    assert open_streams(_settings(moved), seed=5).content_hash == content_hash
    (moved / "trainA" / "00.png").rename(moved / "trainA" / "zz.png")
    renamed = open_streams(_settings(moved), seed=0).content_hash
    (moved / "trainA").rename(moved / "x")
    (moved / "trainB").rename(moved / "trainA")
    (moved / "x").rename(moved / "trainB")
    assert len({content_hash, renamed, open_streams(_settings(moved), seed=0).content_hash}) == 3


def test_drawn_animals_are_streams_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int, str]] = []

    def draw(size_pixels: int, count: int, seed: int, split: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        asked.append((size_pixels, count, seed, split))
        rng = np.random.default_rng(seed + (split == "test"))
        a = [rng.integers(0, 256, (size_pixels, size_pixels, 3), np.uint8) for _ in range(count)]
        return a, [255 - picture for picture in a]

    monkeypatch.setattr("i2i.data.drawn.draw_unpaired", draw)
    settings = DrawnAnimalsSettings(size_pixels=8, pictures=6, test_pictures=2, flip=False, seed=3)
    data = open_streams(settings, seed=11)
    assert asked == [(8, 6, 3, "train"), (8, 2, 3, "test")]
    assert data.aligned and data.report == []
    assert np.array_equal(data.test["b"][1], 255 - data.test["a"][1])
    shown = {data.train["a"][counter].tobytes() for counter in range(6)}
    assert shown == {picture.tobytes() for picture in draw(8, 6, 3, "train")[0]}, "whole, none twice"
    other_order = open_streams(settings, seed=12)
    assert other_order.content_hash == data.content_hash
    assert open_streams(replace(settings, seed=4), seed=11).content_hash != data.content_hash
    without = open_streams(replace(settings, test_pictures=0), seed=11)
    assert (dict(without.test), without.aligned) == ({}, False)


def test_drawn_animals_really_draw() -> None:
    data = open_streams(DrawnAnimalsSettings(size_pixels=16, pictures=3, test_pictures=2), seed=0)
    assert data.train["a"][0].shape == data.test["b"][1].shape == (16, 16, 3)
    assert data.train["a"][0].std() > 0


def test_real_pictures(real_pictures: Path) -> None:
    settings = UnpairedFoldersSettings(root=str(real_pictures / "apple2orange64"), resize_pixels=72, crop_pixels=64)
    data = open_streams(settings, seed=0)
    assert data.report == []
    assert data.train["a"].images_per_epoch == 700
    assert {name: len(pictures) for name, pictures in data.test.items()} == {"a": 40, "b": 40}
