"""What works beside a training, or listens to it, fails or hangs: the same weights come out, and the process ends."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    arguments_of,
    at_every_step,
    difference,
    hash_of_run,
    prepare_pictures,
    read_notes,
    whole_run,
)
from tests.warm import Hook, Running, warm_program

STEPS = 24
_LATEST_STEP = 12
"""At which the trouble comes: what was read ahead before, four batches a worker, must not last to the end."""
_LONGEST_SECONDS = 90.0
_GOES_ON_ALONE = "loading processes failed"
"""What the program says when it has noticed, and reads the pictures itself from there on."""

_READ_AHEAD = ("cyclegan", "srgan")
"""Trainings whose pictures worker processes read; those of the others lie in memory."""
_TRAININGS = (*_READ_AHEAD, "dcgan", "r3gan")
_OF_WORKERS = {
    "a data worker killed": "kill_one_worker",
    "all data workers killed": "kill_all_workers",
    "the workers' server killed": "kill_server",
    "a full /dev/shm": "fill_shared_memory",
}
_OF_LISTENERS = {
    "a sink that hangs": "hang_sink",
    "a sink at a full pipe": "block_sink",
    "a sink that fails": "break_sink",
    "output that nobody reads": "close_output",
    "output that is read late": "delay_output",
}
_CALLS = ("start", "scalars", "images", "model", "finish")
"""Of a sink: the one that fails or hangs."""


def _arguments(name: str, prepared: Path, folder: Path, quiet: str, *overrides: str) -> list[str]:
    lengths = [f"training.length.steps={STEPS}", "training.checkpoints.every_steps=4"]
    arguments = arguments_of(name, prepared, folder, [*lengths, *overrides])
    return [word for word in arguments if word != "--quiet" or quiet]


def _run(case: Case, folder: Path) -> Outcome:
    rng, prepared = case.rng, prepared_of(folder)
    of_workers = case.kind in _OF_WORKERS
    names = _READ_AHEAD if of_workers else _TRAININGS
    name = names[case.seed % len(names)]
    overrides = ["training.workers=2"] if of_workers else []
    hook = Hook(
        module=__name__,
        name=(_OF_WORKERS | _OF_LISTENERS)[case.kind],
        arguments={
            "step": int(rng.integers(2, _LATEST_STEP + 1)),
            "chosen": int(rng.integers(1000)),
            "notes": str(folder / "notes.jsonl"),
        },
    )
    arguments = _arguments(name, prepared, folder, "" if "output" in case.kind else "--quiet", *overrides)
    started = time.monotonic()
    ended = warm_program().run(arguments, folder, _LONGEST_SECONDS, hook=hook)
    in_time = time.monotonic() - started < _LONGEST_SECONDS
    where = f"{name}: {dict(hook.arguments)}: "
    if problem := _problem_of(case.kind, ended, read_notes(folder / "notes.jsonl"), where, in_time=in_time):
        return problem
    whole = whole_run(name, prepared, STEPS)
    if hash_of_run(folder / "run", STEPS) != hash_of_run(whole, STEPS):
        return Outcome(False, "other weights", where + difference(folder / "run", whole, STEPS))
    return _whole_record(folder / "run", where)


def _problem_of(
    kind: str, ended: Running, notes: Sequence[Mapping[str, object]], where: str, *, in_time: bool
) -> Outcome | None:
    """How it ended, where that is not well or shows nothing."""
    if any("impossible" in note for note in notes):
        return Outcome(False, NOT_POSSIBLE_HERE, "this user may not mount a file system")
    if ended.exit_code is None or not in_time:
        return Outcome(False, "hung", where + ended.stderr[-300:])
    # The last line, to standard output, may still find out that nobody reads.
    if ended.exit_code not in ((0, 141) if kind == "output that nobody reads" else (0,)):
        return Outcome(False, "failed", f"{where}exit code {ended.exit_code}: {ended.stderr[-300:]}")
    if not notes:
        return Outcome(False, "undisturbed", f"{where}the trouble did not come")
    if kind in _OF_WORKERS and _GOES_ON_ALONE not in ended.stderr:
        return Outcome(False, "undisturbed", f"{where}the training noticed nothing: {ended.stderr[-300:]}")
    if "Traceback" in ended.stderr:
        return Outcome(False, "traceback", where + ended.stderr[-300:])
    return None


def _whole_record(run: Path, where: str) -> Outcome:
    from i2i.training.tracking import read_metrics

    steps = [row["step"] for row in read_metrics(run)]
    if sorted({*steps}) != [*range(1, STEPS + 1)]:
        return Outcome(False, "rows missing", f"{where}metrics.jsonl has steps {steps}")
    return Outcome(True, "same weights")


# The hooks: in the process that trains


def kill_one_worker(step: int, chosen: int, notes: str) -> None:
    """SIGKILL for one of the processes that read pictures ahead."""
    _kill_at(step, notes, lambda: (workers := _workers()) and [workers[chosen % len(workers)]])


def kill_all_workers(step: int, chosen: int, notes: str) -> None:
    """SIGKILL for all of them."""
    _kill_at(step, notes, _workers)


def kill_server(step: int, chosen: int, notes: str) -> None:
    """SIGKILL for the process that they were forked from, and then for them."""
    _kill_at(step, notes, lambda: [_server(), *_workers()][: 1 + chosen % 3])


def _kill_at(step: int, notes: str, whom: Any) -> None:
    def before(call: int) -> None:
        if call == step:
            for process in (chosen := whom()):
                os.kill(process, signal.SIGKILL)
            if chosen:
                _note(notes, killed=len(chosen))

    at_every_step(before)


def _server() -> int:
    from multiprocessing import forkserver

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert isinstance(pid, int), "no worker was started"
    return pid


def _workers() -> list[int]:
    """Children of the server that workers are forked from."""
    return [int(child) for child in Path(f"/proc/{_server()}/task/{_server()}/children").read_text().split()]


def fill_shared_memory(step: int, chosen: int, notes: str) -> None:
    """A /dev/shm of our own, for this process and those it starts, that is full after some batches.

    What processes talk through takes 56 KB of it; the eight batches that they read ahead take 64 KB at least, for
    even the smallest tensor takes a page.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, recursive_private = 0x20000, 0x44000
    room = ("64k", "80k", "96k")[chosen % 3]
    done = (
        libc.unshare(new_mounts) == 0
        and libc.mount(b"none", b"/", None, recursive_private, None) == 0
        and libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={room}".encode()) == 0
    )
    _note(notes, **({"room": room} if done else {"impossible": os.strerror(ctypes.get_errno())}))


def hang_sink(step: int, chosen: int, notes: str) -> None:
    """A service that never comes back from one of its calls."""
    _add_sink(chosen, notes, lambda: threading.Event().wait())


def block_sink(step: int, chosen: int, notes: str) -> None:
    """A service that writes to a pipe which nobody empties."""

    def write() -> NoReturn:
        _, full = os.pipe()
        while True:
            os.write(full, bytes(4096))

    _add_sink(chosen, notes, write)


def break_sink(step: int, chosen: int, notes: str) -> None:
    """A service that raises."""

    def fail() -> NoReturn:
        raise ConnectionError("nobody there")

    _add_sink(chosen, notes, fail)


def _add_sink(chosen: int, notes: str, trouble: Any) -> None:
    from i2i.commands import train
    from i2i.training.tracking.sinks import BackgroundSink

    call = _CALLS[chosen % len(_CALLS)]

    class Troubled:
        """A sink whose chosen call makes trouble."""

        def abandon(self) -> None:
            _note(notes, abandoned=call)

        def __getattr__(self, name: str) -> Any:
            return self._trouble if name == call else lambda *given, **named: None

        def _trouble(self, *given: object, **named: object) -> None:
            _note(notes, trouble=call)
            trouble()

    sink: Any = Troubled()
    # Few calls may wait, so that it also is too slow.
    train.open_sinks = lambda *given: [BackgroundSink(sink, capacity=4, finish_timeout_seconds=1.0)]  # type: ignore[assignment]


def close_output(step: int, chosen: int, notes: str) -> None:
    """Whoever read what is said has gone: from the beginning, or from a step on."""
    since = 1 if chosen % 2 else step
    reading, writing = _own_output()
    os.close(writing)
    threading.Thread(target=_drain, args=(reading,), daemon=True).start()

    def before(call: int) -> None:
        if call == since:
            for output in (1, 2):
                os.dup2(_widowed_pipe(), output)
            _note(notes, closed=call)

    at_every_step(before)


def delay_output(step: int, chosen: int, notes: str) -> None:
    """Whoever reads what is said is late: the pipe is full when training begins."""
    reading, writing = _own_output()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(512))
    os.set_blocking(writing, True)
    _note(notes, full=True)

    def read_late() -> None:
        time.sleep(1.0)
        _drain(reading)

    threading.Thread(target=read_late, daemon=True).start()


def _own_output() -> tuple[int, int]:
    """A pipe in place of what this process writes to: its two ends."""
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    return reading, writing


def _widowed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _drain(reading: int) -> None:
    while os.read(reading, 65536):
        pass


def _note(notes: str, **facts: object) -> None:
    with Path(notes).open("a") as file:
        file.write(json.dumps(facts) + "\n")


KINDS = (*_OF_WORKERS, *_OF_LISTENERS)

SCENARIOS = (
    Scenario(
        name="workers",
        title="Data workers, /dev/shm, sinks and readers that fail or hang",
        long_count=20 * len(KINDS),
        cases=partial(spread, "workers", KINDS),
        run=_run,
        prepare=prepare_pictures,
    ),
)
