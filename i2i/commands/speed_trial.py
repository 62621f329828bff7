"""What `speed: auto` comes to on this machine, for a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from i2i.core.losses.perceptual import ScriptedFeaturesSettings
from i2i.core.virtual_batch_norm import has_reference, reference_rows, set_reference
from i2i.errors import one_line
from i2i.recipe import Recipe, load_recipe
from i2i.training.acceleration import TRICKS, Report, measured_tricks, unmeasured_tricks
from i2i.training.acceleration_trial import Tried, time_steps, try_tricks
from i2i.training.engine import Batches, Draw, Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.pretrained import load_pretrained
from i2i.training.settings import TrickName

_LEVELS = 256
_STANDARD = "dcgan_demo"
_STANDARD_CHANGES = ("data={kind: drawn_digits, size_pixels: 64}", "training.batch_size=16")
"""A small training that builds in seconds, for looking at a machine."""
_TURNS = 3


def choose_tricks(recipe: Recipe, device: torch.device, processes: int, report: Report) -> tuple[TrickName, ...]:
    """The names of the tricks that pay for `recipe`, whose number format is chosen already.

    Args:
        processes: that share the batch.
        report: takes a line for each trick that does not work here, and for each that is taken or left by measurement.
    """
    taken = unmeasured_tricks(device)
    try:
        tried = try_for(recipe, device, processes, report)
    except Exception as error:  # too large for this device, say: the training itself finds out, and knows what to do
        report(f"speed: nothing could be measured ({one_line(error)}); on with {', '.join(taken)}")
        return taken
    for each in tried:
        report(f"speed: {each.name} {'is taken' if each.kept else 'is left'}: {each.why}")
    return (*taken, *(each.name for each in tried if each.kept))


def try_for(recipe: Recipe, device: torch.device, processes: int, report: Report) -> list[Tried]:
    """Measure what needs a trial here; nothing does where the same seed must give the same bits.

    Raises:
        Exception: whatever keeps the recipe's networks from training on this device.
    """
    # What a measurement decides may turn out otherwise the next time, and some kernels then round otherwise.
    candidates = () if recipe.deterministic else measured_tricks(device)
    if not candidates:
        return []
    rows = max(1, recipe.training.batch_size // (recipe.training.accumulate * processes))
    build, draw = throwaway_bench(recipe, rows, device)
    return try_tricks(
        build,
        draw,
        candidates,
        taken=unmeasured_tricks(device),
        steps_to_come=lambda seconds: _steps(recipe, seconds),
        report=report,
    )


def throwaway_bench(recipe: Recipe, rows: int, device: torch.device) -> tuple[Callable[[], Engine], Draw]:
    """What gives engines that are thrown away for `recipe`, and what gives these made-up samples of `rows` each.

    The engines are plain, and in the last phase of the training, whose steps take longest. No file is read for them but
    that of a scripted network.

    Raises:
        ModelError: by building an engine: the file of a scripted network is missing or unfit.
    """
    samples = made_up_samples(recipe, rows, device)

    def draw(streams: Sequence[str], counters: Mapping[str, int]) -> Batches:
        return [{name: samples[name] for name in streams}]

    return lambda: _throwaway_engine(recipe, rows, device), draw


def made_up_samples(recipe: Recipe, rows: int, device: torch.device) -> dict[str, Tensor]:
    """Noise of 256 levels in [-1, 1] for every stream of pictures, (rows, C, H, W), and labels (rows,) in turn."""
    shape = recipe.data.shape
    random = torch.Generator().manual_seed(0)
    dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
    samples: dict[str, Tensor] = {}
    for name in recipe.pipeline.streams:
        if name == "label":
            samples[name] = (torch.arange(rows) % recipe.pipeline.classes).to(device)
            continue
        side = shape.pixels // (recipe.data.scale if name == "low" else 1)
        levels = torch.randint(0, _LEVELS, (rows, shape.channels, side, side), generator=random)
        pictures = (levels / ((_LEVELS - 1) / 2) - 1).to(device, dtype)
        samples[name] = pictures.contiguous(memory_format=torch.channels_last)
    return samples


def _throwaway_engine(recipe: Recipe, rows: int, device: torch.device) -> Engine:
    assert recipe.precision != "auto"
    pipeline = recipe.pipeline.build(recipe.data.shape)
    pipeline.initialize(recipe.seed)
    for name, wanted in pipeline.pretrained.items():
        # Steps take as long with any weights, but a scripted network is nothing without its file.
        if isinstance(wanted, ScriptedFeaturesSettings):
            load_pretrained(pipeline.networks[name], wanted)
    for network in pipeline.networks.values():
        # A training takes it from the pictures of all its processes; those of one may be too few.
        if not has_reference(network):
            set_reference(network, made_up_samples(recipe, reference_rows(network), device)["real"])
    settings = dataclasses.replace(recipe.training, batch_size=rows, accumulate=1)
    engine = Engine(pipeline, settings, Precision(recipe.precision, device), images_per_epoch=1000, seed=recipe.seed)
    engine.step = pipeline.phase_starts(rows)[-1]
    engine.images = engine.step * rows
    return engine


def _steps(recipe: Recipe, seconds: float) -> float | None:
    """How many steps the training will have; None where only the data know how long an epoch is."""
    length, batch = recipe.training.length, recipe.training.batch_size
    limits = [
        length.steps,
        length.images / batch if length.images is not None else None,
        60 * length.minutes / seconds if length.minutes is not None else None,
    ]
    return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True)
class SpeedFindings:
    """What each trick does to a small standard training on a device, and what `speed: auto` takes there."""

    device: str
    training: str
    """What was timed, in words."""
    plain_seconds: float
    """Of a step without any of them."""
    seconds: dict[TrickName, float | None]
    """Of a step with each of them alone; None: it does not work here."""
    unmeasured: dict[TrickName, str]
    """What "auto" takes without a trial, and why."""
    tried: dict[TrickName, str]
    """What "auto" decides by a trial, and what became of it for this training."""
    auto: tuple[TrickName, ...]
    auto_seconds: float
    """Of a step with all that "auto" takes."""
    failed: list[str]
    """One line for each trick that does not work here."""


def examine_speed(device: torch.device, precision: ChosenPrecision) -> SpeedFindings:
    """Time every trick that "auto" considers on this device, each alone and those it takes together.

    Raises:
        RuntimeError: the standard training does not run here.
    """
    recipe = dataclasses.replace(load_recipe(_STANDARD, _STANDARD_CHANGES), precision=precision)
    rows = recipe.training.batch_size
    build, draw = throwaway_bench(recipe, rows, device)
    unmeasured: dict[TrickName, str] = {
        name: str(TRICKS[name].unmeasured_because) for name in unmeasured_tricks(device)
    }
    failed: list[str] = []
    tried = try_for(recipe, device, 1, failed.append)
    auto: tuple[TrickName, ...] = (*unmeasured, *(each.name for each in tried if each.kept))
    alone: list[tuple[TrickName, ...]] = [(name,) for name in (*unmeasured, *measured_tricks(device))]
    fastest: dict[tuple[TrickName, ...], float] = {}
    # In turns, because what else runs on the machine comes and goes.
    for tricks in [(), *alone, auto] * _TURNS:
        trouble: list[str] = []
        timing = time_steps(build, draw, tricks, trouble.append)
        fastest[tricks] = inf if trouble else min(timing.seconds, fastest.get(tricks, inf))
    shape = recipe.data.shape
    return SpeedFindings(
        device=str(device),
        training=f"a step of DCGAN, {shape.pixels} px, batch {rows}, {precision}",
        plain_seconds=fastest[()],
        seconds={each[0]: fastest[each] if fastest[each] < inf else None for each in alone},
        unmeasured=unmeasured,
        tried={each.name: ("taken: " if each.kept else "left: ") + each.why for each in tried},
        auto=auto,
        auto_seconds=fastest[auto],
        failed=failed,
    )
