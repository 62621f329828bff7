"""What `i2i train` and its trial run share: from command-line arguments to an engine that is ready to step."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from i2i.commands.speed_trial import choose_tricks
from i2i.core.step import Progress
from i2i.data.dataset import DataSet
from i2i.data.folders import MissingFolderError
from i2i.data.streams import open_streams
from i2i.errors import DataError, ModelError, RecipeError, UsageError
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.pipelines import SRGANSettings
from i2i.recipe import Recipe, built_in_recipes, changes_on_resume, check_seal, load_recipe
from i2i.report.card import CARD_FILE
from i2i.training.acceleration import Report, accelerate, say_nothing, tricks_before_trials
from i2i.training.checkpoint import checkpoint_folder
from i2i.training.distributed import Processes
from i2i.training.engine import Engine
from i2i.training.evaluation import Evaluation, with_whole_files, with_whole_path
from i2i.training.precision import Precision, choose_precision
from i2i.training.pretrained import load_pretrained
from i2i.training.timing import Length
from i2i.training.tracking import read_metrics

RECIPE_FILE = "recipe.yaml"
_Settings = TypeVar("_Settings")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_NO_RATE = 1e-6
"""At this share of the learning rate nothing is learnt any more."""


def read_plan(recipe: str | None, overrides: list[str], resume: Path | None) -> Recipe:
    """The recipe to train, from its file or from the run to go on with.

    Raises:
        UsageError: neither or both are given.
        ModelError: the folder to resume holds no run.
        RecipeError: mistakes, or a resumed run would change.
    """
    if resume is None:
        if recipe is None:
            raise UsageError("name a recipe (`i2i recipes` lists the built-in ones) or --resume RUN")
        return load_recipe(recipe, overrides)
    if recipe is not None:
        raise UsageError("--resume goes on with the run's own recipe: leave the recipe out, or change it with --set")
    kept = resume / RECIPE_FILE
    if not kept.is_file():
        raise ModelError(_why_no_run(resume))
    check_seal(kept)
    changed = load_recipe(kept, overrides)
    changes_on_resume(with_whole_paths(load_recipe(kept)), with_whole_paths(changed))
    return changed


def _why_no_run(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no run to resume here, there is no such folder - name that of a run, such as runs/NAME"
    within = sorted((path.parent for path in folder.glob(f"*/{RECIPE_FILE}")), key=lambda run: run.stat().st_mtime)
    remedy = f"the newest run in there is {within[-1]}" if within else "name the folder of a run, such as runs/NAME"
    return f"{folder}: no run to resume here, it has no {RECIPE_FILE} - {remedy}"


def with_whole_paths(recipe: Recipe) -> Recipe:
    """The same recipe with paths that mean the same from every working directory."""

    data, pipeline = recipe.data, recipe.pipeline
    if isinstance(pipeline, SRGANSettings) and pipeline.perceptual is not None:
        perceptual = _with_whole(pipeline.perceptual, pipeline.perceptual.path_keys)
        pipeline = dataclasses.replace(pipeline, perceptual=perceptual)
    data, evaluate = _with_whole(data, data.path_keys), recipe.evaluate
    if evaluate is not None:
        features, lpips = with_whole_path(evaluate.features), with_whole_files(evaluate.lpips)
        evaluate = dataclasses.replace(evaluate, features=features, lpips=lpips)
    recipe = dataclasses.replace(recipe, data=data, pipeline=pipeline, evaluate=evaluate)
    return _with_whole(recipe, ("initialize_from",))


def _with_whole(settings: _Settings, keys: Sequence[str]) -> _Settings:
    """The settings with absolute paths under these keys."""
    paths = {key: path for key in keys if (path := getattr(settings, key)) is not None}
    absolute = {key: str(Path(path).expanduser().absolute()) for key, path in paths.items()}
    return dataclasses.replace(settings, **absolute)  # type: ignore[type-var]


def build_evaluation(
    recipe: Recipe, engine: Engine, data: DataSet, extractor: FeatureExtractor | None
) -> Evaluation | None:
    """What the recipe wants measured, ready to be; None where it wants nothing.

    Args:
        extractor: from `i2i.training.evaluation.open_features`: before the data, whose first opening can take long.

    Raises:
        RecipeError: there are no pictures to measure by, or a metric needs another extractor.
    """
    if recipe.evaluate is None:
        return None
    return Evaluation(
        recipe.evaluate,
        engine.pipeline,
        data,
        extractor=extractor,
        device=engine.precision.device,
        description=f"data of {recipe.name}",
    )


def open_data(recipe: Recipe) -> DataSet:
    """Open the recipe's data.

    Raises:
        DataError: pictures are missing or unfit; with a built-in recipe it says where to read what the set is.
    """
    try:
        return open_streams(recipe.data, recipe.seed)
    except MissingFolderError as error:
        if recipe.name not in {built_in.name for built_in in built_in_recipes()}:
            raise
        raise DataError(f"{error}; `i2i recipes {recipe.name}` says what the set is and where it is from") from error


def spent_seconds(folder: Path) -> float:
    """Time that the run in `folder` has taken so far, over all its attempts."""
    return max((row["wall_seconds"] for row in read_metrics(folder)), default=0.0)


def finished_already(
    recipe: Recipe, folder: Path, length: Length, progress: Progress, seconds: float, *, owes: bool = False
) -> str | None:
    """What to tell about a run that has reached its length, and how to go on; None if it has not.

    Args:
        progress: of its newest checkpoint.
        seconds: that it has taken.
        owes: something was due at that checkpoint and not done.
    """
    reached = {} if owes else length.reached(progress, seconds)
    if not reached or not _was_shown(folder, progress.step):
        return None
    done = f"{folder}: finished already, at step {progress.step:,}"
    if recipe.training.schedule.factor(progress) < _NO_RATE:
        again = f"i2i train {folder / RECIPE_FILE} --set initialize_from={folder}"
        return f"{done}, where its schedule ends; to train on, begin a run with its weights: {again}"
    more = " ".join(f"--set training.length.{name}={2 * value:g}" for name, value in reached.items())
    return f"{done}; to train longer, e.g.: i2i train --resume {folder} {more}"


def _was_shown(folder: Path, step: int) -> bool:
    """Whether what people look at is newer than the checkpoint: it comes last, so that a run without it was killed
    while it was finishing."""
    try:
        shown, saved = folder / CARD_FILE, checkpoint_folder(folder, step)
        return shown.stat().st_mtime_ns >= saved.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def choose(
    recipe: Recipe,
    device: torch.device,
    *,
    resumed: bool = False,
    processes: int = 1,
    report: Report = say_nothing,
) -> Recipe:
    """Replace `auto` by what is best here, as far as needed by a short trial; the run keeps it, on resume too.

    Args:
        resumed: the recipe is that of a run; one begun by an older version may still say `speed: auto`.
        processes: that share the batch.
        report: takes one line for each thing that a trial decided.
    """
    if recipe.precision == "auto":
        recipe = dataclasses.replace(recipe, precision=choose_precision(device))
    if recipe.speed == "auto":
        tricks = tricks_before_trials(device) if resumed else choose_tricks(recipe, device, processes, report)
        recipe = dataclasses.replace(recipe, speed=tricks)
    return recipe


def settle_arithmetic(recipe: Recipe) -> None:
    """Set this process up: fp32 in full, and the same bits from the same seed if the recipe says `deterministic`.

    Without that the same seed gives the same bits on a CPU alone.
    """
    # Convolution results must not depend on which algorithm won a race this time, and fp32 means 23 bits of mantissa.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    if recipe.deterministic:
        os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(recipe.deterministic)


@contextlib.contextmanager
def arithmetic_as_before() -> Iterator[None]:
    """Undo `settle_arithmetic` at the end: a training is often not the last thing that a Python process does."""
    cudnn, mode, workspace = torch.backends.cudnn, torch.get_deterministic_debug_mode(), os.environ.get(_CUBLAS)
    flags = {name: getattr(cudnn, name) for name in ("benchmark", "allow_tf32")}
    try:
        yield
    finally:
        for name, value in flags.items():
            setattr(cudnn, name, value)
        torch.set_deterministic_debug_mode(mode)
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
        else:
            os.environ[_CUBLAS] = workspace


def build_engine(
    recipe: Recipe,
    data: DataSet,
    processes: Processes,
    device: torch.device,
    report: Report = say_nothing,
) -> Engine:
    """Networks with their initial weights inside an engine; `choose` has left nothing of `recipe` to choose.

    Args:
        report: takes one line for whatever makes steps faster elsewhere and does not work here.

    Raises:
        RecipeError: recipe and data do not fit each other.
        ModelError: weights that the method starts with are missing or unfit.
    """
    assert recipe.precision != "auto" and recipe.speed != "auto"
    _check_classes(recipe, data)
    pipeline = recipe.pipeline.build(recipe.data.shape)
    pipeline.initialize(recipe.seed)
    for name, settings in pipeline.pretrained.items():
        load_pretrained(pipeline.networks[name], settings)
    engine = Engine(
        pipeline,
        recipe.training,
        Precision(recipe.precision, device),
        images_per_epoch=max(data.train[stream].images_per_epoch for stream in pipeline.streams),
        seed=recipe.seed,
        processes=processes,
    )
    accelerate(engine, () if recipe.speed == "plain" else recipe.speed, report)
    return engine


def _check_classes(recipe: Recipe, data: DataSet) -> None:
    """Refuse labels that the networks have no place for.

    Raises:
        RecipeError: the data tell another number of classes apart than the recipe.
    """
    classes = recipe.pipeline.classes
    if classes and classes != len(data.class_names):
        raise RecipeError(
            f"pipeline.classes is {classes}, but the data have {len(data.class_names)}"
            f" ({', '.join(data.class_names[:5])}{', ...' if len(data.class_names) > 5 else ''}) - set it to that"
        )
