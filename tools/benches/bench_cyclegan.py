"""A training step of CycleGAN, of any batch and size, beside plain PyTorch's: one row of `tools/bench steps`.

    tools/bench cyclegan --batch 2 --pixels 128

The others, and how they are measured: `tools/bench steps --help`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import bench_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5, help="counted steps of each (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="uncounted steps of each before (default 2)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipe")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One row, and the limits of the machine."""
    row = next(row for row in bench_steps.ROWS if row.name == "cyclegan")
    sizes = (f"data.crop_pixels={arguments.pixels}", f"data.resize_pixels={arguments.pixels}")
    return bench_steps.measure([dataclasses.replace(row, changes=sizes)], arguments)


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurement as lines of text."""
    return bench_steps.table(result)
