"""Trainings that are killed and resumed: nothing but the running step may be lost.

Half of the kills come at a random moment, a quarter right before one of the training's file operations, and a quarter
in the middle of a write. Every case has killed a training that was running, and looks at two things: whether the
checkpoints that were in place are still whole, and whether the training ends in the end as the undisturbed one did.
Either alone would prove little: a training that begins anew ends equal, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i.training.tracking import METRICS_FILE
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of
from tests.reliability.undisturbed import (
    TRAININGS,
    HungError,
    dealt,
    differences,
    go_on,
    lost_checkpoints,
    make_undisturbed,
    noted_step,
    notes_in,
    noting,
    train,
    went_back,
)
from tests.warm import Hook, Running

_WAYS = ("at a moment", "at a file event", "at a moment", "inside a file")
"""Kills are dealt round to these."""
_KINDS = [f"{name}, {way}" for way in _WAYS for name in TRAININGS]
_MOST_KILLS = 3
_MOST_TRIES = 12
"""To hit a training at all; each that misses is over sooner than the moment that was drawn for it."""
_KILLED = (-9, -25)
"""By SIGKILL, or by SIGXFSZ: the kernel's end in the middle of a write."""
_FROM_THE_START = 4
"""One in so many kills inside a file has its limit from the start, so that it strikes the first file that is long."""
_SMALLEST_LIMIT_BYTES = 16
"""What the trainings note beside their run must fit."""


@dataclass(frozen=True)
class Trouble:
    """What ends a training: something in its own process, or the time."""

    hook: Hook
    kill_after: float | None = None
    """Seconds."""


def _run(case: Case, folder: Path) -> Outcome:
    try:
        return _kill_and_resume(case, folder)
    except HungError as error:
        return Outcome(False, "hung", str(error))


def _kill_and_resume(case: Case, folder: Path) -> Outcome:
    """Kill the training, in every second case also the one that goes on, and compare how it ends at last."""
    prepared, rng, run = prepared_of(folder), case.rng, folder / "run"
    name, _ = case.kind.split(", ")
    wanted = 1 if case.seed % 2 == 0 else int(rng.integers(2, _MOST_KILLS + 1))
    last, kills, kept = _first_killed(case, prepared, folder, rng), 0, 0
    if last is None:
        return Outcome(False, "never hit", f"none of {_MOST_TRIES} trainings was killed")
    while _was_cut_off(last) and kills < wanted:
        kills, kept = kills + 1, noted_step(folder)
        lost = lost_checkpoints(run, kept)
        if lost:
            return Outcome(False, "lost", lost, {"kills": kills, "step kept": kept})
        trouble = _trouble(case, kills, prepared, folder, rng) if kills < wanted else Trouble(noting(folder))
        last = go_on(prepared, name, folder, trouble.hook, trouble.kill_after)
        if went_back(last):
            return Outcome(False, "lost", f"went back: {last.stderr[-500:]}", {"kills": kills, "step kept": kept})
    figures = {"kills": kills, "step kept": kept}
    if last.exit_code != 0:
        return Outcome(False, "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}", figures)
    found = differences(run, prepared / name / "run")
    if found:
        return Outcome(False, "differs", "; ".join(found[:5]), figures)
    return Outcome(True, "resumed equal" if kept else "begun anew before the first checkpoint, equal", "", figures)


def _first_killed(case: Case, prepared: Path, folder: Path, rng: np.random.Generator) -> Running | None:
    """The first training that was killed when it had begun its run; those that were not leave nothing."""
    name, way = case.kind.split(", ")
    for number in range(_MOST_TRIES):
        trouble = _trouble(case, number * _MOST_KILLS, prepared, folder, rng)
        ended = train(prepared, name, folder, trouble.hook, trouble.kill_after)
        begun = way != "at a moment" or (folder / "run").exists()
        if (_was_cut_off(ended) and begun) or ended.exit_code not in (*_KILLED, 0):
            return ended
        shutil.rmtree(folder)
        folder.mkdir()
    return None


def _was_cut_off(ended: Running) -> bool:
    """Whether it was killed, or stopped by itself at a line of its record that the kernel cut short without a word."""
    return ended.exit_code in _KILLED or (ended.exit_code == 1 and f"{METRICS_FILE}: cannot be written" in ended.stderr)


def _trouble(case: Case, number: int, prepared: Path, folder: Path, rng: np.random.Generator) -> Trouble:
    """What ends a training; another one for every `number` of a case."""
    name, way = case.kind.split(", ")
    if way == "at a moment":
        return Trouble(noting(folder), rng.uniform(0, float((prepared / f"{name}.seconds").read_text())))
    moments = _moments((prepared / f"{name}.events").read_text().splitlines())
    # In a mixed order, so that few cases are of all parts, and as many as there are moments are all of them. Kills
    # after the first strike what goes on, which does less: anywhere.
    mixed = np.random.default_rng(0).permutation(moments)
    event = int(mixed[case.seed % len(mixed)] if number == 0 else rng.choice(mixed))
    arguments = {"folder": str(folder), "number": event, "notes": str(notes_in(folder))}
    if way == "at a file event":
        return Trouble(Hook(module="tests.reliability.file_events", name="kill_at", arguments=arguments))
    size = int(float(rng.choice(_sizes(prepared / name))) * rng.uniform(0, 1))
    arguments["size_bytes"] = max(_SMALLEST_LIMIT_BYTES, size)
    if case.seed % _FROM_THE_START == 0:
        arguments["number"] = 1
    return Trouble(Hook(module="tests.reliability.file_events", name="kill_beyond", arguments=arguments))


def _sizes(folder: Path) -> list[int]:
    """Of the files that the undisturbed training left, each once a size."""
    return sorted({path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_size})


def _moments(events: Sequence[str]) -> list[int]:
    """Numbers of the events that do another thing, or to another file, than the one before."""
    return [number for number, event in enumerate(events, start=1) if number == 1 or event != events[number - 2]]


KILLING = Scenario(
    name="killing",
    title="SIGKILL in a training (half at random moments, a quarter each at a file operation and inside a write),"
    " resumed to the end",
    long_count=600,
    cases=lambda count: dealt("killing", _KINDS, count),
    run=_run,
    prepare=make_undisturbed,
)
SCENARIOS = (KILLING,)
