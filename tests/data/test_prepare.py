"""A prepared set is clean, the same every time, and there whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data.prepare import Manifest, PrepareSettings, prepare_set
from i2i.data.settings import ImageFolderSettings
from i2i.data.squares import square
from i2i.data.streams import open_streams
from i2i.errors import DataError, StorageError, UsageError
from tests.data.pictures import write_pictures
from tests.data.test_idx import write_idx


def _prepare(source: Path, out: Path, size: int = 16, **fields: Any) -> Manifest:
    return prepare_set(source, out, PrepareSettings(size_pixels=size, **fields), version="1.2.3")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _array(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes and every kind of trouble."""
    root = tmp_path / "raw"
    write_pictures(root / "cats", 3, seed=1)
    write_pictures(root / "dogs", 2, seed=2)
    (root / "dogs" / "twin.png").write_bytes((root / "cats" / "01.png").read_bytes())
    with Image.open(root / "cats" / "02.png") as picture:
        picture.save(root / "dogs" / "same pixels.bmp")
    (root / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    Image.fromarray(np.full((40, 10, 3), 7, np.uint8)).save(root / "cats" / "thin.png")
    Image.fromarray(np.full((17, 40, 3), 9, np.uint8)).save(root / "dogs" / "small.png")
    (root / "notes.txt").write_text("no picture")
    return root


def test_what_is_made_of_a_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "set"
    manifest = _prepare(source, out, size=20)
    files = _files(out)
    listing = json.loads(files.pop("manifest.json"))
    kept = ["cats/00.png", "cats/01.png", "cats/02.png", "dogs/00.png", "dogs/01.png", "dogs/small.png"]
    assert sorted(files) == kept
    for name in kept:
        with Image.open(source / name) as picture:
            assert np.array_equal(_array(files[name]), square(np.asarray(picture), 20, 3, "center"))
    assert listing == manifest.to_json()
    assert (listing["i2i"], listing["source"]) == ("1.2.3", "raw")
    assert listing["settings"]["size_pixels"] == 20 and listing["settings"]["crop"] == "center"
    assert listing["counts"] == {
        "found": 10,
        "kept": 6,
        "changes": {"cropped": 1, "enlarged": 1},
        "left_out": 4,
        "left_out_by_reason": {"same file": 1, "same pixels": 1, "too small": 1, "unreadable": 1},
        "ignored": 1,
        "by_folder": {"cats": 3, "dogs": 3},
    }
    assert listing["ignored"] == ["notes.txt"]
    assert listing["source_sizes"] == {"24x24": 5, "40x17": 1}
    left_out = {item["source"]: (item["reason"], item["detail"]) for item in listing["left_out"]}
    assert left_out["dogs/twin.png"] == ("same file", "as cats/01.png")
    assert left_out["dogs/same pixels.bmp"] == ("same pixels", "as cats/02.png")
    assert left_out["cats/thin.png"] == ("too small", "10 x 40, a side under 16")
    assert left_out["cats/broken.jpg"][0] == "unreadable" and "cannot be decoded" in left_out["cats/broken.jpg"][1]
    for entry in listing["pictures"]:
        content = files[entry["name"]]
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert entry["source"] == entry["name"]
        assert entry["changes"] == (["cropped", "enlarged"] if entry["name"] == "dogs/small.png" else [])
    assert listing["bytes"] == sum(len(content) for content in files.values())
    assert [path.name for path in out.parent.iterdir()] == ["set"], "nothing else is left"


def test_the_result_is_fit_for_training(source: Path, tmp_path: Path) -> None:
    _prepare(source, tmp_path / "out")
    settings = ImageFolderSettings(root=str(tmp_path / "out"), size_pixels=16, labels=True)
    data = open_streams(settings, seed=0)
    assert data.class_names == ("cats", "dogs") and data.report == []
    assert data.train["real"].images_per_epoch == 6


def test_of_doubles_the_one_with_the_plainest_name_stays(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_pictures(raw, 3)
    groups = {
        "00.png": ("Copy of cat.png", "backup/cat.png", "cat (1).png", "cat - Kopie.png", "cat.png"),
        "01.png": ("a long name.png", "dog.png", "dog~.png"),
        "02.png": ("copying.png", "copying copy.png"),
    }
    for original, names in groups.items():
        for name in names:
            (raw / name).parent.mkdir(exist_ok=True)
            (raw / name).write_bytes((raw / original).read_bytes())
        (raw / original).unlink()
    manifest = _prepare(raw, tmp_path / "out")
    assert [picture.name for picture in manifest.pictures] == ["cat.png", "copying.png", "dog.png"]
    assert {item.source: item.detail for item in manifest.left_out} == {
        "Copy of cat.png": "as cat.png",
        "a long name.png": "as dog.png",
        "backup/cat.png": "as cat.png",
        "cat (1).png": "as cat.png",
        "cat - Kopie.png": "as cat.png",
        "copying copy.png": "as copying.png",
        "dog~.png": "as dog.png",
    }
    assert [item.source for item in manifest.left_out] == sorted(item.source for item in manifest.left_out)


def test_what_decoding_lets_go_of_is_listed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_pictures(raw, 1)
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 65536, (24, 24), np.uint16)).save(raw / "deep.png")
    Image.fromarray(rng.integers(0, 256, (24, 24, 4), np.uint8)).save(raw / "alpha.png")
    Image.fromarray(rng.integers(0, 256, (24, 24, 4), np.uint8), "CMYK").save(raw / "cmyk.jpg")
    frames = [Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)) for _ in range(2)]
    frames[0].save(raw / "frames.tiff", save_all=True, append_images=frames[1:])
    manifest = _prepare(raw, tmp_path / "out")
    assert {picture.source: picture.changes for picture in manifest.pictures} == {
        "00.png": [],
        "alpha.png": ["transparent parts to white"],
        "cmyk.jpg": ["CMYK to RGB"],
        "deep.png": ["16 bits to 8"],
        "frames.tiff": ["first of several frames"],
    }


def test_the_same_call_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        _prepare(source, tmp_path / name)
    assert _files(tmp_path / "first") == _files(tmp_path / "second")


def test_an_archive_gives_what_its_folder_gives(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "raw.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, f"raw/{path.relative_to(source).as_posix()}")
    folder, packed = _prepare(source, tmp_path / "a"), _prepare(tmp_path / "raw.zip", tmp_path / "b")
    assert packed.pictures == folder.pictures
    assert packed.left_out == folder.left_out
    assert (packed.ignored, folder.ignored) == (["raw/notes.txt"], ["notes.txt"])
    assert packed.source == "raw.zip"


def test_small_pictures_can_be_left_out(source: Path, tmp_path: Path) -> None:
    manifest = _prepare(source, tmp_path / "a", size=20, enlarge=False)
    assert {item.source: item.reason for item in manifest.left_out}["dogs/small.png"] == "would be enlarged"
    assert not any("enlarged" in picture.changes for picture in manifest.pictures)
    strict = _prepare(source, tmp_path / "b", size=16, min_side_pixels=18)
    assert {item.source for item in strict.left_out if item.reason == "too small"} == {
        "cats/thin.png",
        "dogs/small.png",
    }
    lax = _prepare(source, tmp_path / "c", size=8, min_side_pixels=0)
    assert "cats/thin.png" in {picture.source for picture in lax.pictures}


@pytest.mark.parametrize(("channels", "format"), [(1, "png"), (1, "jpg"), (3, "jpg")])
def test_colours_and_formats(source: Path, tmp_path: Path, channels: int, format: str) -> None:
    _prepare(source, tmp_path / "out", channels=channels, format=format)
    made = _files(tmp_path / "out")
    assert len(made) == 7
    for name, content in made.items():
        if name != "manifest.json":
            assert name.endswith(f".{format}")
            with Image.open(io.BytesIO(content)) as picture:
                assert picture.format == {"png": "PNG", "jpg": "JPEG"}[format]
                assert picture.mode == {1: "L", 3: "RGB"}[channels] and picture.size == (16, 16)


def test_squeezing_shows_the_whole_picture(tmp_path: Path) -> None:
    picture = np.zeros((32, 96, 3), np.uint8)
    picture[:, 32:64] = 255
    (tmp_path / "raw").mkdir()
    Image.fromarray(picture).save(tmp_path / "raw" / "x.png")
    _prepare(tmp_path / "raw", tmp_path / "cut")
    _prepare(tmp_path / "raw", tmp_path / "squeezed", crop="none")
    assert _array((tmp_path / "cut" / "x.png").read_bytes()).min() == 255
    assert _array((tmp_path / "squeezed" / "x.png").read_bytes())[:, 0].max() == 0


def test_names_that_would_clash_get_a_number(tmp_path: Path) -> None:
    for index, name in enumerate(("x.png", "x.bmp", "X.png", "x-2.png")):
        write_pictures(tmp_path / "new", 1, seed=index)
        (tmp_path / "raw").mkdir(exist_ok=True)
        with Image.open(tmp_path / "new" / "00.png") as picture:
            picture.save(tmp_path / "raw" / name)
    manifest = _prepare(tmp_path / "raw", tmp_path / "out")
    names = [picture.name for picture in manifest.pictures]
    assert [picture.source for picture in manifest.pictures] == ["X.png", "x-2.png", "x.bmp", "x.png"]
    assert names == ["X.png", "x-2.png", "x-3.png", "x-4.png"]
    assert len({name.casefold() for name in names}) == 4


def _write_mnist(root: Path) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
    pictures[4] = pictures[1]
    for split, part in (("train", slice(0, 5)), ("t10k", slice(5, 6))):
        write_idx(root / f"{split}-images-idx3-ubyte.gz", pictures[part])
        write_idx(root / f"{split}-labels-idx1-ubyte", np.array([3, 1, 4, 1, 1, 9], np.uint8)[part])
    return pictures


def test_idx_files_become_a_folder_a_class(tmp_path: Path) -> None:
    pictures = _write_mnist(tmp_path / "raw")
    manifest = _prepare(tmp_path / "raw", tmp_path / "out", size=28, channels=1)
    made = {picture.name: _array((tmp_path / "out" / picture.name).read_bytes()) for picture in manifest.pictures}
    expected = {"test/9/00000": 5, "train/1/00001": 1, "train/1/00003": 3, "train/3/00000": 0, "train/4/00002": 2}
    assert {name.removesuffix(".png") for name in made} == set(expected)
    for name, index in expected.items():
        assert np.array_equal(made[f"{name}.png"], pictures[index])
    assert [(item.source, item.reason, item.detail) for item in manifest.left_out] == [
        ("train/1/00004", "same pixels", "as train/1/00001")
    ]


def test_one_idx_file_alone(tmp_path: Path) -> None:
    _write_mnist(tmp_path / "raw")
    one = _prepare(tmp_path / "raw" / "t10k-images-idx3-ubyte.gz", tmp_path / "a")
    assert [picture.name for picture in one.pictures] == ["test/9/00000.png"]
    content = gzip.decompress((tmp_path / "raw" / "t10k-images-idx3-ubyte.gz").read_bytes())
    (tmp_path / "mine.bin").write_bytes(content)
    assert [picture.name for picture in _prepare(tmp_path / "mine.bin", tmp_path / "b").pictures] == ["train/00000.png"]
    (tmp_path / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: begins with"):
        _prepare(tmp_path / "raw", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_progress_counts_every_picture(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare_set(
        source,
        tmp_path / "out",
        PrepareSettings(size_pixels=8),
        version="1",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(count, 10) for count in range(1, 11)]


def test_an_empty_folder_may_be_there_and_a_full_one_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    _prepare(source, out)
    before = _files(out)
    with pytest.raises(UsageError, match="out: is not empty - remove it or name another folder"):
        _prepare(source, out, size=32)
    assert _files(out) == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="file: is a file"):
        _prepare(source, tmp_path / "file")
    for inside in (source / "out", source):
        with pytest.raises(UsageError, match=r"is not empty|lies within the pictures"):
            _prepare(source, inside)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
def test_cut_short_leaves_nothing_and_can_be_run_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write = Path.write_bytes
    written: list[Path] = []

    def fail_late(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 4:
            raise error
        return write(path, content)

    out = tmp_path / "there" / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail_late)
        with pytest.raises(StorageError if isinstance(error, OSError) else type(error)) as caught:
            _prepare(source, out)
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"{out}: cannot be written: No space left on device - free space")
    assert list(out.parent.iterdir()) == []
    assert len(_prepare(source, out).pictures) == 6


def test_nothing_is_made_of_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"raw: none of 1 pictures can be used; the first: x\.png: unreadable, not a"):
        _prepare(tmp_path / "raw", tmp_path / "out")
    for name, message in (
        ("absent", "absent: no such file or folder - check the spelling"),
        ("empty", "holds no pictures"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=message):
            _prepare(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_folder_that_may_not_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="locked/out: cannot be written"):
        _prepare(source, tmp_path / "locked" / "out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_pixels": 3}, "--size 4 to 4096"),
        ({"size_pixels": 5000}, "--size 4 to 4096"),
        ({"size_pixels": 8, "min_side_pixels": -1}, "--min-side 0 or more"),
        ({"size_pixels": 8, "max_pixels": 0}, "--max-pixels 1 or more"),
    ],
)
def test_numbers_out_of_range_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PrepareSettings(**fields)
