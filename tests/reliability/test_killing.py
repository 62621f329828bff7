"""Killed trainings resume to equal ends: a few cases of each way, and the defects that the long form found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from i2i.files import TEMPORARY, atomic_path, remove_leftovers
from tests.reliability.cases import Case, few, prepared_of
from tests.reliability.killing import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.reliability.undisturbed import STEPS, differences, go_on, train
from tests.warm import AVAILABLE, Hook

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


@pytest.mark.parametrize("case", few(SCENARIO), ids=str)
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
