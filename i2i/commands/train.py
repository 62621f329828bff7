"""`i2i train`: from a recipe to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_module
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer

from i2i import __version__
from i2i.commands.notes import notes_at_start
from i2i.commands.planning import (
    RECIPE_FILE,
    arithmetic_as_before,
    build_engine,
    build_evaluation,
    choose,
    finished_already,
    open_data,
    read_plan,
    settle_arithmetic,
    spent_seconds,
    with_whole_paths,
)
from i2i.commands.run_folders import claimed, held, refuse_unfit
from i2i.data.dataset import DataSet
from i2i.files import write_atomically
from i2i.inference.runtime import resolve_device
from i2i.recipe import Recipe, dump_recipe, seal
from i2i.report.card import write_card
from i2i.report.page import write_report
from i2i.training.checkpoint import checkpoint_steps
from i2i.training.distributed import Processes
from i2i.training.environment import describe_environment
from i2i.training.evaluation import open_features
from i2i.training.fine_tuning import initialize_from
from i2i.training.loop import fit
from i2i.training.progress_bar import TrainingProgress
from i2i.training.run import Run
from i2i.training.run import resume as resume_run
from i2i.training.tracking import METRICS_FILE, Tracker, next_attempt, open_sinks


@dataclass(frozen=True)
class Finished:
    """What a training that reached its length left."""

    run: str
    report: str
    step: int
    images: int
    best_score: float | None
    wall_seconds: float
    finished_before: bool = False
    """There was nothing left to do."""


def run(
    recipe: str | None,
    overrides: list[str],
    *,
    resume: Path | None,
    out: Path | None,
    device: str,
    quiet: bool,
    json: bool,
) -> None:
    """The verb: train, then say how it went."""
    finished = start(recipe, overrides, resume=resume, out=out, device=device, quiet=quiet)
    if json and _leads():
        typer.echo(json_module.dumps(dataclasses.asdict(finished)))
    elif not quiet and not finished.finished_before and _leads():
        typer.echo(f"{finished.run}: done at step {finished.step}; look at {finished.report}")


def start(
    recipe: str | None,
    overrides: list[str],
    *,
    resume: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Finished:
    """Train what the recipe describes, or go on with the run in the folder `resume`.

    Restarted by ``torchrun --max-restarts`` it goes on with the run in `out`, if that has a checkpoint by then.

    Raises:
        UsageError: arguments that do not go together, or another process trains in that folder.
        RecipeError: mistakes in the recipe, or a resumed run would change.
        I2IError: see `i2i.training.loop.fit`.
    """
    if resume is None and out is not None and _was_restarted() and checkpoint_steps(out):
        recipe, resume = None, out
    plan = read_plan(recipe, overrides, resume)
    target = resolve_device(device)
    if target.type == "cuda" and "LOCAL_RANK" in os.environ:
        target = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    processes = Processes.from_environment(target)
    with contextlib.ExitStack() as until_end:
        until_end.callback(processes.leave)
        until_end.enter_context(arithmetic_as_before())
        settle_arithmetic(plan)
        if processes.leads and resume is not None:
            until_end.enter_context(held(resume))
        elif processes.leads and out is not None:
            refuse_unfit(out)
        progress = until_end.enter_context(TrainingProgress(quiet=quiet or not processes.leads))
        # What is measured or read from the clock is decided once, for all processes.
        chosen = (
            choose(plan, target, resumed=resume is not None, processes=processes.count, report=progress.message)
            if processes.leads
            else None
        )
        plan = processes.share(chosen)
        return _train(plan, processes, target, progress, until_end, resume=resume, out=out)


def _train(
    recipe: Recipe,
    processes: Processes,
    device: torch.device,
    progress: TrainingProgress,
    until_end: contextlib.ExitStack,
    *,
    resume: Path | None,
    out: Path | None,
) -> Finished:
    resumed = resume is not None
    extractor = open_features(recipe.evaluate, device)
    data = open_data(recipe)
    engine = build_engine(recipe, data, processes, device, progress.message)
    evaluation = build_evaluation(recipe, engine, data, extractor)
    if recipe.initialize_from and not resumed:
        progress.message(initialize_from(engine, Path(recipe.initialize_from).expanduser()))
    # Only now that nothing is known to speak against it: what cannot begin leaves no folder.
    folder = resume or _new_folder(recipe, out, processes, until_end)
    if not resumed and (folder / METRICS_FILE).exists():
        progress.message(f"{folder}: left before its first checkpoint, so it begins anew; the time spent counts")
    running = Run(
        engine=engine,
        data=data,
        folder=folder,
        tracker=None,
        progress=progress,
        provenance=_provenance(recipe, data),
        method=recipe.pipeline.kind,
        doubt_loss=recipe.pipeline.doubt_loss,
        evaluation=evaluation,
        after_checkpoint=_present,
    )
    if resumed:
        resume_run(running)
        seconds = spent_seconds(folder)
        # The clock's share is in a file; one process decides for all.
        at_end = processes.share(
            finished_already(recipe, folder, running.length, engine.progress, seconds, owes=bool(running.owed))
        )
        progress.message(at_end or f"resumed at step {engine.step:,}")
        if at_end:
            return _finished(running, seconds, before=True)
    for line in data.report:
        progress.message(f"skipped: {line}")
    for note in notes_at_start(recipe, data, evaluation) if processes.leads else ():
        progress.message(f"note: {note}")
    if evaluation is not None:
        progress.message(f"evaluation: {evaluation.describe()}")
    tracker = running.tracker = _open_tracker(recipe, folder, device, progress, resumed) if processes.leads else None
    try:
        together = f", {processes.count} processes" if processes.count > 1 else ""
        progress.message(f"{folder}: {recipe.precision} on {device}{together}")
        fit(running, recipe.training.workers)
    finally:
        if tracker is not None:
            tracker.finish(_summary(running), failed=sys.exception() is not None)
    return _finished(running, tracker.wall_seconds if tracker is not None else 0.0)


def _new_folder(recipe: Recipe, out: Path | None, processes: Processes, until_end: contextlib.ExitStack) -> Path:
    """The folder of a new run, which the leading process holds until the end."""
    new = str(until_end.enter_context(claimed(recipe.name, out))) if processes.leads else ""
    return Path(processes.share(new))


def _present(folder: Path) -> None:
    """Write what people look at: the report, and the card that goes with the model."""
    write_report(folder)
    write_card(folder)


def _summary(run: Run) -> dict[str, float | str]:
    """What is best about the run, for the services that follow it."""
    best, evaluation = run.best, run.evaluation
    if best.score is None or best.step is None:
        return {}
    by = "validation" if evaluation is None or evaluation.settings.best is None else evaluation.settings.best
    return {"best_score": best.score, "best_step": best.step, "best_by": by}


def _finished(run: Run, wall_seconds: float, *, before: bool = False) -> Finished:
    return Finished(
        run=str(run.folder),
        report=str(run.folder / "report.html"),
        step=run.engine.step,
        images=run.engine.images,
        best_score=run.best.score,
        wall_seconds=round(wall_seconds, 1),
        finished_before=before,
    )


def _provenance(recipe: Recipe, data: DataSet) -> dict[str, Any]:
    """What the model file says of where its weights come from, and what its labels are called."""
    origin: dict[str, Any] = {"recipe": recipe.name, "i2i": __version__, "data": data.content_hash}
    train = {name: data.train[name].images_per_epoch for name in recipe.pipeline.streams}
    origin["pictures"] = {"train": train, "test": {name: len(samples) for name, samples in data.test.items()}}
    if recipe.pipeline.classes:
        origin["class_names"] = list(data.class_names)
    return origin


def _open_tracker(
    recipe: Recipe, folder: Path, device: torch.device, progress: TrainingProgress, resumed: bool
) -> Tracker:
    write_atomically(folder / RECIPE_FILE, seal(dump_recipe(with_whole_paths(recipe))))
    environment = describe_environment(str(device)) | {"threads": torch.get_num_threads()}
    write_atomically(folder / "environment.json", json_module.dumps(environment, indent=1))
    tracker = Tracker(folder, open_sinks(recipe.tracking, folder, progress.message), next_attempt(folder))
    config = dataclasses.asdict(recipe)
    tracker.start(config, folder.name, group=folder.name, resumed=resumed, environment=environment)
    return tracker


def _was_restarted() -> bool:
    """Whether ``torchrun`` runs this command anew because a process of it ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _leads() -> bool:
    """Whether this process speaks for all; the group itself is gone by now."""
    return os.environ.get("RANK", "0") == "0"
