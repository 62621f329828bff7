"""One set of pictures, with or without class labels: its streams, and how it is opened from files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import __version__ as pillow_version

from i2i.data.cache import PictureStore, default_cache_folder, open_pictures
from i2i.data.dataset import DataSet
from i2i.data.decoding import decode_rgb8_bytes
from i2i.data.indexed import RowStream
from i2i.data.picture_files import PictureFiles, open_picture_files
from i2i.data.settings import Crop, ImageFolderSettings
from i2i.data.squares import PIXELS_VERSION, square
from i2i.errors import DataError

_SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures and, with labels, the class number of each: int64 (N,)."""

    store: PictureStore
    labels: np.ndarray | None = None


def labelled_data_set(
    train: Pictures,
    test: Pictures | None,
    *,
    class_names: Sequence[str],
    flip: bool,
    seed: int,
    content_hash: str,
    report: Sequence[str] = (),
) -> DataSet:
    """The streams "real" and, with labels, "label", in one order; test pictures under the same names."""
    streams = {"real": RowStream(samples=train.store, seed=seed, flip=flip)}
    shown: dict[str, Sequence[np.ndarray]] = {} if test is None else {"real": test.store}
    if train.labels is not None:
        streams["label"] = RowStream(samples=train.labels, seed=seed)
        if test is not None and test.labels is not None:
            shown["label"] = [test.labels[index, ...] for index in range(len(test.labels))]
    return DataSet(
        train=streams,
        test=shown,
        aligned=False,
        content_hash=content_hash,
        report=list(report),
        class_names=() if train.labels is None else tuple(class_names),
    )


def hash_of_arrays(roles: Mapping[str, np.ndarray | None]) -> str:
    """SHA-256 of named arrays, for the content hash of pictures that lie in no files of their own."""
    digest = hashlib.sha256()
    for role, array in sorted(roles.items()):
        if array is not None:
            digest.update(f"{role} {array.dtype} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def open_image_folder(settings: ImageFolderSettings, seed: int) -> DataSet:
    """Open a folder or .zip file of pictures, by way of the cache if `settings` say so.

    Raises:
        DataError: pictures or class folders are missing, or none of the pictures can be used.
    """
    root = Path(settings.root).expanduser()
    test = None if settings.test is None else Path(settings.test).expanduser()
    return open_files(
        open_picture_files(root),
        None if test is None else open_picture_files(test),
        how=HowToRead(
            side=settings.size_pixels,
            channels=settings.channels,
            crop=settings.crop,
            min_side=settings.min_side_pixels,
            max_pixels=settings.max_pixels,
            cache_folder=default_cache_folder() if settings.cache else None,
        ),
        flip=settings.flip,
        labels=settings.labels,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class HowToRead:
    """The way from a picture file to its square; see :class:`i2i.data.settings.ImageFolderSettings`."""

    side: int
    channels: int
    crop: Crop
    min_side: int
    max_pixels: int
    cache_folder: Path | None


def open_files(
    train: PictureFiles,
    test: PictureFiles | None,
    *,
    how: HowToRead,
    flip: bool,
    labels: bool,
    seed: int,
    class_names: tuple[str, ...] = (),
) -> DataSet:
    """Open picture files as a data set; with `labels`, `class_names` are those of the folders unless given.

    Raises:
        DataError: class folders are missing or unknown, or none of the pictures can be used.
    """
    if labels and not class_names:
        class_names = class_folders(train)
    opened: dict[str, Pictures] = {}
    report: list[str] = []
    content: list[object] = []
    for role, files in (("train", train), ("test", test)):
        if files is None:
            continue
        if labels:
            _check_classes(files, class_names)
        digests = files.digests(how.cache_folder)
        store = _open_store(files, digests, how)
        report += [f"{files.place}/{line}" for line in store.skipped]
        numbers = None
        if labels:
            number_of = {name: number for number, name in enumerate(class_names)}
            numbers = np.array([number_of[_class_of(name)] for name in store.names], np.int64)
            absent = sorted({_class_of(name) for name in files.names} - {_class_of(name) for name in store.names})
            report += [f"{files.place}/{name}: no picture of this class can be used" for name in absent]
        opened[role] = Pictures(store=store, labels=numbers)
        content.append([role, sorted(digests.items())])
    return labelled_data_set(
        opened["train"],
        opened.get("test"),
        class_names=class_names,
        flip=flip,
        seed=seed,
        content_hash=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        report=report,
    )


def class_folders(files: PictureFiles) -> tuple[str, ...]:
    """The names of the folders that pictures lie in, sorted by code point.

    Raises:
        DataError: there are none, or only one, or they are no classes.
    """
    names = tuple(sorted({_class_of(name) for name in files.names} - {""}))
    place = files.place
    if not names:
        raise DataError(
            f"{place}: its pictures lie in no class folders - put those of each class into a folder of its own,"
            " or set data.labels: false"
        )
    _check_classes(files, names)
    if len(names) == 1:
        raise DataError(
            f"{place}: all pictures are of one class, {names[0]!r} - if its folders are the classes, name"
            f" {place / names[0]}; else set data.labels: false"
        )
    if {name.lower() for name in names} <= _SPLIT_NAMES:
        listed = ", ".join(names)
        raise DataError(
            f"{place}: its folders are {listed}, which are no classes - set data.root to {place / names[-1]} and"
            " data.test to the one with test pictures"
        )
    return names


def _check_classes(files: PictureFiles, class_names: Sequence[str]) -> None:
    loose = [name for name in files.names if not _class_of(name)]
    if loose:
        more = "" if len(loose) == 1 else f", and so do {len(loose) - 1} more of {len(files.names)} pictures"
        each = "it" if len(loose) == 1 else "each"
        raise DataError(
            f"{files.place}/{loose[0]}: lies in no class folder{more} - move {each} into one, or set data.labels: false"
        )
    for name in files.names:
        found = _class_of(name)
        if found not in class_names:
            shown = ", ".join(class_names[:12]) + (", ..." if len(class_names) > 12 else "")
            raise DataError(f"{files.place}/{found}: is not one of the classes ({shown}) - rename or remove it")


def _class_of(name: str) -> str:
    """The first folder of a relative path; empty for a picture that lies in none."""
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else ""


def _open_store(files: PictureFiles, digests: dict[str, str], how: HowToRead) -> PictureStore:
    import cv2

    def produce(name: str) -> np.ndarray:
        return read_square(files, name, how)

    key = [
        "square",
        PIXELS_VERSION,
        [cv2.__version__, pillow_version],
        [how.crop, how.min_side, how.max_pixels],
        [digests[name] for name in files.names],
    ]
    try:
        return open_pictures(
            files.names, how.side, produce, key=key, cache_folder=how.cache_folder, channels=how.channels
        )
    except DataError as error:
        raise DataError(f"{files.place}: {error}") from error


def read_square(files: PictureFiles, name: str, how: HowToRead) -> np.ndarray:
    """Decode a picture and make it a square: uint8 (side, side, channels).

    Raises:
        DataError: it cannot be used; the message begins with the name.
    """
    # Named relative to its set, for the cache outlives a move of the folder.
    picture = decode_rgb8_bytes(files.read(name), Path(name), how.max_pixels)
    height, width = picture.shape[:2]
    if min(height, width) < how.min_side:
        raise DataError(
            f"{name}: {width} x {height} is smaller than min_side_pixels {how.min_side} - remove it or lower the limit"
        )
    return square(picture, how.side, how.channels, how.crop)
