"""Whole blocks, dealt out to processes, read ahead in order, and stopped early without a wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from i2i.errors import DataError
from i2i.evaluation.features import blocks as blocks_module
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK, Share, feature_blocks
from i2i.evaluation.features.protocol import Features


class Counting:
    """An extractor whose vector of a picture is its first level."""

    name, weights_sha256, preprocessing, width, classes = "counting", "0" * 64, "none", 1, None

    def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
        return Features(np.array([[picture[0, 0, 0]] for picture in pictures], np.float32), None)


class Numbered:
    """Pictures that hold their number; remembers what was asked for, and by whom."""

    description, sha256 = "numbers", None

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.count, self.broken = count, broken
        self.asked: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        self.asked.append((first, last))
        self.threads.add(threading.get_ident())
        if self.broken is not None and first <= self.broken < last:
            raise DataError(f"{self.broken}.png: damaged")
        return [np.full((2, 2, 1), number, np.uint8) for number in range(first, last)]


@pytest.mark.parametrize("count", [0, 1, PICTURES_PER_BLOCK, 3 * PICTURES_PER_BLOCK + 5])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_every_picture_is_seen_once(count: int, processes: int) -> None:
    seen: list[tuple[int, float]] = []
    for index in range(processes):
        for first, features in feature_blocks(Counting(), Numbered(count), Share(index, processes)):
            assert first % PICTURES_PER_BLOCK == 0 and first // PICTURES_PER_BLOCK % processes == index
            assert len(features) == min(PICTURES_PER_BLOCK, count - first)
            seen += [(first + row, vector[0]) for row, vector in enumerate(features.vectors)]
    assert sorted(seen) == [(number, float(number)) for number in range(count)]


def test_pictures_are_asked_for_in_order_by_one_other_thread() -> None:
    source = Numbered(5 * PICTURES_PER_BLOCK)
    assert len(list(feature_blocks(Counting(), source))) == 5
    assert source.asked == [(32 * block, 32 * block + 32) for block in range(5)]
    assert len(source.threads) == 1 and threading.get_ident() not in source.threads


def test_a_damaged_picture_stops_at_its_block() -> None:
    blocks = feature_blocks(Counting(), Numbered(200, broken=70))
    assert [next(blocks)[0], next(blocks)[0]] == [0, 32]
    with pytest.raises(DataError, match=r"70\.png"):
        next(blocks)


def test_whoever_stops_early_reads_no_more() -> None:
    source = Numbered(100 * PICTURES_PER_BLOCK)
    blocks = feature_blocks(Counting(), source)
    next(blocks)
    blocks.close()
    assert 1 <= len(source.asked) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


# A block of these pictures has 32 * 4 bytes.
@pytest.mark.parametrize(("bytes_ahead", "most"), [(1 << 20, 2), (2 * 128, 2), (2 * 128 - 1, 1), (127, 0)])
def test_no_more_is_read_ahead_than_memory_is_given(
    monkeypatch: pytest.MonkeyPatch, bytes_ahead: int, most: int
) -> None:
    monkeypatch.setattr(blocks_module, "_BYTES_AHEAD", bytes_ahead)
    source, held = Numbered(8 * PICTURES_PER_BLOCK), []

    class Slow(Counting):
        def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
            time.sleep(0.05)  # in which the other thread reads whatever it may
            held.append(len(source.asked) - len(held) - 1)
            return super().__call__(pictures)

    assert len(list(feature_blocks(Slow(), source))) == 8
    assert max(held) == most


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (0, 0)])
def test_impossible_shares(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="share"):
        Share(index, count)
