"""Numbers that break while a network trains: what is broken is skipped and counted, and never reaches a file.

A case spoils one network of one training (its output, the gradient of one of its weights, or a loss of the player that
trains it) in chosen steps, everywhere or in one of two processes or of two micro-batches alone. Every update is
watched: one that met such numbers must leave all weights, buffers and optimizers exactly as they were, in every
process. What the training does next is worked out here from the settings alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.reliability.breaking_numbers import notes_of
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    TRAININGS,
    arguments_of,
    nonfinite_files,
    prepare_pictures,
    read_notes,
)
from tests.warm import Hook, Running, warm_program

STEPS = 14
TOLERATED = 2
ROLLBACKS = 2
CHECKPOINT_EVERY = 3
_LONGEST_SECONDS = 60.0

NETWORKS = [(training, network) for training, known in TRAININGS.items() for network in known.players]
_PLACES = ("an output", "a gradient", "a loss")
_ONE_PROCESS, _ONE_MICRO_BATCH = "one of two processes", "one of two micro-batches"
KINDS = [f"{value} in {place}" for place in _PLACES for value in ("nan", "inf", "overflow")]
KINDS += [f"nan in {place}, {where}" for where in (_ONE_PROCESS, _ONE_MICRO_BATCH) for place in _PLACES]
SPANS = ("one step", "now and then", "then stop", "then roll back", "again and again", "before any checkpoint")


# What to expect


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a training makes of steps with broken numbers."""

    steps: tuple[int, ...]
    """Where training stands after each step that it takes, before it goes back."""
    diverges: bool
    rollbacks: int


def expected(broken: Callable[[int], bool], span: str) -> Expected:
    """The rules of `training.nonfinite`, told anew; `broken(n)` says of the n-th step taken whether it is spoiled."""
    tolerated, every = (0, None) if span == "before any checkpoint" else (TOLERATED, CHECKPOINT_EVERY)
    rolls_back = span in ("then roll back", "again and again", "before any checkpoint")
    steps: list[int] = []
    step = streak = rollbacks = 0
    newest: int | None = None
    while step < STEPS:
        step += 1
        steps.append(step)
        streak = streak + 1 if broken(len(steps)) else 0
        if streak > tolerated:
            if not rolls_back or rollbacks == ROLLBACKS or newest is None:
                return Expected(tuple(steps), True, rollbacks)
            step, streak, rollbacks = newest, 0, rollbacks + 1
        elif every is not None and step % every == 0:
            newest = step
    return Expected(tuple(steps), False, rollbacks)


def spoiled_steps(span: str, rng: Any, first: int) -> list[int]:
    """Which of the steps taken are spoiled, from 1; none before `first`."""
    start = int(rng.integers(max(first, CHECKPOINT_EVERY + 1), STEPS - TOLERATED - 1))
    match span:
        case "one step":
            return [start]
        case "now and then":
            # Never more in a row than are tolerated.
            return [step for step in range(first, STEPS + 1) if step % (TOLERATED + 1) and rng.random() < 0.7] or [
                start
            ]
        case "then stop" | "then roll back":
            return [*range(start, start + TOLERATED + 1)]
        case "again and again":
            return [*range(start, 100)]
        case _:
            return [first]


# A case


def what_is_spoiled(case: Case) -> tuple[str, str, str]:
    """The training, the network of it, and when: one of `SPANS`."""
    _, _, where = case.kind.partition(", ")
    networks = [each for each in NETWORKS if where != _ONE_MICRO_BATCH or TRAININGS[each[0]].splits]
    number = KINDS.index(case.kind) + case.seed
    training, network = networks[number % len(networks)]
    return training, network, SPANS[(case.seed // len(networks) + number) % len(SPANS)]


def _run(case: Case, folder: Path) -> Outcome:
    trouble, _, where = case.kind.partition(", ")
    training, network, span = what_is_spoiled(case)
    value, place = trouble.split(" in ")
    rng = case.rng
    steps = spoiled_steps(span, rng, max(TRAININGS[training].boundaries, default=0) + 1)
    overrides = _overrides(span, rng, accumulate=2 if where == _ONE_MICRO_BATCH else 1)
    arguments = {
        "network": network,
        "player": TRAININGS[training].players[network],
        "value": value,
        "place": place,
        "steps": steps,
        "chosen": int(rng.integers(1 << 30)),
        "folder": str(folder),
        "only_rank": int(rng.integers(2)) if where == _ONE_PROCESS else None,
        "only_micro_batch": int(rng.integers(2)) if where == _ONE_MICRO_BATCH else None,
    }
    hook = Hook(module="tests.reliability.breaking_numbers", name="spoil", arguments=arguments)
    words = arguments_of(training, prepared_of(folder), folder, overrides)
    if where == _ONE_PROCESS:
        ended = warm_program().run_group(words, folder, _LONGEST_SECONDS, hook=hook)
    else:
        ended = [warm_program().run(words, folder, _LONGEST_SECONDS, hook=hook)]
    return _judge(ended, folder, span, steps, certain=_is_certain(value, place), what=f"{training} {network}")


def _overrides(span: str, rng: Any, accumulate: int) -> list[str]:
    stays = span == "before any checkpoint"
    return [
        f"precision={'bf16' if rng.random() < 0.3 else 'fp32'}",
        f"training.accumulate={accumulate}",
        f"training.length.steps={STEPS}",
        f"training.checkpoints.every_steps={'null' if stays else CHECKPOINT_EVERY}",
        f"training.nonfinite.tolerated_steps={0 if stays else TOLERATED}",
        f"training.nonfinite.rollbacks={ROLLBACKS}",
        f"training.nonfinite.then={'stop' if span in ('one step', 'now and then', 'then stop') else 'rollback'}",
    ]


def _judge(
    ended: Sequence[Running], folder: Path, span: str, steps: Sequence[int], *, certain: bool, what: str
) -> Outcome:
    """Every process did as it should, and all did the same."""
    notes = [read_notes(notes_of(folder, rank)) for rank in range(len(ended))]
    problem = next(filter(None, (
        _problem_of(own, steps, span, running.exit_code, running.stderr, folder, certain=certain)
        for own, running in zip(notes, ended, strict=True)
    )), "") or _problem_between(notes)  # fmt: skip
    if problem:
        return Outcome(False, "wrong", f"{what}, {span}, steps {steps[:6]}: {problem}")
    skipped = sum(not note["finite"] for note in notes[0] if note["kind"] == "step")
    if ended[0].exit_code == 8:
        became = "stopped"
    elif _went_back(notes[0]):
        became = "went back"
    else:
        became = "skipped" if skipped else "harmless"
    return Outcome(True, became, figures={"skipped_steps": skipped})


def _problem_between(notes: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Where one process stands otherwise than the first; empty if none does."""
    first, *others = ([note for note in own if note["kind"] == "step"] for own in notes)
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            if ours["state"] != theirs["state"]:
                return f"step {ours['call']}: the processes have other weights or optimizers"
    return ""


def _is_certain(value: str, place: str) -> bool:
    """Whether the spoiled number must break the update: a saturated output can make a large one harmless."""
    return value == "nan" or place != "an output"


def _went_back(notes: Sequence[Mapping[str, Any]]) -> bool:
    steps = [note["step"] for note in notes if note["kind"] == "step"]
    return any(later <= earlier for earlier, later in pairwise(steps))


def _problem_of(
    notes: Sequence[Mapping[str, Any]],
    steps: Sequence[int],
    span: str,
    exit_code: int | None,
    said: str,
    folder: Path,
    *,
    certain: bool,
) -> str:
    """What is not as it should be; empty if all is well."""
    taken = [note for note in notes if note["kind"] == "step"]
    broken = {note["call"] for note in taken if not note["finite"]}
    if not taken:
        return f"no step: exit code {exit_code}: {said[-300:]}"
    if unapplied := [note["call"] for note in taken if note["unapplied"]]:
        return f"nothing was spoiled in steps {unapplied}"
    if broken - set(steps):
        return f"steps {sorted(broken - set(steps))} broke, but were not spoiled"
    if certain and (passed := {note["call"] for note in taken} & set(steps) - broken):
        return f"steps {sorted(passed)} were spoiled and not skipped"
    for note in taken:
        if note["moved_although_broken"]:
            return f"step {note['call']}: a broken update changed {note['moved_although_broken'][:3]}"
        if note["stood_still"]:
            return f"step {note['call']}: {note['stood_still']} moved nothing, though nothing was broken"
        if note["nonfinite"]:
            return f"step {note['call']}: {note['nonfinite'][:3]} are not finite afterwards"
    wanted = expected(lambda call: call in broken, span)
    if tuple(note["step"] for note in taken) != wanted.steps:
        return f"stood at {[note['step'] for note in taken]}, expected {list(wanted.steps)}: {exit_code}: {said[-300:]}"
    if exit_code != (8 if wanted.diverges else 0):
        return f"exit code {exit_code}, expected {8 if wanted.diverges else 0}: {said[-300:]}"
    if wanted.diverges and ("Traceback" in said or "not finite" not in said):
        return f"unclear message: {said[-300:]}"
    return _problem_in_files(notes, folder / "run", len(broken), wanted)


def _problem_in_files(notes: Sequence[Mapping[str, Any]], run: Path, broken: int, wanted: Expected) -> str:
    if spoiled := [note["file"] for note in notes if note["kind"] == "file" and note["nonfinite"]]:
        return f"written with numbers that are not finite: {spoiled[:3]}"
    if left := nonfinite_files(run):
        return f"left with numbers that are not finite: {left[:3]}"
    if wanted.diverges:
        return ""
    counters = json.loads((run / "checkpoints" / f"step_{STEPS}" / "state.json").read_text())
    counted = {"skipped_updates": broken, "rollbacks": wanted.rollbacks}
    if differing := {name: counters[name] for name, number in counted.items() if counters[name] != number}:
        return f"counted {differing}, expected {counted}"
    from i2i.training.tracking import read_metrics

    recorded = [row["values"]["updates/skipped"] for row in read_metrics(run) if "updates/skipped" in row["values"]]
    if recorded[-1] != broken:
        return f"metrics.jsonl counts {recorded[-1]} skipped updates, expected {broken}"
    return ""


SCENARIOS = (
    Scenario(
        name="numbers",
        title="NaN, infinity and overflow in every network",
        long_count=len(KINDS) * len(NETWORKS) * len(SPANS),
        cases=partial(spread, "numbers", KINDS),
        run=_run,
        prepare=prepare_pictures,
    ),
)
