"""Where and in what arithmetic a trained network runs, the same for every kind of model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from i2i.errors import I2IError, ModelError, OutOfMemoryError, UsageError, tells_want_of_memory

Precision = Literal["fp32", "bf16", "fp16"]
_AUTOCAST_TYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps`` means on this machine.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: unknown - use auto, cpu, cuda, cuda:n or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: not supported - use auto, cpu, cuda, cuda:n or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: {torch.cuda.device_count()} CUDA devices here - use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available here - use --device auto or cpu")
    return device


def autocast_type(precision: Precision) -> torch.dtype:
    """The number format of convolutions and matrix products in this precision."""
    return _AUTOCAST_TYPES.get(precision, torch.float32)


@contextlib.contextmanager
def numerics(device: torch.device, precision: Precision, *, deterministic: bool = False) -> Iterator[None]:
    """The arithmetic of this precision on this device.

    Args:
        deterministic: let CUDA use only convolutions that give the same bits every time.
    """
    with contextlib.ExitStack() as stack:
        if precision != "fp32":
            stack.enter_context(torch.autocast(device.type, _AUTOCAST_TYPES[precision]))
        if device.type == "cuda":
            cudnn = torch.backends.cudnn
            stack.enter_context(
                cudnn.flags(
                    enabled=True,
                    benchmark=cudnn.benchmark and not deterministic,
                    deterministic=cudnn.deterministic or deterministic,
                    # In fp32 convolutions would otherwise drop to TF32's ten bits in silence.
                    allow_tf32=cudnn.allow_tf32 and precision != "fp32",
                )
            )
        yield


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Full float32, the same bits every time, for all threads of the process: no TF32, no bfloat16 products.

    These settings are the process's. Threads that each set and restore them leave behind what they found of each
    other: where several compute, enter this once around all of them, and what they do themselves changes nothing.
    """
    products = torch.get_float32_matmul_precision()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        if products != "highest":
            torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            if products != "highest":
                torch.set_float32_matmul_precision(products)


@contextlib.contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Full float32 whatever the process allows itself elsewhere: `exact_arithmetic` without autocast."""
    with torch.autocast(device.type, enabled=False), exact_arithmetic():
        yield


def not_finite_message(path: Path | None, precision: Precision) -> str:
    """What to say of a network that returned infinities or NaN."""
    where = path or "the model"
    if precision == "fp32":
        return f"{where}: the network returned numbers that are not finite - its weights are unusable, take another"
    return f"{where}: the network returned numbers that are not finite in {precision} - use --precision fp32"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine's error means that memory was short; most say so in their message alone."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and tells_want_of_memory(str(error))


@contextlib.contextmanager
def engine_failure_as_help(path: Path | None, engine: str) -> Iterator[None]:
    """Turn what an engine raises, all but want of memory, into an error that names the model and the engine."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{path or 'the model'}: {engine} cannot compute it ({reason}) - try another --runner or --device cpu"
        ) from error


@contextlib.contextmanager
def out_of_memory_as_help(count: int, height: int, width: int, remedy: str) -> Iterator[None]:
    """Turn running out of memory, on CPU or GPU, into an error that names the size and the `remedy`."""
    try:
        yield
    except I2IError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"too little memory for {count} picture{'s' if count > 1 else ''} of {width}x{height} pixels - {remedy}"
        ) from error
