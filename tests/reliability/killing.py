"""Trainings that are killed, at random moments and inside every file operation, and resumed: nothing may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of
from tests.reliability.undisturbed import (
    LONGEST_SECONDS,
    TRAININGS,
    arguments_of,
    cache_in,
    differences,
    go_on,
    make_undisturbed,
    train,
)
from tests.warm import Hook, Running, warm_program

_WAYS = ("at a moment", "at a file event", "inside a file", "at a file event", "at a file event")
"""Kills are spread over these: most of them deliberately where files are changed."""
_MOST_KILLS = 3
_KILLED = (-9, -25)
"""By SIGKILL, or by SIGXFSZ: the kernel's end in the middle of a write."""


def _cases(count: int) -> list[Case]:
    kinds = [f"{name}, {way}" for way in _WAYS for name in TRAININGS]
    seeds = dict.fromkeys(kinds, 0)
    cases = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        cases.append(Case("killing", kind, seeds[kind]))
        seeds[kind] += 1
    return cases


def _run(case: Case, folder: Path) -> Outcome:
    """Kill the training, in every second case also the one that goes on, and compare how it ends at last."""
    prepared, rng = prepared_of(folder), case.rng
    name, way = case.kind.split(", ")
    wanted = 1 if case.seed % 2 == 0 else int(rng.integers(2, _MOST_KILLS + 1))
    kills = 0
    last = _killed(case, way, prepared, name, folder, rng)
    while last.exit_code in _KILLED and kills < wanted:
        kills += 1
        again = kills < wanted
        last = go_on(prepared, name, folder, _hook(case, way, prepared, name, folder, rng) if again else None)
    if last.exit_code != 0:
        return Outcome(False, "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}", {"kills": kills})
    found = differences(folder / "run", prepared / name / "run")
    if found:
        return Outcome(False, "differs", "; ".join(found[:5]), {"kills": kills})
    return Outcome(True, "resumed equal" if kills else "finished before", figures={"kills": kills})


def _killed(case: Case, way: str, prepared: Path, name: str, folder: Path, rng: np.random.Generator) -> Running:
    if way != "at a moment":
        return train(prepared, name, folder, _hook(case, way, prepared, name, folder, rng))
    seconds = float((prepared / f"{name}.seconds").read_text())
    running = warm_program().start(arguments_of(prepared, name, folder), folder, cache_in(folder))
    if running.wait(rng.uniform(0, seconds)) is None:
        running.kill()
    running.wait(LONGEST_SECONDS)
    return running


def _hook(case: Case, way: str, prepared: Path, name: str, folder: Path, rng: np.random.Generator) -> Hook:
    """What ends the child by itself."""
    if way == "inside a file":
        size = float(rng.choice(_sizes(prepared / name)))
        return Hook(
            module="tests.reliability.file_events", name="kill_beyond",
            arguments={"size_bytes": int(size * rng.uniform(0, 1))},
        )  # fmt: skip
    moments = _moments((prepared / f"{name}.events").read_text().splitlines())
    # In a mixed order, so that few cases are of all parts, and as many as there are moments are all of them.
    mixed = np.random.default_rng(0).permutation(moments)
    number = int(mixed[case.seed % len(mixed)])
    return Hook(
        module="tests.reliability.file_events", name="kill_at",
        arguments={"folder": str(folder), "number": number},
    )  # fmt: skip


def _sizes(folder: Path) -> list[int]:
    """Of the files that the undisturbed training left, each once a size."""
    return sorted({path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_size})


def _moments(events: Sequence[str]) -> list[int]:
    """Numbers of the events that do another thing, or to another file, than the one before."""
    return [number for number, event in enumerate(events, start=1) if number == 1 or event != events[number - 2]]


KILLING = Scenario(
    name="killing",
    title="SIGKILL in a training, resumed to the end",
    long_count=1000,
    cases=_cases,
    run=_run,
    prepare=make_undisturbed,
)
SCENARIOS = (KILLING,)
