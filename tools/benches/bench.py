"""Measured against what a user of PyTorch would write, as ratios within one run.

    tools/bench cyclegan --steps 5                     speed of a training step
    tools/bench srgan --steps 5                        speed of a training step and of its data (bench_srgan.py)
    tools/bench translate                              speed of runners, and of a folder (bench_translate.py)
    tools/bench large                                  time and memory of 12,000 x 9,000 pixels (bench_large.py)
    tools/bench statistics                             FID, KID, IS of 50,000 feature vectors (bench_statistics.py)
    tools/bench dcgan --mnist DIR --lenet FILE         quality and time of a whole training (bench_dcgan.py)

CycleGAN: the plain step below is written for reading, in float32, with stock layers and the ordinary memory layout; it
imports nothing of ours. Both steps take turns (A B A B ...), so that a machine whose speed drifts is fair to both; a
row gives medians, and the spread beside them.

Operations, and their share of the machine's limit: see roofline.py. With --json FILE all figures are kept in a file,
with the machine and the software; docs/bench/README.md says how such files are made.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_dcgan
import bench_large
import bench_srgan
import bench_statistics
import bench_translate
import torch
from bench_turns import alternate, compare, comparison_lines
from plain_resnet import plain_generator
from roofline import SHAPES_ONLY, Roofline, operation_lines, operations_of
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.step import Losses
from i2i.files import write_atomically
from i2i.pipelines import CycleGANSettings
from i2i.training.engine import Engine
from i2i.training.environment import describe_environment
from i2i.training.precision import Precision, choose_precision
from i2i.training.settings import TrainingSettings


def plain_discriminator(width: int = 64) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.InstanceNorm2d(4 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * width, 8 * width, 4, 1, 1), nn.InstanceNorm2d(8 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(8 * width, 1, 4, 1, 1),
    )  # fmt: skip


def plain_step(device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """CycleGAN as its paper's readers write it: stock layers, float32, one call a picture."""
    g_ab, g_ba = plain_generator().to(device), plain_generator().to(device)
    d_a, d_b = plain_discriminator().to(device), plain_discriminator().to(device)
    g_optimizer = torch.optim.Adam([*g_ab.parameters(), *g_ba.parameters()], 2e-4, (0.5, 0.999))
    d_optimizer = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], 2e-4, (0.5, 0.999))

    def step(a: Tensor, b: Tensor) -> None:
        d_a.requires_grad_(False)
        d_b.requires_grad_(False)
        fake_b, fake_a = g_ab(a), g_ba(b)
        adversarial = (d_b(fake_b) - 1).square().mean() + (d_a(fake_a) - 1).square().mean()
        cycle = functional.l1_loss(g_ba(fake_b), a) + functional.l1_loss(g_ab(fake_a), b)
        identity = functional.l1_loss(g_ab(b), b) + functional.l1_loss(g_ba(a), a)
        g_optimizer.zero_grad()
        (adversarial + 10 * cycle + 5 * identity).backward()
        g_optimizer.step()
        d_a.requires_grad_(True)
        d_b.requires_grad_(True)
        d_optimizer.zero_grad()
        for discriminator, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            on_real = (discriminator(real) - 1).square().mean()
            on_fake = discriminator(fake.detach()).square().mean()
            (0.5 * (on_real + on_fake)).backward()
        d_optimizer.step()

    return step


def our_step(device: torch.device, batch: int, precision: Precision) -> Callable[[Tensor, Tensor], None]:
    """The engine's step on pictures that are at hand already, with its guards and counters."""
    pipeline = CycleGANSettings().build()
    pipeline.initialize(0)
    engine = Engine(pipeline, TrainingSettings(batch_size=batch), precision, images_per_epoch=1000, seed=0, fast=True)

    def step(a: Tensor, b: Tensor) -> None:
        reports = engine.take_step(lambda streams, counters: [{"a": a, "b": b}])
        last: Losses = reports["discriminator"].losses[0]
        assert last.terms

    return step


def bench_cyclegan(arguments: argparse.Namespace) -> dict[str, Any]:
    """Training step of CycleGAN: ResNet-9 generators and 70 x 70 PatchGANs of 64 channels."""
    device = torch.device(arguments.device)
    precision = Precision(choose_precision(device), device)
    batch, pixels = arguments.batch, arguments.pixels
    roofline = Roofline(device)
    roofline.look("fp32", precision.name)
    generator = torch.Generator().manual_seed(0)
    plain_pictures = [
        torch.rand(batch, 3, pixels, pixels, generator=generator).mul_(2).sub_(1).to(device) for _ in "ab"
    ]
    our_pictures = [pictures.contiguous(memory_format=torch.channels_last) for pictures in plain_pictures]
    plain, ours = plain_step(device), our_step(device, batch, precision)
    seconds = alternate(
        lambda: plain(*plain_pictures), lambda: ours(*our_pictures), arguments.steps, arguments.warmup, device
    )
    roofline.look("fp32", precision.name)
    row = compare(f"CycleGAN training step, {pixels} px, batch {batch}", *seconds, precision.name)
    return {"rows": [roofline.rated(row, cyclegan_operations(batch, pixels))], "limits": roofline.limits}


def cyclegan_operations(batch: int, pixels: int) -> int:
    """Of the plain step."""
    pictures = torch.empty(batch, 3, pixels, pixels, device=SHAPES_ONLY)
    return operations_of(lambda: plain_step(SHAPES_ONLY)(pictures, pictures))


def run_cyclegan(arguments: argparse.Namespace) -> None:
    result = bench_cyclegan(arguments)
    rows = result["rows"]
    show(arguments, result, [*comparison_lines(rows), "", *operation_lines(rows, result["limits"])])


def run_srgan(arguments: argparse.Namespace) -> None:
    result = bench_srgan.run(arguments)
    show(arguments, result, bench_srgan.table(result))


def show(arguments: argparse.Namespace, result: Mapping[str, object], lines: Sequence[str]) -> None:
    """The table, or with --json the record: printed in place of the table, or kept in a file besides."""
    kept = record(arguments.bench, arguments.device, result)
    if arguments.json == "-":
        print(json.dumps(kept))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, device {arguments.device}")
    print("\n".join(lines))
    if arguments.json:
        write_atomically(Path(arguments.json), json.dumps(kept, indent=1) + "\n")


def record(bench: str, device: str, result: Mapping[str, object]) -> dict[str, Any]:
    """All figures of a bench, and where they come from."""
    described = describe_environment(device)
    environment = {
        **described,
        # A kernel's name says nothing about speed; the repository is ours wherever the bench is called from.
        "platform": platform.system(),
        "git": described["git"]["i2i"],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {"bench": bench, **result, "environment": environment}


def run_translate(arguments: argparse.Namespace) -> None:
    result = bench_translate.run(arguments)
    show(arguments, result, bench_translate.table(result))


def run_large(arguments: argparse.Namespace) -> None:
    result = bench_large.run(arguments)
    show(arguments, result, bench_large.table(result))


def run_statistics(arguments: argparse.Namespace) -> None:
    result = bench_statistics.run(arguments)
    show(arguments, result, bench_statistics.table(result))


def run_dcgan(arguments: argparse.Namespace) -> None:
    result = bench_dcgan.run(arguments)
    show(arguments, result, [bench_dcgan.table(result)])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    keep = "keep all figures in FILE; without FILE, print them as JSON"
    common.add_argument("--json", nargs="?", const="-", metavar="FILE", help=keep)
    benches = parser.add_subparsers(dest="bench", required=True)

    cyclegan = benches.add_parser("cyclegan", parents=[common], help="a training step of CycleGAN")
    cyclegan.add_argument("--batch", type=int, default=1)
    cyclegan.add_argument("--pixels", type=int, default=256)
    cyclegan.add_argument("--steps", type=int, default=5, help="counted steps of each (default 5)")
    cyclegan.add_argument("--warmup", type=int, default=2, help="uncounted steps of each before (default 2)")
    cyclegan.set_defaults(run=run_cyclegan)

    for name, module, run, what in (
        ("srgan", bench_srgan, run_srgan, "a training step of super-resolution, and the pictures for it"),
        ("translate", bench_translate, run_translate, "pictures through every runner, and a folder of them"),
        ("large", bench_large, run_large, "pictures that do not fit into memory"),
        ("statistics", bench_statistics, run_statistics, "metrics of many feature vectors"),
        ("dcgan", bench_dcgan, run_dcgan, "whole trainings of DCGAN on MNIST"),
    ):
        bench = benches.add_parser(
            name, parents=[common], help=what, description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(bench)
        bench.set_defaults(run=run)

    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
