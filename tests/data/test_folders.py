"""Pictures are found by their names' endings, junk is not, and the order is no file system's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from i2i.data.folders import MissingFolderError, check_folder_exists, find_pictures
from i2i.errors import DataError


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_finds_all_kinds_nested_and_in_any_case(tmp_path: Path) -> None:
    wanted = ["B/deep/er/x.TIFF", "a.jpg", "b.JPEG", "c.Png", "d.webp", "e.bmp", "f.tif", "Z.jpg", "sub/1.png"]
    _touch(tmp_path, *wanted)
    _touch(
        tmp_path, "notes.txt", "Thumbs.db", ".hidden.png", "._a.jpg", ".trash/x.png", "__MACOSX/a.jpg", "png", "a.gif"
    )
    (tmp_path / "folder.png").mkdir()
    assert find_pictures(tmp_path) == sorted(wanted)


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{index}.png" for index in range(20)] + ["sub/0.png", "other/1.png"]
    _touch(tmp_path, *names)
    expected = find_pictures(tmp_path)
    walk = os.walk

    def reversed_walk(*arguments: object, **options: object) -> object:
        for parent, folders, files in walk(*arguments, **options):  # type: ignore[call-overload]
            folders.reverse()
            yield parent, folders, files[::-1]

    monkeypatch.setattr(os, "walk", reversed_walk)
    assert find_pictures(tmp_path) == expected == sorted(names)


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_missing_or_empty_folder_is_named(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "pictures"
    if make:
        folder.mkdir()
        _touch(folder, "readme.txt")
    with pytest.raises(DataError, match=r"pictures: (no such folder|holds no pictures)") as caught:
        find_pictures(folder)
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"a\.png: is a file, not a folder"):
        find_pictures(tmp_path / "a.png")


def test_missing_published_set_names_the_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"i2i data fetch horse2zebra$"):
        find_pictures(Path("datasets/horse2zebra"), fetch="horse2zebra")
    with pytest.raises(DataError, match=r"i2i data fetch horse2zebra --to '/big disk'$"):
        find_pictures(Path("/big disk/horse2zebra"), fetch="horse2zebra")


def test_a_set_is_offered_only_where_it_would_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"i2i data fetch horse2zebra --to sets$"):
        find_pictures(Path("sets/horse2zebra/trainA"), fetch="horse2zebra")
    with pytest.raises(
        MissingFolderError, match=r"^my_horses: no such folder - check the spelling, or put the pictures there$"
    ):
        find_pictures(Path("my_horses"), fetch="horse2zebra")


def test_a_missing_folder_is_described(tmp_path: Path) -> None:
    with pytest.raises(MissingFolderError, match="create it with trainA and trainB in it, or name another folder"):
        check_folder_exists(tmp_path / "maps", holds="trainA and trainB")


def test_results_of_translating_are_no_pictures_to_train_on(tmp_path: Path) -> None:
    for name in ("a.png", "a_translated/a.png", "nested/b_translated/b.png", "nested/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_pictures(tmp_path) == ["a.png", "nested/c.png"]
