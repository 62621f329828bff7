"""Folders and archives as sources: damaged files, content hashes, and what is remembered of them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.errors import DataError
from i2i.evaluation.features.blocks import Share
from i2i.evaluation.pictures import folder as picture_folder
from i2i.evaluation.pictures.folder import PictureFolder, open_picture_folder
from i2i.evaluation.pictures.sources import ArraySource
from i2i.evaluation.team import Team


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of several sizes, one of them in a folder below, and two damaged files."""
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.bmp", "below/c.png", "d.png", "e.png")):
        levels = np.random.default_rng(index).integers(0, 256, (8 + index, 9, 3), dtype=np.uint8)
        Image.fromarray(levels).save(place / name)
    (place / "broken.png").write_bytes((place / "a.png").read_bytes()[:40])
    (place / "empty.png").write_bytes(b"")
    return place


def opened(place: Path, cache: Path, team: Team | None = None) -> PictureFolder:
    return open_picture_folder(place, cache_folder=cache, team=team)


def test_damaged_files_are_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    found = opened(folder, tmp_path / "cache")
    assert found.names == ["a.png", "b.bmp", "below/c.png", "d.png", "e.png"]
    assert len(found.damaged) == 2
    assert found.damaged[0].startswith(str(folder / "broken.png")) and "empty.png" in found.damaged[1]
    assert [one.shape[0] for one in found.pictures(1, 4)] == [9, 10, 11]


def test_the_hash_is_that_of_the_pictures_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    found = opened(folder, tmp_path / "cache")
    assert found.sha256 == ArraySource(images=list(found.pictures(0, 5))).sha256
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in found.names:
            file.write(folder / name, name)
    assert opened(archive, tmp_path / "cache").sha256 == found.sha256
    Image.open(folder / "a.png").save(folder / "a.bmp")
    (folder / "a.png").unlink()
    assert opened(folder, tmp_path / "cache").sha256 == found.sha256, "another kind of file shows the same"


def test_some_of_them(folder: Path, tmp_path: Path) -> None:
    found = opened(folder, tmp_path / "cache")
    some = found.only(["e.png", "a.png"])
    assert some.count == 2 and some.sha256 == ArraySource(images=list(some.pictures(0, 2))).sha256
    assert [one.shape[0] for one in some.pictures(0, 2)] == [12, 8]


def test_files_are_decoded_once_until_they_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = picture_folder._decoded

    def watched(files, name: str, max_pixels: int) -> np.ndarray:
        decoded.append(name)
        return decode(files, name, max_pixels)

    monkeypatch.setattr(picture_folder, "_decoded", watched)
    first = opened(folder, tmp_path / "cache")
    assert len(decoded) == 7
    again = opened(folder, tmp_path / "cache")
    assert len(decoded) == 7 and (again.sha256, again.damaged) == (first.sha256, first.damaged)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "a.png")
    os.utime(folder / "a.png", ns=(1, 1))
    assert opened(folder, tmp_path / "cache").sha256 != first.sha256
    (record, *_) = (tmp_path / "cache" / "checked").glob("*.json")
    for spoiled in ("{", "[]", '{"a.png": [true, "xyz"]}'):
        record.write_text(spoiled)
        opened(folder, tmp_path / "cache")
    assert opened(folder, tmp_path / "other cache").sha256 == opened(folder, tmp_path / "cache").sha256


def test_processes_look_at_their_share_each(folder: Path, tmp_path: Path) -> None:
    alone = opened(folder, tmp_path / "cache")
    parts: list[object] = []
    for rank in range(2):
        # What the second round collects of the other is not there yet: only look at what this one did.
        def gather(value: object) -> list[object]:
            parts.append(value)
            return [value]

        with pytest.raises(KeyError):
            opened(folder, tmp_path / f"cache {rank}", Team(share=Share(rank, 2), gather=gather))
    first, second = (part for part in parts if isinstance(part, dict))
    assert len(first) == 4 and len(second) == 3 and not first.keys() & second.keys()
    both = iter([[False, False], [first, second]])
    found = opened(folder, tmp_path / "cache 3", Team(share=Share(1, 2), gather=lambda value: next(both)))
    assert (found.sha256, found.damaged) == (alone.sha256, alone.damaged)
    assert not (tmp_path / "cache 3" / "checked").exists(), "one process writes"


def test_a_folder_without_one_whole_picture(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none of 1 pictures can be read; the first: .*a\.png"):
        opened(tmp_path / "set", tmp_path / "cache")
    with pytest.raises(DataError, match="no such folder"):
        opened(tmp_path / "nowhere", tmp_path / "cache")
