"""Does everything work on this GPU? Trains, resumes and uses each method in fp32, bf16 and fp16, in a few minutes.

    tools/gpu_check                    on the first CUDA device
    tools/gpu_check --device cpu       the same checks without a GPU (fp16 left out: a CPU is very slow at it)

Each row is one method in one number format. "trains": the losses of a short training are finite, and the cycle error
falls (CycleGAN), the pictures become different from each other (DCGAN), the discriminator learns (R3GAN), or the pixel
error of the first phase falls (SRGAN). "resumes": a training cut in the middle and resumed ends with the same bits as
one that was not, under `deterministic: true`. "is used": the saved model makes the CPU's pictures within 2 grey levels.
"no waits": in no step, once warm, does the host wait for the GPU.
Times are of whole steps in full size, with `speed: plain` and `speed: auto`: the paper's CycleGAN at 256 pixels, DCGAN
at 64 pixels and batch 128, R3GAN at 64 pixels and batch 64, SRGAN's second phase at 96 pixels and batch 16 with VGG19's
features. What "auto" measures, compiled networks above all, is measured in bf16.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

# Must be set before CUDA starts, for reproducible matrix products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch

from i2i.commands import train
from i2i.commands.speed_trial import choose_tricks, throwaway_bench
from i2i.data.settings import DrawnAnimalsSettings, DrawnScenesSettings
from i2i.data.streams import open_streams
from i2i.errors import one_line
from i2i.inference import load_generator, load_model
from i2i.inference.runtime import Precision as InferencePrecision
from i2i.recipe import load_recipe
from i2i.training.acceleration import accelerate, unmeasured_tricks
from i2i.training.acceleration_trial import time_steps
from i2i.training.precision import ChosenPrecision
from i2i.training.settings import TrickName
from i2i.training.tracking import read_metrics

STEPS = 60
WARM_UP_STEPS, WATCHED_STEPS = 20, 40
"""Before and while waits are looked for: what is due every sixteen steps comes in both."""
COMMON = [
    f"training.length={{steps: {STEPS}, minutes: null, epochs: null}}",
    "training.log_every_steps=5",
    "training.samples={every_minutes: null, every_epochs: null}",
    "training.checkpoints={every_minutes: null, every_steps: 20, keep_last: 9}",
    "tracking.wandb=disabled",
    "deterministic=true",
]


@dataclass(frozen=True)
class Method:
    """A short training of one method, and what its numbers must show."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    falls: str
    """A number that must be lower at the end than at the start; with a minus in front, higher."""
    judge_use: Callable[[Path, str, InferencePrecision], str]
    full_size: str
    """The recipe whose step is timed, in full size."""


def judge_translation(run: Path, device: str, precision: InferencePrecision) -> str:
    pictures = np.stack(open_streams(DrawnAnimalsSettings(pictures=1, test_pictures=4), seed=0).test["a"])
    made = [load_model(run, where, precision=name)(pictures) for where, name in uses(device, precision)]
    return judge_pictures(made, precision)


def judge_enlargement(run: Path, device: str, precision: InferencePrecision) -> str:
    scenes = DrawnScenesSettings(pictures=1, test_pictures=4, size_pixels=128)
    pictures = np.stack(open_streams(scenes, seed=0).test["low"])
    made = [load_model(run, where, precision=name)(pictures) for where, name in uses(device, precision)]
    return judge_pictures(made, precision)


def judge_generation(run: Path, device: str, precision: InferencePrecision) -> str:
    models = [load_generator(run, where, precision=name) for where, name in uses(device, precision)]
    return judge_pictures([model(model.latents(range(32))) for model in models], precision)


def uses(device: str, precision: InferencePrecision) -> list[tuple[str, InferencePrecision]]:
    """On the CPU, on the device, and there in the number format."""
    return [("cpu", "fp32"), (device, "fp32"), (device, precision)]


def judge_pictures(made: Sequence[np.ndarray], precision: str) -> str:
    on_cpu, on_device, narrow = (pictures.astype(int) for pictures in made)
    exact, rounded = np.abs(on_device - on_cpu).max(), np.abs(narrow - on_cpu).mean()
    verdict = "ok" if exact <= 2 and rounded <= 4 else "FAILED"
    return f"{verdict}, fp32 within {exact}, {precision} mean {rounded:.2f}"


DIGITS = ("data.pictures=512", "data.test_pictures=64")
METHODS = (
    Method(
        "cyclegan",
        "cyclegan_demo",
        (
            "pipeline.generator.base_channels=16",
            "pipeline.discriminator.base_channels=16",
            "data.pictures=64",
            "data.test_pictures=8",
            "training.validation={every_minutes: null, pictures: 8}",
        ),
        "loss/generator/cycle_a",
        judge_translation,
        "cyclegan_horse2zebra",
    ),
    Method("dcgan", "dcgan_demo", DIGITS, "-sample/diversity", judge_generation, "dcgan_faces64"),
    Method(
        "r3gan",
        "r3gan_faces64",
        (
            "data={kind: drawn_digits, size_pixels: 32}",
            *DIGITS,
            "pipeline.generator={widths: [32, 32, 16, 16], cardinalities: [4, 4, 4, 4], blocks: [1, 1, 1, 1]}",
            "pipeline.discriminator={widths: [16, 16, 32, 32], cardinalities: [4, 4, 4, 4], blocks: [1, 1, 1, 1]}",
        ),
        "loss/discriminator/pair",
        judge_generation,
        "r3gan_faces64",
    ),
    Method(
        "srgan",
        "srgan_quick_x4",
        (
            "data={kind: drawn_scenes, scale: 4, crop_pixels: 96, size_pixels: 128, pictures: 24, test_pictures: 4}",
            "pipeline.generator={base_channels: 16, blocks: 2}",
            "pipeline.discriminator.base_channels=8",
            f"pipeline.pixel_images={STEPS // 2 * 16}",
        ),
        "loss/pixels/pixel",
        judge_enlargement,
        "srgan_x4",
    ),
)


@dataclass
class Row:
    """What was found out about one method in one number format."""

    method: str
    precision: InferencePrecision
    trains: str = "-"
    resumes: str = "-"
    is_used: str = "-"
    waits: str = "-"
    plain_seconds: float = inf
    """Of a step in full size with `speed: plain`."""
    auto_seconds: float = inf
    """Of one with `speed: auto`."""
    measured: list[TrickName] = field(default_factory=list)
    """What "auto" took because it was measured to pay."""
    peak_gib: float | None = None

    @property
    def passed(self) -> bool:
        return all(result.startswith("ok") for result in (self.trains, self.resumes, self.is_used, self.waits))


def check(method: Method, precision: InferencePrecision, device: str, folder: Path) -> Row:
    row = Row(method.name, precision)
    say(f"{method.name} in {precision}: training")
    whole, cut = (folder / f"{method.name}-{precision}-{kind}" for kind in ("whole", "cut"))
    overrides = [*COMMON, *method.overrides, f"precision={precision}"]
    train.start(method.recipe, overrides, out=whole, device=device, quiet=True)
    row.trains = judge_training(whole, method.falls)
    say(f"{method.name} in {precision}: training to the middle, then resuming")
    half = f"training.length.steps={STEPS // 2}"
    train.start(method.recipe, [*overrides, half], out=cut, device=device, quiet=True)
    train.start(None, [f"training.length.steps={STEPS}"], resume=cut, device=device, quiet=True)
    same = state_hash(whole) == state_hash(cut)
    row.resumes = "ok, same bits" if same else "FAILED: other bits"
    row.is_used = method.judge_use(whole, device, precision)
    say(f"{method.name} in {precision}: steps in full size")
    row.waits = look_for_waits(method, precision, torch.device(device))
    time_full_step(row, method.full_size, torch.device(device))
    return row


def say(text: str) -> None:
    """Show on standard error that something is going on."""
    print(text, file=sys.stderr, flush=True)


def judge_training(run: Path, falls: str) -> str:
    name, sign = falls.removeprefix("-"), -1 if falls.startswith("-") else 1
    rows = [row["values"] for row in read_metrics(run)]
    if not np.isfinite([value for row in rows for key, value in row.items() if key.startswith("loss/")]).all():
        return "FAILED: not finite"
    values = [row[name] for row in rows if name in row]
    first, last = float(np.mean(values[:3])), float(np.mean(values[-3:]))
    verdict = "ok" if sign * last < sign * first else "FAILED"
    return f"{verdict}, {name.rpartition('/')[2]} {first:.2f} to {last:.2f}"


def state_hash(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / f"step_{STEPS}" / "state.safetensors").read_bytes()).hexdigest()


def look_for_waits(method: Method, precision: ChosenPrecision, device: torch.device) -> str:
    """Whether the host ever waits for the GPU within a step: CUDA itself raises where it would."""
    if device.type != "cuda":
        return "ok, no GPU"
    changes = [*method.overrides, "training.loss_audit.every_steps=null", "training.batch_size=4"]
    recipe = dataclasses.replace(load_recipe(method.recipe, changes), precision=precision)
    build, draw = throwaway_bench(recipe, recipe.training.batch_size, device)
    engine = build()
    accelerate(engine, unmeasured_tricks(device), say)
    # The first steps build kernels and fill the memory that is asked for again later.
    for _ in range(WARM_UP_STEPS):
        engine.take_step(draw)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(WATCHED_STEPS):
            engine.take_step(draw)
    except RuntimeError as error:
        return f"FAILED: {one_line(error, 60)}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    engine.settle()
    return "ok"


def time_full_step(row: Row, recipe_name: str, device: torch.device) -> None:
    """Time the recipe's step as it is on made-up pictures, plain and with what `speed: auto` takes, into `row`.

    What needs a trial is tried in bf16 alone: compiling networks of full size takes minutes.
    """
    torch.use_deterministic_algorithms(False)
    recipe = dataclasses.replace(load_recipe(recipe_name), precision=row.precision)
    build, draw = throwaway_bench(recipe, recipe.training.batch_size, device)
    row.plain_seconds = time_steps(build, draw, ()).seconds
    taken = choose_tricks(recipe, device, 1, say) if row.precision == "bf16" else unmeasured_tricks(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    row.auto_seconds = time_steps(build, draw, taken).seconds
    row.measured = [name for name in taken if name not in unmeasured_tricks(device)]
    if device.type == "cuda":
        row.peak_gib = torch.cuda.max_memory_allocated(device) / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/gpu_check", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("tools/gpu_check: no CUDA device here - try --device cpu, or a machine with a GPU")
    formats: list[InferencePrecision] = ["fp32", "bf16", "fp16"] if arguments.device != "cpu" else ["fp32", "bf16"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = [check(method, name, arguments.device, Path(folder)) for method in METHODS for name in formats]
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU"
    print(f"{name}, torch {torch.__version__}, {time.perf_counter() - started:.0f} s in all")
    print(
        f"{'':<10}{'':<6}{'trains':<32}{'resumes':<20}{'is used':<36}{'no waits':<12}{'plain s':>9}{'auto s':>9}"
        f"{'gain':>6}{'peak GiB':>9}  measured to pay"
    )
    for row in rows:
        peak = "" if row.peak_gib is None else f"{row.peak_gib:.2f}"
        print(
            f"{row.method:<10}{row.precision:<6}{row.trains:<32}{row.resumes:<20}{row.is_used:<36}{row.waits:<12}"
            f"{row.plain_seconds:>9.4f}{row.auto_seconds:>9.4f}{row.plain_seconds / row.auto_seconds:>6.2f}{peak:>9}"
            f"  {', '.join(row.measured)}"
        )
    raise SystemExit(0 if all(row.passed for row in rows) else 1)


if __name__ == "__main__":
    main()
