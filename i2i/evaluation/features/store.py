"""Feature vectors and statistics on the disk, so that a set of pictures is looked at once.

Vectors of N pictures are one ``.npy`` file, memory-mapped; statistics are one ``.npz``. Both are whole or not there at
all, and their name is the hash of everything that decides what is in them, so they are never stale.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from i2i.data.cache import default_cache_folder
from i2i.errors import StorageError
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.evaluation.metrics.frechet import FeatureStatistics
from i2i.files import atomic_path

_log = logging.getLogger(__name__)

FORMAT_REVISION = 1
"""Goes up when what an extractor gives, or how it is written, changes under the same name and weights."""

_LEFTOVERS = (".*.part", "made-*.npy", ".*-*.npy", ".*-*.npz")
"""Unfinished vectors, those of pictures made anew, and what `atomic_path` writes to."""
_LEFTOVER_SECONDS = 24 * 60 * 60
"""Since it was last written to: whoever writes does so every few seconds."""


def default_features_folder() -> Path:
    """Where features are kept unless told otherwise; it may be removed at any time."""
    return default_cache_folder() / "features"


def features_key(data_sha256: str, extractor: FeatureExtractor) -> str:
    """Name of what `extractor` sees in the pictures whose content has this hash; 64 hexadecimal digits."""
    parts = [FORMAT_REVISION, data_sha256, extractor.name, extractor.weights_sha256, extractor.preprocessing]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FeatureStore:
    """Features kept in a folder under their keys. Trouble with reading is no failure: what is damaged is made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def vectors(self, key: str, *, count: int, width: int) -> np.ndarray | None:
        """The vectors (count, width) kept under `key`, float32, read-only, memory-mapped; None if there are none."""
        return _map_vectors(self._vectors_file(key), count, width)

    def writer(self, key: str | None, *, count: int, width: int) -> FeatureWriter:
        """What takes in the vectors of `count` pictures and gives all of them in the end.

        Args:
            key: None for pictures that are made anew every time: their vectors lie on the disk without a name, for as
                long as they are looked at.
            count: of the pictures.
            width: of the vectors.

        Raises:
            StorageError: the folder cannot be written to.
        """
        _remove_leftovers(self.folder)
        file = self.folder / f"made-{uuid.uuid4().hex}.npy" if key is None else self._vectors_file(key)
        return FeatureWriter(file, keep=key is not None, count=count, width=width)

    def statistics(self, key: str) -> FeatureStatistics | None:
        """The statistics kept under `key`; None if there are none."""
        file = self._statistics_file(key)
        try:
            with np.load(file, allow_pickle=False) as content:
                mean, covariance, count = content["mean"], content["covariance"], int(content["count"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _log.warning("feature statistics %s are damaged and are made anew: %s", file, error)
            return None
        if covariance.shape != (len(mean), len(mean)) or mean.dtype != np.float64 or covariance.dtype != np.float64:
            _log.warning("feature statistics %s have the wrong shape and are made anew", file)
            return None
        return FeatureStatistics(count, mean, covariance)

    def keep_statistics(self, key: str, statistics: FeatureStatistics) -> None:
        """Write `statistics`; a folder that cannot be written to is a warning, for they can be had again."""
        try:
            with atomic_path(self._statistics_file(key)) as temporary, temporary.open("wb") as file:
                np.savez(file, mean=statistics.mean, covariance=statistics.covariance, count=statistics.count)
        except StorageError as error:
            _log.warning("feature statistics are not kept: %s", error)

    def reach(self, key: str, neighbours: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """How far each vector kept under `key` reaches to its k-th neighbour, float64 (N,): as kept, else from
        `compute`, and kept if the folder allows it."""
        file = self.folder / f"{key}.reach-{neighbours}.npy"
        try:
            found = np.load(file, allow_pickle=False)
            if found.ndim == 1 and found.dtype == np.float64:
                return found
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError) as error:
            _log.warning("neighbours of features %s are damaged and are looked for anew: %s", file, error)
        found = compute()
        try:
            with atomic_path(file) as temporary, temporary.open("wb") as output:
                np.save(output, found)
        except StorageError as error:
            _log.warning("neighbours of features are not kept: %s", error)
        return found

    def _vectors_file(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _statistics_file(self, key: str) -> Path:
        return self.folder / f"{key}.statistics.npz"


class FeatureWriter:
    """A set's vectors on the way to the disk, in the order of the pictures.

    Use as a context manager: what was not finished is removed.
    """

    def __init__(self, file: Path, *, keep: bool, count: int, width: int) -> None:
        self._file, self._keep, self._count, self._width = file, keep, count, width
        self._rows = 0
        # A name of its own, for another evaluation may write the same set at the same time.
        self._part = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._output = self._part.open("wb")
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(self._output, header)
        except OSError as error:
            raise _refused(file.parent, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written cannot be flushed either, and goes.
        with contextlib.suppress(OSError):
            self._output.close()
        self._part.unlink(missing_ok=True)

    def add(self, first: int, vectors: np.ndarray) -> None:
        """Take in the next `vectors` (n, width), float; `first` is the number of their first picture.

        Raises:
            StorageError: the disk is full.
        """
        assert first == self._rows, f"vectors from {first} on, but {self._rows} are here"
        assert vectors.ndim == 2 and vectors.shape[1] == self._width, vectors.shape
        try:
            self._output.write(np.ascontiguousarray(vectors, np.float32).data)
        except OSError as error:
            raise _refused(self._file.parent, error) from error
        self._rows += len(vectors)

    def finish(self) -> np.ndarray:
        """All vectors (count, width), float32, read-only, memory-mapped, once all of them were added.

        Raises:
            StorageError: the disk is full.
        """
        assert self._rows == self._count, f"{self._rows} vectors of {self._count}"
        try:
            self._output.close()
        except OSError as error:
            raise _refused(self._file.parent, error) from error
        with atomic_path(self._file) as temporary:
            self._part.replace(temporary)
        vectors = _map_vectors(self._file, self._count, self._width)
        if vectors is None:
            raise StorageError(f"{self._file}: what was written could not be read back - set I2I_CACHE to another disk")
        if not self._keep:
            # What is mapped stays readable without a name, where the system allows that.
            with contextlib.suppress(OSError):
                self._file.unlink()
        return vectors


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote; the rest is no reason to stop."""
    for pattern in _LEFTOVERS:
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    path.unlink()


def _map_vectors(file: Path, count: int, width: int) -> np.ndarray | None:
    """The vectors in `file`; None if there is no such file or it is not what it should be."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        _log.warning("feature vectors %s are damaged and are made anew: %s", file, error)
        return None
    if found.shape != (count, width) or found.dtype != np.float32:
        _log.warning("feature vectors %s have the wrong shape and are made anew", file)
        return None
    return found


def _refused(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder}: features cannot be written: {error.strerror or error} - free space, or set I2I_CACHE to another"
        " folder"
    )
