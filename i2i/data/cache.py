"""Equal-sized pictures held ready: memory-mapped from a checksummed cache file, or else in memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import numpy as np

from i2i.data.cache_files import MAGIC, open_or_make, produce_all, read_file, refuse_empty, threads, write_file
from i2i.errors import StorageError
from i2i.files import write_atomically

_log = logging.getLogger(__name__)

_BLOCK = 64

Produce = Callable[[str], np.ndarray]
"""Makes the picture of a name, uint8 (side, side, channels), or raises a DataError that begins with it."""


class PictureStore(Sequence[np.ndarray]):
    """Pictures of one size, read-only uint8 (side, side, channels) each.

    `names` tells where each came from, `skipped` has a line for each that could not be had, beginning with its name.
    Pickled, a memory-mapped store is its path only, so that loader processes share the pages.
    """

    def __init__(
        self, pictures: np.ndarray, names: Sequence[str], skipped: Sequence[str] = (), file: Path | None = None
    ) -> None:
        assert pictures.dtype == np.uint8 and pictures.ndim == 4 and len(pictures) == len(names)
        self._pictures = pictures.view()
        self._pictures.flags.writeable = False
        self.names = tuple(names)
        self.skipped = tuple(skipped)
        self.file = file

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        return list(self._pictures[index]) if isinstance(index, slice) else self._pictures[index]

    @property
    def array(self) -> np.ndarray:
        """All pictures, read-only uint8 (N, side, side, channels), memory-mapped where they lie in a file."""
        return np.asarray(self._pictures)

    def select(self, kept: Sequence[int]) -> Sequence[np.ndarray]:
        """Views of the pictures at the `kept` positions."""
        return [self._pictures[index] for index in kept]

    def __reduce__(self) -> tuple[object, ...]:
        if self.file is None:
            return PictureStore, (np.asarray(self._pictures), self.names, self.skipped)
        return _map_store, (self.file, self._pictures.shape, self.names, self.skipped)


def default_cache_folder() -> Path:
    """``$I2I_CACHE`` or ``~/.cache/i2i``; it may be removed at any time: all in it is made again when needed."""
    configured = os.environ.get("I2I_CACHE")
    return Path(configured) if configured else Path("~/.cache/i2i").expanduser()


def open_pictures(
    names: Sequence[str],
    side: int,
    produce: Produce,
    *,
    key: Sequence[object],
    cache_folder: Path | None,
    channels: int = 3,
) -> PictureStore:
    """Have `produce` make every named picture once, or take them from the cache.

    Processes that open the same pictures at the same time wait for the first one to make them.

    Args:
        names: of the wanted pictures; those that `produce` refuses are left out and reported in the store's `skipped`.
        side: height and width of every picture, in pixels.
        produce: called from several threads.
        key: everything (JSON values) that decides the pixels.
        cache_folder: where the cache lies; None holds the pictures in memory.
        channels: of every picture.

    Raises:
        DataError: `produce` refused every picture.
    """
    if cache_folder is None:
        return _in_memory(names, side, channels, produce)
    # Colour pictures were here first; their files keep their names.
    shape = [side] if channels == 3 else [side, channels]

    def read(file: Path, *, warn: bool) -> PictureStore | None:
        return _read(file, side, channels, warn=warn)

    def write(file: Path) -> None:
        _write(file, names, side, channels, produce)

    store = open_or_make(cache_folder, [MAGIC.decode(), *shape, list(names), *key], read, write)
    return _in_memory(names, side, channels, produce) if store is None else store


def content_digests(folder: Path, names: Sequence[str], cache_folder: Path | None) -> dict[str, str]:
    """SHA-256 of each named file in `folder`; "unreadable" for a file that cannot be read.

    A file whose size and time of change are as the last time is not read again, if there is a cache.
    """
    index_file = None
    known: dict[str, list[object]] = {}
    if cache_folder is not None:
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
        index_file = cache_folder / "digests" / f"{place}.json"
        known = _read_index(index_file)

    def digest(name: str) -> list[object]:
        path = folder / name
        try:
            status = path.stat()
            entry = known.get(name)
            if entry is not None and entry[:2] == [status.st_size, status.st_mtime_ns]:
                return entry
            with path.open("rb") as file:
                return [status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
        except OSError:
            return [0, 0, "unreadable"]

    with ThreadPoolExecutor(threads()) as pool:
        entries = dict(zip(names, pool.map(digest, names), strict=True))
    readable = {name: entry for name, entry in entries.items() if entry[2] != "unreadable"}
    if index_file is not None and readable != known:
        try:
            write_atomically(index_file, json.dumps({"sha256": _seal(readable), "files": readable}))
        except StorageError as error:
            _log.warning("cache %s cannot be written, files are read in full at every start: %s", cache_folder, error)
    return {name: str(entry[2]) for name, entry in entries.items()}


def _read_index(file: Path) -> dict[str, list[object]]:
    """What is known of each file; nothing where the index is missing or damaged: a false digest would go unnoticed."""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        return index["files"] if index["sha256"] == _seal(index["files"]) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _seal(files: Mapping[str, list[object]]) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _in_memory(names: Sequence[str], side: int, channels: int, produce: Produce) -> PictureStore:
    pictures = np.empty((len(names), side, side, channels), np.uint8)
    kept: list[str] = []
    skipped: list[str] = []
    for name, result in produce_all(names, produce, _BLOCK):
        if isinstance(result, str):
            skipped.append(result)
        else:
            pictures[len(kept)] = result
            kept.append(name)
    refuse_empty(kept, skipped)
    return PictureStore(pictures[: len(kept)], kept, skipped)


def _write(file: Path, names: Sequence[str], side: int, channels: int, produce: Produce) -> None:
    kept: list[str] = []
    skipped: list[str] = []

    def pictures() -> Iterator[np.ndarray]:
        for name, result in produce_all(names, produce, _BLOCK):
            if isinstance(result, str):
                skipped.append(result)
                continue
            assert result.shape == (side, side, channels) and result.dtype == np.uint8
            kept.append(name)
            yield result
        refuse_empty(kept, skipped)

    write_file(file, pictures(), lambda: {"side": side, "names": kept, "skipped": skipped})


def _read(file: Path, side: int, channels: int, *, warn: bool) -> PictureStore | None:
    """Open a cache file; None if there is none or it is damaged."""

    def interpret(description: Any) -> PictureStore:
        if description["side"] != side:
            raise ValueError("it holds pictures of another size")
        names, skipped = description["names"], description["skipped"]
        return _map_store(file, (len(names), side, side, channels), names, skipped)

    return read_file(file, interpret, warn=warn)


def _map_store(file: Path, shape: tuple[int, ...], names: Sequence[str], skipped: Sequence[str]) -> PictureStore:
    return PictureStore(np.memmap(file, np.uint8, mode="r", shape=shape), names, skipped, file)
