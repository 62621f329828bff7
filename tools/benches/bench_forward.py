"""Every generator at several sizes through every runner that is installed, beside a plain PyTorch forward.

    tools/bench forward                                about 24 minutes on two CPU cores
    tools/bench forward --only resnet dcgan --rounds 10

Runners: PyTorch in fp32 and bf16 (fp16 too on a GPU), TorchScript as `i2i export` writes it, ONNX Runtime, OpenVINO in
fp32 and, where the processor has it, bf16. They compute the network alone, float32 in and out, on what lies in memory.
The plain one has stock layers, float32 and the ordinary memory layout, in evaluation mode without gradients. All take
turns at each size (A B C A B C ...), each in a process of its own; a row gives medians, and the spread of the ratios to
the plain one of the same round. Weights are untrained, which cost what trained ones do.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_models import write_network
from bench_translate import contenders, in_turns
from bench_turns import in_own_process, now
from plain_dcgan import plain_generator as plain_dcgan
from plain_r3gan import PlainGenerator as PlainR3GANGenerator
from plain_resnet import plain_generator as plain_resnet
from plain_unet import PlainUNet
from plain_upscaling import PlainMSRResNet, PlainRRDB, PlainSRResNet
from roofline import Roofline, forward_operations, limit_line, operation_columns
from torch import Tensor, nn

from i2i.core.generators import (
    DCGANGeneratorSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.inference.runtime import Precision
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint
from i2i.version import __version__

PLAIN = "plain fp32"
TORCHSCRIPT = "torchscript"

_AS_THEY_ARE, _UPSCALED = ("a", "b"), ("low", "high")
_COLOUR_64 = ImageShape(3, 64)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A generator, ours and plain, and the inputs to try: (N, C, H, W) or (N, latent)."""

    name: str
    title: str
    ours: EntryPoint
    plain: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...]

    def plain_input(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The same for the plain one: DCGAN's takes latents as pictures of one pixel."""
        return (*sizes, 1, 1) if self.name == "dcgan" else tuple(sizes)


def _pictures(*sides: int) -> tuple[tuple[int, ...], ...]:
    return tuple((1, 3, side, side) for side in sides)


NETWORKS: tuple[Network, ...] = (
    Network(
        name="resnet",
        title="ResNet-9",
        ours=PictureEntryPoint("generator", ResNetGeneratorSettings(), _AS_THEY_ARE),
        plain=plain_resnet,
        inputs=_pictures(256, 512),
    ),
    Network(
        name="unet",
        title="U-Net-256",
        ours=PictureEntryPoint("generator", UNetGeneratorSettings(), _AS_THEY_ARE),
        plain=PlainUNet,
        inputs=_pictures(256, 512),
    ),
    Network(
        name="srresnet",
        title="SRResNet x4",
        ours=PictureEntryPoint("generator", SRResNetSettings(), _UPSCALED, 4),
        plain=PlainSRResNet,
        inputs=_pictures(128, 256),
    ),
    Network(
        name="msrresnet",
        title="MSRResNet x4",
        ours=PictureEntryPoint("generator", MSRResNetSettings(), _UPSCALED, 4),
        plain=PlainMSRResNet,
        inputs=_pictures(128, 256),
    ),
    Network(
        name="rrdb",
        title="RRDB x4",
        ours=PictureEntryPoint("generator", RRDBSettings(), _UPSCALED, 4),
        plain=PlainRRDB,
        inputs=_pictures(64, 128),
    ),
    Network(
        name="dcgan",
        title="DCGAN 64",
        ours=LatentEntryPoint("generator", DCGANGeneratorSettings(), _COLOUR_64),
        plain=functools.partial(plain_dcgan, 3),
        inputs=((1, 100), (64, 100)),
    ),
    Network(
        name="r3gan",
        title="R3GAN 64",
        ours=LatentEntryPoint("generator", R3GANGeneratorSettings(), _COLOUR_64),
        plain=PlainR3GANGenerator,
        inputs=((1, 64), (16, 64)),
    ),
)


def named(name: str) -> Network:
    """The network of that name."""
    return next(network for network in NETWORKS if network.name == name)


# In processes of their own


def noise(sizes: Sequence[int], device: str) -> Tensor:
    """The same numbers every time: pictures in [-1, 1], or standard normal latents."""
    random = torch.Generator().manual_seed(0)
    if len(sizes) == 4 and sizes[-1] > 1:
        return (torch.rand(*sizes, generator=random) * 2 - 1).to(device)
    return torch.randn(*sizes, generator=random).to(device)


def plain_forward(name: str, device: str) -> Callable[[Sequence[int]], None]:
    """The plain network's action, on inputs of given sizes."""
    network = named(name).plain().to(device).eval()
    inputs = {sizes: noise(named(name).plain_input(sizes), device) for sizes in named(name).inputs}

    @torch.no_grad()
    def act(sizes: Sequence[int]) -> None:
        network(inputs[tuple(sizes)])
        now(torch.device(device))

    return act


def our_forward(
    name: str, model: str, device: str, runner: str, precision: Precision
) -> Callable[[Sequence[int]], None]:
    """A runner's action, on inputs of given sizes."""
    from i2i.inference import load_any_model

    # What TorchScript there is was written here.
    loaded = load_any_model(Path(model), device, None, precision, runner=runner, trust=True)
    inputs = {sizes: noise(sizes, device) for sizes in named(name).inputs}

    def act(sizes: Sequence[int]) -> None:
        given = inputs[tuple(sizes)]
        if isinstance(named(name).ours, LatentEntryPoint):
            loaded.runner(given, None)
        else:
            loaded.runner(given)
        now(torch.device(device))

    return act


# The verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    names = [network.name for network in NETWORKS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=7, help="counted turns of each runner (default 7)")
    parser.add_argument("--warmup", type=int, default=2, help="uncounted turns before (default 2)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for every network, size and runner, and the limits of the machine."""
    device = torch.device(arguments.device)
    roofline = Roofline(device)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            if arguments.only is None or network.name in arguments.only:
                rows += _of_network(network, Path(folder), arguments, roofline, failed)
    return {"rows": rows, "limits": roofline.limits, "failed": failed}


def _of_network(
    network: Network, folder: Path, arguments: argparse.Namespace, roofline: Roofline, failed: list[str]
) -> list[dict[str, Any]]:
    device = str(arguments.device)
    files = {"safetensors": write_network(folder / f"{network.name}.safetensors", network.ours)}
    found: list[tuple[str, str, Precision, Path]] = [
        (f"{runner} {precision}", runner, precision, files["safetensors"])
        for runner, precision in contenders(torch.device(device))
    ]
    script = _exported(network, files["safetensors"], failed)
    if script is not None:
        found.append((f"{TORCHSCRIPT} fp32", "torch", "fp32", script))
    precisions = {PLAIN: "fp32", **{title: precision for title, _, precision, _ in found}}
    roofline.look(*precisions.values())
    with ExitStack() as stack:
        actions = {PLAIN: stack.enter_context(in_own_process(plain_forward, network.name, device))}
        for title, runner, precision, file in found:
            make = in_own_process(our_forward, network.name, str(file), device, runner, precision)
            action = stack.enter_context(make)
            if _works(action, network, title, failed):
                actions[title] = action
        seconds = {
            sizes: in_turns(
                {title: functools.partial(act, sizes) for title, act in actions.items()},
                arguments.rounds,
                arguments.warmup,
            )
            for sizes in network.inputs
        }
    roofline.look(*precisions.values())
    return [row for sizes, times in seconds.items() for row in _rows(network, sizes, times, precisions, roofline)]


def _exported(network: Network, model: Path, failed: list[str]) -> Path | None:
    """The model as TorchScript; None, and a line in `failed`, where that cannot be made."""
    from i2i.errors import I2IError
    from i2i.export.exporting import export_model

    out = model.with_suffix(".pt")
    try:
        export_model(model, "torchscript", out, version=__version__)
    except I2IError as error:
        _say(f"{network.title}, {TORCHSCRIPT}: {error}", failed)
        return None
    return out


def _works(action: Callable[..., Any], network: Network, title: str, failed: list[str]) -> bool:
    """Whether a runner computes a network at all; a line in `failed` if not."""
    try:
        action(network.inputs[0])
    except RuntimeError as error:
        _say(f"{network.title}, {title}: {' '.join(str(error).split())[:200]}", failed)
        return False
    return True


def _say(line: str, failed: list[str]) -> None:
    failed.append(line)
    print(f"left out: {line}", file=sys.stderr, flush=True)


def _rows(
    network: Network,
    sizes: tuple[int, ...],
    seconds: Mapping[str, Sequence[float]],
    precisions: Mapping[str, str],
    roofline: Roofline,
) -> list[dict[str, Any]]:
    operations = forward_operations(network.plain, *network.plain_input(sizes))
    rows = []
    for title, times in seconds.items():
        ratios = [plain / ours for plain, ours in zip(seconds[PLAIN], times, strict=True)]
        rate, share = roofline.use(operations, statistics.median(times), precisions[title])
        rows.append(
            {
                "network": network.name,
                "title": f"{network.title}, {_size_text(sizes)}",
                "input": list(sizes),
                "runner": title,
                "precision": precisions[title],
                "seconds": statistics.median(times),
                "times_faster": statistics.median(ratios),
                "times_faster_lowest": min(ratios),
                "times_faster_highest": max(ratios),
                "rounds": len(times),
                "operations": operations,
                "operations_per_second": rate,
                "share_of_limit": share,
            }
        )
    best = max(rows, key=lambda row: row["times_faster"])
    return [{**row, "best": row is best} for row in rows]


def _size_text(sizes: Sequence[int]) -> str:
    return f"{sizes[-1]} px" if len(sizes) == 4 else f"batch {sizes[0]}"


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text; a star stands at the best of each size."""
    heading = f"{'':<24}{'':<19}{'seconds':>10}{'times faster':>14}{'(range)':>16}"
    lines = [f"{heading}{'operations':>12}{'rate':>14}{'of the limit':>14}"]
    for row in result["rows"]:
        spread = f"({row['times_faster_lowest']:.2f} - {row['times_faster_highest']:.2f})"
        use = operation_columns(row["operations"], row["operations_per_second"], row["share_of_limit"])
        star = "*" if row["best"] else " "
        title = row["title"] if row["runner"] == PLAIN else ""
        lines.append(
            f"{title:<24}{star} {row['runner']:<17}{row['seconds']:>10.4f}{row['times_faster']:>14.2f}{spread:>16}{use}"
        )
    lines.append(limit_line(result["limits"]))
    return lines + [f"left out: {line}" for line in result["failed"]]
