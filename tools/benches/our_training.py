"""Our side of the benches: the engine that `i2i train` would build for a recipe, on samples that lie in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from bench_turns import now
from torch import Tensor

from i2i.commands.planning import build_engine, choose, settle_arithmetic
from i2i.data.dataset import DataSet
from i2i.recipe import Recipe
from i2i.training.distributed import Processes
from i2i.training.engine import Batches, Draw, Engine, UpdateReport
from i2i.training.precision import ChosenPrecision, choose_precision

_IMAGES_PER_EPOCH = 1000


@dataclass(frozen=True)
class _NoPictures:
    """A stream of which the engine only asks how long an epoch is."""

    images_per_epoch: int = _IMAGES_PER_EPOCH

    def __getitem__(self, counter: int) -> np.ndarray:
        raise IndexError("samples are at hand, nothing is to be read")


def with_precision(recipe: Recipe, device: torch.device) -> tuple[Recipe, ChosenPrecision]:
    """The recipe with the arithmetic that `i2i train` would choose here, and its name."""
    precision = choose_precision(device) if recipe.precision == "auto" else recipe.precision
    return dataclasses.replace(recipe, precision=precision), precision


def prepare_process(recipe: Recipe, device: torch.device) -> Recipe:
    """Set this process up as `i2i train` does before it opens anything; the recipe with nothing left to choose."""
    settle_arithmetic(recipe)
    return choose(recipe, device)


def engine_for(recipe: Recipe, device: torch.device, data: DataSet | None = None) -> Engine:
    """The engine of a training by `recipe`, of which `prepare_process` has left nothing to choose."""
    streams = {name: _NoPictures() for name in recipe.data.streams}
    nothing = DataSet(train=streams, test={}, aligned=False, content_hash="0" * 64)
    return build_engine(recipe, data or nothing, Processes(), device)


def samples_for(recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    """One batch of noise with 256 levels in [-1, 1] for every stream of `recipe`, (N, C, H, W), the same every time."""
    shape, batch = recipe.data.shape, recipe.training.batch_size
    random = torch.Generator().manual_seed(0)
    sides = {name: shape.pixels // (recipe.data.scale if name == "low" else 1) for name in recipe.pipeline.streams}
    return {
        name: torch.randint(0, 256, (batch, shape.channels, side, side), generator=random).to(device) / 127.5 - 1
        for name, side in sides.items()
    }


def draw_from(samples: Mapping[str, Tensor], parts: int = 1) -> Draw:
    """Gives the engine the same batch every time, in as many micro-batches as it wants."""
    laid = {name: values.contiguous(memory_format=torch.channels_last) for name, values in samples.items()}
    pieces = [{name: values.chunk(parts)[part] for name, values in laid.items()} for part in range(parts)]

    def draw(streams: Sequence[str], counters: Mapping[str, int]) -> Batches:
        return [{name: piece[name] for name in streams} for piece in pieces]

    return draw


def our_step(recipe: Recipe, device_name: str) -> Callable[[], None]:
    """The engine's step, with its guards and counters; prepares this process, so give it one of its own."""
    device = torch.device(device_name)
    recipe = prepare_process(recipe, device)
    engine = engine_for(recipe, device)
    draw = draw_from(samples_for(recipe, device), recipe.training.accumulate)

    def step() -> None:
        reports = engine.take_step(draw)
        assert reports and all(report.finite for report in reports.values())
        now(device)

    return step


def losses_of(reports: Mapping[str, UpdateReport]) -> dict[str, Tensor]:
    """The loss of each update of a step, a mean over micro-batches."""
    return {name: torch.stack([losses.total() for losses in report.losses]).mean() for name, report in reports.items()}
