"""Batches of training pictures on the device, read ahead by worker processes.

What a batch holds follows from its first counter alone, so neither the number of workers nor where a resumed run sets
in can change it.

Workers are started by "forkserver" (Linux, macOS) or "spawn" (Windows), never by a plain fork: a fork copies a process
whose other threads (OpenMP, CUDA, gloo, a tracker) may hold locks that nobody in the copy will ever release. Nor are
they then children of the training process, whose death torch would raise as an exception anywhere in the training step;
here a lost worker shows at the next draw, and loading goes on in the training process with the same pictures.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from i2i.data.dataset import Stream
from i2i.errors import DataError, RecipeError

_log = logging.getLogger(__name__)

_AHEAD_PER_WORKER = 4

Batch = dict[str, Tensor]
"""Stream name -> (n, 3, H, W) float32 in [-1, 1]."""


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

    Args:
        streams: by name.
        batch_size: samples of the joined batch, over all micro-batches and ranks.
        rank, world_size, micro_batches: see :class:`BatchLayout`.
        workers: processes that read ahead; 0 reads within `draw`, which for cached pictures is quick (some 60
            microseconds a picture of 256 px).
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

    def draw(self, names: tuple[str, ...], first_counter: int) -> list[Batch]:
        """Draw our rank's share of the joined batch: counters ``first_counter .. first_counter + batch_size - 1``.

        With workers, a draw that continues the last one of the same `names` comes from what was read ahead; any other
        starts reading ahead anew from there.

        Args:
            names: streams to draw, together.
            first_counter: global counter of the joined batch's first sample.

        Returns:
            One dictionary a micro-batch: name -> (n, 3, H, W) float32 in [-1, 1], channels_last, on the device.

        Raises:
            DataError: a stream does not exist, or its pictures can no longer be read.
        """
        unknown = [name for name in names if name not in self._streams]
        if unknown:
            raise DataError(
                f"there is no data stream {unknown[0]!r} - this data has: {', '.join(sorted(self._streams))}"
            )
        raw = self._read(names, first_counter)
        joined = {name: self._to_device(raw[name]) for name in names}
        size = self._layout.samples_per_micro_batch
        return [
            {name: images[start : start + size] for name, images in joined.items()}
            for start in range(0, size * self._layout.micro_batches, size)
        ]

    def close(self) -> None:
        """End the worker processes; a later draw starts new ones."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

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
                " ".join(str(error).split())[:200],
            )
            self.workers = 0
            self.close()
            return source[first_counter]

    def _to_device(self, pictures: Tensor) -> Tensor:
        """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in [-1, 1] on the device; the bytes travel, not the floats."""
        if self._device.type == "cuda":
            pinned = pictures if pictures.is_pinned() else pictures.pin_memory()
            pictures = pinned.to(self._device, non_blocking=True)
        else:
            pictures = pictures.to(self._device)
        # The permuted view of (n, H, W, 3) is channels_last already.
        return pictures.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


class _RankBatches(Dataset[dict[str, Tensor]]):
    """Joined batch's first counter -> our share: name -> uint8 (micro_batches * n, H, W, 3)."""

    def __init__(self, streams: Mapping[str, Stream], layout: BatchLayout) -> None:
        self._streams = dict(streams)
        self._layout = layout

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        counters = self._layout.counters(index)
        return {
            name: torch.from_numpy(np.stack([stream[counter] for counter in counters]))
            for name, stream in self._streams.items()
        }


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

    def read(self, first_counter: int) -> dict[str, Tensor]:
        if first_counter != self._next_counter:
            self._counters.start = first_counter
            self._batches = iter(self._loader)
        batch = next(self._batches)
        self._next_counter = first_counter + self._step
        return batch

    def close(self) -> None:
        # DataLoader has no public way to end persistent workers but to be forgotten.
        self._batches = None
        del self._loader


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
    # The terminal sends Ctrl-C to every process; the training process saves first and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
