"""Learning-rate schedules as pure functions of progress: a resumed run needs no schedule state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from i2i.core.step import Progress

Unit = Literal["epochs", "steps", "images"]


def _completed(progress: Progress, unit: Unit) -> int:
    """Whole units behind us; within an epoch the rate stays the same, as in the reference implementation."""
    # The small allowance keeps 3 * (1/3) epochs from counting as 0.
    if unit == "epochs":
        return int(progress.epoch + 1e-9)
    return progress.step if unit == "steps" else progress.images


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    """The same rate throughout."""

    kind: Literal["constant"] = "constant"

    def factor(self, progress: Progress) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """Constant, then linearly towards zero, which it would reach one unit after the end.

    Source: CycleGAN (Zhu et al. 2017), section 4, as its released code counts:
    ``1 - max(0, e - constant) / (decay + 1)`` in unit number e, counted from 1.
    """

    kind: Literal["linear"] = "linear"
    constant: int = 100
    decay: int = 100
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        if self.constant < 0 or self.decay < 0:
            raise ValueError(f"constant is {self.constant} and decay {self.decay}; neither can be negative")

    def factor(self, progress: Progress) -> float:
        number = _completed(progress, self.unit) + 1
        return max(0.0, 1.0 - max(0, number - self.constant) / (self.decay + 1))


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Half a cosine from the full rate to `final` of it over `total` units."""

    kind: Literal["cosine"] = "cosine"
    total: int = 100
    final: float = 0.0
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        if self.total < 1:
            raise ValueError(f"total is {self.total}; needs at least 1")

    def factor(self, progress: Progress) -> float:
        fraction = min(1.0, _completed(progress, self.unit) / self.total)
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * fraction)) / 2.0


@dataclass(frozen=True, kw_only=True)
class StepSchedule:
    """Multiplied by `multiplier` after every `every` units."""

    kind: Literal["step"] = "step"
    every: int = 50
    multiplier: float = 0.1
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; needs at least 1")

    def factor(self, progress: Progress) -> float:
        return self.multiplier ** (_completed(progress, self.unit) // self.every)


@dataclass(frozen=True, kw_only=True)
class SchedulePiece:
    """One stretch of a piecewise schedule: from `start` to `end` times the full rate over `length` units."""

    length: int
    start: float = 1.0
    end: float = 1.0
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length is {self.length}; needs at least 1")
        if self.start < 0 or self.end < 0:
            raise ValueError(f"start is {self.start:g} and end {self.end:g}; neither can be negative")

    def factor(self, completed: int) -> float:
        fraction = min(1.0, completed / self.length)
        if self.shape == "cosine":
            fraction = (1.0 - math.cos(math.pi * fraction)) / 2.0
        return self.start + (self.end - self.start) * fraction


@dataclass(frozen=True, kw_only=True)
class PiecewiseSchedule:
    """Stretches one after the other, for trainings of several phases; beyond the last its end stays."""

    kind: Literal["piecewise"] = "piecewise"
    pieces: tuple[SchedulePiece, ...]
    unit: Unit = "images"

    def __post_init__(self) -> None:
        if not self.pieces:
            raise ValueError("pieces is empty; needs at least one")

    def factor(self, progress: Progress) -> float:
        completed = _completed(progress, self.unit)
        for piece in self.pieces[:-1]:
            if completed < piece.length:
                return piece.factor(completed)
            completed -= piece.length
        return self.pieces[-1].factor(completed)


ScheduleSettings = ConstantSchedule | LinearSchedule | CosineSchedule | StepSchedule | PiecewiseSchedule
