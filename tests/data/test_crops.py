"""Both sides of a sample show the same place, and that place follows from the seed and the counter alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, replace

import numpy as np
import pytest

from i2i.data.crops import Crops, CropStream, _around, held
from i2i.data.dataset import IndexedStream
from i2i.data.degradation_settings import BicubicSettings, DegradationSettings, SecondOrderSettings
from i2i.data.degradations import second_order
from i2i.data.keyed import below, keyed_words
from i2i.data.loader import StreamLoader
from i2i.data.picture_groups import Group, PictureGroups

_SCALE, _CROP = 4, 32


def _mapped(number: int, height: int, width: int) -> Group:
    """A pair whose pixels tell their own place: down, right and the number of the picture."""
    low = np.empty((height, width, 3), np.uint8)
    low[:, :, 0], low[:, :, 1] = np.mgrid[:height, :width]
    low[:, :, 2] = number
    return low.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1), low


_SIZES = ((10, 14), (8, 8), (30, 9), (16, 25))


def _crops(seed: int = 0, flip: bool = True, quarter_turns: bool = True, used: tuple[int, ...] = (0, 1, 2, 3)) -> Crops:
    pictures = PictureGroups([_mapped(n, *size) for n, size in enumerate(_SIZES)], [str(n) for n in range(4)])
    return Crops(
        pictures=pictures,
        used=used,
        crop_pixels=_CROP,
        scale=_SCALE,
        flip=flip,
        quarter_turns=quarter_turns,
        seed=seed,
    )


def _streams(crops: Crops, degradation: DegradationSettings | None = None) -> Mapping[str, CropStream]:
    how = BicubicSettings() if degradation is None else degradation
    return {
        "low": CropStream(side="low", crops=crops, degradation=how),
        "high": CropStream(side="high", crops=crops, degradation=how),
    }


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("quarter_turns", [True, False])
def test_both_sides_show_the_same_place(flip: bool, quarter_turns: bool) -> None:
    streams = _streams(_crops(flip=flip, quarter_turns=quarter_turns))
    for counter in range(200):
        low, high = streams["low"][counter], streams["high"][counter]
        assert (low.shape, high.shape) == ((8, 8, 3), (32, 32, 3))
        assert np.array_equal(low.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1), high)


@pytest.mark.parametrize(
    ("flip", "quarter_turns", "ways"), [(False, False, 1), (True, False, 2), (False, True, 4), (True, True, 8)]
)
def test_each_of_the_ways_to_hold_it_comes_as_often(flip: bool, quarter_turns: bool, ways: int) -> None:
    low = _streams(_crops(flip=flip, quarter_turns=quarter_turns))["low"]
    seen: Counter[tuple[int, ...]] = Counter()
    for counter in range(1600):
        # Where the corner with the smallest and that with the largest column lie tells how the crop is held.
        sample = low[counter].astype(int)
        seen[tuple(np.sign(sample[0, 7] - sample[0, 0])[:2]) + tuple(np.sign(sample[7, 0] - sample[0, 0])[:2])] += 1
    assert len(seen) == ways
    assert all(abs(count - 1600 / ways) < 5 * (1600 / ways) ** 0.5 for count in seen.values())
    if ways == 1:
        assert set(seen) == {(0, 1, 1, 0)}


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("turns", range(4))
def test_held_is_numpy_s(mirrored: bool, turns: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    before = picture.copy()
    picture.flags.writeable = False
    got = held(picture[1:5], mirrored, turns)
    expected = picture[1:5, ::-1] if mirrored else picture[1:5]
    assert np.array_equal(got, np.rot90(expected, turns))
    got[:] = 0
    assert np.array_equal(picture, before)


def test_every_picture_comes_once_an_epoch_and_every_place_some_time() -> None:
    crops = _crops(used=(0, 2, 3))
    orders = [[crops.place(3 * epoch + position).picture for position in range(3)] for epoch in range(30)]
    assert all(sorted(order) == [0, 2, 3] for order in orders) and len({tuple(order) for order in orders}) == 6
    places = [crops.place(counter) for counter in range(2000)]
    assert {(place.top, place.left) for place in places if place.picture == 0} == {
        (top, left) for top in range(3) for left in range(7)
    }
    assert _streams(crops)["low"].images_per_epoch == 3


def test_the_places_are_the_same_for_ever_and_other_for_other_seeds() -> None:
    assert [astuple(_crops().place(counter)) for counter in (0, 1, 5, 1000)] == [
        (1, 0, 0, True, 3),
        (2, 1, 0, True, 1),
        (1, 0, 0, True, 1),
        (1, 0, 0, False, 1),
    ]
    assert len({tuple(_crops(seed).place(counter) for counter in range(40)) for seed in range(8)}) == 8


@pytest.mark.parametrize("degradation", [BicubicSettings(), SecondOrderSettings()], ids=["bicubic", "second_order"])
def test_a_sample_follows_from_its_counter(degradation: DegradationSettings) -> None:
    streams = _streams(_crops(), degradation)
    assert not any(isinstance(stream, IndexedStream) for stream in streams.values())
    for stream in streams.values():
        first = [stream[counter] for counter in range(12)]
        for counter in reversed(range(12)):
            again = stream[np.int64(counter)]  # type: ignore[call-overload]
            assert np.array_equal(again, first[counter]) and again.flags.c_contiguous
            again[:] = 0
        assert np.array_equal(stream[0], first[0])
        with pytest.raises(IndexError, match="begin at 0"):
            stream[-1]


def test_second_order_leaves_the_high_side_alone_and_knows_its_key() -> None:
    crops, settings = _crops(), SecondOrderSettings(margin_pixels=1000)
    blind, plain = _streams(crops, settings), _streams(crops)
    for counter in range(20):
        assert np.array_equal(blind["high"][counter], plain["high"][counter])
        place = crops.place(counter)
        whole = second_order(crops.pictures[place.picture][0], _SCALE, settings, "crop", 0, counter)
        part = whole[place.top : place.top + 8, place.left : place.left + 8]
        assert np.array_equal(blind["low"][counter], held(part, place.mirrored, place.turns))


@pytest.mark.parametrize("margin_pixels", [0, 1, 13, 64])
def test_any_margin_gives_whole_crops(margin_pixels: int) -> None:
    low = _streams(_crops(), SecondOrderSettings(margin_pixels=margin_pixels))["low"]
    assert {low[counter].shape for counter in range(30)} == {(8, 8, 3)}


def test_what_is_degraded_holds_the_crop_and_lies_in_the_picture() -> None:
    for side in range(5, 12):
        for start in range(side - 4):
            for margin in range(9):
                words = [keyed_words("test", side, start, margin, number)[0] for number in range(6)]
                for first, length in (_around(start, 5, margin, side, word) for word in words):
                    assert 0 <= first <= start and start + 5 <= first + length <= side
                    assert length == min(side, 5 + margin)
    assert {_around(20, 5, 4, 100, below(n, 1 << 64) << 61)[0] for n in range(8)} <= set(range(16, 21))
    assert {_around(20, 5, 4, 100, n << 61)[0] for n in range(8)} == {16, 17, 18, 19, 20}


@pytest.mark.parametrize("degradation", [BicubicSettings(), SecondOrderSettings()], ids=["bicubic", "second_order"])
def test_workers_change_no_bit(degradation: DegradationSettings) -> None:
    streams = _streams(_crops(), degradation)
    drawn = []
    for workers in (0, 2):
        with StreamLoader(streams, 4, workers=workers) as loader:
            drawn.append([loader.draw(("low", "high"), 4 * step)[0] for step in range(5)])
            assert loader.workers == workers
    for one, other in zip(*drawn, strict=True):
        assert {name: tuple(batch.shape) for name, batch in one.items()} == {
            "low": (4, 3, 8, 8),
            "high": (4, 3, 32, 32),
        }
        assert all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


def test_two_streams_of_one_set_are_together_in_one_batch() -> None:
    crops = replace(_crops(), crop_pixels=16)
    (batch,) = StreamLoader(_streams(crops), 6).draw(("low", "high"), 12)
    enlarged = batch["low"].repeat_interleave(_SCALE, 2).repeat_interleave(_SCALE, 3)
    assert np.array_equal(enlarged.numpy(), batch["high"].numpy())
