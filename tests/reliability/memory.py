"""Memory that runs out while a network trains: training goes on with the same data, or stops in order.

The allocation that fails is drawn at random among the operations of a step (the error is the one that PyTorch raises),
or the system itself refuses more memory from some step on. A training that stopped is resumed without the trouble; a
training that went on, perhaps in smaller parts, must end where the undisturbed one did, but for rounding in float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    TRAININGS,
    arguments_of,
    at_every_step,
    hash_of_run,
    nonfinite_files,
    prepare_pictures,
    read_notes,
    whole_run,
)
from tests.warm import Hook, Running, warm_program

STEPS = 14
_LONGEST_SECONDS = 60.0
_TOLERANCE = 1e-6
"""Of float64, between a batch and the sum over its parts."""
_OUT_OF_MEMORY = 6
_ERRORS: dict[str, Callable[[], BaseException]] = {
    "the allocator of the CPU": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
        " allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "the allocator of CUDA": lambda: torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 23.65 GiB of which 1.09 GiB is"
        " free."
    ),
}
IN_STEPS = tuple(_ERRORS)
"""Kinds in which an operation of a step fails."""
_READING = ("cyclegan", "srgan")
"""Trainings that read pictures from files or cut them out; those of the others are rows in memory."""
KINDS = (*IN_STEPS, "reading a picture", "writing a checkpoint", "the system's limit")


def _whole(name: str, prepared: Path) -> Path:
    return whole_run(name, prepared, STEPS, ["precision=fp64"])


def _arguments(name: str, prepared: Path, folder: Path) -> list[str]:
    lengths = [f"training.length.steps={STEPS}", "training.checkpoints.every_steps=3", "precision=fp64"]
    return arguments_of(name, prepared, folder, lengths)


def _run(case: Case, folder: Path) -> Outcome:
    rng, prepared = case.rng, prepared_of(folder)
    names = [name for name in TRAININGS if case.kind != "reading a picture" or name in _READING]
    name = names[case.seed % len(names)]
    hook = Hook(
        module=__name__,
        name="run_out",
        arguments={
            "kind": case.kind,
            # Not before the first checkpoint: there would be nothing to resume.
            "step": int(rng.integers(4, STEPS)),
            "share": float(rng.uniform(0.0, 0.8)),
            "notes": str(folder / "notes.jsonl"),
        },
    )
    ended = warm_program().run(_arguments(name, prepared, folder), folder, _LONGEST_SECONDS, hook=hook)
    where = f"{name}: {hook.arguments['step']}, {hook.arguments['share']:.3f}: "
    if not read_notes(folder / "notes.jsonl"):
        return Outcome(False, "undisturbed", f"{where}the trouble did not come")
    if ended.exit_code == _OUT_OF_MEMORY:
        return _stopped(ended, folder, _whole(name, prepared), where)
    if ended.exit_code == 0:
        return _went_on(folder / "run", _whole(name, prepared), where)
    what = "crashed" if (ended.exit_code or 0) < 0 else "wrong exit code"
    return Outcome(False, what, f"{where}exit code {ended.exit_code}: {ended.stderr[-300:]}")


def _stopped(ended: Running, folder: Path, whole: Path, where: str) -> Outcome:
    """It says so in a line, and goes on where it was as soon as there is memory again."""
    if "Traceback" in ended.stderr or "out of memory" not in ended.stderr:
        return Outcome(False, "unclear", where + ended.stderr[-300:])
    resumed = warm_program().run(["train", "--resume", str(folder / "run"), "--quiet"], folder, _LONGEST_SECONDS)
    if resumed.exit_code != 0:
        return Outcome(False, "not resumed", f"{where}exit code {resumed.exit_code}: {resumed.stderr[-300:]}")
    if hash_of_run(folder / "run", STEPS) != hash_of_run(whole, STEPS):
        return Outcome(False, "resumed unequal", where)
    return Outcome(True, "stopped, resumed equal")


def _went_on(run: Path, whole: Path, where: str) -> Outcome:
    if found := nonfinite_files(run):
        return Outcome(False, "not finite", f"{where}{found[:3]}")
    if hash_of_run(run, STEPS) == hash_of_run(whole, STEPS):
        return Outcome(True, "went on equal")
    if _counters(run)["micro_batches"] == _counters(whole)["micro_batches"]:
        return Outcome(False, "other weights", f"{where}although the batch was not split")
    states = [load_file(folder / "checkpoints" / f"step_{STEPS}" / "state.safetensors") for folder in (run, whole)]
    draws = [_counters(folder)["draws"] for folder in (run, whole)]
    if draws[0] != draws[1]:
        return Outcome(False, "other data", f"{where}{draws}")
    far = [
        key for key, tensor in states[1].items()
        if not torch.allclose(states[0][key], tensor, rtol=_TOLERANCE, atol=_TOLERANCE)
    ]  # fmt: skip
    if far:
        return Outcome(False, "other weights", f"{where}{len(far)} differ, first {far[0]}")
    return Outcome(True, "went on, equal but for rounding")


def _counters(run: Path) -> dict[str, Any]:
    return json.loads((run / "checkpoints" / f"step_{STEPS}" / "state.json").read_text())


# The hook: in the process that trains


def run_out(*, kind: str, step: int, share: float, notes: str) -> None:
    """Let memory run out in `step`, after `share` of what it does, or while the next checkpoint is written."""

    def happened(**facts: object) -> None:
        with Path(notes).open("a") as file:
            file.write(json.dumps(facts) + "\n")

    if kind in IN_STEPS:
        _fail_in_step(_ERRORS[kind], step, share, happened)
    elif kind == "reading a picture":
        _fail_reading(step, happened)
    elif kind == "writing a checkpoint":
        _fail_saving(step, happened)
    else:
        _limit_from(step, share, happened)


class _FailingOperation(TorchDispatchMode):
    """Counts the operations of PyTorch, backward passes included, and raises at one of them."""

    def __init__(self, fail_at: int | None, error: Callable[[], BaseException], happened: Callable[..., None]) -> None:
        super().__init__()
        self.count, self._fail_at, self._error, self._happened = 0, fail_at, error, happened

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self._fail_at:
            self._happened(operation=str(func), number=self.count)
            raise self._error()
        return func(*args, **(kwargs or {}))


def _fail_in_step(error: Callable[[], BaseException], step: int, share: float, happened: Callable[..., None]) -> None:
    from i2i.training.engine import Engine

    take_step, calls, operations, ahead = Engine.take_step, [0], [0], [0]

    def watched(engine: Engine, draw: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            ahead[0] = 1 + int(share * operations[0])
        # Two steps before, to know about how many operations there are: what comes in every second step comes in both.
        if calls[0] != step - 2 and ahead[0] <= 0:
            return take_step(engine, draw)
        with _FailingOperation(ahead[0] or None, error, happened) as mode:
            try:
                return take_step(engine, draw)
            finally:
                # Where the step had fewer than expected, the operation is one of the next.
                operations[0] = mode.count
                ahead[0] -= mode.count if ahead[0] else 0

    Engine.take_step = watched  # type: ignore[method-assign, assignment]


def _fail_reading(step: int, happened: Callable[..., None]) -> None:
    from i2i.data.loader import _RankBatches

    read, due = _RankBatches.__getitem__, [False]

    def failing(batches: _RankBatches, index: int) -> Any:
        if due[0]:
            due[0] = False
            happened(index=index)
            raise MemoryError
        return read(batches, index)

    _RankBatches.__getitem__ = failing  # type: ignore[method-assign, assignment]
    at_every_step(lambda call: due.__setitem__(0, call == step))


def _fail_saving(step: int, happened: Callable[..., None]) -> None:
    from i2i.training import checkpoint

    save, due = checkpoint.save_file, [False]

    def failing(*given: Any) -> None:
        if due[0]:
            due[0] = False
            happened(step=step)
            raise MemoryError
        save(*given)

    checkpoint.save_file = failing  # type: ignore[assignment]
    at_every_step(lambda call: due[0] or due.__setitem__(0, call == step))


def _limit_from(step: int, share: float, happened: Callable[..., None]) -> None:
    """From that step on the system gives this process hardly any more memory, and what it holds in reserve is gone."""
    import resource

    def before(call: int) -> None:
        if call == step:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            more = int(share * 2**20)
            resource.setrlimit(resource.RLIMIT_AS, (held + more, held + more))
            happened(more_bytes=more)
            # Whatever its allocators keep for later.
            _HELD.extend(_take_all())

    at_every_step(before)


_HELD: list[bytes] = []


def _take_all() -> list[bytes]:
    taken, size = [], 1 << 24
    while size >= 1 << 12:
        try:
            taken.append(bytes(size))
        except MemoryError:
            size //= 2
    return taken[: max(0, len(taken) - 8)]


SCENARIOS = (
    Scenario(
        name="memory",
        title="Memory that runs out",
        long_count=40 * len(KINDS),
        cases=partial(spread, "memory", KINDS),
        run=_run,
        prepare=prepare_pictures,
    ),
)
