"""Checkpoint files of other projects -> plain tensors by name; nothing in a file is ever executed.

A file may wrap its weights (`params_ema` of BasicSR, `state_dict` of many trainers) and put a prefix before every
name (`module.` of DataParallel, `_orig_mod.` of a compiled network). Both are taken off.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from i2i.errors import ModelError, one_line
from i2i.export.layouts import PREFIXES, WRAPPERS
from i2i.inference.model_files.forms import CHECKPOINT_SUFFIXES

# Beside those of published files, those of trainers that save everything together.
_WRAPPERS = (*WRAPPERS, "state_dict", "model_state_dict", "generator", "model")
_PREFIXES = (*PREFIXES, "generator.", "net_g.", "netG.")
# Wrappers in wrappers; a pickle may even hold itself.
_DEEPEST = 3
# What damaged or hostile bytes make the reader raise.
_READER_ERRORS = (
    OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, MemoryError,
    AssertionError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a file, as its own project names them."""

    weights: dict[str, Tensor]
    wrapper: str
    """What they were wrapped in, such as "params_ema"; empty if in nothing."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights in a ``.safetensors`` or in a file of ``torch.save``.

    Raises:
        ModelError: missing, damaged, of another kind, not plain tensors, or a model file of i2i's own.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file - give a checkpoint such as .pth, .pt or .safetensors")
    if path.suffix.lower() == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix.lower() in CHECKPOINT_SUFFIXES:
        content = _read_pickled(path)
    else:
        raise ModelError(f"{path}: not a checkpoint - give a .safetensors, {', '.join(CHECKPOINT_SUFFIXES)}")
    tensors, wrapper = _unwrapped(path, content)
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    return Checkpoint(_without_prefixes(tensors), wrapper)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt", device="cpu") as file:
            if "i2i" in (file.metadata() or {}):
                raise ModelError(f"{path}: made by i2i already - use it as it is, a model with --model")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged or not a safetensors file ({one_line(error)}) - copy it anew") from error


def _read_pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What matters of it comes as an error.
            # Weights only: PyTorch's own reader, which builds tensors and plain containers and calls nothing else.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(error))
        if named is None:
            raise ModelError(f"{path}: damaged or not a file of torch.save - copy it anew") from error
        raise ModelError(
            f"{path}: holds more than tensors ({named[1] or named[2]}), and reading that can run code, so it is refused"
            " - if you trust the file, save its weights alone with torch.save(model.state_dict(), ...)"
        ) from error
    except _READER_ERRORS as error:
        if "TorchScript" in str(error):
            raise ModelError(f"{path}: TorchScript carries code, so it is refused - give its state_dict") from error
        raise ModelError(f"{path}: damaged or not a file of torch.save ({one_line(error)}) - copy it anew") from error


def _unwrapped(path: Path, content: Any) -> tuple[dict[str, Tensor], str]:
    wrappers: list[str] = []
    while isinstance(content, Mapping) and len(wrappers) <= _DEEPEST:
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        inner = {str(name): value for name, value in content.items() if _holds_tensors(value)}
        if tensors and not inner:
            return tensors, ".".join(wrappers)
        wrapper = next((name for name in _WRAPPERS if name in inner), None)
        if wrapper is None and len(inner) == 1:
            wrapper = next(iter(inner))
        if wrapper is None:
            what = f"its entries are {', '.join(map(str, list(content)[:5]))}" if content else "it is empty"
            raise ModelError(f"{path}: no weights of one network found, {what} - save the generator's state_dict alone")
        wrappers.append(wrapper)
        content = inner[wrapper]
    raise ModelError(f"{path}: holds a {type(content).__name__}, not weights by name - save the generator's state_dict")


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    """Whether this is a mapping of names to tensors, or of wrappers to such."""
    if depth > _DEEPEST or not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    return any(isinstance(entry, Tensor) or _holds_tensors(entry, depth + 1) for entry in value.values())


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse what is no dense array, such as one that claims more numbers than the file has."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not plain or tensor.is_complex() or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ModelError(f"{path}: {name} is not a plain array of numbers - save the state_dict of the whole network")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ModelError(f"{path}: {name} holds numbers that are not finite - take another checkpoint")
