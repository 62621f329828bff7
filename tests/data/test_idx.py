"""MNIST's files: read to the last byte or refused in one line."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data import idx
from i2i.data.idx import is_idx_images, read_idx_images, sized
from i2i.data.settings import IdxSettings
from i2i.data.streams import DataSet, open_streams
from i2i.errors import DataError

_TRAIN, _LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write an array of bytes in the idx format, packed if the name says so."""
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _pictures(count: int, side: int = 28, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), np.uint8)


def _write_set(root: Path, ending: str = "", train: int = 12, test: int = 5, side: int = 28) -> Path:
    for split, count, seed in (("train", train, 1), ("t10k", test, 2)):
        if count:
            write_idx(root / f"{split}-images-idx3-ubyte{ending}", _pictures(count, side, seed))
            write_idx(root / f"{split}-labels-idx1-ubyte{ending}", np.arange(count, dtype=np.uint8) % 4)
    return root


def _open(root: Path, **fields: Any) -> DataSet:
    return open_streams(IdxSettings(root=str(root), **fields), seed=0)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pictures_labels_and_test_pictures(tmp_path: Path, ending: str) -> None:
    data = _open(_write_set(tmp_path, ending), labels=True)
    assert data.class_names == ("0", "1", "2", "3")
    real, label = data.train["real"], data.train["label"]
    assert real.images_per_epoch == label.images_per_epoch == 12
    shown = {real[counter].tobytes(): int(label[counter]) for counter in range(12)}
    assert shown == {picture.tobytes(): index % 4 for index, picture in enumerate(_pictures(12, seed=1))}
    assert real[0].shape == (28, 28, 1)
    assert np.array_equal(np.stack(list(data.test["real"]))[..., 0], _pictures(5, seed=2))
    assert [int(number) for number in data.test["label"]] == [0, 1, 2, 3, 0]


def test_packed_or_plain_and_other_spellings_are_one_set(tmp_path: Path) -> None:
    plain, packed = _open(_write_set(tmp_path / "a")), _open(_write_set(tmp_path / "b", ".gz"))
    for path in _write_set(tmp_path / "c").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    dotted = _open(tmp_path / "c", labels=True)
    assert plain.content_hash == packed.content_hash != dotted.content_hash
    assert np.array_equal(plain.train["real"][3], dotted.train["real"][3])
    assert plain.class_names == () and "label" not in plain.train and "label" not in plain.test


def test_test_pictures_and_labels_may_be_absent(tmp_path: Path) -> None:
    _write_set(tmp_path, test=0)
    (tmp_path / _LABELS).unlink()
    assert dict(_open(tmp_path).test) == {}
    with pytest.raises(DataError, match=r"has no train-labels-idx1-ubyte, plain or \.gz, .* data\.labels: false"):
        _open(tmp_path, labels=True)


def test_sizes() -> None:
    pictures = _pictures(3)[..., None]
    assert sized(pictures, 28) is pictures
    padded = sized(pictures, 32)
    assert padded.shape == (3, 32, 32, 1)
    assert np.array_equal(padded[:, 2:-2, 2:-2], pictures)
    assert padded.sum() == pictures.sum(), "black around it"
    smaller = sized(pictures, 14)
    expected = Image.fromarray(pictures[1, ..., 0]).resize((14, 14), Image.Resampling.BICUBIC)
    assert np.array_equal(smaller[1, ..., 0], np.asarray(expected))
    assert sized(_pictures(2, 20)[..., None], 32).shape == (2, 32, 32, 1), "resized, not padded"


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kept", [0, 3, 4, 10, 16, 20, -1])
def test_truncated_files_are_refused_in_one_line(tmp_path: Path, ending: str, kept: int) -> None:
    content = write_idx(tmp_path / "x", _pictures(2, 4)).read_bytes()[:kept]
    path = tmp_path / f"{_TRAIN}{ending}"
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=r"get the file anew$") as caught:
        _open(tmp_path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "begins with 89504e47 and holds no pictures"),
        (bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + b"abc", "begins with 00000801 and holds no pictures"),
        (bytes([0, 0, 13, 3]) + bytes(20), "begins with 00000d03"),
        (
            bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 2) + bytes(9),
            "should hold 8 bytes of pictures and holds more",
        ),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(9), "claims 4294967295 x 4294967295 x 4294967295 bytes"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 28, 28), "holds no pictures"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 1, 2, 3) + bytes(6), "its pictures are 3 x 2; only squares"),
        (b"\x1f\x8b" + bytes(30), "cannot be read"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / _TRAIN).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        _open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_packed_bomb_is_read_no_further_than_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1, 4, 4)
    (tmp_path / _TRAIN).write_bytes(gzip.compress(header + bytes(50_000_000)))
    with pytest.raises(DataError, match="should hold 16 bytes of pictures and holds more"):
        read_idx_images(tmp_path / _TRAIN)
    monkeypatch.setattr(idx, "_LARGEST_BYTES", 15)
    with pytest.raises(DataError, match="claims 1 x 4 x 4 bytes of pictures"):
        read_idx_images(tmp_path / _TRAIN)


def test_an_honest_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """All that it claims is there; it is only a thousand times as large as its file."""
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 100_000, 28, 28) + bytes(78_400_000)
    (tmp_path / _TRAIN).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="would unfold to 78,400,000 - do not use this file, it is a bomb"):
        read_idx_images(tmp_path / _TRAIN)


def test_damaged_files_end_in_data_errors_alone(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / f"{_TRAIN}.gz"
    original = write_idx(path, _pictures(3, 6)).read_bytes()
    refused = 0
    for _ in range(150):
        content = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            assert read_idx_images(path).shape == (3, 6, 6, 1)
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


def test_labels_must_fit(tmp_path: Path) -> None:
    _write_set(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.full(5, 4, np.uint8))
    with pytest.raises(DataError, match="test labels reach 4, those of training only 3"):
        _open(tmp_path, labels=True)
    write_idx(tmp_path / _LABELS, np.zeros(11, np.uint8))
    with pytest.raises(DataError, match="has 11 labels, train-images-idx3-ubyte has 12 pictures"):
        _open(tmp_path, labels=True)
    write_idx(tmp_path / _LABELS, np.full(12, 3, np.uint8))
    with pytest.raises(DataError, match=r"all labels are 3, there is only one class - set data\.labels: false"):
        _open(tmp_path, labels=True)
    write_idx(tmp_path / _LABELS, _pictures(12))
    with pytest.raises(DataError, match="begins with 00000803 and holds no labels"):
        _open(tmp_path, labels=True)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train-images-idx3-ubyte, plain or \.gz"):
        _open(tmp_path)
    with pytest.raises(DataError, match="none: no such folder"):
        _open(tmp_path / "none")


def test_pictures_in_this_format_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    assert is_idx_images(write_idx(tmp_path / "any.gz", _pictures(1)))
    assert is_idx_images(write_idx(tmp_path / "any", _pictures(1)))
    assert not is_idx_images(write_idx(tmp_path / "labels", np.zeros(3, np.uint8)))
    assert not is_idx_images(tmp_path / "absent")
    (tmp_path / "odd").write_bytes(b"\x1f\x8b nonsense")
    assert not is_idx_images(tmp_path / "odd")


def test_mnist(real_pictures: Path) -> None:
    data = _open(real_pictures / "mnist", labels=True, size_pixels=32)
    assert data.train["real"].images_per_epoch == 60_000 and len(data.test["real"]) == 10_000
    assert data.class_names == tuple("0123456789")
