"""Spoiled recipes, given to `i2i train`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.reliability.cases import Case, Outcome, Scenario
from tests.reliability.recipes_grammar import TEXT_CHANGES, TREE_CHANGES, spoiled_recipe, surroundings
from tests.reliability.spoiled_files import Bounds, Call, judged, reused_program, weighted
from tests.warm import Hook

_NAME = "recipes"
_FILE = "spoiled.yaml"
_OVERRIDE = "override"
_MOST_LINES = 52
_WEIGHTS = {**dict.fromkeys(TREE_CHANGES, 2), **dict.fromkeys(TEXT_CHANGES, 2), _OVERRIDE: 1}


def _cases(count: int) -> Sequence[Case]:
    return weighted(_NAME, _WEIGHTS, count)


def _run(case: Case, folder: Path) -> Outcome:
    if case.kind == "extends":
        surroundings(folder)
    rng = case.rng
    overrides: list[str] = []
    content = spoiled_recipe("wrong type" if case.kind == _OVERRIDE else case.kind, rng)
    if case.kind == _OVERRIDE:
        # What a file could hold is given on the command line, where an argument ends with a zero byte.
        line = content.decode(errors="replace").replace("\0", "")[: int(rng.integers(1, 400))]
        overrides = ["--set", f"{rng.choice(['seed', 'data.root', 'pipeline.generator', 'training', ''])}={line}"]
        content = b"extends: cyclegan_demo\n"
    (folder / _FILE).write_bytes(content)
    call = Call(
        arguments=["train", _FILE, "--dry-run", "--device", "cpu", *overrides],
        cwd=folder,
        around=Hook(module=__name__, name="until_the_recipe_is_read"),
    )
    answer = reused_program().run(call)
    # A mistake in the recipe that is extended is that one's.
    names = {_FILE, "--set", "/etc/hostname", "chain-"}
    outcome = judged(answer, Bounds(exit_codes={3}, names=names, lines=_MOST_LINES, remedy=False))
    if outcome.ok and (folder / "sprung").exists():
        return Outcome(False, "executed", answer.stderr, outcome.figures)
    return outcome


@contextlib.contextmanager
def until_the_recipe_is_read() -> Iterator[None]:
    """Ends the dry run as soon as the recipe is accepted: data and networks are for other tests."""
    from i2i.commands import dry_run

    def read_and_stop(*arguments: Any) -> Any:
        read_plan(*arguments)
        raise typer.Exit(0)

    read_plan = dry_run.read_plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "read_plan", read_and_stop)
        yield


SCENARIOS = (Scenario(name=_NAME, title="Spoiled recipes", long_count=4_000, cases=_cases, run=_run),)
