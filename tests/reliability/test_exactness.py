"""Cut and resumed equals uninterrupted; the long form cuts at every step, in every variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.exactness import SCENARIOS, STEPS, VARIANTS

SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}

needs_fork = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exactness")
    SCENARIO["cut_once"].make_ready(folder)
    return folder


CUTS = [case for case in few(SCENARIO["cut_once"], of_each=9) if (case.kind, case.seed) in (("dcgan", 8), ("srgan", 1))]
"""Those that the tests of training do not cut already; that of SRGAN where its first phase ends."""


@needs_fork
@pytest.mark.parametrize("case", CUTS, ids=str)
def test_cut_once(case: Case, place: Path) -> None:
    outcome = SCENARIO["cut_once"].settle(case, place)
    assert outcome.ok, outcome


def test_the_long_form_cuts_everywhere_in_every_variant() -> None:
    once = SCENARIO["cut_once"]
    seeds = {case.seed for case in once.cases(once.long_count)}
    assert seeds == {*range(STEPS - 1)}
    often = SCENARIO["cut_often"]
    assert {case.kind for case in often.cases(often.long_count)} == VARIANTS.keys()
    for word in ("bf16", "2 processes", "accumulated"):
        assert any(word in name for name in VARIANTS)
