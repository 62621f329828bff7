"""Broken numbers in each network: skipped, counted, rolled back, and never written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.short_form import assert_well
from tests.reliability.wrong_numbers import KINDS, NETWORKS, SCENARIOS, SPANS, expected, what_is_spoiled

(SCENARIO,) = SCENARIOS


# Among them a training that is to go back before its first checkpoint, which once spoke of a resume that nobody asked
# for, with the exit code of a damaged model.
@pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")
@pytest.mark.parametrize("case", few(SCENARIO), ids=str)
def test_what_is_broken_is_skipped_and_never_written(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def test_the_short_form_meets_every_network_and_every_span() -> None:
    met = [what_is_spoiled(case) for case in few(SCENARIO)]
    assert {(training, network) for training, network, _ in met} == {*NETWORKS}
    assert {span for _, _, span in met} == {*SPANS}
    assert {case.kind for case in few(SCENARIO)} == {*KINDS}


def test_the_rules_are_told_rightly() -> None:
    healthy = tuple(range(1, 15))
    assert expected(lambda call: call == 5, "one step").steps == healthy
    stops = expected(lambda call: call in (5, 6, 7), "then stop")
    assert (stops.steps, stops.diverges) == ((1, 2, 3, 4, 5, 6, 7), True)
    back = expected(lambda call: call in (5, 6, 7), "then roll back")
    # The checkpoint of step 6 was written while two steps in a row were still endured.
    assert (back.steps, back.diverges, back.rollbacks) == ((1, 2, 3, 4, 5, 6, 7, *range(7, 15)), False, 1)
    assert expected(lambda call: call >= 5, "again and again").rollbacks == 2
    assert expected(lambda call: call == 1, "before any checkpoint").steps == (1,)
