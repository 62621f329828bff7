"""The cache only ever saves time: no damage, clash or full disk changes a picture or ends a run."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2i.data import cache
from i2i.data.cache import PictureStore, content_digests, open_pictures
from i2i.errors import DataError

_NAMES = [f"{index}.png" for index in range(150)]


class _Maker:
    """Makes pictures and counts them; names in `bad` are refused."""

    def __init__(self, *bad: str) -> None:
        self.bad = bad
        self.made: list[str] = []

    def __call__(self, name: str) -> np.ndarray:
        self.made.append(name)
        if name in self.bad:
            raise DataError(f"{name}: is bad")
        return np.full((4, 4, 3), int(name.removesuffix(".png")), np.uint8)


def _open(maker: _Maker, folder: Path | None, key: str = "key", names: list[str] = _NAMES) -> PictureStore:
    return open_pictures(names, 4, maker, key=[key], cache_folder=folder)


def _values(store: PictureStore) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in store]


def _file(folder: Path) -> Path:
    (file,) = folder.glob("pictures/*.u8")
    return file


@pytest.mark.parametrize("cached", [True, False])
def test_pictures_come_in_order_without_the_bad_ones(tmp_path: Path, cached: bool) -> None:
    store = _open(_Maker("3.png", "149.png"), tmp_path if cached else None)
    assert _values(store) == [index for index in range(149) if index != 3]
    assert store.names == tuple(name for name in _NAMES if name not in ("3.png", "149.png"))
    assert store.skipped == ("3.png: is bad", "149.png: is bad")
    assert len(store) == 148
    assert [picture[0, 0, 0] for picture in store[2:4]] == [2, 4]
    with pytest.raises(ValueError, match="read-only"):
        store[0][0] = 1


def test_the_second_time_nothing_is_made(tmp_path: Path) -> None:
    first = _open(_Maker("3.png"), tmp_path)
    maker = _Maker("3.png")
    second = _open(maker, tmp_path)
    assert maker.made == []
    assert (second.names, second.skipped, _values(second)) == (first.names, first.skipped, _values(first))


def test_another_key_or_other_names_make_another_cache(tmp_path: Path) -> None:
    _open(_Maker(), tmp_path)
    for key, names in (("other key", _NAMES), ("key", _NAMES[1:])):
        maker = _Maker()
        _open(maker, tmp_path, key, names)
        assert sorted(maker.made) == sorted(names)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[: len(content) // 2],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:-70] + bytes([content[-70] ^ 4]) + content[-69:],
        lambda content: content[:-1] + b"?",
        lambda content: content + b"x",
        lambda content: os.urandom(len(content)),
    ],
    ids=["empty", "stub", "half", "pixel", "description", "magic", "longer", "garbage"],
)
def test_a_damaged_cache_is_made_anew_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    expected = _values(_open(_Maker(), tmp_path))
    file = _file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    maker = _Maker()
    with caplog.at_level(logging.WARNING):
        assert _values(_open(maker, tmp_path)) == expected
    assert len(maker.made) == len(_NAMES)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged" in caplog.text
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_used_means_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        store = _open(_Maker("3.png"), tmp_path / "file")
    assert len(store) == 149 and store.file is None
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"cache {tmp_path / 'file'} cannot be used, pictures are held in memory"
    ]


def test_a_full_disk_means_memory_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("i2i.files.flush_to_disk", no_space)
    with caplog.at_level(logging.WARNING):
        assert len(_open(_Maker(), tmp_path)) == 150
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert not list(tmp_path.glob("pictures/*.u8")) and not list(tmp_path.glob("pictures/.*.u8"))


@pytest.mark.parametrize("cached", [True, False])
def test_if_all_are_bad_it_says_why(tmp_path: Path, cached: bool) -> None:
    with pytest.raises(DataError, match=r"none of 2 pictures can be used; the first: 1\.png: is bad"):
        _open(_Maker("1.png", "2.png"), tmp_path if cached else None, names=["1.png", "2.png"])
    assert not list(tmp_path.glob("pictures/*.u8"))


def test_a_pickled_cache_is_its_path_and_memory_is_its_pictures(tmp_path: Path) -> None:
    mapped, held = _open(_Maker(), tmp_path), _open(_Maker(), None)
    assert len(pickle.dumps(mapped)) < 4000 < 150 * 48 < len(pickle.dumps(held))
    for store in (mapped, held):
        again: PictureStore = pickle.loads(pickle.dumps(store))
        assert (again.names, _values(again)) == (store.names, _values(store))
        with pytest.raises(ValueError, match="read-only"):
            again[0][0] = 1


_RACER = """
import sys, pathlib, numpy, time
from i2i.data.cache import open_pictures
folder, log = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
def make(name):
    time.sleep(0.002)
    with log.open("a") as file:
        file.write("x")
    return numpy.full((4, 4, 3), int(name), numpy.uint8)
store = open_pictures([str(i) for i in range(100)], 4, make, key=[], cache_folder=folder)
assert store.file is not None
print(sum(int(picture.sum()) for picture in store))
"""


def test_processes_that_open_it_together_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACER, str(tmp_path / "cache"), str(tmp_path / "log")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    results = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    assert results == [str(48 * sum(range(100)))] * 3
    assert (tmp_path / "log").read_text() == "x" * 100
    assert len(list(tmp_path.glob("cache/pictures/*.u8"))) == 1


def test_digests_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, folder = tmp_path / "pictures", tmp_path / "cache"
    pictures.mkdir()
    for name in "ab":
        (pictures / name).write_text(name)
    first = content_digests(pictures, ["a", "b"], folder)
    assert first["a"] != first["b"] and len(first["a"]) == 64
    (pictures / "b").write_text("changed")
    hashed: list[str] = []
    original = cache.hashlib.file_digest

    def counting(file: object, kind: str) -> object:
        hashed.append(Path(getattr(file, "name", "")).name)
        return original(file, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(cache.hashlib, "file_digest", counting)
    second = content_digests(pictures, ["a", "b"], folder)
    assert hashed == ["b"]
    assert second["a"] == first["a"] and second["b"] != first["b"]
    assert content_digests(pictures, ["a", "b"], None) == second


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', '{"a": [1, 2, 3]}', "\0garbage"])
def test_a_damaged_index_is_of_no_account(tmp_path: Path, content: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a").write_text("a")
    expected = content_digests(tmp_path / "pictures", ["a"], tmp_path / "cache")
    (index,) = (tmp_path / "cache" / "digests").iterdir()
    index.write_text(content)
    assert content_digests(tmp_path / "pictures", ["a"], tmp_path / "cache") == expected


def test_a_file_that_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    assert content_digests(tmp_path, ["gone"], None) == {"gone": "unreadable"}
