"""Does everything work on this GPU? Trains, resumes and translates in fp32, bf16 and fp16, in a few minutes.

    tools/gpu_check                    on the first CUDA device
    tools/gpu_check --device cpu       the same checks without a GPU (fp16 left out: a CPU is very slow at it)

Each row is one number format. "trains": the losses of a short training are finite and the cycle error falls. "resumes":
a training cut in the middle and resumed ends with the same bits as one that was not, under `deterministic: true`.
"translates": the saved model gives the CPU's picture within 2 grey levels. Times are of whole steps at 256 pixels.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Must be set before CUDA starts, for reproducible matrix products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch

from i2i.commands import train
from i2i.data.streams import DrawnAnimalsSettings, open_streams
from i2i.inference import load_model
from i2i.inference.image_model import Precision as InferencePrecision
from i2i.pipelines import CycleGANSettings
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import TrainingSettings
from i2i.training.tracking import read_metrics

SMALL = [
    "pipeline.generator.base_channels=16",
    "pipeline.discriminator.base_channels=16",
    "data.pictures=64",
    "data.test_pictures=8",
    "training.length={steps: 60, minutes: null}",
    "training.log_every_steps=5",
    "training.validation={every_minutes: null, pictures: 8}",
    "training.samples={every_minutes: null}",
    "training.checkpoints={every_minutes: null, every_steps: 20, keep_last: 9}",
    "tracking.wandb=disabled",
    "deterministic=true",
]


@dataclass
class Row:
    """What was found out about one number format."""

    precision: str
    trains: str = "-"
    resumes: str = "-"
    translates: str = "-"
    seconds_per_step: float | None = None
    peak_gib: float | None = None

    @property
    def passed(self) -> bool:
        return all(result.startswith("ok") for result in (self.trains, self.resumes, self.translates))


def check(precision: InferencePrecision, device: str, folder: Path) -> Row:
    row = Row(precision)
    say(f"{precision}: training")
    whole, cut = folder / f"{precision}-whole", folder / f"{precision}-cut"
    overrides = [*SMALL, f"precision={precision}"]
    train.start("cyclegan_demo", overrides, out=whole, device=device, quiet=True)
    row.trains = judge_training(whole)
    say(f"{precision}: training to the middle, then resuming")
    half = "training.length={steps: 30, minutes: null}"
    train.start("cyclegan_demo", [*overrides, half], out=cut, device=device, quiet=True)
    train.start(None, ["training.length.steps=60"], resume=cut, device=device, quiet=True)
    same = state_hash(whole) == state_hash(cut)
    row.resumes = "ok, same bits" if same else "FAILED: other bits"
    row.translates = judge_translation(whole, device, precision)
    say(f"{precision}: steps of the paper's networks")
    row.seconds_per_step, row.peak_gib = time_full_step(precision, torch.device(device))
    return row


def say(text: str) -> None:
    """Show on standard error that something is going on."""
    print(text, file=sys.stderr, flush=True)


def judge_training(run: Path) -> str:
    values = [row["values"] for row in read_metrics(run)]
    cycle = [value["loss/generator/cycle_a"] for value in values if "loss/generator/cycle_a" in value]
    if not np.isfinite(cycle).all():
        return "FAILED: not finite"
    first, last = float(np.mean(cycle[:3])), float(np.mean(cycle[-3:]))
    return f"ok, cycle {first:.2f} to {last:.2f}" if last < first else f"FAILED: cycle {first:.2f} to {last:.2f}"


def state_hash(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / "step_60" / "state.safetensors").read_bytes()).hexdigest()


def judge_translation(run: Path, device: str, precision: InferencePrecision) -> str:
    pictures = np.stack(open_streams(DrawnAnimalsSettings(pictures=1, test_pictures=4), seed=0).test["a"])
    on_cpu = load_model(run, "cpu")(pictures).astype(int)
    exact = np.abs(load_model(run, device)(pictures).astype(int) - on_cpu).max()
    rounded = np.abs(load_model(run, device, precision=precision)(pictures).astype(int) - on_cpu).mean()
    verdict = "ok" if exact <= 2 and rounded <= 4 else "FAILED"
    return f"{verdict}, fp32 within {exact}, {precision} mean {rounded:.2f}"


def time_full_step(precision: ChosenPrecision, device: torch.device, steps: int = 10) -> tuple[float, float | None]:
    """Seconds of a step of the paper's networks at 256 pixels, batch 1, and the most memory it took."""
    torch.use_deterministic_algorithms(False)
    pipeline = CycleGANSettings().build()
    pipeline.initialize(0)
    engine = Engine(
        pipeline, TrainingSettings(batch_size=1), Precision(precision, device), images_per_epoch=1000, seed=0
    )
    batch = {
        name: torch.rand(1, 3, 256, 256, device=device).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
        for name in ("a", "b")
    }
    seconds = []
    steps = steps if device.type == "cuda" else 2
    for _ in range(steps + 3 if device.type == "cuda" else steps + 1):
        synchronize(device)
        started = time.perf_counter()
        engine.take_step(lambda streams, counters: [batch])
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return float(np.median(seconds[-steps:])), peak


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
        rows = [check(name, arguments.device, Path(folder)) for name in formats]
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU"
    print(f"{name}, torch {torch.__version__}, {time.perf_counter() - started:.0f} s in all")
    print(f"{'':<6}{'trains':<26}{'resumes':<20}{'translates':<36}{'s a step':>9}{'peak GiB':>9}")
    for row in rows:
        peak = "" if row.peak_gib is None else f"{row.peak_gib:.2f}"
        print(
            f"{row.precision:<6}{row.trains:<26}{row.resumes:<20}{row.translates:<36}{row.seconds_per_step:>9.3f}{peak:>9}"
        )
    raise SystemExit(0 if all(row.passed for row in rows) else 1)


if __name__ == "__main__":
    main()
