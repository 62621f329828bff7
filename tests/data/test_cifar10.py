"""CIFAR-10 in all forms it comes in."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data import cifar10
from i2i.data.cifar10 import CLASS_NAMES
from i2i.data.settings import Cifar10Settings
from i2i.data.streams import DataSet, open_streams
from i2i.errors import DataError
from tests.data.pictures import write_pictures

_BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def _batch(seed: int, count: int = 4, **changes: Any) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    batch = {
        b"batch_label": b"some batch",
        b"labels": [int(label) for label in rng.integers(0, 10, count)],
        b"data": rng.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [b"a.png"] * count,
    }
    return {**batch, **{key.encode(): value for key, value in changes.items()}}


def _write(folder: Path, **changed: Any) -> Path:
    """The batches of a small set as files; `changed` replaces the content of some."""
    folder.mkdir(parents=True)
    for seed, name in enumerate(_BATCHES):
        content = changed.get(name, _batch(seed))
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["nonsense"]}, 2))
    return folder


def _packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(folder, "cifar-10-batches-py")
    return archive


def _open(root: Path, **fields: Any) -> DataSet:
    return open_streams(Cifar10Settings(root=str(root), flip=False, **fields), seed=0)


def _shown(data: DataSet) -> dict[bytes, int]:
    real, label = data.train["real"], data.train["label"]
    return {real[counter].tobytes(): int(label[counter]) for counter in range(real.images_per_epoch)}


def test_every_form_gives_the_same_pictures(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set" / "cifar-10-batches-py")
    archive = _packed(folder, tmp_path / "cifar-10-python.tar.gz")
    before = sorted(tmp_path.rglob("*"))
    sets = [_open(root, labels=True) for root in (folder, folder.parent, archive, tmp_path)]
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"
    assert len({data.content_hash for data in sets}) == 1
    planes = {
        np.ascontiguousarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).tobytes(): label
        for seed in range(5)
        for row, label in zip(_batch(seed)[b"data"], _batch(seed)[b"labels"], strict=True)
    }
    for data in sets:
        assert data.class_names == CLASS_NAMES
        assert data.train["real"].images_per_epoch == 20
        assert data.train["real"][0].shape == (32, 32, 3)
        assert _shown(data) == planes
        assert len(data.test["real"]) == 4
        assert [int(label) for label in data.test["label"]] == _batch(5)[b"labels"]


def test_labels_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    data = _open(_write(tmp_path / "x"))
    assert set(data.train) == {"real"} and set(data.test) == {"real"} and data.class_names == ()


def test_other_sizes_are_resized_and_the_test_batch_may_be_absent(tmp_path: Path) -> None:
    data = _open(_write(tmp_path / "x", test_batch=None), size_pixels=16)
    assert dict(data.test) == {}
    expected = {
        np.asarray(
            Image.fromarray(np.ascontiguousarray(row.reshape(3, 32, 32).transpose(1, 2, 0))).resize(
                (16, 16), Image.Resampling.BICUBIC
            )
        ).tobytes()
        for seed in range(5)
        for row in _batch(seed)[b"data"]
    }
    assert {data.train["real"][counter].tobytes() for counter in range(20)} == expected


def test_python_3_writes_texts_for_keys(tmp_path: Path) -> None:
    batch = {key.decode(): value for key, value in _batch(1).items()}
    data = _open(_write(tmp_path / "x", data_batch_2=pickle.dumps(batch, 4)), labels=True)
    assert data.train["real"].images_per_epoch == 20


def test_a_folder_a_class(tmp_path: Path) -> None:
    for name, count in (("frog", 3), ("cat", 2)):
        write_pictures(tmp_path / "train" / name, count, side=32, seed=count)
    write_pictures(tmp_path / "test" / "truck", 2, side=32, seed=9)
    data = _open(tmp_path, labels=True)
    assert data.class_names == CLASS_NAMES
    assert sorted(_shown(data).values()) == [3, 3, 6, 6, 6]
    assert [int(label) for label in data.test["label"]] == [9, 9]
    write_pictures(tmp_path / "train" / "unicorn", 1)
    with pytest.raises(DataError, match="unicorn: is not one of the classes"):
        _open(tmp_path, labels=True)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("packed", [False, True])
def test_a_malicious_batch_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    root = _write(tmp_path / "x", data_batch_3=_batch(1, labels=[_Evil(), 1, 2, 3]))
    if packed:
        root = _packed(root, tmp_path / "x.tar.gz")
    with pytest.raises(DataError, match=r"data_batch_3: wants to use (posix|nt)\.system, .* do not use this file"):
        _open(root)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, "data_batch_2 is missing"),
        (b"", "data_batch_2: is damaged"),
        (pickle.dumps(_batch(0), 2)[:3000], "data_batch_2: is damaged"),
        (pickle.dumps([1, 2], 2), "data_batch_2: holds no pictures of 32 x 32"),
        (_batch(0, data=[1, 2]), "data_batch_2: holds no pictures of 32 x 32"),
        (_batch(0, data=np.zeros((4, 3071), np.uint8)), "data_batch_2: holds no pictures of 32 x 32"),
        (
            pickle.dumps(_batch(0, data=np.zeros((0, 3072), np.uint8), labels=[]), 4),
            "data_batch_2: holds no pictures of 32 x 32",
        ),
        (_batch(0, labels=[1, 2, 3]), "data_batch_2: pictures and labels differ in number"),
        (_batch(0, labels=[1, 2, 3, 10]), "data_batch_2: holds labels other than 0 to 9"),
        (_batch(0, labels=[1, 2, 3, -1]), "data_batch_2: holds labels other than 0 to 9"),
        (_batch(0, labels=[1, 2, 3, True]), "data_batch_2: holds labels other than 0 to 9"),
        (_batch(0, labels=[1, 2, 3, 1.0]), "data_batch_2: holds labels other than 0 to 9"),
    ],
)
def test_damage_is_named(tmp_path: Path, batch: Any, message: str) -> None:
    root = _write(tmp_path / "x", data_batch_2=batch)
    for place in (root, _packed(root, tmp_path / "x.tar.gz")):
        with pytest.raises(DataError, match=message) as caught:
            _open(place)
        assert "\n" not in str(caught.value)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    archive = _packed(_write(tmp_path / "x"), tmp_path / "x.tar.gz")
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"nonsense" * 100, content[:2000] + bytes(50) + content[2050:]):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.tar\.gz.* get cifar-10-python\.tar\.gz anew$") as caught:
            _open(archive)
        assert "\n" not in str(caught.value)


def test_sizes_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path / "x")
    archive = _packed(root, tmp_path / "x.tar.gz")
    monkeypatch.setattr(cifar10, "_LARGEST_BATCH_BYTES", 5000)
    for place in (root, archive):
        with pytest.raises(DataError, match="bytes, more than any part of CIFAR-10"):
            _open(place)
    monkeypatch.undo()
    with tarfile.open(archive, "w:gz") as opened:
        for number in range(200):
            opened.addfile(tarfile.TarInfo(str(number)), io.BytesIO())
    with pytest.raises(DataError, match="holds more files than CIFAR-10 has"):
        _open(archive)


def test_links_in_an_archive_are_no_batches(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(pickle.dumps(_batch(0), 2))
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as opened:
        for name in _BATCHES:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            opened.addfile(link)
    with pytest.raises(DataError, match=r"'data_batch_1' is a link to an absolute path"):
        _open(tmp_path / "x.tar.gz")


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither cifar-10-python\.tar\.gz, nor its batches, nor a folder train"):
        _open(tmp_path)
    with pytest.raises(DataError, match="none: no such folder"):
        _open(tmp_path / "none")
