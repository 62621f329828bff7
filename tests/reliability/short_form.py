"""How a test takes a case of the campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, Scenario


def assert_well(scenario: Scenario, case: Case, place: Path) -> None:
    """Run one case in a `place` that was made ready; skip what this machine does not allow."""
    outcome = scenario.settle(case, place)
    if outcome.what == NOT_POSSIBLE_HERE:
        pytest.skip(f"{NOT_POSSIBLE_HERE}: {outcome.detail}")
    assert outcome.ok, outcome
