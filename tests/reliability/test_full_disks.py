"""Full, small and read-only disks: a few cases of each work, and the defects that the long form found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.cases import Case, few
from tests.reliability.full_disks import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.warm import AVAILABLE

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


QUICK = [
    case
    for case in few(SCENARIO)
    if case.kind.endswith("full at a write") or (case.kind.endswith("disk") and not case.kind.startswith("train"))
]


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_refused_and_done_again(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


@pytest.mark.parametrize("trouble", ["limited file size", "small disk", "read-only disk"])
def test_trainings_of_one_pipeline_in_every_trouble(trouble: str, place: Path) -> None:
    assert_well(SCENARIO, Case(SCENARIO.name, f"train unconditional, {trouble}", 0), place)
