"""Weights gone wrong: model files of i2i's own, and other projects' checkpoints."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from i2i.inference.model_files.model_file import _sealed  # pyright: ignore[reportPrivateUsage] - to lie consistently
from tests.reliability import traps
from tests.reliability.archives import Planted, damaged

Random = np.random.Generator


def pick(rng: Random, choices: Sequence[Any]) -> Any:
    """One of them."""
    return choices[int(rng.integers(len(choices)))]


# .safetensors that i2i wrote


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def safetensors_damaged(good: bytes, rng: Random) -> bytes:
    """Any bytes are others; half of the time those of the header, which are few."""
    length = 8 + int.from_bytes(good[:8], "little")
    if rng.random() < 0.5:
        return damaged(good[:length], rng) + good[length:]
    return damaged(good, rng)


def safetensors_header(good: bytes, rng: Random) -> bytes:
    """A header that lies about places, shapes, types, names or its own length, or that is no header."""
    header, data = _split(good)
    names = [name for name in header if name != "__metadata__"]
    entry = header[pick(rng, names)]
    match int(rng.integers(8)):
        case 0:
            entry["shape"] = pick(rng, [[-1], [2**63], [2**40, 2**40], [0], [], [1.5], ["3"], None, [1] * 70])
        case 1:
            entry["data_offsets"] = pick(rng, [[0, 2**63], [2**63, 0], [-8, 8], [8, 0], [0], None, [0, 4, 8], [0.5, 9]])
        case 2:
            entry["dtype"] = pick(rng, ["F64", "I64", "BOOL", "F8_E4M3", "X", "", None, 7, "BF16", "U8"])
        case 3:
            length = pick(rng, [0, 1, 2**63, 2**64 - 1, 10**8, 10**9, len(good), len(good) - 8])
            return _joined(json.dumps(header).encode(), data, length)
        case 4:
            text = pick(rng, ["[" * 50_000, '{"a":' * 50_000, "{" + '"x":1,' * 100_000, "\ud800", "{}", "null", "[]"])
            return _joined(text.encode(errors="surrogatepass"), data)
        case 5:
            wrong = pick(
                rng, [None, [], "x", {"i2i": None}, {"i2i": 7}, {"i2i": "{"}, {"i2i": "[" * 9000}, {"i2i": ""}]
            )
            header["__metadata__"] = wrong
        case 6:
            extra = {f"x{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(3000)}
            return _joined(json.dumps(header | extra).encode(), data)
        case 7:
            text = json.dumps(header)
            twice = text[:-1] + "," + text[1:]
            return _joined((twice if rng.random() < 0.5 else text + " " * 3_000_000).encode(), data)
    return _joined(json.dumps(header).encode(), data)


_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 1000, 10**6, 2**31, 2**62, 10**30, 1e308, float("nan"), float("inf"), "", "x", "resnet",
    "mlp", "../x", "\x1b[31m", [], [1, 2], {}, {"kind": "unet"}, [[[]]], "9" * 5000,
)  # fmt: skip


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    inner = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in inner] + [place for _, value in inner for place in _leaves(value)]


def change_metadata(model: dict[str, Any], rng: Random) -> None:
    """One to three values are others, unknown or gone."""
    for _ in range(1 + int(rng.integers(3))):
        owner, key = pick(rng, _leaves(model))
        match int(rng.integers(4)):
            case 0 if isinstance(owner, dict):
                owner.pop(key)
            case 1 if isinstance(owner, dict):
                owner[pick(rng, ["x", "kind", "__class__", "scale", "../../x"])] = pick(rng, _ODD)
            case _:
                owner[key] = pick(rng, _ODD)


def safetensors_settings(good: bytes, rng: Random) -> bytes:
    """Settings that nobody would choose, under a seal that fits."""
    model = copy.deepcopy(json.loads(_split(good)[0]["__metadata__"]["i2i"])["model"])
    change_metadata(model, rng)
    tensors = load(good)
    return save(tensors, {"i2i": _sealed(json.dumps(model), tensors)})


def safetensors_weights(good: bytes, rng: Random) -> bytes:
    """Weights of other shapes, types, names or values, under a seal that fits."""
    text = json.dumps(json.loads(_split(good)[0]["__metadata__"]["i2i"])["model"])
    tensors = load(good)
    name = pick(rng, sorted(tensors))
    tensor = tensors.pop(name)
    changes: dict[str, torch.Tensor] = pick(
        rng,
        [
            {}, {name: tensor[:1]}, {name: tensor.unsqueeze(0)}, {name: tensor.to(torch.int64)},
            {name: tensor.double()}, {name: tensor.half()}, {name: torch.full_like(tensor, math.nan)},
            {name: torch.full_like(tensor, 3e38)},
            {name: torch.zeros(0)}, {name: tensor, f"{name}x": tensor.clone()}, {name: tensor, "": tensor.clone()},
            {f"other.{name}": tensor}, {name: tensor.to(torch.complex64)}, {name: tensor > 0},
            {name: torch.full_like(tensor, -math.inf)}, {name: tensor.to(torch.float8_e4m3fn)},
        ],
    )  # fmt: skip
    tensors |= {key: value.contiguous() for key, value in changes.items()}
    return save(tensors, {"i2i": _sealed(text, tensors)})


SAFETENSORS: dict[str, Callable[[bytes, Random], bytes]] = {
    "safetensors damaged": safetensors_damaged,
    "safetensors header": safetensors_header,
    "safetensors settings": safetensors_settings,
    "safetensors weights": safetensors_weights,
}

# Other projects' checkpoints


def _saved(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def foreign_checkpoint() -> dict[str, torch.Tensor]:
    """The weights of a small DCGAN generator as PyTorch's own example names them."""
    torch.manual_seed(0)
    sizes = [(5, 16, 4), (16, 8, 4), (8, 4, 4), (4, 2, 4), (2, 3, 4)]
    weights: dict[str, torch.Tensor] = {}
    for index, (before, after, side) in enumerate(sizes):
        weights[f"main.{3 * index}.weight"] = torch.randn(before, after, side, side)
        if index + 1 < len(sizes):
            norm = f"main.{3 * index + 1}"
            weights |= {f"{norm}.{name}": torch.ones(after) for name in ("weight", "running_var")}
            weights |= {f"{norm}.{name}": torch.zeros(after) for name in ("bias", "running_mean")}
            weights[f"{norm}.num_batches_tracked"] = torch.tensor(1)
    return weights


def checkpoint_damaged(rng: Random, folder: Path) -> bytes:
    """Any bytes are others, in either layout of `torch.save`."""
    return damaged(_saved(foreign_checkpoint(), zipped=rng.random() < 0.5), rng)


def _quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its way out, but files hold it
        return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)


def checkpoint_weights(rng: Random, folder: Path) -> bytes:
    """Weights that are no plain arrays, do not fit each other, or lie in strange containers."""
    weights: dict[Any, Any] = dict(foreign_checkpoint())
    name = pick(rng, sorted(weights))
    tensor = weights[name]
    itself: list[Any] = []
    itself.append(itself)
    nested: Any = weights
    for _ in range(int(rng.integers(1, 60))):
        nested = {"state_dict": nested}
    weights[name] = pick(
        rng,
        [
            tensor.flatten()[:1], tensor.double() * math.nan, torch.zeros(1).expand(2**40), torch.zeros(0), None, "x",
            7, tensor.to_sparse() if tensor.dim() else tensor, tensor.unsqueeze(0), itself,
            torch.zeros(2, device="meta"),
            _quantized(), torch.zeros(()).expand(tensor.shape),
            tensor.to(torch.complex64), np.zeros(3), [tensor], torch.nn.Parameter(torch.zeros(3)), torch.Size([3]),
        ],
    )  # fmt: skip
    whole: list[Any] = [
        weights, {"state_dict": weights}, nested, [weights], {"a": weights, "b": weights}, {}, 3, itself, {3: weights},
        {"params_ema": weights, "params": {}}, tuple(weights.items()),
    ]  # fmt: skip
    return _saved(whole[0] if rng.random() < 0.5 else pick(rng, whole), zipped=rng.random() < 0.7)


def checkpoint_trap(rng: Random, folder: Path) -> bytes:
    """A pickle that calls something, in every layout and by several ways of calling."""
    mark = folder / "sprung"
    path = folder / "trap.pt"
    match int(rng.integers(6)):
        case 0:
            traps.bare_pickle(path, mark)
        case 1:
            traps.zipped_checkpoint(path, mark)
        case 2:
            traps.legacy_checkpoint(path, mark)
        case 3:
            traps.checkpoint_with_metadata(path, mark)
        case 4:
            how = pick(rng, [os.mkdir, os.makedirs, Path.mkdir, torch.hub.set_dir, os.system, eval, exec])
            word = f"__import__('os').mkdir({str(mark)!r})" if how in (eval, exec) else str(mark)
            return pickle.dumps(Planted(word, how), protocol=int(rng.integers(6)))
        case 5:
            # Between true weights, its name written in another way, or behind the allowed rebuilding of a tensor.
            call = pick(rng, [b"cposix\nmkdir\n", b"cos\nmkdir\n", b"cbuiltins\neval\n", b"c__builtin__\nexec\n"])
            word = str(mark) if b"mkdir" in call else f"__import__('os').mkdir({str(mark)!r})"
            program = b"\x80\x02" + call + b"X" + struct.pack("<I", len(word)) + word.encode() + b"\x85R."
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("trap/data.pkl", program)
                archive.writestr("trap/version", "3\n")
                archive.writestr("trap/byteorder", "little")
                archive.writestr("trap/data/0", bytes(64))
    content = path.read_bytes()
    path.unlink()
    return content


def checkpoint_zip(rng: Random, folder: Path) -> bytes:
    """The zip around the weights lies: parts that are missing, twice, too long, or lead elsewhere."""
    with zipfile.ZipFile(io.BytesIO(_saved(foreign_checkpoint()))) as source:
        parts = [(name, source.read(name)) for name in source.namelist()]
    index = int(rng.integers(len(parts)))
    name, content = parts[index]
    match int(rng.integers(6)):
        case 0:
            parts.pop(index)
        case 1:
            parts.append((name, content[: len(content) // 2]))
        case 2:
            parts[index] = (name, content[: int(rng.integers(len(content) + 1))])
        case 3:
            parts[index] = (name, content + bytes(1000))
        case 4:
            parts[index] = (pick(rng, ["../x", "/etc/x", "x" * 3000, "archive/data.pkl"]), content)
        case 5:
            parts.append(("archive/zeros", bytes(20_000_000)))
    buffer = io.BytesIO()
    method = pick(rng, [zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", method) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in parts:
            target.writestr(name, content)
    return buffer.getvalue()


CHECKPOINTS: dict[str, Callable[[Random, Path], bytes]] = {
    "checkpoint damaged": checkpoint_damaged,
    "checkpoint weights": checkpoint_weights,
    "checkpoint trap": checkpoint_trap,
    "checkpoint zip": checkpoint_zip,
}
