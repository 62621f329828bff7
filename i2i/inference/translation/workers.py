"""Several processes that share the pictures of a folder, each with the model and a conveyor of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from i2i.errors import I2IError
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures.enlarging import AlphaMode
from i2i.inference.runtime import Precision
from i2i.inference.tiling.tiles import TileSettings
from i2i.inference.translation.ledger import Ledger, Maker
from i2i.inference.translation.planning import Job, Outcome

_LOOK_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_KILLED = -9
"""Exit code of a process that the system has ended, for want of memory as a rule."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process is told: a model, pictures, and how to translate them; see `ImageModel` and `translate_files`."""

    model: Path
    model_sha256: str | None
    """Of the file as this program has read it; another one must not take its place meanwhile."""
    device: str
    direction: str
    precision: Precision
    strength: float
    consistent: bool
    runner: str
    runner_is_chosen: bool
    """By this program, and from a file that others run too, so that one may do what this one cannot."""
    trust: bool
    threads: int
    """That the network computes with, on a CPU."""
    processes: int
    """That share the device, this one included."""
    jobs: tuple[Job, ...]
    skip_existing: bool
    batch: int
    quality: int
    max_pixels: int
    tiles: TileSettings
    alpha: AlphaMode
    maker: Maker
    facts: Mapping[str, Any]


class _Messages(Protocol):
    """The queue from the processes: an outcome of one, or its end with the error that it met, if any."""

    def put(self, obj: tuple[int, Outcome | I2IError | None]) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int, Outcome | I2IError | None]: ...


def translate_in_processes(works: Sequence[Work], on_outcome: Callable[[Outcome], None]) -> None:
    """Start a process for each part of the work and wait for all.

    Pictures of a process that dies (too little memory is a common reason) are reported as failed. The processes end
    when this one is gone, however it ended.

    Args:
        on_outcome: called in this thread as each picture is settled.

    Raises:
        I2IError: of the first process that met an error which stops everything; the others are stopped too.
    """
    # Not forked: a copy of a process with threads and a GPU is good for nothing.
    context = multiprocessing.get_context("spawn")
    messages: _Messages = context.Queue()
    processes = [context.Process(target=_work, args=(rank, work, messages)) for rank, work in enumerate(works)]
    # One picture may go to several places.
    unsettled = [{job.destination: job for job in work.jobs} for work in works]
    try:
        with _ctrl_c_is_ignored():
            for process in processes:
                process.start()
        _listen(processes, messages, unsettled, on_outcome)
    except BaseException:
        for process in processes:
            if process.pid is not None:
                process.terminate()
        raise
    finally:
        _wait(processes)


@contextlib.contextmanager
def _ctrl_c_is_ignored() -> Iterator[None]:
    """Processes that are started here leave Ctrl-C to this one, which stops them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listen(
    processes: Sequence[BaseProcess],
    messages: _Messages,
    unsettled: Sequence[dict[Path, Job]],
    on_outcome: Callable[[Outcome], None],
) -> None:
    at_work = set(range(len(processes)))
    while at_work:
        dead = {rank for rank in at_work if processes[rank].exitcode is not None}
        try:
            # What the dead ones said last comes before their death is believed.
            rank, message = messages.get(timeout=_LOOK_EVERY_SECONDS)
        except queue.Empty:
            for rank in dead:
                for job in unsettled[rank].values():
                    on_outcome(_lost(job, processes[rank].exitcode))
            at_work -= dead
            continue
        if isinstance(message, Outcome):
            if message.destination is not None:
                unsettled[rank].pop(message.destination, None)
            on_outcome(message)
        elif message is None:
            at_work.remove(rank)
        else:
            raise message


def _lost(job: Job, code: int | None) -> Outcome:
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    remedy = "memory is short, use fewer --jobs" if code == _KILLED else "run again with --jobs 1 to see why"
    return Outcome(job.source, job.destination, "failed", f"{job.source}: the process that had it {how} - {remedy}")


def _wait(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.pid is not None:
            process.join(_PATIENCE_SECONDS)
            if process.exitcode is None:
                process.kill()
                process.join()


def _work(rank: int, work: Work, messages: _Messages) -> None:
    """The life of a process."""
    signal.signal(signal.SIGTERM, _end_in_order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _translate(rank, work, messages)
        messages.put((rank, None))
    except I2IError as error:
        messages.put((rank, error))
    except KeyboardInterrupt:
        pass  # The process that started this one says so.
    finally:
        # What is left, handing over the last messages, may be cut short without a word.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_in_order(signal_number: int, frame: FrameType | None) -> None:
    """An end in which no half-written file stays; to ask for it twice makes it no faster."""
    signal.signal(signal_number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end then: nobody is there any more to do so."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    # Messages that nobody takes must not hold this process up.
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)


def _translate(rank: int, work: Work, messages: _Messages) -> None:
    import torch

    from i2i.inference import load_model
    from i2i.inference.translation.conveyor import translate_files

    torch.set_num_threads(work.threads)

    def load(runner: str) -> ImageModel:
        return load_model(
            work.model, work.device, work.direction, work.precision, strength=work.strength,
            consistent=work.consistent, runner=runner, trust=work.trust, expected_sha256=work.model_sha256,
        )  # fmt: skip

    translate_files(
        load(work.runner),
        work.jobs,
        skip_existing=work.skip_existing,
        batch=work.batch,
        quality=work.quality,
        max_pixels=work.max_pixels,
        tiles=work.tiles,
        alpha=work.alpha,
        ledger=Ledger(work.maker, work.facts),
        large_model=(lambda: load("torch")) if work.runner_is_chosen else None,
        processes=work.processes,
        on_outcome=lambda outcome: messages.put((rank, outcome)),
    )
