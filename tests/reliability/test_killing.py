"""Killed trainings resume to equal ends: a few cases of each way, and the defects that the long form found."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from i2i.errors import StorageError
from i2i.files import TEMPORARY, atomic_path, remove_leftovers
from tests.reliability import file_events, killing
from tests.reliability.cases import Case, few, prepared_of
from tests.reliability.killing import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.reliability.undisturbed import (
    STEPS,
    differences,
    go_on,
    notes_in,
    noting,
    train,
)
from tests.warm import AVAILABLE, Hook

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


KINDS = [
    *("cyclegan, at a moment", "srgan, at a moment", "unconditional, at a file event"),
    *("cyclegan, inside a file", "srgan, inside a file"),
]


@pytest.mark.parametrize("case", few(SCENARIO, kinds=KINDS), ids=str)
def test_killed_and_resumed(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def number_of(place: Path, name: str, beginning: str, last: bool = False) -> int:
    """Of the first (or the last) event of the undisturbed training that begins so."""
    events = (place / "prepared" / f"{name}.events").read_text().splitlines()
    numbers = [number for number, event in enumerate(events, start=1) if event.startswith(beginning)]
    return numbers[-1 if last else 0]


@pytest.mark.parametrize(
    ("beginning", "last"),
    [
        pytest.param(f"os.link run/checkpoints/step_{STEPS - 1}", False, id="between a checkpoint and its model"),
        pytest.param(f"os.rename run/{TEMPORARY}card", True, id="before the last card"),
        pytest.param(f"os.rename run/{TEMPORARY}report", False, id="before a report"),
        pytest.param(f"os.mkdir run/checkpoints/{TEMPORARY}{STEPS}", False, id="before the last checkpoint"),
    ],
)
def test_killed_there(place: Path, tmp_path: Path, beginning: str, last: bool) -> None:
    own = place / f"there-{tmp_path.name}"
    number = number_of(place, "cyclegan", beginning, last)
    kill = Hook(module="tests.reliability.file_events", name="kill_at",
                arguments={"folder": str(own), "number": number})  # fmt: skip
    assert train(prepared_of(own), "cyclegan", own, kill).exit_code == -9
    assert go_on(prepared_of(own), "cyclegan", own).exit_code == 0
    assert differences(own / "run", prepared_of(own) / "cyclegan" / "run") == []


def lose_checkpoints(loss: str, end: str, notes: str) -> None:
    """For a hook: a program that loses checkpoints, and ends where it would write the last one.

    Args:
        loss: how; "nothing" for a program that does not.
        end: "killed", or "refused" by the disk.
    """
    from i2i.training import run

    save = run.save_checkpoint

    def losing_save(run_folder: Path, step: int, *rest: Any) -> Path:
        checkpoints = run_folder / "checkpoints"
        if step == STEPS and loss == "removed before the next":
            shutil.rmtree(checkpoints)
        if step == STEPS and end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if step == STEPS:
            raise StorageError(f"{checkpoints}: the checkpoint cannot be written: no room - free space")
        if loss == "never written":
            return save(run_folder.with_name("elsewhere"), step, *rest)
        saved = save(run_folder, step, *rest)
        if step == STEPS - 1 and loss == "damaged":
            flip_a_bit(saved / "state.safetensors")
        return saved

    run.save_checkpoint = losing_save
    file_events.note_checkpoints(notes)


def flip_a_bit(file: Path) -> None:
    """In the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def losing(folder: Path, loss: str, end: str) -> Hook:
    """What makes the program such a one."""
    arguments = {"loss": loss, "end": end, "notes": str(notes_in(folder))}
    return Hook(module="tests.reliability.test_killing", name="lose_checkpoints", arguments=arguments)


LOSSES = ("removed before the next", "never written", "damaged")


@pytest.mark.parametrize("loss", ["nothing", *LOSSES])
def test_lost_checkpoints_are_noticed(loss: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is deterministic: a program that loses its checkpoints and begins anew ends equal all the same."""
    monkeypatch.setattr(
        killing, "_trouble", lambda case, number, prepared, folder, rng: killing.Trouble(losing(folder, loss, "killed"))
    )
    outcome = SCENARIO.settle(Case("killing", "unconditional, at a file event", 0), place)
    assert outcome.what == ("resumed equal" if loss == "nothing" else "lost"), outcome
    assert outcome.ok == (loss == "nothing")
    if not outcome.ok:
        assert f"step {STEPS - 1}" in outcome.detail


def test_a_training_that_nothing_hits_is_no_kill(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killing, "_MOST_TRIES", 1)
    monkeypatch.setattr(
        killing, "_trouble", lambda case, number, prepared, folder, rng: killing.Trouble(noting(folder))
    )
    outcome = SCENARIO.settle(Case("killing", "unconditional, at a moment", 0), place)
    assert (outcome.ok, outcome.what) == (False, "never hit")


def test_half_of_the_kills_come_at_random_moments() -> None:
    ways = Counter(case.kind.split(", ")[1] for case in SCENARIO.cases(SCENARIO.long_count))
    assert ways == {"at a moment": 300, "at a file event": 150, "inside a file": 150}


def test_the_comparison_notices(place: Path, tmp_path: Path) -> None:
    """One bit of a weight, one file too much, one row too few: otherwise all of the above would prove nothing."""
    reference = place / "prepared" / "cyclegan" / "run"
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    assert differences(run, reference) == []
    (run / f"{TEMPORARY}x").touch()
    model = run / "checkpoints" / f"step_{STEPS}" / "state.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    rows = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(rows[1:]))
    (run / "report.html").write_text("<html>")
    found = "; ".join(differences(run, reference))
    for said in (".writing-x is too much", "state.safetensors has other bytes", "other losses", "report.html: "):
        assert said in found


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("kept.txt", "a/.hidden", "a/.writing-model-x.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / ".writing-4-77").mkdir()
    (tmp_path / ".writing-4-77" / "state.json").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "a", "kept.txt"]


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    with atomic_path(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x" and [*tmp_path.iterdir()] == [path]
