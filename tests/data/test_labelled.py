"""One set of pictures from a folder or an archive, with classes or without."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.data.loader import StreamLoader
from i2i.data.settings import ImageFolderSettings
from i2i.data.streams import DataSet, open_streams
from i2i.errors import DataError
from tests.data.pictures import write_pictures


def _open(root: Path, **changes: Any) -> DataSet:
    small = ImageFolderSettings(root=str(root), size_pixels=16, flip=False)
    return open_streams(replace(small, **changes), seed=3)


def _classes(root: Path, **counts: int) -> Path:
    for index, (name, count) in enumerate(counts.items()):
        write_pictures(root / name, count, seed=index)
    return root


def _zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.rglob("*.png")):
            opened.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def _shown(data: DataSet) -> list[tuple[bytes, int]]:
    """All pictures of an epoch with their labels, in the order of the pictures."""
    real, label = data.train["real"], data.train.get("label")
    return sorted(
        (real[index].tobytes(), -1 if label is None else int(label[index])) for index in range(real.images_per_epoch)
    )


def test_a_folder_without_classes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "nested" / "deep", 5)
    write_pictures(tmp_path, 2, seed=9)
    data = _open(tmp_path)
    assert set(data.train) == {"real"} and dict(data.test) == {}
    assert (data.class_names, data.aligned, data.report) == ((), False, [])
    stream = data.train["real"]
    assert stream.images_per_epoch == 7
    assert stream[0].shape == (16, 16, 3) and stream[0].dtype == np.uint8
    expected = {
        np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BICUBIC)).tobytes()
        for path in tmp_path.rglob("*.png")
    }
    assert {stream[counter].tobytes() for counter in range(7)} == expected


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path, zipped: bool, cache: bool) -> None:
    root = _classes(tmp_path / "set", zebra=2, Ant=3, bee=4)
    test = _classes(tmp_path / "test", bee=1, zebra=2)
    if zipped:
        root, test = _zipped(root, tmp_path / "set.zip", "set/"), _zipped(test, tmp_path / "test.zip")
    data = _open(root, labels=True, test=str(test), cache=cache)
    assert data.class_names == ("Ant", "bee", "zebra")
    of_picture = {
        np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BICUBIC)).tobytes(): data.class_names.index(
            path.parent.name
        )
        for path in (tmp_path / "set").rglob("*.png")
    }
    assert dict(_shown(data)) == of_picture
    assert [int(label) for label in data.test["label"]] == [1, 2, 2]
    assert len(data.test["real"]) == 3 and data.test["label"][0].dtype == np.int64
    (batch,) = StreamLoader(data.train, 6).draw(("real", "label"), 3)
    assert batch["real"].shape == (6, 3, 16, 16) and batch["label"].dtype == torch.int64


def test_an_archive_is_the_folder_in_it(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", a=3, b=2)
    archive = _zipped(root, tmp_path / "set.zip")
    assert _shown(_open(root, labels=True)) == _shown(_open(archive, labels=True))


def test_grey_and_crops(tmp_path: Path) -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = (255, 255, 255)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    middle = _open(tmp_path, channels=1).train["real"][0]
    assert middle.shape == (16, 16, 1) and middle.min() == 255
    squeezed = _open(tmp_path, channels=1, crop="none").train["real"][0]
    assert squeezed[:, :4].max() == 0 and squeezed[:, 7:9].min() > 250


def test_half_is_mirrored_with_flip_and_test_pictures_never(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", 1, side=16)
    write_pictures(tmp_path / "test", 3, seed=5, side=16)
    data = _open(tmp_path / "set", flip=True, test=str(tmp_path / "test"))
    with Image.open(tmp_path / "set" / "00.png") as picture:
        original = np.asarray(picture)
    seen = [np.array_equal(data.train["real"][counter], original) for counter in range(60)]
    assert 15 < sum(seen) < 45
    assert all(
        same or np.array_equal(data.train["real"][counter], original[:, ::-1]) for counter, same in enumerate(seen)
    )
    with Image.open(tmp_path / "test" / "01.png") as picture:
        assert np.array_equal(data.test["real"][1], np.asarray(picture))


@pytest.mark.parametrize("zipped", [True, False])
def test_bad_pictures_are_skipped_and_reported_and_labels_stay_right(tmp_path: Path, zipped: bool) -> None:
    root = _classes(tmp_path / "set", a=4, b=4, c=1)
    (root / "a" / "01.png").write_bytes((root / "a" / "01.png").read_bytes()[:100])
    Image.fromarray(np.zeros((3, 40, 3), np.uint8)).save(root / "b" / "00.png")
    (root / "c" / "00.png").write_bytes(b"no picture")
    place = _zipped(root, tmp_path / "set.zip") if zipped else root
    for _ in range(2):  # made, then from the cache
        data = _open(place, labels=True)
        assert [line.split(":")[0] for line in data.report] == [
            f"{place}/a/01.png", f"{place}/b/00.png", f"{place}/c/00.png", f"{place}/c",
        ]  # fmt: skip
        assert "40 x 3 is smaller than min_side_pixels 16" in data.report[1]
        assert data.class_names == ("a", "b", "c")
        assert sorted(label for _, label in _shown(data)) == [0, 0, 0, 1, 1, 1]


def test_what_changes_the_set_changes_its_hash(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", a=2, b=2)
    hashes = [_open(root).content_hash]
    assert _open(root, size_pixels=20, flip=True).content_hash == hashes[0]
    assert _open(root.rename(tmp_path / "moved")).content_hash == hashes[0]
    root = tmp_path / "moved"
    (root / "a" / "00.png").rename(root / "b" / "zz.png")
    hashes.append(_open(root).content_hash)
    write_pictures(root / "b", 1, seed=77)
    hashes.append(_open(root).content_hash)
    hashes.append(_open(root, test=str(root / "b")).content_hash)
    assert len(set(hashes)) == 4 and all(len(digest) == 64 for digest in hashes)


def _loose(root: Path, count: int = 1) -> None:
    _classes(root, a=1, b=1)
    write_pictures(root, count, seed=8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: write_pictures(root, 2), r"set: its pictures lie in no class folders .* data\.labels: false"),
        (lambda root: _classes(root, a=2), r"set: all pictures are of one class, 'a' - .* name .*set/a; else set"),
        (
            lambda root: _classes(root, test=1, train=2),
            r"its folders are test, train, .* set data\.root to .*set/train",
        ),
        (_loose, r"set/00\.png: lies in no class folder - move it into one"),
        (lambda root: _loose(root, 3), r"00\.png: lies in no class folder, and so do 2 more of 5 pictures - move each"),
        (lambda root: _classes(root), "set: no such folder"),
        (lambda root: root.mkdir(), "set: holds no pictures"),
    ],
)
def test_missing_classes_are_explained(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        _open(tmp_path / "set", labels=True)
    assert "\n" not in str(caught.value)


def test_test_pictures_have_the_same_classes(tmp_path: Path) -> None:
    root, test = _classes(tmp_path / "set", a=1, b=1), _classes(tmp_path / "test", a=1, c=1)
    with pytest.raises(DataError, match=r"test/c: is not one of the classes \(a, b\)"):
        _open(root, labels=True, test=str(test))
    assert len(_open(root, test=str(test)).test["real"]) == 2
    with pytest.raises(DataError, match=r"absent: no such folder"):
        _open(root, test=str(tmp_path / "absent"))


def test_if_no_picture_is_good_the_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=rf"^{tmp_path}: none of 1 pictures can be used; the first: x\.png: not a"):
        _open(tmp_path)


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000)).save(buffer, "PNG")
    (tmp_path / "huge.png").write_bytes(buffer.getvalue())
    data = _open(tmp_path, max_pixels=1_000_000)
    assert data.train["real"].images_per_epoch == 1
    assert "huge.png: 3000 x 3000 is 9,000,000 pixels, the limit is 1,000,000" in data.report[0]


def test_real_pictures(real_pictures: Path) -> None:
    data = open_streams(ImageFolderSettings(root=str(real_pictures / "set5" / "x4"), size_pixels=32), seed=0)
    assert data.report == [] and data.train["real"].images_per_epoch == 10
