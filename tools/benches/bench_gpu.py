"""Everything that a GPU is measured by, in one call: training steps, forwards, and the memory of a step.

    tools/bench gpu --json docs/bench/NAME-OF-THE-GPU.json
    tools/bench gpu --sections steps memory --only cyclegan dcgan

Steps and forwards are those of `tools/bench steps` and `tools/bench forward`, with larger batches where a GPU would be
bored. Memory is the most that tensors took on the device within a step, plain and ours, each in a process of its own.
A row that fails is named at the end and takes no other with it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bench_forward
import bench_steps
import torch
from bench_turns import in_own_process, tried
from our_training import our_step, with_precision

from i2i.recipe import Recipe

SECTIONS = ("steps", "forward", "memory")
_STEPS_TO_PEAK = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    names = [row.name for row in bench_steps.ROWS]
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="default: all")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"steps of {', '.join(names)}")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="forwards of these, as `tools/bench forward` has")
    parser.add_argument("--steps", type=int, default=20, help="counted steps of each side (default 20)")
    parser.add_argument("--warmup", type=int, default=5, help="uncounted steps of each before (default 5)")
    parser.add_argument("--rounds", type=int, default=20, help="counted turns of each forward (default 20)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipes, both sides"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """ "rows" of the steps, "forward" and "memory", and the limits of the machine.

    Raises:
        SystemExit: 2, there is no CUDA device.
    """
    if torch.device(arguments.device).type != "cuda" or not torch.cuda.is_available():
        print("tools/bench gpu: no CUDA device here - nothing was measured", file=sys.stderr)
        raise SystemExit(2)
    return measure(arguments)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The chosen sections, row by row."""
    rows: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    failed: list[str] = []
    limits: dict[str, float] = {}
    chosen = [row for row in bench_steps.ROWS if arguments.only is None or row.name in arguments.only]
    arguments.batch = None
    if "steps" in arguments.sections:
        found = bench_steps.measure(chosen, arguments)
        rows, failed, limits = found["rows"], found["failed"], dict(found["limits"])
    if "memory" in arguments.sections:
        for row in chosen:
            found = tried(f"{row.title}, memory", lambda row=row: peak_memory(row, arguments), failed)
            memory += [found] if found else []
    forward = None
    if "forward" in arguments.sections:
        given = argparse.Namespace(
            device=arguments.device, only=arguments.networks, rounds=arguments.rounds, warmup=arguments.warmup
        )
        forward = tried("forward", lambda: bench_forward.run(given), failed)
        _raise(limits, forward["limits"] if forward else {})
    return {"rows": rows, "memory": memory, "forward": forward, "limits": limits, "failed": failed}


def _raise(limits: dict[str, float], more: Mapping[str, float]) -> None:
    for precision, rate in more.items():
        limits[precision] = max(rate, limits.get(precision, 0.0))


# Memory


def peak_memory(row: bench_steps.StepRow, arguments: argparse.Namespace) -> dict[str, Any]:
    """Most memory of tensors within a step of each side, in GiB."""
    device = str(arguments.device)
    batch = row.gpu_batch or row.batch
    recipe = bench_steps.recipe_of(row, [f"training.batch_size={batch}", *arguments.set])
    recipe, precision = with_precision(recipe, torch.device(device))
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        recipe = bench_steps.with_features(recipe, Path(folder))
        for side in ("plain_fp32", "ours"):
            with in_own_process(peak_of, side, recipe, device) as act:
                peaks[side] = act()
    return {
        "name": row.name,
        "row": bench_steps.title_of(row, recipe),
        "ours_precision": precision,
        "plain_fp32_peak_gib": peaks["plain_fp32"],
        "ours_peak_gib": peaks["ours"],
        "times_less": peaks["plain_fp32"] / peaks["ours"],
    }


def peak_of(side: str, recipe: Recipe, device: str) -> Callable[[], float]:
    """In its own process: the peak of a few steps of a side, in GiB."""
    step = bench_steps.plain_step(recipe, device) if side == "plain_fp32" else our_step(recipe, device)

    def act() -> float:
        # The first ones also allocate what the optimizers keep, and build kernels.
        step()
        step()
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(_STEPS_TO_PEAK):
            step()
        return torch.cuda.max_memory_allocated(device) / 2**30

    return act


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """All sections as lines of text."""
    lines: list[str] = []
    if result["rows"]:
        lines += [*bench_steps.table(result), ""]
    if result["memory"]:
        lines.append(f"{'most memory within a step':<48}{'plain fp32':>12}{'ours':>12}{'times less':>12}")
        lines += [
            f"{row['row']:<48}{row['plain_fp32_peak_gib']:>8.2f} GiB{row['ours_peak_gib']:>8.2f} GiB"
            f"{row['times_less']:>12.2f}"
            for row in result["memory"]
        ]
        lines.append("")
    if result["forward"] is not None:
        lines += bench_forward.table(result["forward"])
    return lines + [f"left out: {line}" for line in result["failed"]]
