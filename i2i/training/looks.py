"""What is looked at between steps: sheets of pictures, their diversity, scores and evaluations of the networks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from i2i.data.dataset import DataSet
from i2i.errors import I2IError, one_line
from i2i.evaluation.passports.figures import Figure
from i2i.pipelines.protocol import Grid, LatentEntryPoint, Sheet
from i2i.training.diversity import RealSet, measure
from i2i.training.evaluation import Evaluation, write_sheet
from i2i.training.progress_bar import format_duration
from i2i.training.run import Run, keep_if_best, write_row
from i2i.training.validation import spread, to_batch


def draw_samples(run: Run) -> None:
    """Draw what the method shows of fixed pictures or latents; the leading process alone."""
    if run.tracker is None:
        return
    for name, pictured in shown(run).items():
        if isinstance(pictured, Grid):
            run.tracker.grid(run.engine.step, name, pictured.pictures, pictured.columns)
        else:
            run.tracker.sheet(run.engine.step, name, pictured)


def shown(run: Run) -> Mapping[str, Sheet | Grid]:
    """What the networks make now of fixed pictures or latents, as the method shows it."""
    engine, wanted = run.engine, run.engine.settings.samples.pictures
    chosen = {stream: fixed_samples(run.data, stream, wanted) for stream in engine.pipeline.streams}
    pictures = {
        stream: to_batch(samples, engine.precision) for stream, samples in chosen.items() if samples[0].ndim == 3
    }
    return _shown(run, pictures)


def validate(run: Run) -> None:
    """Score the networks and keep the model if it counts as the best so far; the leading process alone.

    Where the recipe names a figure to decide what is best, the scores are only recorded.
    """
    if run.tracker is None or not run.validation:
        return
    scores = run.validation.score(run.engine.inference_networks())
    baselines = {f"baseline/{name}": value for name, value in scores.baselines.items()}
    write_row(run, {f"validation/{name}": value for name, value in scores.values.items()} | baselines)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in scores.values.items())
    run.progress.message(f"step {run.engine.step}: validation {shown}")
    if run.evaluation is None or run.evaluation.settings.best is None:
        # Past a phase whose end is kept a training gives up PSNR on purpose: there the newest networks are wanted.
        keep_if_best(run, scores.deciding, newest_wins=run.engine.is_past_snapshots)


def evaluate(run: Run) -> None:
    """Measure what the networks make, all processes together, and keep the model if its named figure is the best.

    A training is worth more than a figure: where an evaluation fails, that is said, and training goes on. One that is
    cut off by a signal is owed.
    """
    evaluation, engine = run.evaluation, run.engine
    # First: a run may owe an evaluation and have been resumed without one.
    run.owed = [name for name in run.owed if name != "evaluation"]
    if evaluation is None:
        return
    started = time.monotonic()
    run.progress.message(f"step {engine.step}: evaluating")
    try:
        figures = evaluation.figures(engine, run.stop)
    except Exception as error:  # whatever goes wrong there: want of memory, a disk, numbers without a decomposition
        if any(engine.processes.collect(run.stop.signal_number)):
            run.owed.append("evaluation")
        else:
            reason = error if isinstance(error, I2IError) else one_line(error)
            run.progress.message(f"step {engine.step}: evaluation failed, training goes on: {reason}")
        return
    run.evaluated_step = engine.step
    if run.tracker is not None:
        _record(run, evaluation, figures, time.monotonic() - started)


def _record(run: Run, evaluation: Evaluation, figures: Sequence[Figure], seconds: float) -> None:
    """Write the figures wherever a run keeps such, on the leading process."""
    assert run.tracker is not None
    step = run.engine.step
    write_sheet(run.folder, figures, run.engine.progress)
    write_row(run, {f"evaluation/{figure.name}": figure.value for figure in figures})
    run.tracker.figures(step, figures)
    shown = ", ".join(f"{figure.name} {figure.value:.4g}" for figure in figures)
    run.progress.message(f"step {step}: evaluation {shown} ({format_duration(seconds)})")
    decided = evaluation.deciding(figures)
    if decided is not None:
        score, higher_is_better = decided
        keep_if_best(run, score, higher_is_better=higher_is_better)


def diversity(run: Run) -> dict[str, float]:
    """How different the pictures from fixed latents are, for methods that start from latents.

    With every row, not with every sheet: a collapse must show in minutes, and sheets may be an epoch apart.
    """
    entry_points = run.engine.pipeline.entry_points.values()
    if not any(isinstance(entry, LatentEntryPoint) for entry in entry_points):
        return {}
    values: dict[str, float] = {}
    for grid in _shown(run, {}).values():
        if isinstance(grid, Grid):
            values |= measure(grid.pictures, _real_set(run, grid.stream, len(grid.pictures)))
    return values


def fixed_samples(data: DataSet, stream: str, wanted: int) -> Sequence[np.ndarray]:
    """Test samples of one size, evenly spread, or the first training samples where there is no test set."""
    if len(test := data.shown.get(stream, ()) or data.test.get(stream, ())):
        return [test[index] for index in spread(len(test), wanted)]
    train = data.train[stream]
    return [train[index] for index in range(min(wanted, train.images_per_epoch))]


def _real_set(run: Run, stream: str, count: int) -> RealSet:
    """Measures of `count` real pictures of `stream`, taken once: what generated ones are compared with."""
    if (stream, count) not in run.real_sets:
        real = to_batch(fixed_samples(run.data, stream, count), run.engine.precision)
        run.real_sets[stream, count] = RealSet.of(real)
    return run.real_sets[stream, count]


def _shown(run: Run, pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet | Grid]:
    with torch.inference_mode(), run.engine.precision.computing():
        return run.engine.pipeline.show(run.engine.inference_networks(), pictures)
