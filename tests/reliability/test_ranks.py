"""One of two processes is killed: the other says so, and the run goes on to the end that it would have had."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.cli.failures import report_failure
from tests.reliability.cases import Case, few
from tests.reliability.ranks import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.warm import AVAILABLE

(SCENARIO,) = SCENARIOS


@pytest.mark.slow
@pytest.mark.skipif(not AVAILABLE, reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "case", few(SCENARIO, kinds=["rank 1, restarted by torchrun", "rank 0, then resumed"]), ids=str
)
def test_it_ends_as_if_nobody_had_been_killed(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def test_a_lost_process_is_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:11177. GLHF!")
    assert report_failure(error) == 1
    assert "internal error" in capsys.readouterr().err  # one process alone has nobody to lose
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert report_failure(error) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "another of the processes has ended" in line and "--resume" in line
