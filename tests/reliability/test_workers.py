"""Data workers, /dev/shm, sinks and readers that fail or hang: the same weights, and an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, few
from tests.reliability.workers import SCENARIOS

(WORKERS,) = SCENARIOS
# A full /dev/shm once let a training wait forever for pictures; one whose output nobody read any more ended there.
SHORT = ["a data worker killed", "a full /dev/shm", "a sink that hangs", "output that nobody reads"]

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    WORKERS.make_ready(folder)
    return folder


@pytest.mark.parametrize("case", few(WORKERS, kinds=SHORT), ids=str)
def test_the_same_weights_come_out(case: Case, place: Path) -> None:
    outcome = WORKERS.settle(case, place)
    if outcome.what == NOT_POSSIBLE_HERE:
        pytest.skip("needs the right to mount")
    assert outcome.ok, outcome
