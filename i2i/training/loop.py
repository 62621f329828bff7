"""The training loop: steps, and between them whatever is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from i2i.core.step import Progress
from i2i.data.loader import StreamLoader
from i2i.errors import InterruptedBySignal
from i2i.training.engine import Batches, Engine, UpdateReport
from i2i.training.looks import diversity, draw_samples, evaluate, validate
from i2i.training.recovery import act_on_verdict, recover
from i2i.training.rows import peak_memory_gib, row_values
from i2i.training.run import Run, checkpoint, checkpoint_anew, report, write_row
from i2i.training.signals import listening
from i2i.training.timing import Due, Remaining

_ACTS: Mapping[str, Callable[[Run], None]] = {
    "samples": draw_samples,
    "evaluation": evaluate,
    "validation": validate,
    "checkpoint": checkpoint,
}
"""What may be due after a step, in this order: a checkpoint comes when all else of its step is done."""


def fit(run: Run, workers: int) -> None:
    """Train until the length is reached.

    Raises:
        InterruptedBySignal: a signal asked to stop; the step was finished and a checkpoint written.
        DivergedError: too many steps in a row were not finite.
        StorageError: the disk refuses; the last checkpoint is untouched.
    """
    engine, due = run.engine, _due(run)
    with listening() as run.stop, _loader(run, workers) as loader:
        draw = bind_draws(loader, engine)
        if engine.step == 0:
            draw_samples(run)
        _act(run, run.owed)
        remaining = Remaining(run.length.fraction(engine.progress, run.wall_seconds))
        _, finished, _ = _agree(run, {}, engine.progress)
        while not finished:
            before, parts = engine.progress, engine.micro_batches
            reports = engine.take_step(draw)
            if engine.micro_batches != parts:
                run.progress.message(_about_split(engine, parts))
            run.speed.add(engine.settings.batch_size)
            if engine.beyond_tolerance:
                recover(run)
                continue
            _show_progress(run, reports, remaining, before)
            now, finished, signal_number = _agree(run, due, before)
            if finished and _ends_beyond_tolerance(engine):
                recover(run)
                finished = False  # the length is reached, but not from here
                continue
            if act_on_verdict(run):
                finished = False  # the length may have been reached, but not from here
                continue
            if signal_number:
                run.owed = [name for name in now if name != "checkpoint"]
                _stop(run)
            if not finished:  # the end does all of it once more
                _act(run, now)
            for name in now:
                due[name].restart()
        _finish(run)


def _ends_beyond_tolerance(engine: Engine) -> bool:
    """Whether the last step was one too many that is not finite: on a GPU no further step will tell."""
    engine.settle()
    return engine.beyond_tolerance


def _due(run: Run) -> dict[str, Due]:
    settings = run.engine.settings
    samples, validation, checkpoints = settings.samples, settings.validation, settings.checkpoints
    due = {"samples": Due(samples.every_steps, samples.every_epochs, samples.every_minutes)}
    if run.evaluation is not None:
        wanted = run.evaluation.settings
        due["evaluation"] = Due(wanted.every_steps, wanted.every_epochs, wanted.every_minutes)
    due["validation"] = Due(validation.every_steps, validation.every_epochs, validation.every_minutes)
    due["checkpoint"] = Due(checkpoints.every_steps, None, checkpoints.every_minutes)
    return due


def _act(run: Run, names: Iterable[str]) -> None:
    """Do what is due.

    Raises:
        InterruptedBySignal: a signal cut it off; what is left is owed.
    """
    started, names = time.monotonic(), list(names)
    for number, name in enumerate(names):
        # A run that another version wrote may owe what this one does not know.
        _ACTS.get(name, lambda run: None)(run)
        if name == "evaluation" and name in run.owed:
            run.owed = names[number:]
            _stop(run)
    run.speed.leave_out(time.monotonic() - started)
    run.owed = []


def _about_split(engine: Engine, before: int) -> str:
    """What to tell when memory ran out for so many micro-batches as there were before this step."""
    rows, fewer = (engine.settings.batch_size // parts for parts in (before, engine.micro_batches))
    many = f"micro-batches of {rows}" if before > 1 else f"a batch of {rows}"
    return (
        f"step {engine.step}: out of memory with {many}; on with micro-batches of {fewer}"
        f" (training.accumulate: {engine.micro_batches}), which add up to the same batch"
    )


def _stop(run: Run) -> None:
    """Save everything and end.

    Raises:
        InterruptedBySignal: always.
    """
    engine = run.engine
    (number,) = engine.processes.largest([run.stop.signal_number], engine.precision.device)
    checkpoint_anew(run)
    # The others must not end while the leading one is still writing.
    engine.processes.wait()
    raise InterruptedBySignal(number, f"stopped at step {engine.step}; resume with: i2i train --resume {run.folder}")


def _finish(run: Run) -> None:
    owes = run.evaluation is not None and run.evaluated_step != run.engine.step
    # Whoever is killed while it evaluates has everything else already, and goes on here.
    run.owed = ["evaluation"] if owes else []
    draw_samples(run)
    validate(run)
    if run.tracker is not None:
        # The last word also tells when the run ended, by which a later resume knows that it was not cut off.
        write_row(run, {"memory/peak_gib": peak_memory_gib(run.engine.precision.device)} | diversity(run))
    checkpoint(run)
    if owes:
        _act(run, ["evaluation"])
        checkpoint_anew(run)
    if run.unreported:
        report(run)
    run.progress.complete(run.engine.step)
    run.engine.processes.wait()


def _agree(run: Run, due: Mapping[str, Due], before: Progress) -> tuple[list[str], bool, int]:
    """What to do after this step, the same on every process: clocks and signals differ, so the largest wish counts."""
    engine = run.engine
    leads = run.tracker is not None
    after = engine.progress
    fraction = run.length.fraction(after, run.wall_seconds)
    wishes = [int(leads and item.by_clock()) for item in due.values()]
    *clock, finished, signal_number = engine.processes.largest(
        [*wishes, int(fraction >= 1.0), run.stop.signal_number], engine.precision.device
    )
    names = [
        name for (name, item), wish in zip(due.items(), clock, strict=True) if wish or item.by_count(before, after)
    ]
    return names, bool(finished), signal_number


def _loader(run: Run, workers: int) -> StreamLoader:
    engine = run.engine
    return StreamLoader(
        run.data.train,
        engine.settings.batch_size,
        rank=engine.processes.rank,
        world_size=engine.processes.count,
        micro_batches=engine.settings.accumulate,
        workers=workers,
        device=engine.precision.device,
    )


def bind_draws(loader: StreamLoader, engine: Engine) -> Callable[[Sequence[str], Mapping[str, int]], Batches]:
    """Bind the loader to what the engine asks for: streams at the same counter are drawn together."""

    def draw(streams: Sequence[str], counters: Mapping[str, int]) -> Batches:
        joined: list[dict[str, Tensor]] = [{} for _ in range(engine.settings.accumulate)]
        for counter in sorted(set(counters.values())):
            together = tuple(stream for stream in streams if counters[stream] == counter)
            for batch, part in zip(joined, loader.draw(together, counter), strict=True):
                batch.update(
                    {name: _to_weights(values, engine.precision.weights_dtype) for name, values in part.items()}
                )
        return joined

    return draw


def _to_weights(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures in the format of the weights; labels stay whole numbers."""
    return values.to(dtype) if values.is_floating_point() else values


def _show_progress(run: Run, reports: Mapping[str, UpdateReport], remaining: Remaining, before: Progress) -> None:
    """At the first step, every so often and at the last: read the losses (the device is waited for), write and show."""
    engine = run.engine
    every = engine.settings.log_every_steps
    if before.step > 0 and engine.step % every and engine.step != run.length.total_steps():
        return
    values = row_values(engine, reports)
    if run.tracker is None:
        return
    values["speed/images_per_second"] = images_per_second = run.speed.read()
    values["memory/peak_gib"] = peak_memory_gib(engine.precision.device)
    write_row(run, values | diversity(run))
    fraction = run.length.fraction(engine.progress, run.wall_seconds)
    totals = {update: values[f"loss/{update}/total"] for update in reports}
    run.progress.update(
        engine.step, run.length.total_steps(), images_per_second, totals, fraction, remaining.seconds(fraction)
    )
