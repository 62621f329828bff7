"""One attempt at a training: what belongs to it, and what it leaves in the run folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2i.data.dataset import DataSet
from i2i.errors import I2IError, ModelError, one_line
from i2i.files import link_or_copy, remove_leftovers
from i2i.inference.model_files.model_file import read_model_file, write_model_file
from i2i.training.checkpoint import (
    MODEL_FILE,
    checkpoint_folder,
    finish_replacements,
    load_newest_checkpoint,
    misfit_as_help,
    remove_old_checkpoints,
    save_checkpoint,
)
from i2i.training.counters import score_of, whole_number, words
from i2i.training.diversity import RealSet
from i2i.training.engine import Engine
from i2i.training.evaluation import Evaluation, remove_later_sheets
from i2i.training.progress_bar import TrainingProgress
from i2i.training.signals import StopRequest
from i2i.training.timing import Length, Speedometer
from i2i.training.tracking import Row, Tracker, read_metrics
from i2i.training.validation import Validation
from i2i.training.watchdog import Verdict, Watchdog

BEST_MODEL_FILE = "best.safetensors"


@dataclass
class Best:
    """The best model so far."""

    score: float | None = None
    """Of a validation, or the figure of an evaluation that the recipe names."""
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
    evaluation: Evaluation | None = None
    best: Best = field(default_factory=Best)
    after_checkpoint: Callable[[Path], object] | None = None
    """Called with the folder, on the leading process when the run folder has something new to show."""
    saved_step: int | None = None
    """Step of the newest checkpoint of this attempt."""
    saved_owed: Sequence[str] = ()
    """What that checkpoint says is owed."""
    evaluated_step: int | None = None
    """Step of the newest evaluation of this attempt."""
    owed: list[str] = field(default_factory=list)
    """What was due at this step and is not done, because the training was asked to stop: a resumed one begins so."""
    stop: StopRequest = field(default_factory=StopRequest)
    speed: Speedometer = field(default_factory=Speedometer)

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
        self.real_sets: dict[tuple[str, int], RealSet] = {}
        """Measures of real pictures, by stream and number."""
        self.watchdog = Watchdog(settings.watchdog, self.doubt_loss)
        self.verdict: Verdict | None = None
        """A failure that the watchdog has seen and that calls for more than a warning."""
        self.unreported = False
        """Whether rows were written that the report does not show yet."""

    @property
    def wall_seconds(self) -> float:
        """Time spent so far; 0 on processes that do not lead."""
        return self.tracker.wall_seconds if self.tracker is not None else 0.0


def write_row(run: Run, values: Mapping[str, float]) -> None:
    """Record numbers of this step and let the watchdog look at them; the leading process alone."""
    if run.tracker is None:
        return
    progress = run.engine.progress
    run.tracker.log(Row(step=progress.step, images=progress.images, epoch=progress.epoch, values=values))
    run.unreported = True
    verdict = run.watchdog.look(progress.step, progress.images, values)
    if verdict is not None:
        run.tracker.alarm(verdict)
        run.progress.message(f"step {verdict.step}: {verdict.line}")
        run.verdict = verdict


def checkpoint(run: Run) -> None:
    """Write checkpoint, model and report unless this step has them already; the leading process alone."""
    if run.tracker is None or (run.saved_step == run.engine.step and [*run.saved_owed] == run.owed):
        return
    engine = run.engine
    state = engine.state()
    counters = {**state.counters, "best_score": run.best.score, "best_step": run.best.step, "owed": list(run.owed)}
    # The checkpoint folder serves as a model too.
    kept = save_checkpoint(
        run.folder, engine.step, type(state)(state.tensors, counters), lambda path: _write_model(run, path)
    )
    # Both names are of one file. The next checkpoint brings another one, so that this link keeps its content.
    link_or_copy(kept / MODEL_FILE, run.folder / MODEL_FILE)
    run.tracker.model(run.folder / MODEL_FILE, ["latest"])
    remove_old_checkpoints(run.folder, engine.step, engine.settings.checkpoints.keep_last, run.best.step)
    run.saved_step, run.saved_owed = engine.step, list(run.owed)
    report(run)


def checkpoint_anew(run: Run) -> None:
    """Write the checkpoint of this step although there may be one: the engine is the same, but not what is owed."""
    run.saved_step = None
    checkpoint(run)


def report(run: Run) -> None:
    """Write the report; the leading process alone."""
    if run.tracker is None or run.after_checkpoint is None:
        return
    run.unreported = False
    try:
        run.after_checkpoint(run.folder)
    except I2IError:
        raise
    except Exception as error:  # a drawing of what is kept anyway: whatever goes wrong there, training goes on
        run.progress.message(f"step {run.engine.step}: the report could not be written: {one_line(error)}")


def keep_if_best(run: Run, score: float, *, higher_is_better: bool = True, newest_wins: bool = False) -> None:
    """Keep the model as the best if its score is better than all before; the leading process alone.

    Args:
        newest_wins: whatever the score is, unless it is not a number.
    """
    if run.tracker is None:
        return
    before = run.best.score
    worse = before is not None and (score <= before if higher_is_better else score >= before)
    if math.isnan(score) or (worse and not newest_wins):
        return
    run.best = Best(score, run.engine.step)
    _write_model(run, run.folder / BEST_MODEL_FILE)
    run.tracker.model(run.folder / BEST_MODEL_FILE, ["best"])
    # Now, not when the clock says: the checkpoint of the best step is kept, and knows that it is the best.
    checkpoint_anew(run)


def resume(run: Run) -> None:
    """Put the engine where the newest whole checkpoint of the run left it."""
    step, state = load_newest_checkpoint(run.folder)
    with misfit_as_help(run.folder):
        run.engine.load_state(state)
        run.best = _best_of(state.counters)
        run.owed = words(state.counters, "owed")
    run.watchdog.replay(read_metrics(run.folder), to_step=step)
    run.engine.processes.wait()  # all have read it
    if run.engine.processes.leads:
        _complete(run, step)


def _complete(run: Run, step: int) -> None:
    """Make the model files of the newest checkpoint anew if a kill came between them or one of them is damaged.

    What killed writers left is removed here too: a run that turns out to be finished has no further attempt.
    """
    remove_leftovers(run.folder)
    finish_replacements(run.folder)
    kept, latest = _kept_model(run, step), run.folder / MODEL_FILE
    # One of a later step stays: that checkpoint is damaged, and the model is the best that is left of it.
    if _step_of_model(latest) < step:
        link_or_copy(kept, latest)
    best = run.best.step
    if best is not None and _step_of_model(run.folder / BEST_MODEL_FILE) == -1:
        of_best = checkpoint_folder(run.folder, best) / MODEL_FILE
        if _step_of_model(of_best) == best:
            link_or_copy(of_best, run.folder / BEST_MODEL_FILE)


def _kept_model(run: Run, step: int) -> Path:
    """The model file of the checkpoint of `step`, where the engine stands; written anew if it is not as it was."""
    kept = checkpoint_folder(run.folder, step) / MODEL_FILE
    if _step_of_model(kept) != step:
        _write_model(run, kept)
    return kept


def _step_of_model(path: Path) -> int:
    """At which step a model was written; -1 if it is missing, damaged or does not tell."""
    try:
        metadata, _ = read_model_file(path)
    except ModelError:
        return -1
    return int(metadata.provenance.get("step", -1))


def go_back(run: Run, problem: str, up_to_step: int | None = None) -> None:
    """Return to the newest whole checkpoint (of those `up_to_step`), and on with fresh data.

    Raises:
        ModelError: there is none.
    """
    step, state = load_newest_checkpoint(run.folder, up_to_step=up_to_step)
    run.engine.roll_back(state)
    run.saved_step = run.evaluated_step = None
    run.engine.processes.wait()  # all have read it
    if run.tracker is not None:
        # What lies beyond belongs to the failure: a later resume must not begin there, and no model there is the best.
        if run.best.step is not None and run.best.step > step:
            _go_back_to_best(run, run.tracker, state.counters)
        link_or_copy(_kept_model(run, step), run.folder / MODEL_FILE)
        run.tracker.model(run.folder / MODEL_FILE, ["latest"])
        keep_last = run.engine.settings.checkpoints.keep_last
        remove_old_checkpoints(run.folder, step, keep_last, run.best.step)
        remove_later_sheets(run.folder, step)
    run.progress.message(f"{problem}; back to step {step}, on with fresh data")


def _best_of(counters: Mapping[str, Any]) -> Best:
    step = None if counters.get("best_step") is None else whole_number(counters, "best_step")
    return Best(score_of(counters, "best_score"), step)


def _go_back_to_best(run: Run, tracker: Tracker, counters: Mapping[str, Any]) -> None:
    """Make the best model what it was at the checkpoint of `counters`; none where that model is kept no more."""
    best, path = _best_of(counters), run.folder / BEST_MODEL_FILE
    kept = None if best.step is None else checkpoint_folder(run.folder, best.step) / MODEL_FILE
    if kept is not None and kept.is_file():
        run.best = best
        link_or_copy(kept, path)
        tracker.model(path, ["best"])
        return
    # Better none than one that no score stands for: the next one that is scored counts as the best.
    run.best = Best()
    path.unlink(missing_ok=True)


def _write_model(run: Run, path: Path) -> None:
    engine = run.engine
    write_model_file(
        path,
        engine.inference_networks(),
        engine.pipeline.entry_points,
        {**run.provenance, "step": engine.step, "images": engine.images},
        pipeline=run.method,
    )
