"""When things are due, when a training ends, and what the clock says."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest

from i2i.core.step import Progress
from i2i.training import timing
from i2i.training.settings import LengthSettings
from i2i.training.timing import Due, Length, Remaining, Speedometer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=stopped))
    return stopped


def progress(step: int, *, batch: int = 1, images_per_epoch: int = 10) -> Progress:
    return Progress(step, step * batch, step * batch / images_per_epoch)


def due_steps(due: Due, steps: int, *, batch: int = 1, images_per_epoch: int = 10) -> list[int]:
    """Steps after which it is due."""
    states = [progress(step, batch=batch, images_per_epoch=images_per_epoch) for step in range(steps + 1)]
    return [after.step for before, after in itertools.pairwise(states) if due.by_count(before, after)]


# --- due -------------------------------------------------------------------------------------------------------------


def test_due_by_steps() -> None:
    assert due_steps(Due(every_steps=3), 10) == [3, 6, 9]


def test_due_by_epochs() -> None:
    assert due_steps(Due(every_epochs=1.0), 25) == [10, 20]
    assert due_steps(Due(every_epochs=0.5), 11) == [5, 10]


def test_due_by_epochs_when_the_batch_jumps_over_their_ends() -> None:
    # Epochs end at images 10, 20, 30; steps at 4, 8, 12, ...
    assert due_steps(Due(every_epochs=1.0), 8, batch=4) == [3, 5, 8]


@pytest.mark.parametrize("images_per_epoch", [3, 7, 10, 1187])
def test_no_epoch_is_missed_or_met_twice_by_rounding(images_per_epoch: int) -> None:
    found = due_steps(Due(every_epochs=1.0), 5 * images_per_epoch, images_per_epoch=images_per_epoch)
    assert found == [epoch * images_per_epoch for epoch in range(1, 6)]
    tenths = due_steps(Due(every_epochs=0.1), 100, images_per_epoch=100)
    assert tenths == list(range(10, 101, 10))


def test_due_by_whichever_comes_first() -> None:
    assert due_steps(Due(every_steps=4, every_epochs=1.0), 12) == [4, 8, 10, 12]


def test_never_due_without_a_period(clock: Clock) -> None:
    due = Due()
    due.restart()
    clock.now += 1e9
    assert due_steps(due, 100) == [] and not due.by_clock()


def test_counting_does_not_depend_on_where_an_attempt_begins() -> None:
    due = Due(every_steps=5)
    assert not due.by_count(progress(12), progress(13))
    assert due.by_count(progress(14), progress(15))


def test_due_by_the_clock_until_it_is_restarted(clock: Clock) -> None:
    due = Due(every_minutes=2.0)
    due.restart()
    clock.now += 119.9
    assert not due.by_clock()
    clock.now += 0.1
    assert due.by_clock() and due.by_clock()
    due.restart()
    assert not due.by_clock()
    clock.now += 120
    assert due.by_clock()


# --- length ----------------------------------------------------------------------------------------------------------


def length(settings: LengthSettings, *, batch: int = 1) -> Length:
    return Length(settings, images_per_epoch=10, batch_size=batch)


@pytest.mark.parametrize(
    ("settings", "batch", "steps"),
    [
        (LengthSettings(steps=7), 4, 7),
        (LengthSettings(images=10), 4, 3),
        (LengthSettings(images=12), 4, 3),
        (LengthSettings(epochs=2), 1, 20),
        (LengthSettings(epochs=2), 3, 7),
        (LengthSettings(epochs=0.3), 1, 3),
        (LengthSettings(epochs=2, steps=9, images=11), 1, 9),
        (LengthSettings(minutes=5), 1, None),
        (LengthSettings(minutes=5, steps=3), 1, 3),
    ],
)
def test_steps_until_the_nearest_limit(settings: LengthSettings, batch: int, steps: int | None) -> None:
    assert length(settings, batch=batch).total_steps() == steps


def test_the_nearest_limit_decides_how_much_is_done() -> None:
    both = length(LengthSettings(steps=10, minutes=2.0))
    assert both.fraction(progress(5), wall_seconds=0.0) == 0.5
    assert both.fraction(progress(5), wall_seconds=90.0) == 0.75
    assert both.fraction(progress(5), wall_seconds=1000.0) == 1.0
    assert both.fraction(progress(11), wall_seconds=0.0) == 1.0


def test_time_alone_can_be_the_length() -> None:
    assert length(LengthSettings(minutes=2.0)).fraction(progress(10**9), wall_seconds=30.0) == 0.25


def test_done_is_reached_exactly_at_the_last_step() -> None:
    thirds = Length(LengthSettings(epochs=3), images_per_epoch=7, batch_size=3)
    last = thirds.total_steps()
    assert last == 7
    assert thirds.fraction(progress(last - 1), 0.0) < 1.0 == thirds.fraction(progress(last), 0.0)


def test_reached_limits_are_named() -> None:
    all_of_them = LengthSettings(steps=10, images=44, epochs=5, minutes=2.0)
    both = length(all_of_them, batch=4)
    assert both.reached(progress(9, batch=4), wall_seconds=0.0) == {}
    assert both.reached(progress(10, batch=4), wall_seconds=0.0) == {"steps": 10}
    assert both.reached(progress(11, batch=4), wall_seconds=120.0) == {"steps": 10, "images": 44, "minutes": 2.0}
    assert list(both.reached(progress(13, batch=4), wall_seconds=0.0)) == ["steps", "images", "epochs"]


# --- speed -----------------------------------------------------------------------------------------------------------


def test_speed_is_that_since_the_last_reading(clock: Clock) -> None:
    speed = Speedometer()
    for _ in range(5):
        speed.add(4)
    clock.now += 2.0
    assert speed.read() == 10.0
    speed.add(3)
    clock.now += 6.0
    assert speed.read() == 0.5


def test_speed_without_time_is_a_number(clock: Clock) -> None:
    speed = Speedometer()
    assert speed.read() == 0.0
    speed.add(1)
    assert math.isfinite(speed.read())


def test_remaining_time_goes_by_the_pace_of_this_attempt(clock: Clock) -> None:
    remaining = Remaining(0.5)
    assert remaining.seconds(0.5) is None
    clock.now += 60.0
    assert remaining.seconds(0.6) == pytest.approx(240.0)
    assert remaining.seconds(1.0) == 0.0
