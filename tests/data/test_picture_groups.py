"""Groups of pictures of any size come back as they were made, once, whatever happens to the cache."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2i.data.cache_files import UnfitSetError
from i2i.data.picture_groups import Group, PictureGroups, open_groups
from i2i.errors import DataError

_NAMES = [f"{index}.png" for index in range(20)]


class _Maker:
    """Makes a large and a small picture a name, all of different sizes; names in `bad` are refused."""

    def __init__(self, *bad: str, unfit: str | None = None) -> None:
        self.bad = bad
        self.unfit = unfit
        self.made: list[str] = []

    def __call__(self, name: str) -> Group:
        self.made.append(name)
        if name == self.unfit:
            raise UnfitSetError(f"{name}: does not go with the others")
        if name in self.bad:
            raise DataError(f"{name}: is bad")
        number = int(name.removesuffix(".png"))
        rng = np.random.default_rng(number)
        height, width = 1 + number, 21 - number
        return (
            rng.integers(0, 256, (4 * height, 4 * width, 3), np.uint8),
            rng.integers(0, 256, (height, width, 3), np.uint8),
        )


def _open(maker: _Maker, folder: Path | None, key: str = "key") -> PictureGroups:
    return open_groups(_NAMES, maker, key=[key], cache_folder=folder)


def _file(folder: Path) -> Path:
    (file,) = folder.glob("pictures/*.u8")
    return file


def _same(groups: PictureGroups, names: list[str]) -> bool:
    expected = [_Maker()(name) for name in names]
    return list(groups.names) == names and all(
        np.array_equal(got, wanted)
        for group, made in zip(groups, expected, strict=True)
        for got, wanted in zip(group, made, strict=True)
    )


@pytest.mark.parametrize("cached", [True, False])
def test_groups_come_in_order_without_the_bad_ones(tmp_path: Path, cached: bool) -> None:
    groups = _open(_Maker("3.png", "19.png"), tmp_path if cached else None)
    assert _same(groups, [name for name in _NAMES if name not in ("3.png", "19.png")])
    assert groups.skipped == ("3.png: is bad", "19.png: is bad")
    assert len(groups) == 18 and (groups.file is not None) == cached
    assert [picture.shape[0] for picture in groups.pictures(1)[:4]] == [1, 2, 3, 5]
    assert len(groups[2:4]) == 2
    with pytest.raises(ValueError, match="read-only"):
        groups[0][0][0] = 1


def test_the_second_time_nothing_is_made_unless_the_key_differs(tmp_path: Path) -> None:
    _open(_Maker("3.png"), tmp_path)
    again, other = _Maker("3.png"), _Maker("3.png")
    assert _same(_open(again, tmp_path), [name for name in _NAMES if name != "3.png"])
    _open(other, tmp_path, "another")
    assert (again.made, sorted(other.made)) == ([], sorted(_NAMES))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:-70] + bytes([content[-70] ^ 4]) + content[-69:],
        lambda content: os.urandom(len(content)),
    ],
    ids=["empty", "half", "pixel", "description", "garbage"],
)
def test_a_damaged_cache_is_made_anew_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    _open(_Maker(), tmp_path)
    file = _file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert _same(_open(_Maker(), tmp_path), _NAMES)
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "damaged" in caplog.text
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_used_means_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        groups = _open(_Maker(), tmp_path / "file")
    assert groups.file is None and _same(groups, _NAMES)
    assert len(caplog.records) == 1 and "held in memory" in caplog.text


@pytest.mark.parametrize("cached", [True, False])
def test_an_unfit_set_is_refused_and_leaves_nothing(tmp_path: Path, cached: bool) -> None:
    with pytest.raises(UnfitSetError, match=r"^7\.png: does not go"):
        _open(_Maker("3.png", unfit="7.png"), tmp_path if cached else None)
    with pytest.raises(DataError, match=r"none of 20 pictures can be used; the first: 0\.png: is bad"):
        _open(_Maker(*_NAMES), tmp_path if cached else None)
    assert not list(tmp_path.glob("pictures/*.u8")) and not list(tmp_path.glob("pictures/.*.u8"))


def test_a_pickled_cache_is_its_path_and_memory_is_its_pictures(tmp_path: Path) -> None:
    mapped, held = _open(_Maker(), tmp_path), _open(_Maker(), None)
    assert len(pickle.dumps(mapped)) < 2000 < 20 * 51 * 20 < len(pickle.dumps(held))
    for groups in (mapped, held):
        again: PictureGroups = pickle.loads(pickle.dumps(groups))
        assert _same(again, _NAMES)
        with pytest.raises(ValueError, match="read-only"):
            again[0][0][0] = 1
