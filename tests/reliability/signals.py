"""Trainings that are asked to stop, by SIGTERM or Ctrl-C, at random moments: saved, told, and resumed to equal ends."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i2i.training.checkpoint import checkpoint_steps
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.undisturbed import (
    LONGEST_SECONDS,
    TRAININGS,
    HungError,
    arguments_of,
    cache_in,
    differences,
    go_on,
    losses_of,
    lost_checkpoints,
    make_undisturbed,
    noted_step,
    noting,
    went_back,
)
from tests.warm import ENDED_UNANSWERED, Running, warm_program

_SIGNALS = {"SIGTERM": (signal.SIGTERM,), "SIGINT": (signal.SIGINT,), "SIGINT twice": (signal.SIGINT, signal.SIGINT)}
_KINDS = [f"{name}, {number}" for number in _SIGNALS for name in TRAININGS]
_MOST_TRIES = 12
"""Until a training has begun, has got all its signals, and ends by them."""
_SHARE_BETWEEN = 0.05
"""Of the time that the training takes, at most between two signals: the first one ends it soon."""


def _run(case: Case, folder: Path) -> Outcome:
    rng = case.rng
    try:
        for _ in range(_MOST_TRIES):
            outcome = _stop_and_resume(case, folder, rng)
            if outcome is not None:
                return outcome
            shutil.rmtree(folder)
            folder.mkdir()
    except HungError as error:
        return Outcome(False, "hung", str(error))
    return Outcome(False, "never hit", f"none of {_MOST_TRIES} trainings was stopped by its signals")


def _stop_and_resume(case: Case, folder: Path, rng: np.random.Generator) -> Outcome | None:
    """What became of it; None if the signals came before the training, or one of them after its end."""
    prepared, run = prepared_of(folder), folder / "run"
    name, how = case.kind.split(", ")
    numbers = _SIGNALS[how]
    seconds = float((prepared / f"{name}.seconds").read_text())
    running = warm_program().start(
        arguments_of(prepared, name, folder), folder, cache_in(folder), hook=noting(folder)
    )  # fmt: skip
    done_before, in_time = _send(running, numbers, run, seconds, rng)
    if running.wait(LONGEST_SECONDS) is None:
        running.kill()
        return Outcome(False, "hung", f"still running {LONGEST_SECONDS:.0f} s after the signal")
    problem = _what_is_wrong(running, run, 128 + numbers[0], done_before, twice=len(numbers) > 1)
    if problem:
        return Outcome(False, "stopped wrongly", problem)
    if running.exit_code != 128 + numbers[0] or not in_time or not run.exists():
        return None
    kept = noted_step(folder)
    lost = lost_checkpoints(run, kept)
    if lost:
        return Outcome(False, "lost", lost)
    last = go_on(prepared, name, folder)
    if last.exit_code != 0:
        return Outcome(False, "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}")
    if went_back(last):
        return Outcome(False, "lost", f"went back: {last.stderr[-500:]}")
    found = differences(run, prepared / name / "run")
    if found:
        return Outcome(False, "differs", "; ".join(found[:5]))
    return Outcome(True, _word_for(running, kept), figures={"step kept": kept})


def _word_for(running: Running, kept: int) -> str:
    if "stopped at step" in running.stderr:
        return "saved, resumed equal"
    return "given up, resumed equal" if kept else "given up before the first checkpoint, begun anew equal"


def _send(
    running: Running, numbers: Sequence[int], run: Path, seconds: float, rng: np.random.Generator
) -> tuple[int, bool]:
    """Send the signals at random moments.

    Returns:
        The last step that was in the record before the last signal, and whether all signals met a running process.
    """
    done_before, in_time = 0, True
    for index, number in enumerate(numbers):
        in_time = running.wait(rng.uniform(0, seconds * (1.0 if index == 0 else _SHARE_BETWEEN))) is None
        done_before = max(losses_of(run), default=0)
        running.send(number)
    return done_before, in_time


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
    if not run.exists() and running.exit_code in (128 - code, 1, ENDED_UNANSWERED) and "i2i:" not in said:
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
    title="SIGTERM and Ctrl-C in a running training, resumed to the end",
    long_count=120,
    cases=lambda count: spread("signals", _KINDS, count),
    run=_run,
    prepare=make_undisturbed,
)
SCENARIOS = (STOPPING,)
