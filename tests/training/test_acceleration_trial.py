"""A trial keeps what pays, in order, and gets over what does not work."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf

import pytest
import torch

from i2i.training import acceleration_trial, compiled_networks
from i2i.training.acceleration_trial import Timing, Tried, time_steps, try_tricks
from i2i.training.engine import Draw, Engine
from i2i.training.settings import TrickName
from tests.training.accelerated import engine_of

Set = frozenset[TrickName]


class Machine:
    """Says how long steps take with which tricks; those it does not know raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[Set, float], first: dict[Set, float]) -> None:
        self.seconds, self.first = seconds, first
        self.lines: list[str] = []
        monkeypatch.setattr(acceleration_trial, "time_steps", self)

    def __call__(
        self, build: Callable[[], Engine], draw: Draw, names: Collection[TrickName], report: object = None
    ) -> Timing:
        wanted = frozenset(names)
        if wanted not in self.seconds:
            raise OSError("no such\ncompiler")
        return Timing(self.first.get(wanted, self.seconds[wanted]), self.seconds[wanted])

    def tried(self, *candidates: TrickName, steps: float | None = None) -> list[Tried]:
        return try_tricks(
            lambda: pytest.fail("the machine needs no engine"),
            lambda streams, counters: pytest.fail("nor samples"),
            candidates,
            taken=("channels_last",),
            steps_to_come=lambda seconds: steps,
            report=self.lines.append,
        )


BASE: Set = frozenset({"channels_last"})
RACED: Set = frozenset({"channels_last", "raced_convolutions"})
COMPILED: Set = frozenset({"channels_last", "compiled_networks"})
BOTH: Set = RACED | COMPILED


def test_what_pays_stays_on_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {BASE: 1.0, RACED: 0.8, BOTH: 0.5}, {})
    raced, compiled = machine.tried("raced_convolutions", "compiled_networks")
    assert raced.kept and raced.without.seconds == 1.0 and raced.timing is not None and raced.timing.seconds == 0.8
    assert compiled.kept and compiled.without.seconds == 0.8
    assert compiled.why == "1.60 times as fast"
    assert machine.lines == []


@pytest.mark.parametrize(("seconds", "kept"), [(0.94, True), (0.97, False), (1.5, False)])
def test_small_gains_are_not_worth_it(monkeypatch: pytest.MonkeyPatch, seconds: float, kept: bool) -> None:
    machine = Machine(monkeypatch, {BASE: 1.0, RACED: seconds, COMPILED: 0.5, BOTH: 0.5}, {})
    raced, compiled = machine.tried("raced_convolutions", "compiled_networks")
    assert raced.kept is kept
    assert compiled.without.seconds == (seconds if kept else 1.0)


@pytest.mark.parametrize(("steps", "kept"), [(None, True), (inf, True), (201.0, True), (199.0, False)])
def test_building_must_come_back_in_the_training(
    monkeypatch: pytest.MonkeyPatch, steps: float | None, kept: bool
) -> None:
    """51 seconds against 1 for the first step, half a second saved in each later one, twice over."""
    machine = Machine(monkeypatch, {BASE: 1.0, COMPILED: 0.5}, {COMPILED: 51.0})
    (compiled,) = machine.tried("compiled_networks", steps=steps)
    assert compiled.kept is kept
    assert ("50 s to build" in compiled.why) is not kept


def test_what_does_not_work_is_left_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {BASE: 1.0, RACED: 0.5}, {})
    compiled, raced = machine.tried("compiled_networks", "raced_convolutions")
    assert not compiled.kept and compiled.timing is None
    assert raced.kept
    assert machine.lines == ["speed: compiled_networks does not work here (no such compiler); on without it"]


def test_nothing_is_timed_when_there_is_nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(monkeypatch, {}, {}).tried() == []


def test_a_machine_on_which_nothing_runs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no such"):
        Machine(monkeypatch, {}, {}).tried("compiled_networks")


# --- real steps ------------------------------------------------------------------------------------------------------


def failing_backend(graph: object, inputs: object) -> None:
    raise RuntimeError("no compiler found")


def test_steps_are_timed_and_what_was_switched_on_is_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Engine] = []

    def build() -> Engine:
        engines.append(engine_of("dcgan", "fp32")[0])
        return engines[-1]

    timing = time_steps(build, engine_of("dcgan", "fp32")[1], ("channels_last", "raced_convolutions"))
    assert timing.first_seconds > 0 and timing.seconds > 0
    assert engines[0].step >= 4
    assert not torch.backends.cudnn.benchmark


def test_a_compiler_that_fails_within_a_step_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_networks, "BACKEND", failing_backend)
    lines: list[str] = []
    engine, samples = engine_of("dcgan", "fp32")
    (compiled,) = try_tricks(
        lambda: engine,
        samples,
        ("compiled_networks",),
        taken=(),
        steps_to_come=lambda seconds: None,
        report=lines.append,
    )
    assert not compiled.kept and compiled.timing is None
    assert len(lines) == 1 and "compiled_networks does not work here" in lines[0]
    torch.compiler.reset()
