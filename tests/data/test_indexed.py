"""Rows in a keyed order: every row once an epoch, labels beside their pictures, many at once as one by one."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from i2i.data.cache import PictureStore, open_pictures
from i2i.data.dataset import IndexedStream
from i2i.data.indexed import RowStream


def _pictures(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 4, channels), np.uint8)


def test_it_is_an_indexed_stream_and_a_plain_one_is_not() -> None:
    assert isinstance(RowStream(samples=_pictures(3), seed=0), IndexedStream)
    assert not isinstance(_pictures(3), IndexedStream)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_every_row_comes_once_an_epoch_in_a_new_order(count: int) -> None:
    stream = RowStream(samples=_pictures(count), seed=5)
    assert stream.images_per_epoch == count
    epochs = [stream.places(np.arange(count * epoch, count * (epoch + 1)))[0].tolist() for epoch in range(12)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 100:
        assert len({tuple(epoch) for epoch in epochs}) == 12


@pytest.mark.parametrize("flip", [False, True])
def test_many_at_once_are_what_they_are_one_by_one(flip: bool) -> None:
    stream = RowStream(samples=_pictures(7, 3), seed=1, flip=flip)
    counters = np.random.default_rng(0).integers(0, 50, 40)
    rows, mirrored = stream.places(counters)
    assert (rows.dtype, mirrored.dtype) == (np.int64, np.bool_)
    assert mirrored.any() == flip
    for counter, row, mirror in zip(counters, rows, mirrored, strict=True):
        picture = stream.rows[row]
        assert np.array_equal(stream[int(counter)], picture[:, ::-1] if mirror else picture)
    assert [stream.places(np.array([counter]))[0][0] for counter in counters] == rows.tolist()


def test_half_of_the_pictures_are_mirrored_and_not_the_same_half_each_time() -> None:
    stream = RowStream(samples=_pictures(500), seed=3, flip=True)
    rows, mirrored = stream.places(np.arange(2000))
    assert 850 < mirrored.sum() < 1150
    by_row = np.array([mirrored[rows == row].sum() for row in range(500)])
    assert set(by_row.tolist()) == {0, 1, 2, 3, 4}


def test_labels_stay_beside_their_pictures() -> None:
    pictures = np.repeat(np.arange(50, dtype=np.uint8), 4).reshape(50, 2, 2, 1)
    real = RowStream(samples=pictures, seed=9, flip=True)
    label = RowStream(samples=np.arange(50), seed=9)
    for counter in range(0, 400, 7):
        assert int(real[counter][0, 0, 0]) == int(label[counter])
    assert label[3].shape == () and label[3].dtype == np.int64


def test_seeds_give_other_orders_and_other_mirrors() -> None:
    places = [RowStream(samples=_pictures(64), seed=seed, flip=True).places(np.arange(64)) for seed in range(5)]
    assert len({rows.tobytes() for rows, _ in places}) == len({mirrored.tobytes() for _, mirrored in places}) == 5


def test_the_order_is_the_same_for_ever() -> None:
    rows, mirrored = RowStream(samples=_pictures(8), seed=0, flip=True).places(np.arange(16))
    assert rows.tolist() == [7, 5, 3, 6, 1, 0, 4, 2, 3, 4, 0, 2, 7, 6, 5, 1]
    assert mirrored.astype(int).tolist() == [1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1]


def test_a_sample_is_the_caller_s_own_and_counters_begin_at_zero() -> None:
    stream = RowStream(samples=_pictures(3), seed=0)
    before = stream[0].copy()
    stream[0][:] = 0
    assert np.array_equal(stream[0], before)
    for bad in (-1, -100):
        with pytest.raises(IndexError, match="begin at 0"):
            stream[bad]
    assert stream.places(np.array([], np.int64))[0].shape == (0,)


def test_mapped_pictures_travel_to_other_processes_by_name(tmp_path: Path) -> None:
    pictures = _pictures(30, 3)
    store = open_pictures(
        [str(index) for index in range(30)], 4, lambda name: pictures[int(name)], key=[], cache_folder=tmp_path
    )
    stream = RowStream(samples=store, seed=2)
    content = pickle.dumps(stream)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content)[11], stream[11])
    assert np.array_equal(stream.rows, pictures)
    with pytest.raises(ValueError, match="read-only"):
        stream.rows[0] = 0


def test_grey_pictures_are_cached_like_others(tmp_path: Path) -> None:
    pictures = _pictures(5, 1)
    names = [str(index) for index in range(5)]
    made: list[str] = []

    def produce(name: str) -> np.ndarray:
        made.append(name)
        return pictures[int(name)]

    for folder in (tmp_path, tmp_path, None):
        store = open_pictures(names, 4, produce, key=[], cache_folder=folder, channels=1)
        assert isinstance(store, PictureStore)
        assert np.array_equal(store.array, pictures)
    assert len(made) == 10, "once for the file, once for memory"
