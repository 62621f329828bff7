"""Archives are read in place, and nothing in them is trusted."""

from __future__ import annotations

import io
import os
import random
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.data import picture_files
from i2i.data.picture_files import FolderFiles, ZipFiles, open_picture_files
from i2i.errors import DataError


def _png(value: int = 0, side: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        ZipFiles(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_folder_and_an_archive_of_it_hold_the_same(tmp_path: Path) -> None:
    members = {"b/2.png": _png(2), "a/1.png": _png(1), "a/deep/3.PNG": _png(3)}
    for name, content in members.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _zip(tmp_path / "set.zip", members)
    before = sorted(tmp_path.rglob("*"))
    folder, archive = open_picture_files(tmp_path / "set"), open_picture_files(tmp_path / "set.zip")
    assert isinstance(folder, FolderFiles) and isinstance(archive, ZipFiles)
    assert list(folder.names) == list(archive.names) == sorted(members)
    for name in members:
        assert folder.read(name) == archive.read(name) == members[name]
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


def test_a_folder_around_everything_is_no_part_of_the_names(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"faces/all/a/1.png": _png(), "faces/all/b/1.png": _png(), "faces/note.txt": b"hi"})
    assert ZipFiles(path).names == ["a/1.png", "b/1.png"]
    assert ZipFiles(_zip(tmp_path / "y.zip", {"1.png": _png(), "faces/2.png": _png()})).names == [
        "1.png",
        "faces/2.png",
    ]


def test_junk_is_passed_over(tmp_path: Path) -> None:
    junk = dict.fromkeys(["__MACOSX/._1.png", ".hidden.png", ".git/2.png", "notes.txt", "a.gif", "empty/"], b"x")
    assert ZipFiles(_zip(tmp_path / "x.zip", {**junk, "1.png": _png()})).names == ["1.png"]
    _refused(_zip(tmp_path / "y.zip", junk), "holds no pictures")


def test_an_archive_is_told_by_its_content_too(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.cbz", {"1.png": _png()})
    assert isinstance(open_picture_files(path), ZipFiles)
    (tmp_path / "x.txt").write_text("pictures, honestly")
    with pytest.raises(DataError, match=r"x\.txt: is neither a folder nor a \.zip file"):
        open_picture_files(tmp_path / "x.txt")
    with pytest.raises(DataError, match=r"none: no such folder"):
        open_picture_files(tmp_path / "none")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and then nothing")
    _refused(tmp_path / "bad.zip", r"cannot be read as a \.zip file")


@pytest.mark.parametrize("name", ["../1.png", "/etc/1.png", "a/../../1.png", "C:/1.png", "a\\..\\1.png"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    _refused(_zip(tmp_path / "x.zip", {"ok.png": _png(), name: _png()}), "holds the unsafe path")


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    _refused(tmp_path / "x.zip", "is a link or device")


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    content = bytearray(_zip(tmp_path / "x.zip", {"1.png": _png()}).read_bytes())
    for signature, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(signature) + place] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    _refused(tmp_path / "x.zip", "is encrypted - make it anew without a password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_ways_of_packing_without_measure_are_refused(tmp_path: Path, method: int) -> None:
    _refused(_zip(tmp_path / "x.zip", {"1.png": _png()}, method), "is packed in a rare way")


def test_bombs_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "HARMLESS_BYTES", 100_000)
    members = {f"{index}.bmp": bytes(200_000) for index in range(5)}
    bomb = _zip(tmp_path / "x.zip", members)
    assert bomb.stat().st_size < 5000
    _refused(bomb, r"would unfold to 1,000,000 - do not use this archive, it is a bomb")
    # Really large and packed as pictures are: no bomb.
    assert len(ZipFiles(_zip(tmp_path / "y.zip", {name: os.urandom(200_000) for name in members})).names) == 5
    monkeypatch.setattr(picture_files, "LARGEST_FILE_BYTES", 150_000)
    _refused(tmp_path / "y.zip", r"'0\.bmp' would unfold to 200,000 bytes")


def test_a_member_unfolds_no_further_than_it_declares(tmp_path: Path) -> None:
    """Its declared size is a lie; what is read stops there and is found damaged."""
    path = _zip(tmp_path / "x.zip", {"1.bmp": bytes(50_000_000)})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = content.index(signature) + place
        content[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    files = ZipFiles(path)
    with pytest.raises(DataError, match=r"^1\.bmp: is damaged inside the archive"):
        files.read("1.bmp")


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"1.png": b"x", "Q.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"Q.png", b"\0.png"))
    with pytest.raises(DataError, match="unsafe path ''"):
        ZipFiles(path)


def test_damaged_members_are_named_and_others_read(tmp_path: Path) -> None:
    members = {f"{index}.png": os.urandom(2000) for index in range(4)}
    path = _zip(tmp_path / "x.zip", members)
    content = bytearray(path.read_bytes())
    content[content.index(b"2.png") + 500] ^= 1
    path.write_bytes(content)
    files = ZipFiles(path)
    for name in ("0.png", "1.png", "3.png"):
        assert files.read(name) == members[name]
    with pytest.raises(DataError, match=r"^2\.png: is damaged inside the archive"):
        files.read("2.png")


def test_mutilated_archives_end_in_data_errors_alone(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {f"{index}.png": _png(index) for index in range(3)})
    original = path.read_bytes()
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for _ in range(200):
        content = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randint(len(content) // 2, len(content))] if rng.random() < 0.3 else content)
        try:
            files = ZipFiles(path)
            for name in files.names:
                files.read(name)
            outcomes[True] += 1
        except DataError as error:
            assert "\n" not in str(error)
            outcomes[False] += 1
    assert outcomes[False] > 50


def test_digests_change_with_the_content(tmp_path: Path) -> None:
    _zip(tmp_path / "x.zip", {"1.png": _png(1), "2.png": _png(2)})
    first = ZipFiles(tmp_path / "x.zip").digests(tmp_path / "cache")
    assert first == ZipFiles(tmp_path / "x.zip").digests(None)
    assert sorted(first) == ["1.png", "2.png"] and len(set(first.values())) == 2
    _zip(tmp_path / "x.zip", {"1.png": _png(1), "2.png": _png(3)})
    assert ZipFiles(tmp_path / "x.zip").digests(None) != first


def test_files_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(_png())
    files = FolderFiles(tmp_path)
    monkeypatch.setattr(picture_files, "LARGEST_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"^1\.png: is larger than"):
        files.read("1.png")
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"^1\.png: cannot be opened: No such file"):
        files.read("1.png")
