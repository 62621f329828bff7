"""Batches of training samples on the device: indexed there, or else read ahead by worker processes.

What a batch holds follows from its first counter alone, so neither the number of workers, nor where the pictures lie,
nor where a resumed run sets in can change it.

Workers are started by "forkserver" (Linux, macOS) or "spawn" (Windows), never by a plain fork: a fork copies a process
whose other threads (OpenMP, CUDA, gloo, a tracker) may hold locks that nobody in the copy will ever release. Nor are
they then children of the training process, whose death torch would raise as an exception anywhere in the training step;
here a lost worker shows at the next draw, and loading goes on in the training process with the same pictures.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from i2i.core.randomness import to_device
from i2i.data.dataset import IndexedStream, Stream
from i2i.errors import DataError, RecipeError, one_line

_log = logging.getLogger(__name__)

_AHEAD_PER_WORKER = 4
_PATIENCE_SECONDS = 600.0
"""For one batch from a worker process. One that was stopped gives none, ever."""
_SHARE_OF_FREE_MEMORY = 0.25
"""Of the device's free memory, what one stream may take; the rest is for the networks and what they compute."""
_COPY_BYTES = 1 << 28

Batch = dict[str, Tensor]
"""Stream name -> pictures (n, C, H, W) float32 in [-1, 1], or (n, ...) of anything else, such as (n,) int64 labels."""


@dataclass(frozen=True, kw_only=True)
class BatchLayout:
    """Which samples of a joined batch one process takes.

    The joined batch is `batch_size` consecutive counters. Each of `micro_batches` holds a contiguous block of them and
    each of `world_size` ranks a contiguous slice of every block; `rank` is ours.

    Raises:
        RecipeError: the batch does not split evenly.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    micro_batches: int = 1

    def __post_init__(self) -> None:
        parts = self.world_size * self.micro_batches
        if self.batch_size < 1 or parts < 1 or self.batch_size % parts:
            raise RecipeError(
                f"a batch of {self.batch_size} does not split into {self.micro_batches} micro-batches on"
                f" {self.world_size} processes - choose a multiple of {parts}"
            )
        assert 0 <= self.rank < self.world_size

    @property
    def samples_per_micro_batch(self) -> int:
        """Samples of one micro-batch on one rank."""
        return self.batch_size // (self.world_size * self.micro_batches)

    def counters(self, first_counter: int) -> list[int]:
        """The counters of this rank in the joined batch that begins at `first_counter`, micro-batch by micro-batch."""
        block = self.batch_size // self.micro_batches
        size = self.samples_per_micro_batch
        starts = [first_counter + index * block + self.rank * size for index in range(self.micro_batches)]
        return [counter for start in starts for counter in range(start, start + size)]


class StreamLoader:
    """Draws batches from named streams.

    Samples that are uint8 (H, W, C) with C 1 or 3 are pictures and arrive as float32 (n, C, H, W) in [-1, 1]. All
    others pass through unscaled, stacked: class numbers arrive as (n,) int64.

    The samples of an :class:`i2i.data.dataset.IndexedStream` are kept on a CUDA device when they fit into a share of
    its free memory, and whole batches are indexed and mirrored there, without worker processes. On any other device
    they are indexed where they lie (memory or a mapped file). The same bits arrive either way.

    Args:
        streams: by name.
        batch_size: samples of the joined batch, over all micro-batches and ranks.
        rank, world_size, micro_batches: see :class:`BatchLayout`.
        workers: processes that read ahead what is not indexed; 0 reads within `draw`, which for cached pictures is
            quick (some 60 microseconds a picture of 256 px).
        device: where the batches go.

    `workers` falls to 0 when a worker process is lost.

    Raises:
        RecipeError: the batch does not split evenly.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        micro_batches: int = 1,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._streams = dict(streams)
        self._layout = BatchLayout(batch_size=batch_size, rank=rank, world_size=world_size, micro_batches=micro_batches)
        self.workers = workers
        self._device = torch.device(device)
        self._readers: dict[tuple[str, ...], _ReadAhead] = {}
        self._kept: dict[str, _Rows | None] = {}
        self._half_range: Tensor | None = None

    def draw(self, names: tuple[str, ...], first_counter: int) -> list[Batch]:
        """Draw our rank's share of the joined batch: counters ``first_counter .. first_counter + batch_size - 1``.

        With workers, a draw that continues the last one of the same `names` comes from what was read ahead; any other
        starts reading ahead anew from there.

        Args:
            names: streams to draw, together.
            first_counter: global counter of the joined batch's first sample.

        Returns:
            One dictionary a micro-batch: name -> samples on the device, pictures in channels_last; see the class.

        Raises:
            DataError: a stream does not exist, or its pictures can no longer be read.
        """
        unknown = [name for name in names if name not in self._streams]
        if unknown:
            raise DataError(
                f"there is no data stream {unknown[0]!r} - this data has: {', '.join(sorted(self._streams))}"
            )
        indexed = {name: rows for name in names if (rows := self._rows(name)) is not None}
        others = tuple(name for name in names if name not in indexed)
        raw = self._read(others, first_counter) if others else {}
        if indexed:
            counters = np.asarray(self._layout.counters(first_counter), np.int64)
            raw |= {name: rows.take(counters) for name, rows in indexed.items()}
        joined = {name: self._finish(raw[name]) for name in names}
        size = self._layout.samples_per_micro_batch
        return [
            {name: samples[start : start + size] for name, samples in joined.items()}
            for start in range(0, size * self._layout.micro_batches, size)
        ]

    def close(self) -> None:
        """End the worker processes and let go of the device's memory; a later draw starts anew."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._kept.clear()

    def __enter__(self) -> StreamLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, names: tuple[str, ...], first_counter: int) -> dict[str, Tensor]:
        source = _RankBatches({name: self._streams[name] for name in names}, self._layout)
        if self.workers == 0:
            return source[first_counter]
        try:
            if names not in self._readers:
                self._readers[names] = _ReadAhead(source, self.workers, self._device.type == "cuda")
            return self._readers[names].read(first_counter)
        except (RuntimeError, OSError, EOFError, DataError) as error:
            _log.warning(
                "loading processes failed, loading goes on in this process with the same pictures: %s",
                # What a worker raised ends with what it says, behind lines on where.
                one_line((str(error).strip().splitlines() or [type(error).__name__])[-1]),
            )
            self.workers = 0
            self.close()
            return source[first_counter]

    def _rows(self, name: str) -> _Rows | None:
        """Where the stream `name` is indexed; None if its samples are to be read one by one."""
        if name not in self._kept:
            stream = self._streams[name]
            indexed = isinstance(stream, IndexedStream)
            self._kept[name] = _Rows.of(stream, self._device, self.workers) if indexed else None
        return self._kept[name]

    def _finish(self, samples: Tensor) -> Tensor:
        """Stacked samples anywhere -> on the device, pictures as float32 (n, C, H, W) in [-1, 1]."""
        samples = to_device(samples, self._device)
        if samples.dtype != torch.uint8 or samples.ndim != 4 or samples.shape[-1] not in (1, 3):
            return samples
        # The bytes have travelled, not the floats; and the permuted view of (n, H, W, C) is channels_last already.
        # A tensor divides: by a plain number CUDA multiplies with the reciprocal, which rounds differently from a CPU.
        if self._half_range is None:
            self._half_range = torch.tensor(127.5, device=self._device)
        return samples.permute(0, 3, 1, 2).to(torch.float32).div_(self._half_range).sub_(1.0)


class _Rows:
    """The rows of an indexed stream, on the device or where they lie."""

    def __init__(self, stream: IndexedStream, kept: Tensor | None) -> None:
        self._stream = stream
        self._kept = kept

    @classmethod
    def of(cls, stream: IndexedStream, device: torch.device, workers: int) -> _Rows | None:
        """Keep the rows on the device if they fit; None where worker processes had better read them."""
        rows = stream.rows
        if device.type != "cuda":
            return cls(stream, None)
        free, _ = torch.cuda.mem_get_info(device)
        if rows.nbytes <= _SHARE_OF_FREE_MEMORY * free:
            return cls(stream, _copied(rows, device))
        # A file that is larger than the memory is waited for at every draw, unless it is read ahead.
        return None if workers else cls(stream, None)

    def take(self, counters: np.ndarray) -> Tensor:
        """The samples `counters` (n,): (n, ...) as stored, a copy."""
        indices, mirrored = self._stream.places(counters)
        if self._kept is None:
            taken = np.take(np.asarray(self._stream.rows), indices, axis=0)
            if mirrored.any():
                taken[mirrored] = taken[mirrored, :, ::-1]
            return torch.from_numpy(taken)
        device = self._kept.device
        samples = self._kept.index_select(0, to_device(torch.from_numpy(indices), device))
        if mirrored.any():
            mask = to_device(torch.from_numpy(mirrored), device).view(-1, 1, 1, 1)
            samples = torch.where(mask, samples.flip(2), samples)
        return samples


def _copied(rows: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, made in parts, so that no second one is needed in memory."""
    kept = torch.empty(rows.shape, dtype=torch.from_numpy(rows[:0].copy()).dtype, device=device)
    per_part = max(1, _COPY_BYTES // max(1, rows.nbytes // max(1, len(rows))))
    for start in range(0, len(rows), per_part):
        kept[start : start + per_part] = torch.from_numpy(rows[start : start + per_part].copy()).to(device)
    return kept


class _RankBatches(Dataset[dict[str, Tensor]]):
    """Joined batch's first counter -> our share: name -> (micro_batches * n, ...), as the streams give it."""

    def __init__(self, streams: Mapping[str, Stream], layout: BatchLayout) -> None:
        self._streams = dict(streams)
        self._layout = layout

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        counters = self._layout.counters(index)
        read = {
            name: torch.from_numpy(np.stack([stream[counter] for counter in counters]))
            for name, stream in self._streams.items()
        }
        if get_worker_info() is not None:
            # Now, and not in the thread that sends it: where /dev/shm is full, what fails there is waited for forever.
            for samples in read.values():
                samples.share_memory_()
        return read


class _CountersFrom(Sampler[int]):
    """Endless first counters of joined batches, from a start that can be set anew."""

    def __init__(self, step: int) -> None:
        self.start = 0
        self._step = step

    def __iter__(self) -> Iterator[int]:
        counter = self.start
        while True:
            yield counter
            counter += self._step


class _ReadAhead:
    """Worker processes that read joined batches in sequence, and can be sent to another place in it."""

    def __init__(self, source: _RankBatches, workers: int, pin_memory: bool) -> None:
        self._step = source._layout.batch_size
        self._counters = _CountersFrom(self._step)
        self._loader = DataLoader(
            source,
            batch_size=None,
            sampler=self._counters,
            num_workers=workers,
            prefetch_factor=_AHEAD_PER_WORKER,
            persistent_workers=True,
            pin_memory=pin_memory,
            multiprocessing_context=_start_method(),
            worker_init_fn=_prepare_worker,
            # Its own, for by default a DataLoader draws from the global generator that the networks draw from, too.
            generator=torch.Generator(),
        )
        self._batches: Any = None
        self._next_counter: int | None = None
        self._patience = _Patience(self._kill_workers)

    def read(self, first_counter: int) -> dict[str, Tensor]:
        with self._patience:
            if first_counter != self._next_counter:
                self._counters.start = first_counter
                self._batches = iter(self._loader)
            batch = next(self._batches)
        self._next_counter = first_counter + self._step
        return batch

    def close(self) -> None:
        self._patience.end()
        workers = self._workers()
        # DataLoader has no public way to end persistent workers but to be forgotten.
        self._batches = None
        del self._loader
        for worker in workers:
            # One that was stopped hears no other signal, and Python would wait for it at the end.
            worker.kill()

    def _workers(self) -> list[BaseProcess]:
        return [] if self._batches is None else [*self._batches._workers]

    def _kill_workers(self) -> None:
        for worker in self._workers():
            worker.kill()


class _Patience:
    """Around waiting that has no limit of its own: when it has lasted too long, `give_up` is called from a thread.

    A worker that was stopped gives no batch, and those that it made before are waited for as well, since their memory
    is handed over by the worker itself. Once it is killed, waiting ends with an error.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._give_up = give_up
        self._until = math.inf
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="patience").start()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            if time.monotonic() > self._until:
                self._until = math.inf
                self._give_up()

    def __enter__(self) -> None:
        self._until = time.monotonic() + _PATIENCE_SECONDS

    def __exit__(self, *_: object) -> None:
        self._until = math.inf

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()


def _start_method() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Seconds to import: once in the server, not again in every worker.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    context.set_forkserver_preload(["torch.utils.data", "albumentations"])
    return context


def _prepare_worker(worker: int) -> None:
    """Settle a new worker process: one thread, deaf to Ctrl-C."""
    import cv2

    cv2.setNumThreads(0)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as the command line in its own process
    # The terminal sends Ctrl-C to every process; the training process saves first and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
