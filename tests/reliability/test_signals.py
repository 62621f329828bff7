"""Trainings that are asked to stop at random moments save, say so, and resume to equal ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.reliability.cases import Case, few, prepared_of
from tests.reliability.short_form import assert_well
from tests.reliability.signals import SCENARIOS
from tests.reliability.undisturbed import STEPS, arguments_of, cache_in, differences, go_on
from tests.warm import AVAILABLE, Hook, warm_program

(SCENARIO,) = SCENARIOS

KINDS = ["cyclegan, SIGTERM", "unconditional, SIGINT", "srgan, SIGTERM", "cyclegan, SIGINT twice"]
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


@pytest.mark.parametrize("case", few(SCENARIO, kinds=KINDS), ids=str)
def test_stopped_and_resumed(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def signal_at_last_step(number: int) -> None:
    """For a hook: the signal comes when the last step has been taken and nothing of what is due then is done."""
    from i2i.training import loop

    show = loop._show_progress

    def show_and_signal(run: loop.Run, *rest: object) -> None:
        show(run, *rest)  # type: ignore[arg-type]
        if run.engine.step == STEPS:
            signal.raise_signal(number)

    loop._show_progress = show_and_signal  # type: ignore[assignment]


def test_stopped_at_the_last_step_it_owes_nothing_in_the_end(place: Path, tmp_path: Path) -> None:
    """What the resumed run has done is not owed any more: otherwise every further resume would do it again."""
    own = place / f"last-{tmp_path.name}"
    own.mkdir()
    prepared = prepared_of(own)
    hook = Hook(module="tests.reliability.test_signals", name="signal_at_last_step",
                arguments={"number": signal.SIGTERM})  # fmt: skip
    stopped = warm_program().run(arguments_of(prepared, "cyclegan", own), own, environment=cache_in(own), hook=hook)
    assert stopped.exit_code == 143, stopped.stderr
    counters = own / "run" / "checkpoints" / f"step_{STEPS}" / "state.json"
    assert json.loads(counters.read_text())["owed"]
    assert go_on(prepared, "cyclegan", own).exit_code == 0
    assert differences(own / "run", prepared / "cyclegan" / "run") == []
    again = go_on(prepared, "cyclegan", own)
    assert again.exit_code == 0 and "finished already" in again.stderr


def raise_where_nothing_listens(place: str) -> None:
    """For a hook: Ctrl-C while the commands are being put together, or when everything has been done."""
    import atexit

    import i2i.cli

    if place == "before":
        made = i2i.cli.command_line

        def command_line() -> object:
            signal.raise_signal(signal.SIGINT)
            return made()

        i2i.cli.command_line = command_line  # type: ignore[assignment]
    else:
        atexit.register(signal.raise_signal, signal.SIGINT)


@pytest.mark.parametrize(("where", "code"), [("before", 130), ("after", 0)])
def test_ctrl_c_beside_the_command_shows_no_traceback(tmp_path: Path, where: str, code: int) -> None:
    hook = Hook(module="tests.reliability.test_signals", name="raise_where_nothing_listens", arguments={"place": where})
    ended = warm_program().run(["--version"], tmp_path, hook=hook)
    assert ended.exit_code == code
    assert ended.stderr == ("i2i: interrupted\n" if code else "")
