"""`i2i train --dry-run`: a few steps and all else once, to tell what the whole training would take."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import typer

from i2i.commands.notes import notes_at_start
from i2i.commands.planning import (
    build_engine,
    build_evaluation,
    choose,
    finished_already,
    open_data,
    read_plan,
    settle_arithmetic,
    spent_seconds,
)
from i2i.core.device_clock import now
from i2i.core.step import Progress
from i2i.data.dataset import DataSet
from i2i.data.loader import StreamLoader
from i2i.inference.runtime import resolve_device
from i2i.recipe import Recipe
from i2i.training.checkpoint import load_newest_checkpoint, misfit_as_help
from i2i.training.distributed import Processes
from i2i.training.engine import Draw, Engine
from i2i.training.evaluation import Evaluation, open_features
from i2i.training.evaluation_cost import measure_cost
from i2i.training.loop import bind_draws
from i2i.training.progress_bar import TrainingProgress, format_duration
from i2i.training.rehearsal import draw_sheets, rehearse
from i2i.training.rows import peak_memory_gib
from i2i.training.run import Run
from i2i.training.settings import EvaluationSettings
from i2i.training.timing import Length

_TIMED_STEPS = 2


def run(recipe_name: str | None, overrides: list[str], *, resume: Path | None, device_name: str, json: bool) -> None:
    """Check recipe and data, time a few steps of every phase, rehearse the rest, print time and memory; writes nothing.

    Raises:
        I2IError: as `i2i.commands.train.start`.
    """
    device = resolve_device(device_name)
    recipe = read_plan(recipe_name, overrides, resume)
    settle_arithmetic(recipe)
    recipe = choose(recipe, device, resumed=resume is not None)
    extractor = open_features(recipe.evaluate, device)
    data = open_data(recipe)
    engine = build_engine(recipe, data, Processes(), device)
    evaluation = build_evaluation(recipe, engine, data, extractor)
    spent, owes = 0.0, False
    if resume is not None:
        state = load_newest_checkpoint(resume)[1]
        with misfit_as_help(resume):
            engine.load_state(state)
            spent, owes = spent_seconds(resume), bool(state.counters.get("owed"))
    begin, length = engine.progress, Length(recipe.training.length, engine.images_per_epoch, recipe.training.batch_size)
    rehearsed = _as_a_run(recipe, engine, data, evaluation)
    draw_sheets(rehearsed)
    memory = {"opening": peak_memory_gib(device)}
    with StreamLoader(
        data.train,
        recipe.training.batch_size,
        micro_batches=recipe.training.accumulate,
        workers=recipe.training.workers,
        device=device,
    ) as loader:
        seconds = _seconds_per_step(engine, bind_draws(loader, engine), length, spent)
        memory["steps"] = peak_memory_gib(device)
        rehearse(rehearsed)
        memory["the rest"] = peak_memory_gib(device)
    left = _what_is_left(length, begin, spent, seconds)
    result = {
        "recipe": recipe.name,
        "precision": recipe.precision,
        "device": str(device),
        "images_per_epoch": engine.images_per_epoch,
        "parameters": {
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in engine.pipeline.networks.items()
        },
        "seconds_per_step": seconds,
        "total_steps": length.total_steps(),
        "total_seconds": spent + left.seconds,
        "done_steps": begin.step,
        "remaining_steps": left.steps,
        "remaining_seconds": left.seconds,
        "peak_memory_gib": memory["the rest"],
        "peak_memory_gib_after": memory,
        "skipped_pictures": len(data.report),
        "notes": notes_at_start(recipe, data, evaluation),
    }
    if evaluation is not None:
        result["evaluation"] = _evaluation(evaluation, engine, begin, left)
    if json:
        typer.echo(json_module.dumps(result))
        return
    for note in result["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"{recipe.name}: {recipe.precision} on {device}, {engine.images_per_epoch} pictures an epoch")
    typer.echo(", ".join(f"{name} {count / 1e6:.2f} M weights" for name, count in result["parameters"].items()))
    at_end = finished_already(recipe, resume, length, begin, spent, owes=owes) if resume is not None else None
    typer.echo(at_end or left.sentence)
    if evaluation is not None and at_end is None:
        typer.echo(_about(result["evaluation"]))
    typer.echo(_about_memory(memory, rehearsed))


def _about_memory(memory: Mapping[str, float], rehearsed: Run) -> str:
    """How much there was at most, and after what."""
    opening, steps, rest = memory.values()
    looks = ["draws", *(["scores"] if rehearsed.validation else []), *(["evaluates"] if rehearsed.evaluation else [])]
    return (
        f"peak memory {rest:.2f} GiB ({opening:.2f} with all open and the first sheets, {steps:.2f} as it trains,"
        f" {rest:.2f} as it {', '.join(looks)} and saves); nothing was written"
    )


def _as_a_run(recipe: Recipe, engine: Engine, data: DataSet, evaluation: Evaluation | None) -> Run:
    """A run of the same that has no folder to write to."""
    return Run(
        engine=engine,
        data=data,
        folder=Path(os.devnull),
        tracker=None,
        progress=TrainingProgress(quiet=True),
        provenance={},
        method=recipe.pipeline.kind,
        evaluation=evaluation,
    )


@dataclass(frozen=True)
class _Left:
    """What a training still has to do."""

    steps: int
    seconds: float
    sentence: str


def _what_is_left(length: Length, done: Progress, spent_seconds: float, seconds_per_step: float) -> _Left:
    """Up to the limit that comes first, at the measured pace."""
    total, minutes = length.total_steps(), length.settings.minutes
    by_steps = inf if total is None else max(0, total - done.step) * seconds_per_step
    by_clock = inf if minutes is None else max(0.0, 60 * minutes - spent_seconds)
    pace = f"{seconds_per_step:.3g} s each"
    if total is not None and by_steps <= by_clock:
        steps = max(0, total - done.step)
        what = f"{steps:,} of {total:,} steps to go" if done.step else f"{total:,} steps"
        return _Left(steps, by_steps, f"{what}, {pace}: about {format_duration(by_steps)}")
    steps = int(by_clock / seconds_per_step)
    what = f"{format_duration(by_clock)} of {format_duration(60 * (minutes or 0))} to go" if done.step else ""
    return _Left(steps, by_clock, f"{what or format_duration(by_clock)}: about {steps:,} steps, {pace}")


def _evaluation(evaluation: Evaluation, engine: Engine, done: Progress, left: _Left) -> dict[str, Any]:
    """What will be measured, how often until the end, and what that takes beside the steps."""
    cost = measure_cost(evaluation, engine)
    steps_per_epoch = engine.images_per_epoch / engine.settings.batch_size
    times = _times(evaluation.settings, done.step, done.step + left.steps, steps_per_epoch, left.seconds)
    return {
        "what": evaluation.describe(),
        "times": times,
        "seconds_each": cost.each,
        "seconds_once": cost.once,
        "total_seconds": times * cost.each + cost.once,
    }


def _times(wanted: EvaluationSettings, done: int, end: int, steps_per_epoch: float, seconds: float) -> int:
    """Evaluations from step `done` to step `end`, the one at the end included."""
    before = max(end - 1, done)
    times = 1
    for period in (wanted.every_steps, wanted.every_epochs and wanted.every_epochs * steps_per_epoch):
        if period:
            times += int(before / period + 1e-9) - int(done / period + 1e-9)
    return times + (int(seconds / (60 * wanted.every_minutes)) if wanted.every_minutes else 0)


def _about(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    often = "once, at the end" if found["times"] == 1 else f"{found['times']:,} times"
    once = found["seconds_once"]
    extra = f", and at most {format_duration(once)} once for the real ones" if once >= 1 else ""
    return f"evaluation {often}: {found['what']}: about {format_duration(found['seconds_each'])} each{extra}"


def _seconds_per_step(engine: Engine, draw: Draw, length: Length, spent_seconds: float) -> float:
    """Mean over the steps that are left; phases that begin later are tried too, so that they fail now or not at all."""
    batch, done, total = engine.settings.batch_size, engine.step, length.total_steps()
    end = inf if total is None else total
    starts = [done, *(start for start in engine.pipeline.phase_starts(batch) if done < start < end)]
    seconds = [_timed(engine, draw)]
    for start in starts[1:]:
        # The engine is thrown away afterwards.
        engine.step, engine.images = start, start * batch
        seconds.append(_timed(engine, draw))
    minutes = length.settings.minutes
    steps = [after - start for start, after in pairwise([*starts, end])]
    return _mean_seconds(seconds, steps, inf if minutes is None else 60 * minutes - spent_seconds)


def _mean_seconds(seconds: Sequence[float], steps: Sequence[float], seconds_left: float) -> float:
    """Of a step, over phases with so many seconds a step and so many steps each, until the time is up."""
    taken = spent = 0.0
    for each, count in zip(seconds, steps, strict=True):
        fitting = min(count, max(0.0, seconds_left - spent) / each)
        taken, spent = taken + fitting, spent + fitting * each
    return spent / taken if taken else seconds[0]


def _timed(engine: Engine, draw: Draw) -> float:
    """Seconds a step, after one to warm up."""
    device = engine.precision.device
    engine.take_step(draw)
    started = now(device)
    for _ in range(_TIMED_STEPS):
        engine.take_step(draw)
    return (now(device) - started) / _TIMED_STEPS
