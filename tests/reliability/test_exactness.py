"""Cut and resumed equals uninterrupted; the long form cuts at every step, in every variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import warm
from tests.reliability.cases import Case, few
from tests.reliability.exactness import SCENARIOS, STEPS, VARIANTS
from tests.reliability.short_form import assert_well

SCENARIO, _, OFTEN = SCENARIOS

needs_fork = pytest.mark.skipif(not warm.AVAILABLE, reason="needs processes that fork")


CUTS = [case for case in few(SCENARIO, of_each=9) if (case.kind, case.seed) in (("dcgan", 8), ("srgan", 1))]
"""Those that the tests of training do not cut already; that of SRGAN where its first phase ends."""


@needs_fork
@pytest.mark.parametrize("case", CUTS, ids=str)
def test_cut_once(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def test_the_long_form_cuts_everywhere_in_every_variant() -> None:
    seeds = {case.seed for case in SCENARIO.cases(SCENARIO.long_count)}
    assert seeds == {*range(STEPS - 1)}
    assert {case.kind for case in OFTEN.cases(OFTEN.long_count)} == VARIANTS.keys()
    for word in ("bf16", "2 processes", "accumulated"):
        assert any(word in name for name in VARIANTS)
    # An augmentation that adapts to what the whole batch says, heard in parts.
    assert "adaptive bf16, 2 processes, accumulated" in VARIANTS
