"""A whole `i2i train` against its bare step: what pictures, records, sheets and checkpoints cost.

    tools/bench overhead cyclegan_demo --minutes 10
    tools/bench overhead srresnet_x4 --minutes 10 --set data.root=datasets/photos

The whole is a process of its own that trains by the recipe for so many minutes, all that is due on the way included;
Weights & Biases records offline. Its rate is that of the steps between the first and the last row of its
`metrics.jsonl`, by their wall seconds; the last row is written after the last sheets and validation and before the last
checkpoint. The bare step is the engine's on one batch that lies in memory, with the same settings, in a process of its
own. The two take turns, for a machine is not equally fast for ten minutes: once a minute the whole is stopped
(SIGSTOP), which does not count, and bare steps are taken. A share of 100 % of their mean rate means that all else costs
nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from bench_turns import in_own_process, now
from our_training import draw_from, engine_for, prepare_process, with_precision

from i2i.commands.planning import open_data
from i2i.data.loader import StreamLoader
from i2i.recipe import Recipe, dump_recipe, load_recipe
from i2i.training.tracking import METRICS_FILE, read_metrics

_WARMUP_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("recipe", help="a built-in recipe's name or a file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole training (default 10)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipe")
    parser.add_argument("--turn-seconds", type=float, default=60.0, help="of the whole between two turns (default 60)")
    parser.add_argument("--bare-seconds", type=float, default=15.0, help="of bare steps at each turn (default 15)")
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
        with in_own_process(bare_steps, recipe, device) as bare_rate:
            take_turn = functools.partial(bare_rate, arguments.bare_seconds)
            whole, rates = in_turns(command_of(file, folder, device), folder, take_turn, arguments)
    bare = fmean(rates)
    row = {
        "row": f"{recipe.name}, batch {recipe.training.batch_size}",
        "precision": precision,
        "bare_steps_per_minute": bare,
        "bare_steps_per_minute_lowest": min(rates),
        "bare_steps_per_minute_highest": max(rates),
        "turns": len(rates),
        **whole,
        "share_of_bare_rate": whole["whole_steps_per_minute"] / bare,
    }
    return {"rows": [row]}


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

    def rate(seconds: float) -> float:
        for _ in range(_WARMUP_STEPS):
            engine.take_step(draw)
        steps, started = 0, now(device)
        while time.perf_counter() - started < seconds or steps == 0:
            engine.take_step(draw)
            steps += 1
        return 60 * steps / (now(device) - started)

    return rate


def command_of(recipe: Path, folder: Path, device: str) -> list[str]:
    """A training as a user would start it; how long it lasts comes last."""
    return [
        sys.executable, "-m", "i2i", "train", str(recipe), "--out", str(folder), "--device", device, "--quiet",
        "--set", "tracking.wandb=offline", "--set",
    ]  # fmt: skip


def in_turns(
    command: Sequence[str], folder: Path, take_turn: Callable[[], float], arguments: argparse.Namespace
) -> tuple[dict[str, float], list[float]]:
    """Train, stopping for `take_turn` now and then; what the record says, without the stops, and what the turns gave.

    Raises:
        SystemExit: the training failed, or was too short for a turn.
    """
    turns = max(1, int(60 * arguments.minutes / arguments.turn_seconds) - 1)
    minutes = arguments.minutes + turns * arguments.bare_seconds / 60
    length = f"training.length={{epochs: null, steps: null, images: null, minutes: {minutes}}}"
    rates: list[float] = []
    stopped = 0.0
    with tempfile.TemporaryFile("w+") as said:
        training = subprocess.Popen([*command, length], stdout=said, stderr=said, start_new_session=True)
        try:
            while len(rates) < turns and _still_runs(training, arguments.turn_seconds):
                if not (folder / METRICS_FILE).exists():
                    continue  # a stop before the first row would not be between two rows
                os.killpg(training.pid, signal.SIGSTOP)
                began = time.perf_counter()
                rates.append(take_turn())
                stopped += time.perf_counter() - began
                os.killpg(training.pid, signal.SIGCONT)
            code = training.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(training.pid, signal.SIGKILL)
        said.seek(0)
        if code:
            raise SystemExit(f"i2i train ended with {code}: {said.read()[-800:]}")
    if not rates:
        raise SystemExit("the training was over before the first turn - train longer: --minutes")
    return {**rate_of_rows(read_metrics(folder), stopped), **left_behind(folder)}, rates


def _still_runs(training: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it does after so long."""
    try:
        training.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def rate_of_rows(rows: Sequence[Mapping[str, Any]], stopped_seconds: float) -> dict[str, float]:
    """Steps a minute between the first and the last row of a record, without what it was stopped in between.

    Raises:
        SystemExit: there are no two steps in it.
    """
    if not rows or rows[-1]["step"] <= rows[0]["step"]:
        raise SystemExit("the record has no two steps - train longer: --minutes")
    steps = rows[-1]["step"] - rows[0]["step"]
    seconds = rows[-1]["wall_seconds"] - rows[0]["wall_seconds"] - stopped_seconds
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
    spread = f"({row['bare_steps_per_minute_lowest']:.2f} - {row['bare_steps_per_minute_highest']:.2f})"
    return [
        f"{row['row']}, {row['precision']}",
        f"  bare step:      {row['bare_steps_per_minute']:.2f} steps a minute, mean of {row['turns']} turns {spread}",
        f"  whole training: {row['whole_steps_per_minute']:.2f} steps a minute over {row['seconds'] / 60:.1f} minutes:"
        f" {100 * row['share_of_bare_rate']:.1f} %",
        f"  {row['steps']:,} steps, {row['rows_written']} rows, {row['sheets']} sheets; the first step ended"
        f" {row['seconds_to_first_step']:.1f} s after the record was opened",
    ]
