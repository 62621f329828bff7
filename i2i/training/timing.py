"""When things are due, how far a training is, and how fast it goes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from i2i.core.step import Progress
from i2i.training.settings import LengthSettings


@dataclass
class Due:
    """Says when something periodic is to happen: whenever a multiple of one of the periods is passed."""

    every_steps: int | None = None
    every_epochs: float | None = None
    every_minutes: float | None = None
    _last_seconds: float = field(default_factory=time.monotonic)

    def by_count(self, before: Progress, after: Progress) -> bool:
        """Whether the step from `before` to `after` passed a multiple; the same on every process."""
        if self.every_steps and after.step // self.every_steps > before.step // self.every_steps:
            return True
        return bool(
            self.every_epochs
            and _completed(after.epoch, self.every_epochs) > _completed(before.epoch, self.every_epochs)
        )

    def by_clock(self) -> bool:
        """Whether the time since `restart` is up; processes must agree on the answer before acting on it."""
        return self.every_minutes is not None and time.monotonic() - self._last_seconds >= 60 * self.every_minutes

    def restart(self) -> None:
        """The thing happened: the clock starts anew."""
        self._last_seconds = time.monotonic()


def _completed(epoch: float, period: float) -> int:
    # The allowance keeps sums of thirds and tenths from falling just short of a whole.
    return math.floor(epoch / period + 1e-9)


@dataclass(frozen=True)
class Length:
    """How much of a training is behind us."""

    settings: LengthSettings
    images_per_epoch: int
    batch_size: int

    def fraction(self, progress: Progress, wall_seconds: float) -> float:
        """Share of the length done, at most 1: the largest over the limits that are set."""
        shares = [wall_seconds / (60 * self.settings.minutes)] if self.settings.minutes is not None else []
        if (steps := self.total_steps()) is not None:
            shares.append(progress.step / steps)
        return min(1.0, max(shares))

    def total_steps(self) -> int | None:
        """Steps until the nearest limit that is not a time."""
        return min(self._limits_in_steps().values(), default=None)

    def reached(self, progress: Progress, wall_seconds: float) -> dict[str, float]:
        """The limits that are reached: their names in the settings and their values."""
        limits = self._limits_in_steps()
        names = [name for name, steps in limits.items() if progress.step >= steps]
        if self.settings.minutes is not None and wall_seconds >= 60 * self.settings.minutes:
            names.append("minutes")
        return {name: getattr(self.settings, name) for name in names}

    def _limits_in_steps(self) -> dict[str, int]:
        """The limits that are no time, by name."""
        limits: dict[str, int] = {}
        if self.settings.steps is not None:
            limits["steps"] = self.settings.steps
        if self.settings.images is not None:
            limits["images"] = math.ceil(self.settings.images / self.batch_size)
        if self.settings.epochs is not None:
            limits["epochs"] = math.ceil(self.settings.epochs * self.images_per_epoch / self.batch_size - 1e-9)
        return limits


class Speedometer:
    """Images a second since the last reading."""

    def __init__(self) -> None:
        self._images = 0
        self._started = time.monotonic()

    def add(self, images: int) -> None:
        self._images += images

    def leave_out(self, seconds: float) -> None:
        """Time in which something else was done."""
        self._started += seconds

    def read(self) -> float:
        now = time.monotonic()
        rate = self._images / max(now - self._started, 1e-9)
        self._images, self._started = 0, now
        return rate


class Remaining:
    """Estimates the time left from the pace of this attempt."""

    def __init__(self, fraction: float) -> None:
        self._first_fraction = fraction
        self._started = time.monotonic()

    def seconds(self, fraction: float) -> float | None:
        """Seconds from `fraction` to the end; None while there is nothing to judge by."""
        done = fraction - self._first_fraction
        if done <= 0:
            return None
        return (time.monotonic() - self._started) * (1.0 - fraction) / done
