"""Trainings that are asked to stop, by SIGTERM or Ctrl-C, at random moments: saved, told, and resumed to equal ends."""

from __future__ import annotations

import signal
from pathlib import Path

from i2i.training.checkpoint import checkpoint_steps
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.undisturbed import (
    LONGEST_SECONDS,
    TRAININGS,
    arguments_of,
    cache_in,
    differences,
    go_on,
    losses_of,
    make_undisturbed,
)
from tests.warm import Running, warm_program

_SIGNALS = {"SIGTERM": (signal.SIGTERM,), "SIGINT": (signal.SIGINT,), "SIGINT twice": (signal.SIGINT, signal.SIGINT)}
_KINDS = [f"{name}, {number}" for number in _SIGNALS for name in TRAININGS]


def _run(case: Case, folder: Path) -> Outcome:
    prepared, rng = prepared_of(folder), case.rng
    name, how = case.kind.split(", ")
    numbers, run = _SIGNALS[how], folder / "run"
    seconds = float((prepared / f"{name}.seconds").read_text())
    running = warm_program().start(arguments_of(prepared, name, folder), folder, cache_in(folder))
    done_before = 0
    for number in numbers:
        running.wait(rng.uniform(0, seconds / len(numbers)))
        done_before = max(losses_of(run), default=0)
        running.send(number)
    if running.wait(LONGEST_SECONDS) is None:
        running.kill()
        return Outcome(False, "hung", f"still running {LONGEST_SECONDS:.0f} s after the signal")
    problem = _what_is_wrong(running, run, 128 + numbers[0], done_before, twice=len(numbers) > 1)
    if problem:
        return Outcome(False, "stopped wrongly", problem)
    stopped = running.exit_code != 0
    last = go_on(prepared, name, folder) if stopped else running
    if last.exit_code != 0:
        return Outcome(False, "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}")
    found = differences(run, prepared / name / "run")
    if found:
        return Outcome(False, "differs", "; ".join(found[:5]))
    if not stopped:
        return Outcome(True, "finished before")
    return Outcome(True, "saved, resumed equal" if "stopped at step" in running.stderr else "given up, resumed equal")


def _what_is_wrong(running: Running, run: Path, code: int, done_before: int, *, twice: bool) -> str:
    """What this end should not be like; empty if it is right.

    Args:
        code: the exit code for this signal.
        done_before: the last step that was in the record when the signal was sent.
        twice: it was sent twice, so that what runs may be given up.
    """
    said = running.stderr
    if running.exit_code == 0:
        return ""  # it came too late
    if not run.exists() and running.exit_code in (128 - code, 1) and "i2i:" not in said:
        return ""  # it came while Python itself was starting
    if running.exit_code != code:
        return f"exit code {running.exit_code} instead of {code}: {said[-300:]}"
    if "Traceback" in said or len(said.strip().splitlines()) != 1:
        return f"more than one line: {said[-300:]}"
    newest = max(checkpoint_steps(run), default=0)
    if "stopped at step" in said:
        if f"stopped at step {newest};" not in said or newest < done_before:
            return f"step {done_before} was done, step {newest} is saved: {said}"
    elif not twice and newest < done_before:
        return f"step {done_before} was done and is not saved: {said}"
    return ""


STOPPING = Scenario(
    name="signals",
    title="SIGTERM and Ctrl-C in a training, resumed to the end",
    long_count=135,
    cases=lambda count: spread("signals", _KINDS, count),
    run=_run,
    prepare=make_undisturbed,
)
SCENARIOS = (STOPPING,)
