"""The training loop: steps, and between them whatever is due."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i.core.step import Progress
from i2i.data.dataset import DataSet
from i2i.data.loader import StreamLoader
from i2i.errors import DivergedError, InterruptedBySignal
from i2i.files import link_or_copy
from i2i.inference.image_model import ImageModel
from i2i.training.checkpoint import load_newest_checkpoint, remove_old_checkpoints, save_checkpoint
from i2i.training.engine import Batches, Engine, UpdateReport
from i2i.training.progress_bar import TrainingProgress
from i2i.training.sheets import sheet
from i2i.training.signals import StopRequest, listening
from i2i.training.timing import Due, Length, Remaining, Speedometer
from i2i.training.tracking import Row, Tracker
from i2i.training.validation import Validation, spread, to_batch

MODEL_FILE, BEST_MODEL_FILE = "model.safetensors", "best.safetensors"


@dataclass
class Best:
    """The best validation so far."""

    score: float | None = None
    step: int | None = None


@dataclass
class Run:
    """One attempt at a training: the engine, its data, and where the results go."""

    engine: Engine
    data: DataSet
    folder: Path
    tracker: Tracker | None
    """None on processes that do not lead: they write nothing."""
    progress: TrainingProgress
    provenance: Mapping[str, str]
    """What the model file says about where it comes from."""
    method: str
    """Name of the pipeline, for the model file."""
    best: Best = field(default_factory=Best)
    after_checkpoint: Callable[[Path], object] | None = None
    """Called with the folder, on the leading process when the run folder has something new to show."""
    saved_step: int | None = None
    """Step of the newest checkpoint of this attempt."""

    def __post_init__(self) -> None:
        settings = self.engine.settings
        # `images` counts samples of the joined batch, so every process comes to the same numbers.
        self.length = Length(settings.length, self.engine.images_per_epoch, settings.batch_size)
        self.validation = Validation(
            self.engine.pipeline,
            self.data.test,
            aligned=self.data.aligned,
            pictures=settings.validation.pictures,
            precision=self.engine.precision,
        )


def fit(run: Run, workers: int) -> None:
    """Train until the length is reached.

    Raises:
        InterruptedBySignal: a signal asked to stop; the step was finished and a checkpoint written.
        DivergedError: too many steps in a row were not finite.
        StorageError: the disk refuses; the last checkpoint is untouched.
    """
    engine, settings = run.engine, run.engine.settings
    due = {
        "samples": Due(settings.samples.every_steps, settings.samples.every_epochs, settings.samples.every_minutes),
        "validation": Due(
            settings.validation.every_steps, settings.validation.every_epochs, settings.validation.every_minutes
        ),
        "checkpoint": Due(settings.checkpoints.every_steps, None, settings.checkpoints.every_minutes),
    }
    act = {"samples": draw_samples, "validation": validate, "checkpoint": checkpoint}
    speed = Speedometer()
    with listening() as stop, _loader(run, workers) as loader:
        draw = bind_draws(loader, engine)
        if engine.step == 0:
            draw_samples(run)
        remaining = Remaining(run.length.fraction(engine.progress, _wall_seconds(run)))
        _, finished, _ = _agree(run, {}, engine.progress, stop)
        while not finished:
            before = engine.progress
            reports = engine.take_step(draw)
            speed.add(settings.batch_size)
            if engine.beyond_tolerance:
                recover(run)
                continue
            _show_progress(run, reports, speed, remaining, before)
            now, finished, signal_number = _agree(run, due, before, stop)
            for name in now:
                act[name](run)
                due[name].restart()
            if signal_number:
                checkpoint(run)
                # The others must not end while the leading one is still writing.
                engine.processes.wait()
                raise InterruptedBySignal(signal_number, f"stopped at step {engine.step}; resume with: {_resume(run)}")
    _finish(run)


def validate(run: Run) -> None:
    """Score the networks and keep the model if it is the best so far; the leading process alone."""
    if run.tracker is None or not run.validation:
        return
    scores = run.validation.score(run.engine.inference_networks())
    _write_row(run, {f"validation/{name}": value for name, value in scores.values.items()})
    shown = ", ".join(f"{name} {value:.3f}" for name, value in scores.values.items())
    run.progress.message(f"step {run.engine.step}: validation {shown}")
    if math.isnan(scores.deciding) or (run.best.score is not None and scores.deciding <= run.best.score):
        return
    run.best = Best(scores.deciding, run.engine.step)
    _save_model(run, BEST_MODEL_FILE)
    # Now, not when the clock says: the checkpoint of the best step is kept, and knows that it is the best.
    checkpoint(run)


def draw_samples(run: Run) -> None:
    """Draw the contact sheets of fixed test (else training) pictures; the leading process alone."""
    if run.tracker is None:
        return
    engine = run.engine
    pictures = {
        stream: to_batch(fixed_pictures(run.data, stream, engine.settings.samples.pictures), engine.precision)
        for stream in engine.pipeline.streams
    }
    with torch.inference_mode(), engine.precision.computing():
        sheets = engine.pipeline.show(engine.inference_networks(), pictures)
    for name, columns in sheets.items():
        run.tracker.images(engine.step, name, sheet(columns))


def fixed_pictures(data: DataSet, stream: str, wanted: int) -> Sequence[np.ndarray]:
    """Test pictures, evenly spread, or the first training samples where there is no test set."""
    if len(test := data.test.get(stream, ())):
        return [test[index] for index in spread(len(test), wanted)]
    train = data.train[stream]
    return [train[index] for index in range(min(wanted, train.images_per_epoch))]


def checkpoint(run: Run) -> None:
    """Write checkpoint, model and report unless this step has them already; the leading process alone."""
    if run.tracker is None or run.saved_step == run.engine.step:
        return
    engine = run.engine
    state = engine.state()
    counters = {**state.counters, "best_score": run.best.score, "best_step": run.best.step}
    kept = save_checkpoint(run.folder, engine.step, type(state)(state.tensors, counters))
    _save_model(run, MODEL_FILE)
    # The checkpoint folder serves as a model too. The next model is another file, so this link keeps its content.
    link_or_copy(run.folder / MODEL_FILE, kept / MODEL_FILE)
    remove_old_checkpoints(run.folder, engine.step, engine.settings.checkpoints.keep_last, run.best.step)
    run.saved_step = engine.step
    if run.after_checkpoint is not None:
        run.after_checkpoint(run.folder)


def recover(run: Run) -> None:
    """Too many steps were not finite: go back to the last checkpoint, or stop.

    Raises:
        DivergedError: the settings say stop, or it went back often enough, or there is nothing to go back to.
    """
    settings, engine = run.engine.settings.nonfinite, run.engine
    problem = (
        f"step {engine.step}: {engine.nonfinite_streak} steps in a row gave losses or gradients that are not finite"
    )
    if settings.then == "stop" or engine.rollbacks >= settings.rollbacks:
        raise DivergedError(f"{problem}; lower the learning rate or use precision fp32, then: {_resume(run)}")
    step, state = load_newest_checkpoint(run.folder)
    engine.roll_back(state)
    run.saved_step = None
    run.progress.message(f"{problem}; back to step {step}, on with fresh data")


def resume(run: Run) -> None:
    """Put the engine where the newest whole checkpoint of the run left it."""
    step, state = load_newest_checkpoint(run.folder)
    run.engine.load_state(state)
    run.best = Best(state.counters.get("best_score"), state.counters.get("best_step"))
    run.progress.message(f"resumed at step {step}")


def _finish(run: Run) -> None:
    # The report is written with the checkpoint and shows what is there by then.
    draw_samples(run)
    validate(run)
    checkpoint(run)
    run.engine.processes.wait()


def _agree(run: Run, due: Mapping[str, Due], before: Progress, stop: StopRequest) -> tuple[list[str], bool, int]:
    """What to do after this step, the same on every process: clocks and signals differ, so the largest wish counts."""
    engine = run.engine
    leads = run.tracker is not None
    after = engine.progress
    fraction = run.length.fraction(after, _wall_seconds(run))
    wishes = [int(leads and item.by_clock()) for item in due.values()]
    *clock, finished, signal_number = engine.processes.largest(
        [*wishes, int(fraction >= 1.0), stop.signal_number], engine.precision.device
    )
    names = [
        name for (name, item), wish in zip(due.items(), clock, strict=True) if wish or item.by_count(before, after)
    ]
    # The end does all of it once more, in `_finish`.
    return ([] if finished or signal_number else names), bool(finished), signal_number


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
                batch.update({name: images.to(engine.precision.weights_dtype) for name, images in part.items()})
        return joined

    return draw


def _show_progress(
    run: Run, reports: Mapping[str, UpdateReport], speed: Speedometer, remaining: Remaining, before: Progress
) -> None:
    """Every so often, read the losses (which waits for the device), write a row and show it."""
    engine = run.engine
    every = engine.settings.log_every_steps
    if engine.step % every and before.step > 0:
        return
    values = row_values(engine, reports)
    if run.tracker is None:
        return
    values["speed/images_per_second"] = images_per_second = speed.read()
    values["memory/peak_gib"] = peak_memory_gib(engine.precision.device)
    _write_row(run, values)
    fraction = run.length.fraction(engine.progress, _wall_seconds(run))
    totals = {update: values[f"loss/{update}/total"] for update in reports}
    run.progress.update(
        engine.step, run.length.total_steps(), images_per_second, totals, fraction, remaining.seconds(fraction)
    )


def row_values(engine: Engine, reports: Mapping[str, UpdateReport]) -> dict[str, float]:
    """The numbers of a step by name, as means over micro-batches and processes."""
    values: dict[str, Tensor] = {}
    for update, report in reports.items():
        terms = report.losses[0].terms
        for name, term in terms.items():
            value = torch.stack([losses.terms[name].value for losses in report.losses]).mean()
            values[f"loss/{update}/{name}"] = value
            values[f"weighted/{update}/{name}"] = value * term.weight
        values[f"loss/{update}/total"] = torch.stack([values[f"weighted/{update}/{name}"] for name in terms]).sum()
        for name in report.losses[0].watched:
            values[f"output/{name}"] = torch.stack([losses.watched[name] for losses in report.losses]).mean()
        if report.gradient_norm is not None:
            values[f"gradient_norm/{update}"] = report.gradient_norm
    numbers: dict[str, float] = {}
    if values:
        # float64 only where the weights are: not every device has it.
        stacked = torch.stack([value.detach().to(engine.precision.weights_dtype) for value in values.values()])
        numbers |= dict(zip(values, engine.processes.mean(stacked).tolist(), strict=True))
    numbers |= {f"learning_rate/{name}": player.learning_rate for name, player in engine.players.items()}
    numbers["updates/skipped"] = float(engine.skipped_updates)
    return numbers


def peak_memory_gib(device: torch.device) -> float:
    """Most memory in use so far: on the device for CUDA, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _write_row(run: Run, values: Mapping[str, float]) -> None:
    if run.tracker is not None:
        progress = run.engine.progress
        run.tracker.log(Row(step=progress.step, images=progress.images, epoch=progress.epoch, values=values))


def _save_model(run: Run, name: str) -> None:
    engine = run.engine
    ImageModel.save(
        run.folder / name,
        engine.inference_networks(),
        engine.pipeline.entry_points,
        {**run.provenance, "step": engine.step, "images": engine.images},
        pipeline=run.method,
    )


def _wall_seconds(run: Run) -> float:
    return run.tracker.wall_seconds if run.tracker is not None else 0.0


def _resume(run: Run) -> str:
    return f"i2i train --resume {run.folder}"
