"""Full, small and read-only disks: a few cases of each work, and the defects that the long form found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, few
from tests.reliability.full_disks import FULL_DISKS
from tests.warm import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full_disks")
    FULL_DISKS.make_ready(folder)
    return folder


QUICK = [
    case
    for case in few(FULL_DISKS)
    if case.kind.endswith("full at a write") or (case.kind.endswith("disk") and not case.kind.startswith("train"))
]


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_refused_and_done_again(case: Case, place: Path) -> None:
    assert_well(case, place)


@pytest.mark.parametrize("trouble", ["limited file size", "small disk", "read-only disk"])
def test_trainings_of_one_pipeline_in_every_trouble(trouble: str, place: Path) -> None:
    assert_well(Case(FULL_DISKS.name, f"train unconditional, {trouble}", 0), place)


def assert_well(case: Case, place: Path) -> None:
    outcome = FULL_DISKS.settle(case, place)
    if outcome.what == NOT_POSSIBLE_HERE:
        pytest.skip("needs the right to mount")
    assert outcome.ok, outcome
