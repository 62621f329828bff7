"""Full, small and read-only disks: a few cases of each work, and the defects that the long form found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import full_disks
from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, few
from tests.reliability.full_disks import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.reliability.test_killing import LOSSES, losing
from tests.warm import AVAILABLE, Hook

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


QUICK_WORKS = ("translate in bands", "generate", "convert", "prepare", "report")
"""In every trouble; the long form has the others there, too."""
SLOW_WORKS = ("train unconditional", "train srgan", "train with W&B", "export to ONNX")
"""For the long form alone, but for what is tried of the first below."""


def is_quick(kind: str) -> bool:
    work, trouble = kind.split(", ")
    return work not in SLOW_WORKS if trouble == "full at a write" else work in QUICK_WORKS


QUICK = [case for case in few(SCENARIO) if is_quick(case.kind)]


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_refused_and_done_again(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


@pytest.mark.parametrize(
    "trouble", ["refused once", "read-only from a write on", "limited file size", "small disk", "read-only disk"]
)
def test_trainings_of_one_pipeline_in_every_trouble(trouble: str, place: Path) -> None:
    assert_well(SCENARIO, Case(SCENARIO.name, f"train unconditional, {trouble}", 1), place)


def test_the_log_of_wandb_says_no_pages_when_it_cannot_be_written(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    work, prepared = "train with W&B", place / "prepared"
    full_disks._make_whole(work, prepared)
    events = (prepared / f"{work}.events").read_text().splitlines()
    numbers = [number for number in full_disks._events_of(work, prepared) if events[number - 1].endswith("debug.log")]
    hook = Hook(
        module="tests.reliability.file_events",
        name="refuse_from",
        arguments={"folder": str(tmp_path), "number": numbers[-1], "refused": str(tmp_path / "refused")},
    )
    done = full_disks._do(work, prepared, tmp_path, hook)
    assert full_disks.first_refused(tmp_path).endswith(".log")
    assert done.exit_code in (0, 1)
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr


@pytest.mark.parametrize("trouble", full_disks._TROUBLES)
def test_a_trouble_that_never_comes_is_no_success(trouble: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_disks, "_begin", lambda *arguments: None)
    outcome = SCENARIO.settle(Case(SCENARIO.name, f"convert, {trouble}", 0), place)
    assert (outcome.ok, outcome.what) in ((False, "never hit"), (False, NOT_POSSIBLE_HERE)), outcome


@pytest.mark.parametrize("loss", LOSSES)
def test_lost_checkpoints_are_noticed(loss: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that the disk refuses its last checkpoint, and that has lost those before by then."""
    monkeypatch.setattr(
        full_disks, "_begin", lambda case, prepared, disk, folder, rng, attempt: losing(folder, loss, "refused")
    )
    outcome = SCENARIO.settle(Case(SCENARIO.name, "train unconditional, full at a write", 0), place)
    assert (outcome.ok, outcome.what) == (False, "lost"), outcome


def test_every_case_of_a_work_is_refused_at_another_event(place: Path, tmp_path: Path) -> None:
    work, disk = "train unconditional", full_disks.Disk(tmp_path)
    full_disks._make_whole(work, place / "prepared")
    cases = [Case(SCENARIO.name, f"{work}, full at a write", seed) for seed in range(100)]
    hooks = [full_disks._begin(case, place / "prepared", disk, tmp_path, case.rng, attempt=0) for case in cases]
    assert len({hook.arguments["number"] for hook in hooks if hook is not None}) == len(cases)
