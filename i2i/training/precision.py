"""Number formats: which are at hand, which is fastest here, and how an update runs in one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal

import torch

from i2i.core.device_clock import now

ChosenPrecision = Literal["fp64", "fp32", "bf16", "fp16"]

_DTYPES: dict[ChosenPrecision, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

# Below this gain a narrower format is not worth its rounding.
WORTHWHILE_SPEEDUP = 1.2

# Two repetitions in a row that take this much longer are as many as it takes, where each is too long for a hitch.
HOPELESS_SLOWDOWN = 2.0
_LONG_SECONDS = 0.1


class Precision:
    """One number format for all updates of a training.

    Weights, optimizer state and averages stay in float32 (float64 for fp64). In bf16 and fp16 the networks compute
    under autocast, which casts each weight once an update; with our normalization layers nothing else is cast. fp16
    needs loss scaling, one scaler an optimizer: with a shared one an overflow of one player would silently rescale
    the gradients of the other.
    """

    def __init__(self, name: ChosenPrecision, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.dtype = _DTYPES[name]
        self.weights_dtype = torch.float64 if name == "fp64" else torch.float32

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Networks called inside compute in this format."""
        if self.name in ("fp64", "fp32"):
            yield
            return
        with torch.autocast(self.device.type, dtype=self.dtype):
            yield

    def new_scaler(self) -> torch.amp.GradScaler:
        """A loss scaler for one optimizer; the identity except in fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_precision(device: torch.device) -> ChosenPrecision:
    """bf16 where a short measurement finds it clearly faster than fp32, else fp32."""
    seconds = measure_precisions(device)
    return "bf16" if seconds["bf16"] * WORTHWHILE_SPEEDUP < seconds["fp32"] else "fp32"


def measure_precisions(device: torch.device) -> dict[str, float]:
    """Seconds of one 3x3 convolution (128 channels, 64 x 64 pixels, forward and backward) by number format.

    A processor without bf16 imitates it at a small part of fp32's rate; two such repetitions say enough.
    """
    fp32 = _time_convolution(device, torch.float32)
    hopeless = max(_LONG_SECONDS, HOPELESS_SLOWDOWN * fp32)
    return {"fp32": fp32, "bf16": _time_convolution(device, torch.bfloat16, hopeless_seconds=hopeless)}


def _time_convolution(
    device: torch.device, dtype: torch.dtype, repetitions: int = 5, hopeless_seconds: float = math.inf
) -> float:
    layout = torch.channels_last
    images = torch.randn(2, 128, 64, 64, device=device).to(dtype).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(128, 128, 3, 3, device=device).to(dtype).contiguous(memory_format=layout).requires_grad_()

    def take() -> float:
        started = now(device)
        torch.nn.functional.conv2d(images, weight, padding=1).sum().backward()
        return now(device) - started

    # The first two build the kernels; the fastest is what the machine can do when nobody else uses it.
    for _ in range(2):
        take()
    seconds: list[float] = []
    while len(seconds) < repetitions and not (len(seconds) == 2 and min(seconds) > hopeless_seconds):
        seconds.append(take())
    return min(seconds)
