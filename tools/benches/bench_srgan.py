"""Super-resolution by pixels alone: a training step beside plain PyTorch's, and whether its data keep up.

    tools/bench srgan --steps 5
    tools/bench srgan --photos DIR                     pictures of your own for the second half

Step: MSRResNet of 16 blocks and 64 channels, fourfold, mean absolute difference, Adam. The plain one
(plain_upscaling.py) is written for reading, as the released trainers have it: stock layers, float32, the ordinary
memory layout, PyTorch's defaults. It imports nothing of ours. Ours is the engine's, in the arithmetic that `i2i
train` would choose, with its guards and the running average, which the plain one leaves out. Both take turns (A B A B
...), each in a process of its own: a training of ours keeps freed memory for its next step, which must not help the
other side.

Data: pairs a second that `--workers` processes deliver while nobody trains, from a folder of JPEGs by way of the
cache, beside the pairs that our step above takes. Without --photos the pictures are drawn by code: noise as strong at
every scale, and shapes with sharp edges, 481 x 321.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from bench_turns import alternate, compare, comparison_lines, in_own_process, now
from plain_upscaling import PlainMSRResNet
from roofline import SHAPES_ONLY, Roofline, operation_lines, operations_of
from torch import Tensor
from torch.nn import functional

from i2i.core.generators import MSRResNetSettings
from i2i.core.image_shape import ImageShape
from i2i.data.degradation_settings import BicubicSettings, DegradationSettings, SecondOrderSettings
from i2i.data.loader import StreamLoader
from i2i.data.streams import open_streams
from i2i.data.upscaling_settings import UpscalingFolderSettings
from i2i.pipelines.srgan import SRGANSettings
from i2i.training.acceleration import accelerate, unmeasured_tricks
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision, choose_precision
from i2i.training.settings import AdamSettings, TrainingSettings

SCALE = 4
LEARNING_RATE = 2e-4
WIDTH, HEIGHT = 481, 321
DEGRADATIONS: tuple[DegradationSettings, ...] = (BicubicSettings(), SecondOrderSettings())


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do in a step."""

    device: str
    batch: int
    pixels: int
    channels: int
    blocks: int

    def pictures(self) -> tuple[Tensor, Tensor]:
        """Low- and high-resolution pictures in [0, 1]."""
        random = torch.Generator().manual_seed(0)
        low, high = (
            torch.rand(self.batch, 3, side, side, generator=random).to(self.device)
            for side in (self.pixels // SCALE, self.pixels)
        )
        return low, high


def plain_step(work: Work) -> Callable[[], None]:
    """The step as readers of the papers write it."""
    network = PlainMSRResNet(work.channels, work.blocks).to(work.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    low, high = work.pictures()

    def step() -> None:
        optimizer.zero_grad()
        functional.l1_loss(network(low), high).backward()
        optimizer.step()
        now(torch.device(work.device))

    return step


def our_step(work: Work, chosen: ChosenPrecision) -> Callable[[], None]:
    """The engine's step on pictures that are at hand already."""
    device = torch.device(work.device)
    generator = MSRResNetSettings(scale=SCALE, base_channels=work.channels, blocks=work.blocks)
    pipeline = SRGANSettings(generator=generator, discriminator=None).build(ImageShape(3, work.pixels))
    pipeline.initialize(0)
    settings = TrainingSettings(
        batch_size=work.batch,
        optimizers={"generator": AdamSettings(learning_rate=LEARNING_RATE, betas=(0.9, 0.999))},
        ema_half_life_images=10_000.0,
    )
    engine = Engine(pipeline, settings, Precision(chosen, device), images_per_epoch=1000, seed=0)
    accelerate(engine, unmeasured_tricks(device), print)
    low, high = (pictures.mul(2).sub_(1).contiguous(memory_format=torch.channels_last) for pictures in work.pictures())

    def step() -> None:
        reports = engine.take_step(lambda streams, counters: [{"low": low, "high": high}])
        assert reports["pixels"].finite
        now(device)

    return step


def bench_step(arguments: argparse.Namespace, roofline: Roofline) -> dict[str, Any]:
    """A training step on `arguments.batch` crops of `arguments.pixels`, plain against ours."""
    work = Work(
        device=arguments.device,
        batch=arguments.batch,
        pixels=arguments.pixels,
        channels=arguments.channels,
        blocks=arguments.blocks,
    )
    precision = choose_precision(torch.device(arguments.device))
    roofline.look("fp32", precision)
    # Each process waits for its device itself.
    with in_own_process(plain_step, work) as plain, in_own_process(our_step, work, precision) as ours:
        seconds = alternate(plain, ours, arguments.steps, arguments.warmup, torch.device("cpu"))
    roofline.look("fp32", precision)
    row = compare(f"step of MSRResNet, {work.pixels} px, batch {work.batch}", *seconds, precision)
    return roofline.rated(row, operations_of(plain_step(replace(work, device=SHAPES_ONLY.type))))


def bench_data(photos: Path, arguments: argparse.Namespace, consumed: float) -> list[dict[str, object]]:
    """Pairs a second from the pictures in `photos`, for each way of making low resolution.

    `consumed`: pairs a second that the training step takes.
    """
    rows: list[dict[str, object]] = []
    for degradation in DEGRADATIONS:
        delivered = pairs_per_second(photos, degradation, arguments)
        rows.append(
            {
                "row": f"pairs for {arguments.pixels} px, {degradation.kind}, {arguments.workers} workers",
                "delivered_per_second": delivered,
                "consumed_per_second": consumed,
                "times_consumed": delivered / consumed,
            }
        )
    return rows


def pairs_per_second(photos: Path, degradation: DegradationSettings, arguments: argparse.Namespace) -> float:
    """Pairs that arrive in a second as tensors, once the first of them are there."""
    settings = UpscalingFolderSettings(
        root=str(photos), scale=SCALE, crop_pixels=arguments.pixels, degradation=degradation
    )
    with tempfile.TemporaryDirectory() as cache, environment_variable("I2I_CACHE", cache):
        data = open_streams(settings, 0)
        with StreamLoader(
            data.train, arguments.batch, workers=arguments.workers, device=torch.device(arguments.device)
        ) as loader:
            return arguments.batch * draws_per_second(loader, arguments.batch, arguments.seconds)


def draws_per_second(loader: StreamLoader, batch: int, at_least_seconds: float) -> float:
    """Batches a second over `at_least_seconds`; what was read ahead before does not count."""
    before = max(1, 8 * loader.workers)
    drawn, started = 0, 0.0
    while drawn <= before or time.perf_counter() - started < at_least_seconds:
        loader.draw(("low", "high"), drawn * batch)
        drawn += 1
        if drawn == before:
            started = time.perf_counter()
    return (drawn - before) / (time.perf_counter() - started)


@contextlib.contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def draw_photographs(folder: Path, count: int, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write `count` JPEGs that cost what photographs cost to decode and to degrade."""
    for number in range(count):
        random = np.random.default_rng(number)
        size = (width, height) if number % 3 else (height, width)
        picture = draw_photograph(random, *size)
        assert cv2.imwrite(str(folder / f"{number:03d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])


def draw_photograph(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise whose amplitude falls with the frequency as that of natural pictures does, behind a few polygons.

    Returns:
        uint8 (height, width, 3).

    Source: Field 1987, "Relations between the statistics of natural images and the response properties of cortical
    cells": amplitudes fall about as 1 / frequency; with the exponent 1.2 the files have the size of photographs.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    grey, *colours = (
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequency**1.2, (height, width))
        for _ in range(4)
    )
    # Colours follow the grey, and differ a little.
    levels = np.stack([grey + 0.2 * colour for colour in colours], axis=-1)
    picture = np.ascontiguousarray(np.clip(128 + 48 * levels / levels.std(), 0, 255).astype(np.uint8))
    for _ in range(12):
        center = random.uniform((0, 0), (width, height))
        corners = center + random.normal(0, 40, (int(random.integers(3, 7)), 2))
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        patch = picture.copy()
        cv2.fillPoly(patch, [corners.astype(np.int32)], color, cv2.LINE_AA)
        # Half of what lies behind stays, with its texture.
        cv2.addWeighted(patch, 0.5, picture, 0.5, 0, dst=picture)
    return picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=128, help="side of the high-resolution crops (default 128)")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="counted steps of each (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="uncounted steps of each before (default 2)")
    parser.add_argument("--workers", type=int, default=2, help="processes that load (default 2)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement of the data (default 5)")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="load these in place of drawn ones")
    parser.add_argument("--pictures", type=int, default=40, help="how many to draw (default 40)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both halves: rows of the steps and of the data; and the limits of the machine."""
    roofline = Roofline(torch.device(arguments.device))
    step = bench_step(arguments, roofline)
    consumed = arguments.batch / step["ours_seconds"]
    with tempfile.TemporaryDirectory() as drawn:
        if arguments.photos is None:
            draw_photographs(Path(drawn), arguments.pictures)
        data = bench_data(arguments.photos or Path(drawn), arguments, consumed)
    return {"rows": [step], "data": data, "limits": roofline.limits}


def table(result: dict[str, Any]) -> list[str]:
    """What `run` gave, as lines of text."""
    rows = result["rows"]
    lines = [*comparison_lines(rows), "", *operation_lines(rows, result["limits"]), ""]
    lines.append(f"{'':<48}{'delivered':>12}{'taken':>12}{'times taken':>22}")
    for row in result["data"]:
        lines.append(
            f"{row['row']:<48}{row['delivered_per_second']:>10.0f}/s"
            f"{row['consumed_per_second']:>10.0f}/s{row['times_consumed']:>22.1f}"
        )
    return lines
