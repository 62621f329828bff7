"""Files of raw pixels with a checksum, written whole or not at all, and made once by many processes.

A cache file holds raw pictures one after another, then a JSON description, then a fixed trailer (SHA-256 of all before
it, length of the JSON, magic). Its name is the hash of everything that decides its pixels, so it is never stale. No
trouble with the cache is ever fatal: a damaged file is written anew, an unusable folder means memory.
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
from typing import Any, Protocol, TypeVar

import filelock
import numpy as np

from i2i.errors import DataError, StorageError
from i2i.files import atomic_path, remove_leftovers_of

_log = logging.getLogger(__name__)

MAGIC = b"i2iPICS1"
_TRAILER = struct.Struct("<32sQ8s")
_LOCK_TIMEOUT_SECONDS = 3600.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class UnfitSetError(DataError):
    """What is wrong with one picture puts its whole set in doubt, so that it cannot just be skipped."""


class Read(Protocol[T_co]):
    """Opens the cache file at `file`; None if there is none or, with one warning if `warn`, if it is damaged."""

    def __call__(self, file: Path, *, warn: bool) -> T_co | None: ...


def open_or_make(cache_folder: Path, key: Sequence[object], read: Read[T], write: Callable[[Path], None]) -> T | None:
    """Open the cache file of a key, after making it if need be; None, with a warning, where that is not possible.

    Processes that open the same file at the same time wait for the first one to make it.

    Args:
        cache_folder: where the cache lies.
        key: everything (JSON values) that decides what is in the file.
        read: opens it.
        write: makes it.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    file = cache_folder / "pictures" / f"{digest}.u8"
    try:
        opened = read(file, warn=False)
        if opened is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(file.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS):
                # Another process may have written it while this one waited.
                opened = read(file, warn=True)
                if opened is None:
                    remove_leftovers_of(file)  # of one that was killed: they can be gigabytes
                    write(file)
                    opened = read(file, warn=True)
        if opened is not None:
            return opened
        reason = "what was written could not be read back"
    except (StorageError, OSError, NotImplementedError) as error:
        reason = str(error)
    _log.warning("cache %s cannot be used, pictures are held in memory: %s", cache_folder, reason)
    return None


def write_file(file: Path, pictures: Iterator[np.ndarray], describe: Callable[[], object]) -> None:
    """Write the bytes of `pictures`, one after another, and what `describe` (JSON values) says after the last one."""
    checksum = hashlib.sha256()
    with atomic_path(file) as temporary, temporary.open("wb") as output:
        for picture in pictures:
            raw = picture.tobytes()
            output.write(raw)
            checksum.update(raw)
        description = json.dumps(describe()).encode()
        checksum.update(description)
        output.write(description)
        output.write(_TRAILER.pack(checksum.digest(), len(description), MAGIC))


def read_file(file: Path, interpret: Callable[[Any], T], *, warn: bool) -> T | None:
    """What `interpret` makes of the description of a cache file, whose checksum is looked at first; see :class:`Read`.

    `interpret` refuses with a ValueError, KeyError or TypeError.
    """
    try:
        if not file.exists():
            return None
        content = np.memmap(file, np.uint8, mode="r")
        checksum, description_bytes, magic = _TRAILER.unpack(content[-_TRAILER.size :].tobytes())
        body = content[: -_TRAILER.size]
        if magic != MAGIC or hashlib.sha256(body.data).digest() != checksum:
            raise ValueError("its checksum does not match")
        return interpret(json.loads(body[len(body) - description_bytes :].tobytes()))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        if warn:
            _log.warning("cache file %s is damaged and is made anew: %s", file, error)
        return None


def produce_all(names: Sequence[str], produce: Callable[[str], T], block: int) -> Iterator[tuple[str, T | str]]:
    """Yield each name, in order, with what `produce` makes of it or with the line that says why there is nothing.

    `block` at a time, so that a slow disk for writing does not pile up finished pictures in memory.

    Raises:
        UnfitSetError: `produce` does.
    """

    def attempt(name: str) -> T | str:
        try:
            return produce(name)
        except UnfitSetError:
            raise
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(names), block):
            part = names[start : start + block]
            yield from zip(part, pool.map(attempt, part), strict=True)


def refuse_empty(kept: Sequence[str], skipped: Sequence[str]) -> None:
    """Refuse a set of which nothing is left.

    Raises:
        DataError: nothing is.
    """
    if not kept:
        raise DataError(
            f"none of {len(skipped)} pictures can be used; the first: {skipped[0] if skipped else 'there is none'}"
        )


def threads() -> int:
    """How many threads read files at once."""
    return max(1, min(8, os.cpu_count() or 1))
