"""One training step of every method, beside what a user of PyTorch would write.

    tools/bench steps                                  all rows: about 16 minutes on two CPU cores
    tools/bench steps --only dcgan srresnet --steps 3
    tools/bench steps --only cyclegan --batch 4 --set training.accumulate=2

Ours is the engine's step as `i2i train` takes it with the recipe that a row names, in the arithmetic that it would
choose here, with guards, counters and, where the recipe has one, the running average. The plain one (plain_*.py) has
the same networks and losses in stock layers, float32 and the ordinary memory layout, with PyTorch's defaults, and
neither guards nor average. Samples are noise that lies in memory. Both take turns (A B A B ...), each in a process of
its own: a training of ours keeps freed memory for its next step, which must not help the other side. The first step of
ours also audits the losses, and belongs to the uncounted ones.

SRGAN looks through a VGG19 with weights drawn from a seed, which cost what the published ones do.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from bench_turns import alternate, compare, comparison_lines, in_own_process, now, timed, tried
from our_training import our_step, samples_for, with_precision
from plain_cyclegan import PlainCycleGAN
from plain_dcgan import PlainDCGAN
from plain_r3gan import PlainR3GAN
from plain_upscaling import (
    PlainMSRResNet,
    PlainSRGAN,
    PlainSRResNet,
    PlainUpscaling,
    PlainVGG19,
    plain_discriminator,
)
from roofline import SHAPES_ONLY, Roofline, operation_lines, operations_of
from safetensors.torch import save_file
from torch import Tensor, nn

from i2i.core.discriminators import (
    DCGANDiscriminatorSettings,
    PatchDiscriminatorSettings,
    R3GANDiscriminatorSettings,
    VGGDiscriminatorSettings,
)
from i2i.core.generators import (
    DCGANGeneratorSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    SRResNetSettings,
    UpscalerSettings,
)
from i2i.core.losses.perceptual import VGGFeaturesSettings
from i2i.pipelines import CycleGANSettings, SRGANSettings, UnconditionalSettings
from i2i.recipe import Recipe, load_recipe


class PlainTraining(Protocol):
    """What every plain_*.py offers for a method."""

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    def step(self, samples: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """All updates; the loss of each by its name in ours."""
        ...


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """A row of the table."""

    name: str
    title: str
    recipe: str
    """Built in; it says what both sides do."""
    batch: int
    gpu_batch: int | None = None
    """Where a GPU would be bored by `batch`."""
    changes: tuple[str, ...] = ()
    """Of the recipe, as --set takes them."""
    steps: int = 5
    warmup: int = 2
    apart: bool = False
    """One side after the other instead of in turns: together they take more memory than usual machines have."""


_PENALTIES = "[{kind: r1, weight: 2.0}, {kind: r2, weight: 2.0}]"
_ADAM = "{kind: adam, learning_rate: 2e-4, betas: [0.0, 0.99], second_beta: null}"
_MSRRESNET = "{kind: msrresnet, scale: 4, base_channels: 64, blocks: 16}"

ROWS: tuple[StepRow, ...] = (
    StepRow(name="cyclegan", title="CycleGAN", recipe="cyclegan_horse2zebra", batch=1),
    StepRow(name="cyclegan8", title="CycleGAN", recipe="cyclegan_horse2zebra", batch=8, steps=3, warmup=1, apart=True),
    StepRow(name="dcgan", title="DCGAN", recipe="dcgan_faces64", batch=128),
    StepRow(
        name="r3gan",
        title="R3GAN, R1 and R2 each step",
        recipe="r3gan_faces64",
        batch=2,
        gpu_batch=64,
        # Without augmentation, and at the beginning of all ramps: so the plain one has it.
        changes=(
            "pipeline.augmentation=null",
            f"pipeline.penalties={_PENALTIES}",
            f"training.optimizers={{generator: {_ADAM}, discriminator: {_ADAM}}}",
            "training.schedule={kind: constant}",
        ),
    ),
    StepRow(name="srresnet", title="SRResNet", recipe="srresnet_x4", batch=16, changes=("data.crop_pixels=128",)),
    StepRow(
        name="msrresnet",
        title="MSRResNet",
        recipe="srresnet_x4",
        batch=16,
        changes=("data.crop_pixels=128", f"pipeline.generator={_MSRRESNET}", "pipeline.pixel_distance=l1"),
    ),
    StepRow(
        name="srgan",
        title="SRGAN, adversarial phase",
        recipe="srgan_x4",
        batch=16,
        changes=("data.crop_pixels=128", "pipeline.pixel_images=0"),
    ),
)


def recipe_of(row: StepRow, more: Sequence[str] = ()) -> Recipe:
    """What both sides of a row train; `more` changes on top of the row's own."""
    return load_recipe(row.recipe, [*row.changes, f"training.batch_size={row.batch}", *more])


def title_of(row: StepRow, recipe: Recipe) -> str:
    """The row's title with the sizes in question."""
    return f"{row.title}, {recipe.data.shape.pixels} px, batch {recipe.training.batch_size}"


def plain_training(recipe: Recipe, device: torch.device) -> PlainTraining:
    """The plain side of what `recipe` says, of the same sizes."""
    pipeline, shape = recipe.pipeline, recipe.data.shape
    match pipeline:
        case CycleGANSettings(
            generator=ResNetGeneratorSettings() as generator, discriminator=PatchDiscriminatorSettings() as judge
        ):
            return PlainCycleGAN(device, generator.base_channels, generator.blocks, judge.base_channels)
        case UnconditionalSettings(
            generator=DCGANGeneratorSettings() as generator, discriminator=DCGANDiscriminatorSettings()
        ):
            return PlainDCGAN(device, shape.channels, generator.base_channels)
        case UnconditionalSettings(
            generator=R3GANGeneratorSettings() as generator, discriminator=R3GANDiscriminatorSettings()
        ):
            widths = [stage.width for stage in generator.stages(shape)]
            return PlainR3GAN(device, shape.channels, widths)
        case SRGANSettings(discriminator=None):
            return PlainUpscaling(_plain_upscaler(pipeline.generator), device, pipeline.pixel_distance)
        case SRGANSettings(
            discriminator=VGGDiscriminatorSettings() as judge, perceptual=VGGFeaturesSettings() as perceptual
        ):
            discriminator = plain_discriminator(shape.pixels, judge.base_channels, judge.hidden_features)
            (layer,) = perceptual.used_layers
            features = PlainVGG19(last_block=int(layer[4]))
            if device != SHAPES_ONLY and perceptual.weights is not None:
                _fill(features, Path(perceptual.weights))
            return PlainSRGAN(_plain_upscaler(pipeline.generator), discriminator, features, device)
    raise AssertionError(f"nobody has written {pipeline.kind} as plain PyTorch")


def _plain_upscaler(settings: UpscalerSettings) -> nn.Module:
    assert isinstance(settings, SRResNetSettings | MSRResNetSettings) and settings.scale == 4
    build = PlainSRResNet if isinstance(settings, SRResNetSettings) else PlainMSRResNet
    return build(settings.base_channels, settings.blocks)


def write_features(settings: VGGFeaturesSettings, path: Path) -> None:
    """Weights for a VGG19 that nobody trained, in the layout that `settings` would read: He et al.'s, from a seed."""
    random, network = torch.Generator().manual_seed(0), settings.build()
    for name, weight in network.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight, generator=random)
        else:
            nn.init.zeros_(weight)
    save_file(network.state_dict(), path)


def _fill(features: nn.Module, file: Path) -> None:
    """The same weights for the plain one, layer by layer."""
    from safetensors.torch import load_file

    found = sorted(load_file(file).items(), key=lambda item: (int(item[0].split(".")[1]), item[0]))
    mine = sorted(features.state_dict().items(), key=lambda item: (int(item[0].split(".")[1]), item[0]))
    features.load_state_dict({name: value for (name, _), (_, value) in zip(mine, found, strict=True)})


def plain_samples(recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    """The samples of ours as the plain side wants them: super-resolution works on [0, 1]."""
    unit = isinstance(recipe.pipeline, SRGANSettings)
    return {name: values / 2 + 0.5 if unit else values for name, values in samples_for(recipe, device).items()}


def plain_step(recipe: Recipe, device_name: str) -> Callable[[], None]:
    """The plain side's action."""
    device = torch.device(device_name)
    training, samples = plain_training(recipe, device), plain_samples(recipe, device)

    def step() -> None:
        training.step(samples)
        now(device)

    return step


def step_operations(recipe: Recipe) -> int:
    """Operations of the mathematics of a step; nothing is computed."""
    training, samples = plain_training(recipe, SHAPES_ONLY), plain_samples(recipe, SHAPES_ONLY)
    if isinstance(training, PlainDCGAN):
        training.needless_gradients = False
    return operations_of(functools.partial(training.step, samples))


# The verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--batch", type=int, help="of every row, in place of its own")
    parser.add_argument("--steps", type=int, help="counted steps of each side (default 5, cyclegan8 3)")
    parser.add_argument("--warmup", type=int, help="uncounted steps of each before (default 2, cyclegan8 1)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipes, both sides"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each method, and the limits of the machine."""
    return measure([row for row in ROWS if arguments.only is None or row.name in arguments.only], arguments)


def measure(rows: Sequence[StepRow], arguments: argparse.Namespace) -> dict[str, Any]:
    """Plain against ours for these rows."""
    device = torch.device(arguments.device)
    roofline = Roofline(device)
    kept: list[dict[str, Any]] = []
    failed: list[str] = []
    for row in rows:
        batch = arguments.batch or (device.type != "cpu" and row.gpu_batch) or row.batch
        recipe = recipe_of(row, [f"training.batch_size={batch}", *arguments.set])
        title = title_of(row, recipe)
        counted = arguments.steps or row.steps
        warmup = row.warmup if arguments.warmup is None else arguments.warmup
        measure_row = functools.partial(_measured, title, recipe, (counted, warmup), roofline, apart=row.apart)
        measured = tried(title, measure_row, failed)
        if measured is not None:
            kept.append({"name": row.name, "recipe": row.recipe, "batch": batch, **measured})
    return {"rows": kept, "limits": roofline.limits, "failed": failed}


def _measured(title: str, recipe: Recipe, turns: tuple[int, int], roofline: Roofline, *, apart: bool) -> dict[str, Any]:
    device = roofline.device
    recipe, precision = with_precision(recipe, device)
    roofline.look("fp32", precision)
    with tempfile.TemporaryDirectory() as folder:
        recipe = with_features(recipe, Path(folder))
        seconds = (_apart if apart else _in_turns)(recipe, str(device), *turns)
        operations = step_operations(recipe)
    roofline.look("fp32", precision)
    return roofline.rated(compare(title, *seconds, precision), operations)


def _in_turns(recipe: Recipe, device: str, counted: int, warmup: int) -> tuple[list[float], list[float]]:
    """Seconds of the steps of both sides, which take turns."""
    with (
        in_own_process(plain_step, recipe, device) as plain,
        in_own_process(our_step, recipe, device) as ours,
    ):
        # Each process waits for its device itself.
        return alternate(plain, ours, counted, warmup, torch.device("cpu"))


def _apart(recipe: Recipe, device: str, counted: int, warmup: int) -> tuple[list[float], list[float]]:
    """The same, one side after the other."""
    with in_own_process(plain_step, recipe, device) as plain:
        plain_seconds = timed(plain, counted, warmup)
    with in_own_process(our_step, recipe, device) as ours:
        return plain_seconds, timed(ours, counted, warmup)


def with_features(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with weights for its feature network, if it has one, that lie in `folder`."""

    pipeline = recipe.pipeline
    if not isinstance(pipeline, SRGANSettings) or not isinstance(pipeline.perceptual, VGGFeaturesSettings):
        return recipe
    file = folder / "vgg19.safetensors"
    write_features(pipeline.perceptual, file)
    perceptual = dataclasses.replace(pipeline.perceptual, weights=str(file))
    return dataclasses.replace(recipe, pipeline=dataclasses.replace(pipeline, perceptual=perceptual))


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    rows = result["rows"]
    left_out = [f"left out: {line}" for line in result["failed"]]
    return [*comparison_lines(rows), "", *operation_lines(rows, result["limits"]), *left_out]
