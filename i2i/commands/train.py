"""`i2i train`: from a recipe to a run folder."""

from __future__ import annotations

import dataclasses
import json as json_module
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
import typer

from i2i import __version__
from i2i.commands.planning import RECIPE_FILE, build_engine, choose, read_plan, settle_arithmetic
from i2i.data.streams import open_streams
from i2i.errors import UsageError
from i2i.files import write_atomically
from i2i.inference.image_model import resolve_device
from i2i.recipe import Recipe, dump_recipe
from i2i.training.checkpoint import checkpoint_steps
from i2i.training.distributed import Processes
from i2i.training.environment import describe_environment
from i2i.training.fine_tuning import initialize_from
from i2i.training.loop import Run, fit
from i2i.training.loop import resume as resume_run
from i2i.training.progress_bar import TrainingProgress
from i2i.training.report import write_report
from i2i.training.tracking import Tracker, next_attempt, open_sinks


@dataclass(frozen=True)
class Finished:
    """What a training that reached its length left."""

    run: str
    report: str
    step: int
    images: int
    best_score: float | None
    wall_seconds: float


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
    elif not quiet and _leads():
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

    Raises:
        UsageError: arguments that do not go together.
        RecipeError: mistakes in the recipe, or a resumed run would change.
        I2IError: see `i2i.training.loop.fit`.
    """
    plan = read_plan(recipe, overrides, resume)
    target = resolve_device(device)
    if target.type == "cuda" and "LOCAL_RANK" in os.environ:
        target = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    processes = Processes.from_environment(target)
    try:
        # What is measured or read from the clock is decided once, for all processes.
        plan, folder = processes.share(
            (choose(plan, target), str(resume or _new_run_folder(plan, out))) if processes.leads else None
        )
        settle_arithmetic(plan)
        with TrainingProgress(quiet=quiet or not processes.leads) as progress:
            return _train(plan, Path(folder), processes, target, progress, resumed=resume is not None)
    finally:
        processes.leave()


def _train(
    recipe: Recipe,
    folder: Path,
    processes: Processes,
    device: torch.device,
    progress: TrainingProgress,
    *,
    resumed: bool,
) -> Finished:
    data = open_streams(recipe.data, recipe.seed)
    engine = build_engine(recipe, data, processes, device)
    for line in data.report:
        progress.message(f"skipped: {line}")
    if recipe.initialize_from and not resumed:
        progress.message(initialize_from(engine, Path(recipe.initialize_from)))
    tracker = _open_tracker(recipe, folder, device, progress, resumed) if processes.leads else None
    running = Run(
        engine=engine,
        data=data,
        folder=folder,
        tracker=tracker,
        progress=progress,
        provenance={"recipe": recipe.name, "i2i": __version__, "data": data.content_hash},
        method=recipe.pipeline.kind,
        after_checkpoint=write_report,
    )
    try:
        if resumed:
            resume_run(running)
        progress.message(f"{folder}: {recipe.precision} on {device}, {processes.count} process(es)")
        fit(running, recipe.training.workers)
    finally:
        if tracker is not None:
            tracker.finish({} if running.best.score is None else {"best_score": running.best.score})
    seconds = tracker.wall_seconds if tracker is not None else 0.0
    return Finished(
        str(folder), str(folder / "report.html"), engine.step, engine.images, running.best.score, round(seconds, 1)
    )


def _new_run_folder(recipe: Recipe, out: Path | None) -> Path:
    """The folder of a new run; never one that already holds a run."""
    if out is not None:
        # What died before its first checkpoint is no run to go on with, and may start over here.
        if checkpoint_steps(out):
            raise UsageError(f"{out}: holds a run already - choose another folder, or go on with --resume {out}")
        return out
    stem = f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (Path("runs") / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(candidate for candidate in candidates if not candidate.exists())


def _open_tracker(
    recipe: Recipe, folder: Path, device: torch.device, progress: TrainingProgress, resumed: bool
) -> Tracker:
    text = dump_recipe(recipe)
    write_atomically(folder / RECIPE_FILE, text)
    environment = describe_environment(str(device)) | {"threads": torch.get_num_threads()}
    write_atomically(folder / "environment.json", json_module.dumps(environment, indent=1))
    tracker = Tracker(folder, open_sinks(recipe.tracking, folder, progress.message), next_attempt(folder))
    config = dataclasses.asdict(recipe)
    tracker.start(config, folder.name, group=folder.name, resumed=resumed)
    return tracker


def _leads() -> bool:
    """Whether this process speaks for all; the group itself is gone by now."""
    return os.environ.get("RANK", "0") == "0"
