"""A short trial of what makes a step faster: which tricks pay on this device, for these networks."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf

import torch

from i2i.core.device_clock import now
from i2i.training.acceleration import Report, accelerate, gave_up, say_nothing
from i2i.training.engine import Draw, Engine
from i2i.training.settings import TrickName

# Below this gain a trick is not worth what it may break.
WORTHWHILE_SPEEDUP = 1.05
# What building takes must come back several times over in the training that is to follow.
_SAVED_OVER_BUILDING = 2.0
_LEAST_STEPS, _MOST_STEPS, _MOST_SECONDS = 2, 10, 2.0


@dataclass(frozen=True)
class Timing:
    """How long steps took."""

    first_seconds: float
    """Of the first step, which builds kernels."""
    seconds: float
    """Of a later one."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a trial found out about one trick."""

    name: TrickName
    without: Timing
    """With the tricks alone that were kept before."""
    timing: Timing | None
    """With this one beside them; None: it does not work here."""
    kept: bool
    why: str
    """In words, for people."""


def try_tricks(
    build: Callable[[], Engine],
    draw: Draw,
    candidates: Sequence[TrickName],
    *,
    taken: Collection[TrickName],
    steps_to_come: Callable[[float], float | None],
    report: Report,
) -> list[Tried]:
    """Take a few steps with and without each candidate, in order; those that pay stay on for the later ones.

    Args:
        build: gives a throwaway engine without any tricks.
        draw: gives it made-up samples.
        taken: tricks that are on in any case.
        steps_to_come: from the seconds of a step to how many the training will have; None: not known, and many.
        report: takes one line for each trick that does not work here.

    Raises:
        Exception: whatever ends the steps of even the first engine here.
    """
    if not candidates:
        return []
    kept = set(taken)
    without = time_steps(build, draw, kept)
    found: list[Tried] = []
    for name in candidates:
        trouble: list[str] = []
        timing = None
        try:
            timing = time_steps(build, draw, {*kept, name}, trouble.append)
        except Exception as error:  # as in `accelerate`: a trick must not end what goes on without it
            trouble.append(gave_up(name, error))
        if trouble or timing is None:
            report(trouble[0])
            found.append(Tried(name=name, without=without, timing=None, kept=False, why="does not work here"))
            continue
        pays, why = _verdict(without, timing, steps_to_come(timing.seconds))
        found.append(Tried(name=name, without=without, timing=timing, kept=pays, why=why))
        if pays:
            kept.add(name)
            without = timing
    return found


def _verdict(without: Timing, timing: Timing, steps: float | None) -> tuple[bool, str]:
    """Whether a trick is worth having, and why."""
    gain = without.seconds / timing.seconds
    if gain < WORTHWHILE_SPEEDUP:
        return False, f"{gain:.2f} times as fast, which is not worth it"
    building = max(0.0, timing.first_seconds - without.first_seconds)
    saved = inf if steps is None else steps * (without.seconds - timing.seconds)
    if saved < _SAVED_OVER_BUILDING * building:
        return False, f"{gain:.2f} times as fast, but {building:.0f} s to build would save {saved:.0f} s"
    return True, f"{gain:.2f} times as fast"


def time_steps(
    build: Callable[[], Engine], draw: Draw, names: Collection[TrickName], report: Report = say_nothing
) -> Timing:
    """Take a few steps with these tricks; they are taken back afterwards.

    Args:
        report: takes one line for each trick that does not work here, and was left out.
    """
    engine = build()
    device = engine.precision.device
    take_back = accelerate(engine, names, report)
    try:
        first = _timed_step(engine, draw)
        # The second step still does what others do not: what is due only now and then has not been met before.
        _timed_step(engine, draw)
        seconds: list[float] = []
        while len(seconds) < _LEAST_STEPS or (len(seconds) < _MOST_STEPS and sum(seconds) < _MOST_SECONDS):
            seconds.append(_timed_step(engine, draw))
    finally:
        take_back()
        del engine
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    # The fastest is what the machine can do when nobody else uses it.
    return Timing(first, min(seconds))


def _timed_step(engine: Engine, draw: Draw) -> float:
    device = engine.precision.device
    started = now(device)
    engine.take_step(draw)
    return now(device) - started
