"""Data workers, /dev/shm, sinks and readers that fail or hang: the same weights, and an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.short_form import assert_well
from tests.reliability.workers import SCENARIOS

(SCENARIO,) = SCENARIOS
# A full /dev/shm once let a training wait forever for pictures; one whose output nobody read any more ended there.
SHORT = ["a data worker killed", "a full /dev/shm", "a sink that hangs", "output that nobody reads"]

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.mark.parametrize("case", few(SCENARIO, kinds=SHORT), ids=str)
def test_the_same_weights_come_out(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)
