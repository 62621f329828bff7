"""How long until something happens: the package, the help, the first step of a training, the first picture.

    tools/bench start                                  about two minutes

Every row is a Python process of its own, from its start to its end, beside one that only imports torch. The training is
`i2i train --dry-run` of a tiny recipe on drawn pictures, which ends a few tiny steps behind its first; the translation
is `i2i translate` of one small picture by a tiny network. All take turns (A B C A B C ...); the first turn, which finds
no file in memory, is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from bench_models import drawn, write_translator
from bench_translate import in_turns

from i2i.core.generators import ResNetGeneratorSettings

TORCH = "import torch"
_TINY = (
    "data={kind: drawn_animals, size_pixels: 32, pictures: 2, test_pictures: 0}",
    "pipeline.generator={kind: resnet, base_channels: 4, blocks: 1}",
    "pipeline.discriminator={kind: patch, base_channels: 4, layers: 1}",
    "training.batch_size=1",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--rounds", type=int, default=5, help="counted turns of each (default 5)")
    parser.add_argument("--warmup", type=int, default=1, help="uncounted turns before (default 1)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each program."""
    with tempfile.TemporaryDirectory() as folder:
        words = programs(Path(folder), str(arguments.device))
        environment = {**os.environ, "I2I_CACHE": str(Path(folder) / "cache")}
        actions = {name: _starter(name, command, environment) for name, command in words.items()}
        seconds = in_turns(actions, arguments.rounds, arguments.warmup)
    torch_alone = statistics.median(seconds[TORCH])
    rows = [
        {
            "row": name,
            "seconds": statistics.median(times),
            "seconds_lowest": min(times),
            "seconds_highest": max(times),
            "times_import_torch": statistics.median(times) / torch_alone,
            "rounds": len(times),
        }
        for name, times in seconds.items()
    ]
    return {"rows": rows}


def programs(folder: Path, device: str) -> dict[str, list[str]]:
    """Name of each row and its command; what they read is written to `folder`."""
    model = write_translator(folder / "tiny.safetensors", ResNetGeneratorSettings(base_channels=4, blocks=1))
    picture = folder / "picture.png"
    assert cv2.imwrite(str(picture), drawn(64, 64))
    changes = [word for change in _TINY for word in ("--set", change)]
    i2i = ["-m", "i2i"]
    return {
        TORCH: ["-c", "import torch"],
        "import i2i": ["-c", "import i2i"],
        "i2i --help": [*i2i, "--help"],
        "i2i train --dry-run, a tiny recipe": [
            *i2i, "train", "cyclegan_demo", *changes, "--dry-run", "--device", device,
        ],
        "i2i translate, one small picture": [
            *i2i, "translate", "--model", str(model), str(picture), "-o", str(folder / "out.png"),
            "--device", device, "--quiet",
        ],
    }  # fmt: skip


def _starter(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Callable[[], None]:
    def act() -> None:
        done = subprocess.run(
            [sys.executable, *command], env=dict(environment), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name}: ended with {done.returncode}: {done.stderr[-500:]}")

    return act


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    lines = [f"{'from start to end of a process':<40}{'seconds':>9}{'(range)':>18}{'times import torch':>20}"]
    for row in result["rows"]:
        spread = f"({row['seconds_lowest']:.2f} - {row['seconds_highest']:.2f})"
        lines.append(f"{row['row']:<40}{row['seconds']:>9.2f}{spread:>18}{row['times_import_torch']:>20.2f}")
    return lines
