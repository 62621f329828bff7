"""Latents: drawn for a picture's number, saved to files, and joined by paths."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from i2i.core.randomness import generator_of
from i2i.errors import DataError, UsageError
from i2i.inference.tensor_files import write_tensors

_METADATA_KEY = "i2i"
_PURPOSE = "latent"


def draw_latents(indices: Sequence[int], width: int, seed: int, truncation: float | None = None) -> Tensor:
    """Standard normal latents (N, width) of the pictures `indices`: each depends on the seed and its own index only.

    Args:
        truncation: numbers beyond this distance from 0 are drawn anew until they lie within: less variety, more
            typical pictures. Those within stay what they are without truncation.

    Raises:
        UsageError: `truncation` is not above 0.

    Source: truncation: Brock et al. 2019, https://arxiv.org/abs/1809.11096, section 3.1.
    """
    if truncation is not None and not truncation > 0:
        raise UsageError(f"truncation is {truncation:g}; needs a number above 0, such as 0.7 (smaller: less variety)")
    return (
        torch.stack([_draw(index, width, seed, truncation) for index in indices]) if indices else torch.empty(0, width)
    )


def _draw(index: int, width: int, seed: int, truncation: float | None) -> Tensor:
    generator = generator_of(seed, _PURPOSE, index)
    latent = torch.randn(width, generator=generator)
    if truncation is None:
        return latent
    # In place of drawing until it fits, which may take for ever: the inverse of the distribution function, restricted.
    share = torch.rand(width, generator=generator, dtype=torch.float64)
    below, within = _normal_share(-truncation), _normal_share(truncation) - _normal_share(-truncation)
    anew = torch.special.ndtri(below + share * within).clamp(-truncation, truncation)
    return torch.where(latent.abs() <= truncation, latent, anew.float().clamp(-truncation, truncation))


def _normal_share(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2.0))


def spherical_path(latents: Tensor, frames: int) -> Tensor:
    """Latents on the way from each row to the next and from the last back to the first.

    Args:
        latents: (K, width).
        frames: steps from one row to the next.

    Returns:
        (K * frames, width); row ``k * frames`` is ``latents[k]``.
    """
    steps = torch.arange(frames, dtype=torch.float64) / frames
    legs = zip(latents, torch.roll(latents, -1, dims=0), strict=True)
    return torch.cat([spherical(start, end, steps) for start, end in legs])


def spherical(start: Tensor, end: Tensor, steps: Tensor) -> Tensor:
    """Points on the arc from `start` to `end` (width,), at `steps` (n,) from 0 to 1: (n, width).

    Latents of many dimensions all lie near one sphere; a straight line would leave it and show pictures unlike those
    trained for. The angle is that between the two directions; lengths that differ are blended by the same weights.

    Source: Shoemake 1985; White 2016, https://arxiv.org/abs/1609.04468, section 2.1.
    """
    start64, end64, steps = start.double(), end.double(), steps.double()[:, None]
    lengths = start64.norm() * end64.norm()
    angle = torch.acos((torch.dot(start64, end64) / lengths).clamp(-1.0, 1.0))
    if lengths == 0 or torch.sin(angle) < 1e-6:
        # On one line there is no arc, or no single one.
        path = start64 + steps * (end64 - start64)
    else:
        path = (torch.sin((1.0 - steps) * angle) * start64 + torch.sin(steps * angle) * end64) / torch.sin(angle)
    return path.to(start.dtype)


@dataclass(frozen=True)
class SavedLatents:
    """What a file of latents holds."""

    latents: Tensor
    """(N, width), float32."""
    labels: Tensor | None
    """(N,), int64; None when they were drawn for a model without classes."""


def save_latents(path: Path, latents: Tensor, labels: Tensor | None, facts: dict[str, Any]) -> None:
    """Write latents, and labels where there are classes, to a safetensors file, whole or not at all.

    Args:
        facts: where they come from (seed, truncation), as JSON can hold it.

    Raises:
        StorageError: the file cannot be written.
    """
    tensors = {"latents": latents.contiguous()} | ({} if labels is None else {"labels": labels.contiguous()})
    write_tensors(Path(path), tensors, {_METADATA_KEY: json.dumps(facts)})


def read_latents(path: Path, width: int) -> SavedLatents:
    """Read what `save_latents` wrote, or any safetensors with a tensor "latents".

    Args:
        width: that the model needs.

    Raises:
        DataError: missing, damaged, no latents in it, or of another width.
    """
    try:
        with safe_open(path, "pt", device="cpu") as file:
            found = {name: file.get_tensor(name) for name in ("latents", "labels") if name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error} - check the file's name") from error
    except (SafetensorError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: damaged or not a safetensors file ({text}) - save the latents anew") from error
    latents, labels = found.get("latents"), found.get("labels")
    if latents is None or latents.ndim != 2 or not latents.is_floating_point() or not len(latents):
        raise DataError(f"{path}: holds no latents - give a file that --save-latents wrote")
    if latents.shape[1] != width:
        raise DataError(
            f"{path}: latents of width {latents.shape[1]}, this model needs {width}"
            " - take the file that was saved with this model, or the model that it was saved with"
        )
    if not torch.isfinite(latents).all():
        raise DataError(f"{path}: latents are not all finite - save them anew")
    if labels is not None and (labels.shape != latents.shape[:1] or labels.is_floating_point()):
        raise DataError(f"{path}: labels do not fit the latents - save them anew")
    return SavedLatents(latents.float(), None if labels is None else labels.long())
