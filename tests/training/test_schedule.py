"""Schedules where the reference values end: steps as unit, past the end, in the middle of things."""

from __future__ import annotations

import math

import pytest

from i2i.core.step import Progress
from i2i.training.schedule import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PiecewiseSchedule,
    SchedulePiece,
    ScheduleSettings,
    StepSchedule,
)


def at(epoch: float, *, step: int = 0) -> Progress:
    return Progress(step, 0, epoch)


def at_step(step: int) -> Progress:
    # The epoch would give another answer.
    return Progress(step, 0, 0.0)


def test_constant() -> None:
    assert ConstantSchedule().factor(at(1e6, step=10**9)) == 1.0


def test_linear_counts_steps_when_asked() -> None:
    schedule = LinearSchedule(constant=2, decay=3, unit="steps")
    factors = [schedule.factor(at_step(step)) for step in range(7)]
    assert factors == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0])


def test_linear_without_a_constant_part_and_without_decay() -> None:
    assert LinearSchedule(constant=0, decay=1).factor(at(0)) == 0.5
    schedule = LinearSchedule(constant=2, decay=0)
    assert [schedule.factor(at(epoch)) for epoch in (0, 1, 2, 3)] == [1.0, 1.0, 0.0, 0.0]


def test_no_rate_is_negative_past_the_end() -> None:
    for schedule in (LinearSchedule(), CosineSchedule(), StepSchedule()):
        assert schedule.factor(at(10_000.0, step=10**7)) >= 0.0


def test_cosine_ends_at_its_final_share_and_stays() -> None:
    schedule = CosineSchedule(total=10, final=0.2)
    factors = [schedule.factor(at(epoch)) for epoch in (0, 5, 10, 11, 1000)]
    assert factors == pytest.approx([1.0, 0.6, 0.2, 0.2, 0.2])


def test_cosine_counts_steps_when_asked() -> None:
    assert CosineSchedule(total=4, unit="steps").factor(at_step(2)) == pytest.approx(0.5)


def test_step_falls_at_multiples() -> None:
    schedule = StepSchedule(every=2, multiplier=0.5, unit="steps")
    assert [schedule.factor(at_step(step)) for step in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "schedule", [LinearSchedule(constant=1, decay=9), CosineSchedule(total=10), StepSchedule(every=1)]
)
def test_within_an_epoch_the_rate_stays(schedule: ScheduleSettings) -> None:
    assert schedule.factor(at(4.0)) == schedule.factor(at(4.999)) != schedule.factor(at(5.0))


@pytest.mark.parametrize("images_per_epoch", [3, 7, 49, 1187])
def test_an_epoch_that_is_complete_counts_in_spite_of_rounding(images_per_epoch: int) -> None:
    schedule = StepSchedule(every=1, multiplier=0.5)
    for epoch in range(1, 20):
        share = sum([1 / images_per_epoch] * images_per_epoch) * epoch
        assert schedule.factor(at(share)) == 0.5**epoch


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LinearSchedule(constant=-1), "constant"),
        (lambda: LinearSchedule(decay=-1), "decay"),
        (lambda: CosineSchedule(total=0), "total"),
        (lambda: StepSchedule(every=0), "every"),
    ],
)
def test_impossible_periods_are_refused(make: type[LinearSchedule], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


class TestPiecewise:
    SCHEDULE = PiecewiseSchedule(
        unit="steps",
        pieces=(
            SchedulePiece(length=4, start=0.0, end=1.0),
            SchedulePiece(length=10, start=1.0, end=0.0, shape="cosine"),
            SchedulePiece(length=5, start=0.25, end=0.25),
        ),
    )

    def test_each_piece_goes_from_its_start_to_its_end(self) -> None:
        factors = [self.SCHEDULE.factor(at_step(step)) for step in (0, 1, 3, 4, 9, 13, 14, 18)]
        near_the_end = (1 + math.cos(math.pi * 0.9)) / 2
        assert factors == pytest.approx([0.0, 0.25, 0.75, 1.0, 0.5, near_the_end, 0.25, 0.25])

    def test_the_last_end_stays(self) -> None:
        assert self.SCHEDULE.factor(at_step(10**6)) == 0.25
        rising = PiecewiseSchedule(unit="steps", pieces=(SchedulePiece(length=2, start=0.0, end=0.5),))
        assert rising.factor(at_step(99)) == 0.5

    def test_impossible_pieces_are_refused(self) -> None:
        with pytest.raises(ValueError, match="pieces is empty"):
            PiecewiseSchedule(pieces=())
        with pytest.raises(ValueError, match="length is 0"):
            SchedulePiece(length=0)
        with pytest.raises(ValueError, match="end -1"):
            SchedulePiece(length=1, end=-1)
