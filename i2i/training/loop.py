"""The training loop: steps, and between them whatever is due."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i.core.step import Progress
from i2i.data.dataset import DataSet
from i2i.data.loader import StreamLoader
from i2i.errors import DivergedError, InterruptedBySignal, ModelError
from i2i.files import link_or_copy
from i2i.inference.model_files.model_file import write_model_file
from i2i.pipelines.protocol import Grid, LatentEntryPoint, Sheet
from i2i.training.checkpoint import load_newest_checkpoint, remove_old_checkpoints, save_checkpoint
from i2i.training.diversity import RealSet, measure
from i2i.training.engine import Batches, Engine, UpdateReport
from i2i.training.progress_bar import TrainingProgress
from i2i.training.rows import peak_memory_gib, row_values
from i2i.training.sheets import sheet
from i2i.training.signals import StopRequest, listening
from i2i.training.timing import Due, Length, Remaining, Speedometer
from i2i.training.tracking import Row, Tracker, read_metrics
from i2i.training.validation import Validation, spread, to_batch
from i2i.training.watchdog import Verdict, Watchdog

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
    provenance: Mapping[str, Any]
    """What the model file says about where it comes from."""
    method: str
    """Name of the pipeline, for the model file."""
    doubt_loss: float | None = None
    """What the discriminator's loss comes to when it gives the best constant answer, for the watchdog."""
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
        self._real_sets: dict[tuple[str, int], RealSet] = {}
        self.watchdog = Watchdog(settings.watchdog, self.doubt_loss)
        self.verdict: Verdict | None = None
        """A failure that the watchdog has seen and that calls for more than a warning."""

    def real_set(self, stream: str, count: int) -> RealSet:
        """Measures of `count` real pictures of `stream`, taken once: what generated ones are compared with."""
        if (stream, count) not in self._real_sets:
            real = to_batch(fixed_samples(self.data, stream, count), self.engine.precision)
            self._real_sets[stream, count] = RealSet.of(real)
        return self._real_sets[stream, count]


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
            if act_on_verdict(run):
                finished = False  # the length may have been reached, but not from here
                continue
            for name in now:
                act[name](run)
                due[name].restart()
            if signal_number:
                checkpoint(run)
                # The others must not end while the leading one is still writing.
                engine.processes.wait()
                raise InterruptedBySignal(signal_number, f"stopped at step {engine.step}; resume with: {_resume(run)}")
    run.progress.complete(engine.step)
    _finish(run)


def validate(run: Run) -> None:
    """Score the networks and keep the model if it counts as the best so far; the leading process alone."""
    if run.tracker is None or not run.validation:
        return
    scores = run.validation.score(run.engine.inference_networks())
    _write_row(run, {f"validation/{name}": value for name, value in scores.values.items()})
    shown = ", ".join(f"{name} {value:.3f}" for name, value in scores.values.items())
    run.progress.message(f"step {run.engine.step}: validation {shown}")
    worse = run.best.score is not None and scores.deciding <= run.best.score
    # Past a phase whose end is kept a training gives up PSNR on purpose: there the newest networks are what is wanted.
    if math.isnan(scores.deciding) or (worse and not run.engine.is_past_snapshots):
        return
    run.best = Best(scores.deciding, run.engine.step)
    _save_model(run, BEST_MODEL_FILE)
    # Now, not when the clock says: the checkpoint of the best step is kept, and knows that it is the best.
    checkpoint(run)


def draw_samples(run: Run) -> None:
    """Draw what the method shows of fixed pictures or latents; the leading process alone."""
    if run.tracker is None:
        return
    engine, wanted = run.engine, run.engine.settings.samples.pictures
    chosen = {stream: fixed_samples(run.data, stream, wanted) for stream in engine.pipeline.streams}
    pictures = {
        stream: to_batch(samples, engine.precision) for stream, samples in chosen.items() if samples[0].ndim == 3
    }
    for name, pictured in _shown(run, pictures).items():
        if isinstance(pictured, Grid):
            run.tracker.grid(engine.step, name, pictured.pictures, pictured.columns)
        else:
            run.tracker.images(engine.step, name, sheet(pictured))


def _shown(run: Run, pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet | Grid]:
    with torch.inference_mode(), run.engine.precision.computing():
        return run.engine.pipeline.show(run.engine.inference_networks(), pictures)


def _diversity(run: Run) -> dict[str, float]:
    """How different the pictures from fixed latents are, for methods that start from latents.

    With every row, not with every sheet: a collapse must show in minutes, and sheets may be an epoch apart.
    """
    entry_points = run.engine.pipeline.entry_points.values()
    if not any(isinstance(entry, LatentEntryPoint) for entry in entry_points):
        return {}
    values: dict[str, float] = {}
    for grid in _shown(run, {}).values():
        if isinstance(grid, Grid):
            values |= measure(grid.pictures, run.real_set(grid.stream, len(grid.pictures)))
    return values


def fixed_samples(data: DataSet, stream: str, wanted: int) -> Sequence[np.ndarray]:
    """Test samples of one size, evenly spread, or the first training samples where there is no test set."""
    if len(test := data.shown.get(stream, ()) or data.test.get(stream, ())):
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
        raise DivergedError(f"{problem}; {_start_over(run, 'a lower learning rate or precision fp32')}")
    _go_back(run, problem)


def act_on_verdict(run: Run) -> bool:
    """Do what the watchdog's settings ask for when a training has failed; True when it went back.

    Raises:
        DivergedError: the settings say stop, or it went back often enough, or there is nothing good to go back to.
    """
    engine = run.engine
    verdict = engine.processes.share(run.verdict) if engine.settings.watchdog.action in ("stop", "rollback") else None
    run.verdict = None
    if verdict is None:
        return False
    if verdict.action == "stop" or engine.rollbacks >= engine.settings.nonfinite.rollbacks:
        raise DivergedError(f"step {verdict.step}: {verdict.line}; {_start_over(run, 'that')}")
    try:
        _go_back(run, f"step {verdict.step}: {verdict.title.lower()}", up_to_step=verdict.began_step - 1)
    except ModelError as error:
        raise DivergedError(
            f"step {verdict.step}: {verdict.line}; no checkpoint from before step {verdict.began_step} is left"
        ) from error
    run.watchdog.go_back()
    return True


def _go_back(run: Run, problem: str, up_to_step: int | None = None) -> None:
    step, state = load_newest_checkpoint(run.folder, up_to_step=up_to_step)
    run.engine.roll_back(state)
    run.saved_step = None
    run.engine.processes.wait()  # all have read it
    if run.tracker is not None:
        # What lies beyond belongs to the failure: a later resume must not begin there.
        keep_last = run.engine.settings.checkpoints.keep_last
        remove_old_checkpoints(run.folder, step, keep_last, run.best.step)
    run.progress.message(f"{problem}; back to step {step}, on with fresh data")


def resume(run: Run) -> None:
    """Put the engine where the newest whole checkpoint of the run left it."""
    step, state = load_newest_checkpoint(run.folder)
    run.engine.load_state(state)
    run.best = Best(state.counters.get("best_score"), state.counters.get("best_step"))
    run.watchdog.replay(read_metrics(run.folder), to_step=step)


def _finish(run: Run) -> None:
    # The report is written with the checkpoint and shows what is there by then.
    draw_samples(run)
    validate(run)
    if run.tracker is not None:
        # The last word also tells when the run ended, by which a later resume knows that it was not cut off.
        _write_row(run, {"memory/peak_gib": peak_memory_gib(run.engine.precision.device)} | _diversity(run))
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
                batch.update(
                    {name: _to_weights(values, engine.precision.weights_dtype) for name, values in part.items()}
                )
        return joined

    return draw


def _to_weights(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures in the format of the weights; labels stay whole numbers."""
    return values.to(dtype) if values.is_floating_point() else values


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
    _write_row(run, values | _diversity(run))
    fraction = run.length.fraction(engine.progress, _wall_seconds(run))
    totals = {update: values[f"loss/{update}/total"] for update in reports}
    run.progress.update(
        engine.step, run.length.total_steps(), images_per_second, totals, fraction, remaining.seconds(fraction)
    )


def _write_row(run: Run, values: Mapping[str, float]) -> None:
    if run.tracker is None:
        return
    progress = run.engine.progress
    run.tracker.log(Row(step=progress.step, images=progress.images, epoch=progress.epoch, values=values))
    verdict = run.watchdog.look(progress.step, progress.images, values)
    if verdict is not None:
        run.tracker.alarm(verdict)
        run.progress.message(f"step {verdict.step}: {verdict.line}")
        run.verdict = verdict


def _save_model(run: Run, name: str) -> None:
    engine = run.engine
    write_model_file(
        run.folder / name,
        engine.inference_networks(),
        engine.pipeline.entry_points,
        {**run.provenance, "step": engine.step, "images": engine.images},
        pipeline=run.method,
    )


def _wall_seconds(run: Run) -> float:
    return run.tracker.wall_seconds if run.tracker is not None else 0.0


def _start_over(run: Run, change: str) -> str:
    return (
        f"start a new run with {change} (--set initialize_from={run.folder} takes the weights of the last checkpoint)"
    )


def _resume(run: Run) -> str:
    return f"i2i train --resume {run.folder}"
