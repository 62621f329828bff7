"""What `i2i train` and its trial run share: from command-line arguments to an engine that is ready to step."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch

from i2i.data.dataset import DataSet
from i2i.errors import ModelError, UsageError
from i2i.recipe import Recipe, changes_on_resume, load_recipe
from i2i.training.distributed import Processes
from i2i.training.engine import Engine
from i2i.training.precision import Precision, choose_precision

RECIPE_FILE = "recipe.yaml"


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
        raise ModelError(f"{resume}: no run to resume here, it has no {RECIPE_FILE}")
    changed = load_recipe(kept, overrides)
    changes_on_resume(load_recipe(kept), changed)
    return changed


def choose(recipe: Recipe, device: torch.device) -> Recipe:
    """Replace `auto` by what is measured to be best here; the run keeps it, on resume too."""
    if recipe.precision != "auto":
        return recipe
    return dataclasses.replace(recipe, precision=choose_precision(device))


def settle_arithmetic(recipe: Recipe) -> None:
    """Set this process up so that the same seed gives the same bits."""
    # Convolution results must not depend on which algorithm won a race this time, and fp32 means 23 bits of mantissa.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    if recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def build_engine(recipe: Recipe, data: DataSet, processes: Processes, device: torch.device) -> Engine:
    """Networks with their initial weights inside an engine; `recipe.precision` is chosen already."""
    assert recipe.precision != "auto"
    pipeline = recipe.pipeline.build()
    pipeline.initialize(recipe.seed)
    return Engine(
        pipeline,
        recipe.training,
        Precision(recipe.precision, device),
        images_per_epoch=max(data.train[stream].images_per_epoch for stream in pipeline.streams),
        seed=recipe.seed,
        processes=processes,
        fast=recipe.speed == "auto",
    )
