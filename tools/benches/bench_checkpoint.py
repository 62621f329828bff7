"""A checkpoint of CycleGAN, written and read, beside PyTorch's own way with the same tensors.

    tools/bench checkpoint                             about two minutes; some 850 MB in a passing folder
    tools/bench checkpoint --folder /mnt/slow

Everything that a training of the paper's networks keeps: weights, the moments of Adam, full pools of generated
pictures. Ours is what `i2i train` does: a folder of safetensors and JSON with checksums, flushed to the disk and
renamed; reading proves the checksums. PyTorch's is one `torch.save` to a file; "flushed" is the same with the file's
content forced to the disk, which ours includes. All take turns (A B C A B C ...). What is read was written a moment
ago, so it comes from memory, not from the disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_translate import in_turns
from our_training import draw_from, engine_for, samples_for

from i2i.recipe import Recipe, load_recipe
from i2i.training.checkpoint import TrainingState, checkpoint_folder, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")
# A step of any size makes the moments of Adam.
_CHANGES = ("precision=fp32", "speed=plain", "data.crop_pixels=32", "data.resize_pixels=32")
_STEP = 1
_POOL_SIZE = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--folder", type=Path, help="where to write; by default among the system's passing files")
    parser.add_argument("--rounds", type=int, default=5, help="counted turns of each (default 5)")
    parser.add_argument("--warmup", type=int, default=1, help="uncounted turns before (default 1)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for every way of writing and of reading."""
    state = full_state(load_recipe("cyclegan_horse2zebra", _CHANGES), pool_pixels=256)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-checkpoint-") as folder:
        return measure(state, Path(folder), arguments.rounds, arguments.warmup)


def full_state(recipe: Recipe, pool_pixels: int) -> TrainingState:
    """The state of a training by `recipe`, a CycleGAN, whose pools of generated pictures are full."""
    engine = engine_for(recipe, CPU)
    engine.take_step(draw_from(samples_for(recipe, CPU)))
    for pool in (engine.pipeline.memories[name] for name in ("pool_a", "pool_b")):
        pool.load_state({"pictures": torch.rand(_POOL_SIZE, 3, pool_pixels, pool_pixels)})
    return engine.state()


def measure(state: TrainingState, folder: Path, rounds: int, warmup: int) -> dict[str, Any]:
    """Seconds of all ways, in turns."""
    run_folder, file, flushed = folder / "run", folder / "plain.pt", folder / "flushed.pt"
    tensors = dict(state.tensors)

    def write_ours() -> None:
        shutil.rmtree(run_folder, ignore_errors=True)
        save_checkpoint(run_folder, _STEP, state)

    def write_flushed() -> None:
        with flushed.open("wb") as opened:
            torch.save(tensors, opened)
            opened.flush()
            os.fsync(opened.fileno())

    actions: dict[str, Callable[[], object]] = {
        "write, ours": write_ours,
        "write, torch.save": lambda: torch.save(tensors, file),
        "write, torch.save, flushed": write_flushed,
        "read, ours": lambda: load_checkpoint(checkpoint_folder(run_folder, _STEP)),
        "read, torch.load": lambda: torch.load(file, weights_only=True),
    }
    seconds = in_turns(actions, rounds, warmup)
    megabytes = sum(tensor.nbytes for tensor in tensors.values()) / 1e6
    rows = []
    for name, times in seconds.items():
        middle = statistics.median(times)
        rows.append(
            {
                "row": name,
                "seconds": middle,
                "seconds_lowest": min(times),
                "seconds_highest": max(times),
                "megabytes_per_second": megabytes / middle,
                "rounds": len(times),
            }
        )
    return {"rows": rows, "megabytes": megabytes, "tensors": len(tensors)}


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    lines = [f"{result['tensors']} tensors of {result['megabytes']:,.0f} MB together"]
    for row in result["rows"]:
        spread = f"({row['seconds_lowest']:.2f} - {row['seconds_highest']:.2f})"
        rate = f"{row['megabytes_per_second']:,.0f} MB/s"
        lines.append(f"  {row['row']:<28}{row['seconds']:>8.2f} s{spread:>18}{rate:>14}")
    return lines
