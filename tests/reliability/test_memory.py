"""Memory that runs out: the same data afterwards, or an orderly stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.memory import SCENARIOS
from tests.reliability.short_form import assert_well

(SCENARIO,) = SCENARIOS

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.mark.parametrize("case", few(SCENARIO), ids=str)
def test_nothing_is_lost(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)
