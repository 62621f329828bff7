"""The pictures of a folder (and all folders below it) or of a .zip file, as a source for evaluations.

All files are decoded once beforehand: a damaged one would else be met hours later, and shift the numbers of those after
it. What that found out is kept in the cache, under the digests of the files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from i2i.data.cache import default_cache_folder
from i2i.data.cache_files import produce_all, threads
from i2i.data.decoding import DEFAULT_MAX_PIXELS, decode_rgb8_bytes
from i2i.data.picture_files import PictureFiles, open_picture_files
from i2i.errors import DataError, StorageError
from i2i.evaluation.pictures.sources import digest_of, sha256_of_digests
from i2i.evaluation.team import Team
from i2i.files import write_atomically

_log = logging.getLogger(__name__)

_DECODING_VERSION = 1
"""To be raised with any change of the way from a file to its pixels."""
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """The pictures that can be read, at their own size, in order of their names."""

    files: PictureFiles = field(repr=False)
    names: Sequence[str] = field(repr=False)
    digests: Sequence[str] = field(repr=False)
    """Of what each picture shows; see :func:`i2i.evaluation.pictures.sources.digest_of`."""
    damaged: Sequence[str]
    """A line for each file that cannot be read, and is left out."""
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def count(self) -> int:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return len(self.names)

    @property
    def description(self) -> str:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return f"pictures in {self.files.place}"

    @property
    def sha256(self) -> str | None:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return sha256_of_digests(self.digests)

    def only(self, names: Sequence[str]) -> PictureFolder:
        """Those of these names, in this order."""
        digest_of_name = dict(zip(self.names, self.digests, strict=True))
        return replace(self, names=tuple(names), digests=[digest_of_name[name] for name in names])

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`; RGB, decoded by several threads.

        Raises:
            DataError: a file has become unreadable meanwhile.
        """
        with ThreadPoolExecutor(threads()) as pool:
            return list(pool.map(lambda name: _decoded(self.files, name, self.max_pixels), self.names[first:last]))


def open_picture_folder(
    place: Path,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    cache_folder: Path | None = None,
    team: Team | None = None,
) -> PictureFolder:
    """Look through the pictures at `place`.

    Args:
        place: a folder or a .zip file.
        max_pixels: larger pictures count as damaged.
        cache_folder: where the result is kept; `default_cache_folder` by default.
        team: the processes that do this together.

    Raises:
        DataError: there is nothing, or none of the pictures can be read.
    """
    team = team or Team()
    cache_folder = cache_folder or default_cache_folder()
    files = open_picture_files(place)
    digests = files.digests(cache_folder)
    key = [_DECODING_VERSION, max_pixels, [[name, digests[name]] for name in files.names]]
    record = cache_folder / "checked" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
    found = _read(record, files.names)
    # Processes on several machines may have different caches; they look together, or none does.
    if not all(team.gather(found is not None)):
        part = _look(files, files.names[team.share.index :: team.share.count], max_pixels)
        found = {name: result for some in team.gather(part) for name, result in some.items()}
        if team.leads:
            _keep(record, found)
    assert found is not None
    whole = [name for name in files.names if found[name][0]]
    damaged = [f"{files.place}/{found[name][1]}" for name in files.names if not found[name][0]]
    if not whole:
        raise DataError(f"{place}: none of {len(damaged)} pictures can be read; the first: {damaged[0]}")
    return PictureFolder(
        files=files,
        names=whole,
        digests=[found[name][1] for name in whole],
        damaged=damaged,
        max_pixels=max_pixels,
    )


_Found = dict[str, tuple[bool, str]]
"""By name: whether a file can be read, and the digest of its picture, or else why not."""


def _look(files: PictureFiles, names: Sequence[str], max_pixels: int) -> _Found:
    def digest(name: str) -> tuple[bool, str]:
        return True, digest_of(_decoded(files, name, max_pixels))

    results = produce_all(names, digest, _BLOCK)
    return {name: (False, result) if isinstance(result, str) else result for name, result in results}


def _decoded(files: PictureFiles, name: str, max_pixels: int) -> np.ndarray:
    return decode_rgb8_bytes(files.read(name), Path(name), max_pixels)


def _read(record: Path, names: Sequence[str]) -> _Found | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        found = {name: (bool(content[name][0]), str(content[name][1])) for name in names}
        # A spoiled record must not become a spoiled hash.
        return found if all(not whole or len(bytes.fromhex(text)) == 32 for whole, text in found.values()) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _keep(record: Path, found: _Found) -> None:
    try:
        write_atomically(record, json.dumps(found))
    except StorageError as error:
        _log.warning("what was found out about the pictures is not kept: %s", error)
