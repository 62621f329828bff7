"""Measured against what a user of PyTorch would write, as ratios within one run; `tools/bench VERB --help` says how.

Both sides of a row take turns (A B A B ...), so that a machine whose speed drifts is fair to both; a row gives medians,
and the spread beside them. The plain side is written for reading (plain_*.py): float32, stock layers, the ordinary
memory layout, nothing of ours.

Operations, and their share of the machine's limit: see roofline.py. With --json FILE all figures are kept in a file,
with the machine and the software; docs/bench/README.md says how such files are made.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from i2i.files import write_atomically
from i2i.training.environment import describe_environment

VERBS: Mapping[str, tuple[str, str]] = {
    "steps": ("bench_steps", "a training step of every method"),
    "forward": ("bench_forward", "every generator through every runner"),
    "data": ("bench_data", "how fast pictures arrive, and what they cost a training"),
    "overhead": ("bench_overhead", "a whole training against its bare step"),
    "checkpoint": ("bench_checkpoint", "writing and reading a checkpoint"),
    "start": ("bench_start", "how long until something happens"),
    "gpu": ("bench_gpu", "all rows that are meant for a GPU, in one call"),
    "cyclegan": ("bench_cyclegan", "a training step of CycleGAN of any size"),
    "srgan": ("bench_srgan", "a training step of super-resolution, and the pictures for it"),
    "translate": ("bench_translate", "pictures through every runner, and a folder of them"),
    "large": ("bench_large", "pictures that do not fit into memory"),
    "statistics": ("bench_statistics", "metrics of many feature vectors"),
    "dcgan": ("bench_dcgan", "whole trainings of DCGAN on MNIST: quality and time"),
}
"""Each verb's module, which has add_arguments, run and table; and what it measures."""


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


def build_parser() -> argparse.ArgumentParser:
    """The command line of all verbs."""
    parser = argparse.ArgumentParser(
        prog="tools/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    keep = "keep all figures in FILE; without FILE, print them as JSON"
    common.add_argument("--json", nargs="?", const="-", metavar="FILE", help=keep)
    benches = parser.add_subparsers(dest="bench", metavar="VERB")
    for name, (module_name, what) in VERBS.items():
        module = importlib.import_module(module_name)
        bench = benches.add_parser(
            name, parents=[common], help=what, description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(bench)
        bench.set_defaults(run=module.run, table=module.table)
    return parser


def main() -> None:
    parser = build_parser()
    arguments = parser.parse_args()
    if arguments.bench is None:
        parser.print_help()
        return
    result = arguments.run(arguments)
    show(arguments, result, arguments.table(result))
    if result.get("failed"):
        sys.exit(1)


if __name__ == "__main__":
    main()
