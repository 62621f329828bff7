"""Tensors kept on the disk, row by row, by plain reads and writes."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2i.errors import StorageError
from i2i.inference.tiling.streaming.operations import Shape, Span

_MOST_WRITES_WAITING = 3


class SpillFile:
    """Room on the disk for one tensor (1, C, H, W) at a time, in a file without a name.

    As it has no name, the system frees it when the process ends, however it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            # Its name is taken away right after opening, or was never there.
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".i2i-", buffering=0)  # noqa: SIM115 - stays open
        except OSError as error:
            raise self._failure(error) from error
        # One place in the file, two threads: rows are read here while others are written behind.
        self._lock = threading.Lock()
        self._dtype = torch.float32
        self.bytes_written = 0
        self.bytes_read = 0

    def write(self, first: int, rows: Tensor) -> None:
        """Keep (1, C, n, W) as the rows from `first` on.

        Raises:
            StorageError: the disk is full.
        """
        content = _bytes_of(rows)
        self._dtype = rows.dtype
        view = content.data
        try:
            with self._lock:
                self._file.seek(first * (len(view) // rows.shape[2]))
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise self._failure(error) from error
        self.bytes_written += content.nbytes

    def read(self, span: Span, shape: Shape, device: torch.device) -> Tensor:
        """(1, C, rows, W) in channels-last memory: rows of the tensor of this shape that was written."""
        rows = span.end - span.first
        whole = torch.empty(
            (1, shape.channels, rows, shape.width), dtype=self._dtype, memory_format=torch.channels_last
        )
        content = _bytes_of(whole)
        view = content.data
        try:
            with self._lock:
                self._file.seek(span.first * (len(view) // rows))
                while view:
                    count = self._file.readinto(view)
                    assert count, "only what was written is read"
                    view = view[count:]
        except OSError as error:
            raise self._failure(error) from error
        self.bytes_read += content.nbytes
        return whole.to(device)

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._folder}: cannot hold what does not fit into memory: {error.strerror}"
            " - free space, or set TMPDIR to a folder with more"
        )


class WriteBehind:
    """Writes in a thread of its own while the next rows are computed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "spill")
        self._waiting: deque[Future[None]] = deque()

    def submit(self, file: SpillFile, first: int, rows: Tensor) -> None:
        """Write soon; waits where the disk cannot keep up."""
        self._waiting.append(self._pool.submit(file.write, first, rows))
        while len(self._waiting) > _MOST_WRITES_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait for all of it.

        Raises:
            StorageError: the disk is full.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def spill_folder(beside: Path | None = None) -> Path:
    """Where to spill: beside a file that is being made, or where the system has temporary files."""
    if beside is not None and os.access(beside, os.W_OK):
        return beside
    return Path(tempfile.gettempdir())


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _bytes_of(rows: Tensor) -> npt.NDArray[np.uint8]:
    """The memory of (1, C, n, W), row by row: a view where it lies in main memory and in that order."""
    lines = rows.permute(0, 2, 3, 1).contiguous().cpu()
    return lines.view(torch.uint8).numpy().reshape(-1)
