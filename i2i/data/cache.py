"""Equal-sized pictures held ready: memory-mapped from a checksummed cache file, or else in memory.

A cache file holds the raw pictures one after another, then a JSON description, then a fixed trailer (SHA-256 of all
before it, length of the JSON, magic). Its name is the hash of everything that decides its pixels, so it is never
stale. No trouble with the cache is ever fatal: a damaged file is written anew, an unusable folder means memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import filelock
import numpy as np

from i2i.errors import DataError, StorageError
from i2i.files import atomic_path, write_atomically

_log = logging.getLogger(__name__)

_MAGIC = b"i2iPICS1"
_TRAILER = struct.Struct("<32sQ8s")
_LOCK_TIMEOUT_SECONDS = 3600.0
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
    """``$I2I_CACHE`` or ``~/.cache/i2i``; it may be removed at any time: what is needed is made again."""
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
    digest = hashlib.sha256(json.dumps([_MAGIC.decode(), *shape, list(names), *key]).encode()).hexdigest()
    file = cache_folder / "pictures" / f"{digest}.u8"
    try:
        store = _read(file, side, channels, warn=False)
        if store is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(file.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS):
                # Another process may have written it while this one waited.
                store = _read(file, side, channels, warn=True)
                if store is None:
                    _write(file, names, side, channels, produce)
                    store = _read(file, side, channels, warn=True)
        if store is not None:
            return store
        reason = "what was written could not be read back"
    except (StorageError, OSError, NotImplementedError) as error:
        reason = str(error)
    _log.warning("cache %s cannot be used, pictures are held in memory: %s", cache_folder, reason)
    return _in_memory(names, side, channels, produce)


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

    with ThreadPoolExecutor(_threads()) as pool:
        entries = dict(zip(names, pool.map(digest, names), strict=True))
    readable = {name: entry for name, entry in entries.items() if entry[2] != "unreadable"}
    if index_file is not None and readable != known:
        try:
            write_atomically(index_file, json.dumps(readable))
        except StorageError as error:
            _log.warning("cache %s cannot be written, files are read in full at every start: %s", cache_folder, error)
    return {name: str(entry[2]) for name, entry in entries.items()}


def _read_index(file: Path) -> dict[str, list[object]]:
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(index, dict):
        return {}
    return {name: entry for name, entry in index.items() if isinstance(entry, list) and len(entry) == 3}


def _produce_all(names: Sequence[str], produce: Produce) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield each name, in order, with its picture or with the line that says why there is none."""

    def attempt(name: str) -> np.ndarray | str:
        try:
            return produce(name)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(_threads()) as pool:
        # In blocks, so that a slow disk for writing does not pile up finished pictures in memory.
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            yield from zip(block, pool.map(attempt, block), strict=True)


def _in_memory(names: Sequence[str], side: int, channels: int, produce: Produce) -> PictureStore:
    pictures = np.empty((len(names), side, side, channels), np.uint8)
    kept: list[str] = []
    skipped: list[str] = []
    for name, result in _produce_all(names, produce):
        if isinstance(result, str):
            skipped.append(result)
        else:
            pictures[len(kept)] = result
            kept.append(name)
    _refuse_empty(kept, skipped)
    return PictureStore(pictures[: len(kept)], kept, skipped)


def _write(file: Path, names: Sequence[str], side: int, channels: int, produce: Produce) -> None:
    kept: list[str] = []
    skipped: list[str] = []
    checksum = hashlib.sha256()
    with atomic_path(file) as temporary, temporary.open("wb") as output:
        for name, result in _produce_all(names, produce):
            if isinstance(result, str):
                skipped.append(result)
                continue
            assert result.shape == (side, side, channels) and result.dtype == np.uint8
            raw = result.tobytes()
            output.write(raw)
            checksum.update(raw)
            kept.append(name)
        _refuse_empty(kept, skipped)
        description = json.dumps({"side": side, "names": kept, "skipped": skipped}).encode()
        checksum.update(description)
        output.write(description)
        output.write(_TRAILER.pack(checksum.digest(), len(description), _MAGIC))


def _read(file: Path, side: int, channels: int, *, warn: bool) -> PictureStore | None:
    """Open a cache file; None if there is none or it is damaged."""
    try:
        if not file.exists():
            return None
        content = np.memmap(file, np.uint8, mode="r")
        checksum, description_bytes, magic = _TRAILER.unpack(content[-_TRAILER.size :].tobytes())
        body = content[: -_TRAILER.size]
        if magic != _MAGIC or hashlib.sha256(body.data).digest() != checksum:
            raise ValueError("its checksum does not match")
        description = json.loads(body[len(body) - description_bytes :].tobytes())
        if description["side"] != side:
            raise ValueError("it holds pictures of another size")
        names, skipped = description["names"], description["skipped"]
        shape = (len(names), side, side, channels)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        if warn:
            _log.warning("cache file %s is damaged and is made anew: %s", file, error)
        return None
    return _map_store(file, shape, names, skipped)


def _map_store(file: Path, shape: tuple[int, ...], names: Sequence[str], skipped: Sequence[str]) -> PictureStore:
    return PictureStore(np.memmap(file, np.uint8, mode="r", shape=shape), names, skipped, file)


def _refuse_empty(kept: Sequence[str], skipped: Sequence[str]) -> None:
    if not kept:
        raise DataError(
            f"none of {len(skipped)} pictures can be used; the first: {skipped[0] if skipped else 'there is none'}"
        )


def _threads() -> int:
    return max(1, min(8, os.cpu_count() or 1))
