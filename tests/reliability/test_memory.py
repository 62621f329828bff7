"""Memory that runs out: the same data afterwards, or an orderly stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.memory import IN_STEPS, KINDS, SCENARIOS
from tests.reliability.short_form import assert_well

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.mark.parametrize("case", few(SCENARIO, kinds=[kind for kind in KINDS if kind not in IN_STEPS]), ids=str)
def test_nothing_is_lost(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


@pytest.mark.parametrize("case", few(SCENARIO, kinds=IN_STEPS), ids=str)
def test_a_batch_that_splits_goes_on_in_smaller_parts(case: Case, place: Path) -> None:
    outcome = SCENARIO.settle(case, place)
    assert (outcome.ok, outcome.what) == (True, "went on, equal but for rounding"), outcome
