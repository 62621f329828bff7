"""MNIST's file format: a magic number, the sizes, then the bytes; plain or packed with gzip.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "file formats".
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from i2i.data.cache import PictureStore
from i2i.data.dataset import DataSet
from i2i.data.folders import check_folder_exists
from i2i.data.labelled import Pictures, hash_of_arrays, labelled_data_set
from i2i.data.picture_files import HARMLESS_BYTES, MAX_UNPACKED_RATIO
from i2i.data.settings import IdxSettings
from i2i.errors import DataError

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_LARGEST_BYTES = 8 << 30
"""Of one file unpacked; MNIST has 47 MB, and a .gz file can claim anything."""


def open_idx(settings: IdxSettings, seed: int) -> DataSet:
    """Open a folder of idx files.

    Raises:
        DataError: a file is missing, damaged, or does not fit the others.
    """
    root = Path(settings.root).expanduser()
    check_folder_exists(root, holds="the set's idx files")
    images = {split: find_idx_images(root, split) for split in ("train", "t10k")}
    if images["train"] is None:
        raise DataError(
            f"{root}: has no train-images-idx3-ubyte, plain or .gz - put the set's idx files there or name their folder"
        )
    opened: dict[str, Pictures] = {}
    content: dict[str, np.ndarray | None] = {}
    for split, path in images.items():
        if path is None:
            continue
        pictures = read_idx_images(path)
        labels = read_labels_of(path, len(pictures)) if settings.labels else None
        if settings.labels and labels is None:
            raise DataError(
                f"{root}: has no {split}-labels-idx1-ubyte, plain or .gz, for {path.name} - put it there or set"
                " data.labels: false"
            )
        content |= {f"{split} images": pictures, f"{split} labels": labels}
        store = PictureStore(sized(pictures, settings.size_pixels), [f"{split}/{i:05d}" for i in range(len(pictures))])
        opened[split] = Pictures(store=store, labels=labels)
    train, test = opened["train"], opened.get("t10k")
    class_names: Sequence[str] = ()
    if train.labels is not None:
        class_names = _class_names(train.labels, None if test is None else test.labels, root)
    return labelled_data_set(
        train,
        test,
        class_names=class_names,
        flip=settings.flip,
        seed=seed,
        content_hash=hash_of_arrays(content),
    )


def find_idx_images(folder: Path, split: str) -> Path | None:
    """The file with the pictures of a split ("train" or "t10k"), by any of its usual names."""
    for separator in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{split}-images{separator}idx3-ubyte{ending}"
            if path.is_file():
                return path
    return None


def read_labels_of(images: Path, count: int) -> np.ndarray | None:
    """Class numbers, int64 (count,), from the file beside one of pictures; None if there is none.

    Raises:
        DataError: the file is damaged, holds something else, or another number of labels.
    """
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = (images.with_name(stem + ending) for ending in ("", ".gz"))
    path = next((path for path in beside if path != images and path.is_file()), None)
    if path is None:
        return None
    labels = _read(path, dimensions=1, what="labels").astype(np.int64)
    if len(labels) != count:
        raise DataError(f"{path}: has {len(labels)} labels, {images.name} has {count} pictures - take files of one set")
    return labels


def is_idx_images(path: Path) -> bool:
    """Whether a file begins like pictures in the idx format."""
    try:
        with _open(path) as file:
            return file.read(4) == _magic(3)
    except (OSError, EOFError, zlib.error):
        return False


def read_idx_images(path: Path) -> np.ndarray:
    """Read pictures: uint8 (N, side, side, 1).

    Raises:
        DataError: the file is damaged, holds something else, no picture, or pictures that are not square.
    """
    pictures = _read(path, dimensions=3, what="pictures")
    if not len(pictures):
        raise DataError(f"{path}: holds no pictures - get the file anew")
    if pictures.shape[1] != pictures.shape[2]:
        raise DataError(f"{path}: its pictures are {pictures.shape[2]} x {pictures.shape[1]}; only squares are taken")
    return pictures[..., None]


def sized(pictures: np.ndarray, side: int) -> np.ndarray:
    """Bring uint8 (N, H, H, 1) pictures to `side`: 28 to 32 by a black margin of 2, else by resizing (bicubic)."""
    present = pictures.shape[1]
    if present == side:
        return pictures
    if (present, side) == (28, 32):
        return np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)))
    resized = np.empty((len(pictures), side, side, 1), np.uint8)
    for index, picture in enumerate(pictures):
        image = Image.fromarray(picture[..., 0])
        resized[index, ..., 0] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    return resized


def _class_names(train: np.ndarray, test: np.ndarray | None, root: Path) -> tuple[str, ...]:
    """The file format has numbers only, so the names are those."""
    classes = int(train.max()) + 1
    if int(train.min()) == classes - 1:
        raise DataError(f"{root}: all labels are {classes - 1}, there is only one class - set data.labels: false")
    if test is not None and len(test) and int(test.max()) >= classes:
        raise DataError(
            f"{root}: the test labels reach {int(test.max())}, those of training only {classes - 1} - take files of"
            " one set"
        )
    return tuple(str(number) for number in range(classes))


def _read(path: Path, *, dimensions: int, what: str) -> np.ndarray:
    """The array in an idx file of unsigned bytes with so many dimensions."""
    remedy = "get the file anew"
    try:
        with _open(path) as file:
            magic = file.read(4)
            if magic != _magic(dimensions):
                raise DataError(
                    f"{path}: begins with {magic.hex() or 'nothing'} and holds no {what} in the idx format - {remedy}"
                )
            head = file.read(4 * dimensions)
            if len(head) < 4 * dimensions:
                raise DataError(f"{path}: is truncated within its header - {remedy}")
            shape = struct.unpack(f">{dimensions}I", head)
            # In Python's own numbers, which do not overflow.
            wanted = 1
            for size in shape:
                wanted *= size
            if wanted > _LARGEST_BYTES:
                raise DataError(f"{path}: claims {' x '.join(map(str, shape))} bytes of {what} - {remedy}")
            size = path.stat().st_size
            if isinstance(file, gzip.GzipFile) and wanted > max(HARMLESS_BYTES, MAX_UNPACKED_RATIO * size):
                raise DataError(
                    f"{path}: its {size:,} bytes would unfold to {wanted:,} - do not use this file, it is a bomb"
                )
            content = file.read(wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({_one_line(error)}) - {remedy}") from error
    if len(content) != wanted:
        found = f"only {len(content):,}" if len(content) < wanted else "more"
        raise DataError(f"{path}: should hold {wanted:,} bytes of {what} and holds {found} - {remedy}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _open(path: Path) -> BinaryIO:
    """Open a file for reading, unpacking it if it is packed with gzip."""
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _magic(dimensions: int) -> bytes:
    return bytes([0, 0, _UNSIGNED_BYTES, dimensions])


def _one_line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:120] or type(error).__name__
