"""A whole `i2i train` against its bare step: what pictures, records, sheets and checkpoints cost.

    tools/bench overhead cyclegan_demo --minutes 10
    tools/bench overhead srresnet_x4 --minutes 10 --set data.root=datasets/photos

The whole is a process of its own that trains by the recipe for so many minutes, all that is due on the way included;
Weights & Biases records offline. Its rate is that of the steps between the first and the last row of its
`metrics.jsonl`, by their wall seconds; the last row is written after the last sheets and validation and before the last
checkpoint. The bare step is the engine's on one batch that lies in memory, with the same settings, in a process of its
own, before the whole and after it: a share of 100 % of their mean means that all else costs nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_turns import in_own_process, now
from our_training import draw_from, engine_for, prepare_process, with_precision

from i2i.commands.planning import open_data
from i2i.data.loader import StreamLoader
from i2i.recipe import Recipe, dump_recipe, load_recipe
from i2i.training.tracking import read_metrics

_WARMUP_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("recipe", help="a built-in recipe's name or a file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole training (default 10)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipe")
    parser.add_argument(
        "--bare-seconds", type=float, default=60.0, help="of bare steps, before and after each (default 60)"
    )
    parser.add_argument("--out", type=Path, help="keep the run in this folder; by default it is removed")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The rates of the bare step and of the whole, in steps a minute."""
    device = str(arguments.device)
    recipe, precision = with_precision(load_recipe(arguments.recipe, arguments.set), torch.device(device))
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as passing:
        # The arithmetic is chosen once, here: the whole trains by this file.
        file = Path(passing) / "recipe.yaml"
        file.write_text(dump_recipe(recipe))
        folder = arguments.out or Path(passing) / "run"
        before = bare_rate(recipe, device, arguments.bare_seconds)
        whole = whole_rate(file, folder, device, arguments.minutes)
        after = bare_rate(recipe, device, arguments.bare_seconds)
    bare = (before + after) / 2
    row = {
        "row": f"{recipe.name}, batch {recipe.training.batch_size}",
        "precision": precision,
        "bare_steps_per_minute_before": before,
        "bare_steps_per_minute_after": after,
        **whole,
        "share_of_bare_rate": whole["whole_steps_per_minute"] / bare,
        "share_lowest": whole["whole_steps_per_minute"] / max(before, after),
        "share_highest": whole["whole_steps_per_minute"] / min(before, after),
    }
    return {"rows": [row]}


def bare_rate(recipe: Recipe, device: str, seconds: float) -> float:
    """Bare steps a minute, over at least so many seconds."""
    with in_own_process(bare_steps, recipe, device) as act:
        return act(seconds)


def bare_steps(recipe: Recipe, device_name: str) -> Callable[[float], float]:
    """In its own process: gives the rate over some seconds, in steps a minute."""
    device = torch.device(device_name)
    recipe = prepare_process(recipe, device)
    data = open_data(recipe)
    engine = engine_for(recipe, device, data)
    size = recipe.training.batch_size
    with StreamLoader(data.train, size, device=device) as loader:
        (samples,) = loader.draw(tuple(recipe.pipeline.streams), 0)
    draw = draw_from(samples, recipe.training.accumulate)
    for _ in range(_WARMUP_STEPS):
        engine.take_step(draw)

    def rate(seconds: float) -> float:
        steps, started = 0, now(device)
        while time.perf_counter() - started < seconds or steps == 0:
            engine.take_step(draw)
            steps += 1
        return 60 * steps / (now(device) - started)

    return rate


def whole_rate(recipe: Path, folder: Path, device: str, minutes: float) -> dict[str, float]:
    """Train as a user would, and read from the record how fast it went."""
    changes = [f"training.length={{epochs: null, steps: null, images: null, minutes: {minutes}}}"]
    changes += ["tracking.wandb=offline"]
    command = [sys.executable, "-m", "i2i", "train", str(recipe), "--out", str(folder), "--device", device, "--quiet"]
    command += [word for change in changes for word in ("--set", change)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    process_seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"i2i train ended with {done.returncode}: {done.stderr[-800:]}")
    return {**rate_of_rows(read_metrics(folder)), **left_behind(folder), "process_seconds": process_seconds}


def rate_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Steps a minute between the first and the last row of a record.

    Raises:
        SystemExit: there are no two steps in it.
    """
    if not rows or rows[-1]["step"] <= rows[0]["step"]:
        raise SystemExit("the record has no two steps - train longer: --minutes")
    steps, seconds = (rows[-1][key] - rows[0][key] for key in ("step", "wall_seconds"))
    return {
        "whole_steps_per_minute": 60 * steps / seconds,
        "steps": steps,
        "seconds": seconds,
        "seconds_to_first_step": rows[0]["wall_seconds"],
    }


def left_behind(folder: Path) -> dict[str, int]:
    """What was done beside the steps."""
    rows = read_metrics(folder)
    return {
        "sheets": len(list((folder / "samples").glob("*.*"))),
        "checkpoints_kept": len(list((folder / "checkpoints").glob("step_*"))),
        "rows_written": len(rows),
    }


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurement as lines of text."""
    (row,) = result["rows"]
    bare = row["bare_steps_per_minute_before"], row["bare_steps_per_minute_after"]
    spread = f"({100 * row['share_lowest']:.1f} - {100 * row['share_highest']:.1f})"
    return [
        f"{row['row']}, {row['precision']}",
        f"  bare step:      {bare[0]:.2f} steps a minute before, {bare[1]:.2f} after",
        f"  whole training: {row['whole_steps_per_minute']:.2f} steps a minute over {row['seconds'] / 60:.1f} minutes:"
        f" {100 * row['share_of_bare_rate']:.1f} % {spread}",
        f"  {row['steps']:,} steps, {row['rows_written']} rows, {row['sheets']} sheets; the first step ended"
        f" {row['seconds_to_first_step']:.1f} s after the record was opened",
    ]
