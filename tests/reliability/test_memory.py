"""Memory that runs out: the same data afterwards, or an orderly stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.memory import SCENARIOS

(MEMORY,) = SCENARIOS

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    MEMORY.make_ready(folder)
    return folder


@pytest.mark.parametrize("case", few(MEMORY), ids=str)
def test_nothing_is_lost(case: Case, place: Path) -> None:
    outcome = MEMORY.settle(case, place)
    assert outcome.ok, outcome
