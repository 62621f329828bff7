"""CIFAR-10, from its published archive of pickled batches or from a folder a class.

Source: Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html, section "Dataset layout".
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from PIL import Image

from i2i.data.cache import PictureStore, default_cache_folder
from i2i.data.dataset import DataSet
from i2i.data.folders import check_folder_exists
from i2i.data.labelled import HowToRead, Pictures, hash_of_arrays, labelled_data_set, open_files
from i2i.data.picture_files import open_picture_files
from i2i.data.plain_pickle import read_plain_pickle
from i2i.data.settings import Cifar10Settings
from i2i.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE_NAME = "cifar-10-python.tar.gz"
_FOLDER_NAME = "cifar-10-batches-py"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"
_SIDE = 32
_CHANNELS = 3
_LARGEST_BATCH_BYTES = 64 << 20
"""A batch has 31 MB."""
_LARGEST_HEADER_BYTES = 1 << 16
_MOST_MEMBERS = 100


def open_cifar10(settings: Cifar10Settings, seed: int) -> DataSet:
    """Open CIFAR-10 in whichever form it lies at `settings.root`.

    Raises:
        DataError: it is not there, incomplete, damaged, or asks for more than it needs.
    """
    root = Path(settings.root).expanduser()
    if root.is_file():
        return _from_batches(_batches_of_archive(root), root, settings, seed)
    check_folder_exists(root, holds=ARCHIVE_NAME)
    if (root / "train").is_dir():
        return _from_class_folders(root, settings, seed)
    for folder in (root, root / _FOLDER_NAME):
        if (folder / _TRAIN[0]).is_file():
            return _from_batches(_batches_of_folder(folder), folder, settings, seed)
    if (root / ARCHIVE_NAME).is_file():
        return _from_batches(_batches_of_archive(root / ARCHIVE_NAME), root / ARCHIVE_NAME, settings, seed)
    raise DataError(
        f"{root}: has neither {ARCHIVE_NAME}, nor its batches, nor a folder train with a folder a class - put one of"
        " them there or name another folder"
    )


def _from_class_folders(root: Path, settings: Cifar10Settings, seed: int) -> DataSet:
    how = HowToRead(
        side=settings.size_pixels,
        channels=_CHANNELS,
        crop="none",
        min_side=1,
        max_pixels=1 << 20,
        cache_folder=default_cache_folder() if settings.cache else None,
    )
    return open_files(
        open_picture_files(root / "train"),
        open_picture_files(root / "test") if (root / "test").is_dir() else None,
        how=how,
        flip=settings.flip,
        labels=settings.labels,
        seed=seed,
        class_names=CLASS_NAMES,
    )


def _from_batches(batches: Mapping[str, bytes], place: Path, settings: Cifar10Settings, seed: int) -> DataSet:
    missing = [name for name in _TRAIN if name not in batches]
    if missing:
        raise DataError(f"{place}: {', '.join(missing)} is missing - get {ARCHIVE_NAME} anew")
    read = {name: _read_batch(content, f"{place}/{name}") for name, content in batches.items()}
    train = _joined([read[name] for name in _TRAIN])
    test = read.get(_TEST)
    content = {"train images": train[0], "train labels": train[1]}
    if test is not None:
        content |= {"test images": test[0], "test labels": test[1]}
    return labelled_data_set(
        _pictures(train, "train", settings),
        None if test is None else _pictures(test, "test", settings),
        class_names=CLASS_NAMES,
        flip=settings.flip,
        seed=seed,
        content_hash=hash_of_arrays(content),
    )


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([pictures for pictures, _ in batches]), np.concatenate([labels for _, labels in batches])


def _pictures(batch: tuple[np.ndarray, np.ndarray], split: str, settings: Cifar10Settings) -> Pictures:
    pictures, labels = batch
    side = settings.size_pixels
    if side != _SIDE:
        pictures = np.stack(
            [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in pictures]
        )
    store = PictureStore(pictures, [f"{split}/{index:05d}" for index in range(len(pictures))])
    return Pictures(store=store, labels=labels if settings.labels else None)


def _batches_of_folder(folder: Path) -> dict[str, bytes]:
    batches: dict[str, bytes] = {}
    for name in (*_TRAIN, _TEST):
        path = folder / name
        try:
            if path.is_file():
                _check_size(path.stat().st_size, path)
                batches[name] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be opened: {error.strerror or error} - check its permissions") from error
    return batches


def _batches_of_archive(archive: Path) -> dict[str, bytes]:
    """Read the batches out of the archive in one pass; nothing is unpacked to the disk."""
    batches: dict[str, bytes] = {}
    try:
        # As a stream, for each step back would unpack it all once more.
        with tarfile.open(archive, "r|*", tarinfo=_Header) as opened:
            for number, member in enumerate(opened):
                _check_size(member.size, f"{archive}: {member.name[:200]!r}")
                if number >= _MOST_MEMBERS:
                    raise DataError(f"{archive}: holds more files than CIFAR-10 has - get {ARCHIVE_NAME} anew")
                # Nothing is unpacked; what the standard library would not unpack is no archive to read from either.
                tarfile.data_filter(member, ".")
                name = PurePosixPath(member.name).name
                file = opened.extractfile(member) if name in (*_TRAIN, _TEST) and member.isfile() else None
                if file is not None:
                    batches[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{archive}: cannot be read ({reason}) - get {ARCHIVE_NAME} anew") from error
    return batches


class _Header(tarfile.TarInfo):
    """Of a member; one that only says more about the next one is read whole, whatever size it claims."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type not in tarfile.REGULAR_TYPES and header.size > _LARGEST_HEADER_BYTES:
            raise tarfile.TarError(f"a header of {header.size:,} bytes")
        return header


def _check_size(size: int, what: object) -> None:
    if size > _LARGEST_BATCH_BYTES:
        raise DataError(f"{what}: has {size:,} bytes, more than any part of CIFAR-10 - get {ARCHIVE_NAME} anew")


def _read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """One batch: pictures uint8 (N, 32, 32, 3) and labels int64 (N,)."""
    batch: Any = read_plain_pickle(content, name)
    # Python 2 wrote the published file; one written by Python 3 has texts for keys.
    entries = batch if isinstance(batch, dict) else {}
    data, labels = (entries.get(key.encode(), entries.get(key)) for key in ("data", "labels"))
    values = _CHANNELS * _SIDE**2
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != values or not len(data):
        raise DataError(f"{name}: holds no pictures of {_SIDE} x {_SIDE} - get {ARCHIVE_NAME} anew")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{name}: pictures and labels differ in number - get {ARCHIVE_NAME} anew")
    if not all(type(label) is int and 0 <= label < len(CLASS_NAMES) for label in labels):
        raise DataError(f"{name}: holds labels other than 0 to {len(CLASS_NAMES) - 1} - get {ARCHIVE_NAME} anew")
    planes = data.reshape(len(data), _CHANNELS, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, np.int64)
