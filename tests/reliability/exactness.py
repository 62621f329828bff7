"""A training that was cut and resumed equals one that was not, bit for bit, wherever it was cut."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    TRAININGS,
    arguments_of,
    difference,
    hash_of_run,
    prepare_pictures,
    settings,
    standing_still,
    up_to_the_last,
)
from tests.warm import Running, warm_program

STEPS = 40
_LONGEST_SECONDS = 120.0
_CUTS = 8


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a training is computed."""

    training: str
    precision: str = "fp32"
    ranks: int = 1
    accumulate: int = 1

    def __str__(self) -> str:
        ranks = f", {self.ranks} processes" if self.ranks > 1 else ""
        return f"{self.training} {self.precision}{ranks}{', accumulated' if self.accumulate > 1 else ''}"

    @property
    def overrides(self) -> list[str]:
        return [
            f"precision={self.precision}",
            f"training.accumulate={self.accumulate}",
            "training.checkpoints.every_steps=null",
        ]


VARIANTS = {
    str(variant): variant
    for variant in (Variant(*each) for each in product(TRAININGS, ("fp32", "bf16"), (1, 2), (1, 2)))
    if variant.accumulate == 1 or TRAININGS[variant.training].splits
}


def train(variant: Variant, arguments: Sequence[str | Path], folder: Path) -> list[Running]:
    """`i2i ARGUMENTS` on as many processes as the variant has."""
    program = warm_program()
    if variant.ranks == 1:
        return [program.run([*arguments], folder, _LONGEST_SECONDS)]
    return program.run_group(arguments, folder, _LONGEST_SECONDS, variant.ranks)


def train_in_parts(
    variant: Variant, cuts: Sequence[int], folder: Path, prepared: Path, overrides: Sequence[str] = ()
) -> str:
    """Train to every cut, each time resumed by another process; what went wrong, if anything."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, cut in enumerate(cuts):
        length = f"training.length.steps={cut}"
        if number:
            arguments = ["train", "--resume", str(folder / "run"), "--quiet", *settings([length])]
        else:
            arguments = arguments_of(variant.training, prepared, folder, [*variant.overrides, length, *overrides])
        for running in train(variant, arguments, folder):
            if running.exit_code != 0:
                return f"to step {cut}: exit code {running.exit_code}: {running.stderr.strip()[-300:]}"
    return ""


# Cut once, at each step


def _whole(variant: Variant, folder: Path, prepared: Path) -> str:
    """The run that nobody cut, in `folder`; made when it is first asked for. What went wrong, if anything."""
    if not (folder / "run" / "checkpoints" / f"step_{STEPS}").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        if problem := train_in_parts(variant, [STEPS], folder, prepared, up_to_the_last(STEPS)):
            return problem
    # Weights that no longer move would be equal wherever it was cut.
    still = standing_still(variant.training, folder / "run", STEPS)
    return f"whole: {', '.join(still)} no longer moves" if still else ""


def _cut_once(case: Case, folder: Path) -> Outcome:
    """Seeds are steps: 0 cuts after the first."""
    return _cut_at([case.seed + 1, STEPS], case, folder)


def _cut_everywhere(case: Case, folder: Path) -> Outcome:
    return _cut_at(range(1, STEPS + 1), case, folder)


def _cut_at(cuts: Sequence[int], case: Case, folder: Path) -> Outcome:
    prepared = prepared_of(folder)
    whole = prepared / case.kind
    problem = _whole(Variant(case.kind), whole, prepared)
    problem = problem or train_in_parts(Variant(case.kind), cuts, folder, prepared)
    return _compare(problem, folder / "run", whole / "run")


def _cut_often(case: Case, folder: Path) -> Outcome:
    """Eight cuts at random and every boundary between phases, in the variant that the kind names."""
    variant, prepared = VARIANTS[case.kind], prepared_of(folder)
    boundaries = TRAININGS[variant.training].boundaries
    others = [step for step in range(1, STEPS) if step not in boundaries]
    cuts = sorted([*case.rng.choice(others, _CUTS, replace=False).tolist(), *boundaries, STEPS])
    problem = _whole(variant, folder / "whole", prepared)
    problem = problem or train_in_parts(variant, cuts, folder / "parts", prepared)
    return _compare(problem, folder / "parts" / "run", folder / "whole" / "run")


def _compare(problem: str, run: Path, whole: Path) -> Outcome:
    if problem:
        return Outcome(False, "failed", problem)
    if hash_of_run(run, STEPS) == hash_of_run(whole, STEPS):
        return Outcome(True, "resumed equal")
    return Outcome(False, "resumed unequal", difference(run, whole, STEPS))


SCENARIOS = (
    Scenario(
        name="cut_once",
        title="Resumed once, cut at each step of 40",
        long_count=(STEPS - 1) * len(TRAININGS),
        cases=partial(spread, "cut_once", list(TRAININGS)),
        run=_cut_once,
        prepare=prepare_pictures,
    ),
    Scenario(
        name="cut_everywhere",
        title="Cut and resumed after every single step of 40",
        long_count=len(TRAININGS),
        cases=partial(spread, "cut_everywhere", list(TRAININGS)),
        run=_cut_everywhere,
        prepare=prepare_pictures,
    ),
    Scenario(
        name="cut_often",
        title="Eight cuts and every phase boundary, by precision, processes and accumulation",
        long_count=len(VARIANTS),
        cases=partial(spread, "cut_often", list(VARIANTS)),
        run=_cut_often,
        prepare=prepare_pictures,
    ),
)
