"""Pictures through every runner that is installed, beside a plain PyTorch forward; and a folder from end to end.

    tools/bench translate --rounds 10
    tools/bench translate --runner openvino --precision bf16 --pictures 500

Network: the ResNet generator of nine blocks and 64 channels on one 256 x 256 picture, float32 tensors in and out. The
plain one is written for reading: stock layers, float32, the ordinary memory layout. All take turns (A B C A B C ...),
each in a process of its own; a row gives medians, and the spread of the ratios to the plain one of the same round.

Folder: JPEGs drawn by code, through `i2i translate` itself with the fastest of the runners above (or --runner and
--precision), from reading the first to having written the last. The network's own rate is that of the same runner on
pictures that lie in memory, measured before and after; a share of 100 % means that files cost nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import torch
from bench_models import drawn, write_translator
from bench_turns import in_own_process
from plain_resnet import plain_generator
from roofline import Roofline, forward_operations, limit_line, operation_columns

from i2i.core.generators import ResNetGeneratorSettings
from i2i.errors import UsageError
from i2i.inference.runners.engines import RUNNERS, candidates
from i2i.inference.runtime import Precision

PLAIN = "plain fp32"
_PICTURES_OF_A_BURST = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--pixels", type=int, default=256, help="a side (default 256)")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=10, help="counted turns of each runner (default 10)")
    parser.add_argument("--warmup", type=int, default=3, help="uncounted turns before (default 3)")
    parser.add_argument("--pictures", type=int, default=500, help="in the folder; 0 leaves it out (default 500)")
    parser.add_argument("--folder-rounds", type=int, default=1, help="times the folder is translated (default 1)")
    parser.add_argument("--runner", help="for the folder; the fastest by default")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="for the folder")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements: "rows", one for each runner, "limits" of the machine, and "folder"."""
    roofline = Roofline(torch.device(arguments.device))
    settings = ResNetGeneratorSettings(base_channels=arguments.channels, blocks=arguments.blocks)
    with tempfile.TemporaryDirectory() as name:
        model = write_translator(Path(name) / "model.safetensors", settings)
        rows = _runners(model, arguments, roofline)
        folder = None
        if arguments.pictures:
            fastest = max((row for row in rows if row["runner"] != PLAIN), key=lambda row: row["times_faster"])
            runner = arguments.runner or fastest["runner"].split()[0]
            precision = arguments.precision or (fastest["runner"].split()[1] if arguments.runner is None else "fp32")
            folder = _folder(model, Path(name), runner, precision, arguments)
    return {
        "rows": rows, "limits": roofline.limits, "folder": folder, "pixels": arguments.pixels,
        "channels": arguments.channels,
    }  # fmt: skip


def contenders(device: torch.device) -> list[tuple[str, Precision]]:
    """(runner, precision) of everything that is installed and can run here."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if device.type == "cpu" else ("fp32", "bf16", "fp16")
    found = []
    for name in RUNNERS:
        for precision in precisions:
            with suppress(UsageError):
                candidates("safetensors", device, precision, name)
                found.append((name, precision))
    return found


# The network alone


def _runners(model: Path, arguments: argparse.Namespace, roofline: Roofline) -> list[dict[str, Any]]:
    device = str(arguments.device)
    found = contenders(torch.device(device))
    precisions = {PLAIN: "fp32", **{f"{runner} {precision}": precision for runner, precision in found}}
    roofline.look(*precisions.values())
    with ExitStack() as stack:
        actions = {
            PLAIN: stack.enter_context(
                in_own_process(_plain, device, arguments.pixels, arguments.channels, arguments.blocks)
            )
        }
        for runner, precision in found:
            make = in_own_process(_ours, str(model), device, runner, precision, arguments.pixels)
            actions[f"{runner} {precision}"] = stack.enter_context(make)
        seconds = in_turns(actions, arguments.rounds, arguments.warmup)
    roofline.look(*precisions.values())
    operations = forward_operations(
        lambda: plain_generator(arguments.channels, arguments.blocks), 1, 3, arguments.pixels, arguments.pixels
    )
    rows = []
    for name, times in seconds.items():
        ratios = [plain / ours for plain, ours in zip(seconds[PLAIN], times, strict=True)]
        rate, share = roofline.use(operations, statistics.median(times), precisions[name])
        rows.append(
            {
                "runner": name,
                "seconds": statistics.median(times),
                "times_faster": statistics.median(ratios),
                "times_faster_lowest": min(ratios),
                "times_faster_highest": max(ratios),
                "rounds": len(times),
                "precision": precisions[name],
                "operations": operations,
                "operations_per_second": rate,
                "share_of_limit": share,
            }
        )
    return rows


def in_turns(actions: Mapping[str, Callable[[], object]], counted: int, warmup: int) -> dict[str, list[float]]:
    """Seconds of actions that take turns, by name."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warmup + counted):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _plain(device: str, pixels: int, channels: int, blocks: int) -> Callable[[], None]:
    network = plain_generator(channels, blocks).to(device).eval()
    images = torch.rand(1, 3, pixels, pixels, device=device) * 2 - 1

    @torch.no_grad()
    def act() -> None:
        network(images)
        _finish(device)

    return act


def _ours(model: str, device: str, runner: str, precision: Precision, pixels: int) -> Callable[[], None]:
    from i2i.inference import load_model

    loaded = load_model(model, device, None, precision, runner=runner)
    images = torch.rand(1, 3, pixels, pixels, device=device) * 2 - 1

    def act() -> None:
        loaded.runner(images)
        _finish(device)

    return act


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


# A folder


def _folder(model: Path, work: Path, runner: str, precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    pictures = work / "pictures"
    pictures.mkdir()
    for index in range(arguments.pictures):
        picture = drawn(arguments.pixels, arguments.pixels, seed=index)
        cv2.imwrite(str(pictures / f"{index:04d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    rates, folders, walls = [], [], []
    with in_own_process(_burst, str(model), arguments.device, runner, precision, arguments.pixels) as burst:
        burst()
        for turn in range(arguments.folder_rounds):
            rates.append(_rate(burst))
            started = time.perf_counter()
            said = _translate(model, pictures, work / f"out{turn}", runner, precision, arguments.device)
            walls.append(time.perf_counter() - started)
            folders.append(said["written"] / said["seconds"])
            if said["written"] != arguments.pictures:
                raise RuntimeError(f"{said['written']} of {arguments.pictures} pictures were written")
            rates.append(_rate(burst))
    # Each folder beside the bursts right before and behind it.
    shares = [2 * done / (rates[2 * turn] + rates[2 * turn + 1]) for turn, done in enumerate(folders)]
    return {
        "runner": f"{runner} {precision}",
        "pictures": arguments.pictures,
        "pictures_a_second": statistics.median(folders),
        "network_pictures_a_second": statistics.mean(rates),
        "share": statistics.median(shares),
        "seconds_with_start": statistics.median(walls),
    }


def _burst(model: str, device: str, runner: str, precision: Precision, pixels: int) -> Callable[[], None]:
    from i2i.inference import load_model

    loaded = load_model(model, device, None, precision, runner=runner)
    images = drawn(pixels, pixels)[None]

    def act() -> None:
        for _ in range(_PICTURES_OF_A_BURST):
            loaded(images)

    return act


def _rate(burst: Callable[[], None]) -> float:
    started = time.perf_counter()
    burst()
    return _PICTURES_OF_A_BURST / (time.perf_counter() - started)


def _translate(model: Path, pictures: Path, out: Path, runner: str, precision: str, device: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "i2i", "translate", "--model", model, pictures, "-o", out, "--json"]
    options = ["--runner", runner, "--precision", precision, "--device", device, "--quiet"]
    done = subprocess.run([*map(str, command), *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"i2i translate ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    lines = [f"{result['pixels']} px, {result['channels']} channels: one picture, medians"]
    heading = f"  {'':<20}{'seconds':>10}{'times faster':>14}{'(range)':>16}"
    lines.append(f"{heading}{'operations':>12}{'rate':>14}{'of the limit':>14}")
    for row in result["rows"]:
        spread = f"({row['times_faster_lowest']:.2f} - {row['times_faster_highest']:.2f})"
        use = operation_columns(row["operations"], row["operations_per_second"], row["share_of_limit"])
        lines.append(f"  {row['runner']:<20}{row['seconds']:>10.4f}{row['times_faster']:>14.2f}{spread:>16}{use}")
    lines.append(limit_line(result["limits"]))
    folder = result["folder"]
    if folder is not None:
        lines += [
            f"{folder['pictures']} JPEGs with {folder['runner']}: {folder['pictures_a_second']:.2f} pictures/s from end"
            f" to end, the network alone {folder['network_pictures_a_second']:.2f}: {100 * folder['share']:.1f} %",
            f"  {folder['seconds_with_start']:.1f} s with the start of the program",
        ]
    return lines
