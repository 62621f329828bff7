"""What a machine can do at best, and how much of it a row of a bench used.

The limit is the measured rate of one convolution that suits every machine: 3 x 3, 256 channels, 64 x 64 pixels, batch
4, forward, channels_last, in the number format of the row. Operations are the multiplications and additions of
convolutions and matrix products as their definitions have them, two for each pair (`torch.utils.flop_counter`);
everything else that a network does counts as none. A kernel that saves multiplications (Winograd's) may therefore
exceed the limit. On a GPU, fp32 is limited by what PyTorch's convolutions do by default, which is TF32 where the GPU
has it; a runner of ours in fp32 does without TF32 and is held against the same limit.

Both sides of a comparison are credited with the operations of the plain one: what the mathematics needs. A trick that
saves some shows as a higher rate, and one that does more than is needed gains nothing by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from bench_turns import now
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

CHANNELS, PIXELS, BATCH, KERNEL = 256, 64, 4, 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
# Tensors there have a shape and no content: whatever is counted on it costs no arithmetic.
SHAPES_ONLY = torch.device("meta")
_REPEATS = 10
# Formats that a machine only imitates take seconds a call; two looks at those are enough.
_ENOUGH_SECONDS = 5.0
# Calls that are timed together on a device that needs microseconds for one.
_BURST_SECONDS = 0.02


class Roofline:
    """The limits of `device` by number format (operations a second): the best of all looks, each a few seconds."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.limits: dict[str, float] = {}

    def look(self, *precisions: str) -> None:
        """Measure again; before and after the rows, since the speed of a shared machine drifts."""
        for precision in dict.fromkeys(precisions):
            rate = convolution_rate(self.device, precision)
            self.limits[precision] = max(rate, self.limits.get(precision, 0.0))

    def use(self, operations: int, seconds: float, precision: str) -> tuple[float, float]:
        """Operations a second, and their share of the limit."""
        rate = operations / seconds
        return rate, rate / self.limits[precision]

    def rated(self, row: Mapping[str, Any], operations: int) -> dict[str, Any]:
        """A row of `bench_turns.compare` with the operations of a step, and for either side rate and share."""
        plain = self.use(operations, row["plain_fp32_seconds"], "fp32")
        ours = self.use(operations, row["ours_seconds"], row["ours_precision"])
        return {
            **row,
            "operations": operations,
            "plain_fp32_operations_per_second": plain[0],
            "plain_fp32_share_of_limit": plain[1],
            "ours_operations_per_second": ours[0],
            "ours_share_of_limit": ours[1],
        }


def convolution_rate(device: torch.device, precision: str) -> float:
    """Operations a second of the convolution above: the best of several repeats."""
    dtype, layout = DTYPES[precision], torch.channels_last
    images = torch.randn(BATCH, CHANNELS, PIXELS, PIXELS, device=device).to(dtype, memory_format=layout)
    weight = torch.randn(CHANNELS, CHANNELS, KERNEL, KERNEL, device=device).to(dtype, memory_format=layout)

    def seconds(calls: int) -> float:
        started = now(device)
        for _ in range(calls):
            functional.conv2d(images, weight, padding=KERNEL // 2)
        return now(device) - started

    with torch.inference_mode(), _fastest_kernels():
        # The first call builds the kernel.
        seconds(1)
        calls = max(1, math.ceil(_BURST_SECONDS / seconds(1)))
        repeats = [seconds(calls)]
        while len(repeats) < _REPEATS and sum(repeats) < _ENOUGH_SECONDS:
            repeats.append(seconds(calls))
    operations = operations_of(lambda: functional.conv2d(images, weight, padding=KERNEL // 2))
    return calls * operations / min(repeats)


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """cuDNN tries its kernels at the first call and takes the fastest; whether it may use TF32 stays as it is."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def operations_of(action: Callable[[], object]) -> int:
    """Operations of all convolutions and matrix products that `action` runs, forward and backward."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _operations_of_gradients}
    )
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        action()
    return counter.get_total_flops()


def _operations_of_gradients(
    gradient: Sequence[int],
    images: Sequence[int],
    weight: Sequence[int],
    *settings: Any,
    out_shape: object = None,
) -> int:
    """Of a convolution's backward, from shapes: as many as forward for each gradient that is wanted.

    PyTorch's own count takes the weights' gradient of a convolution in groups for one without.
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted = settings
    forward = conv_flop_count(list(images), list(weight), list(gradient), transposed=transposed)
    return forward * (int(wanted[0]) + int(wanted[1]))


class _NoModules:
    """Stands where the counter would follow modules, whose hooks cannot bear a gradient at what they are given."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *failure: object) -> None: ...


@torch.no_grad()
def forward_operations(build: Callable[[], torch.nn.Module], *sizes: int) -> int:
    """Operations of the forward of the network that `build()` makes, on a tensor of `sizes`; nothing is computed."""
    with SHAPES_ONLY:
        network, images = build(), torch.empty(sizes)
    return operations_of(lambda: network(images))


# As text


def operation_lines(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> list[str]:
    """What `rated` adds to rows as lines of text, with a heading and the limits."""
    lines = [f"{'':<48}{'':>12}{'operations':>12}{'rate':>14}{'of the limit':>14}"]
    for row in rows:
        for side, precision in (("plain_fp32", "fp32"), ("ours", row["ours_precision"])):
            use = row[f"{side}_operations_per_second"], row[f"{side}_share_of_limit"]
            label = f"{side.split('_')[0]} {precision}"
            lines.append(f"{row['row']:<48}{label:>12}{operation_columns(row['operations'], *use)}")
    return [*lines, limit_line(limits)]


def operation_columns(operations: int, rate: float, share: float) -> str:
    """Three columns of a line: 12, 14 and 14 characters."""
    return f"{scaled(operations):>12}{scaled(rate) + '/s':>14}{100 * share:>12.1f} %"


def limit_line(limits: Mapping[str, float]) -> str:
    """The measured limits as a line of text."""
    named = ", ".join(f"{scaled(rate)}/s in {precision}" for precision, rate in limits.items())
    return f"limit: {KERNEL} x {KERNEL} convolution, {CHANNELS} channels, {PIXELS} x {PIXELS}, batch {BATCH}: {named}"


def scaled(number: float) -> str:
    """Three digits and a letter: 1.88 T, 257 G."""
    power, letter = next(
        (each for each in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")) if number >= each[0]), (1e3, "k")
    )
    value = number / power
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"
