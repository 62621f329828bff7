"""Where the reference cases lie and how to read them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from i2i.training.settings import TrickName
from tests.real import CASES

BUNDLED = Path(__file__).parent / "cases"

Tricks = Collection[TrickName]
SPEEDS: Mapping[str, Tricks] = {"fast": ("channels_last", "fused_optimizers"), "plain": ()}
"""Ways of training that must give the reference's numbers."""


class Case:
    """One reference case."""

    def __init__(self, folder: Path) -> None:
        self.about: dict[str, Any] = json.loads((folder / "case.json").read_text())
        self.tensors: dict[str, Tensor] = load_file(folder / "tensors.safetensors")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with ``prefix/``, without it."""
        return {name.removeprefix(f"{prefix}/"): t for name, t in self.tensors.items() if name.startswith(f"{prefix}/")}


def folders(*names: str) -> list[Path]:
    """Folders of the named cases: of the fuller collection where it is at hand, else those that are bundled."""
    places = [CASES / name if (CASES / name).is_dir() else BUNDLED / name for name in names]
    return [place for place in places if place.is_dir()]


def digest(tensors: list[Tensor]) -> Tensor:
    """Sum, L2 norm and dot product with cos(0.1 i) of each tensor, as the reference digests are made."""
    rows = []
    for tensor in tensors:
        flat = tensor.double().flatten()
        wave = torch.cos(0.1 * torch.arange(len(flat), dtype=torch.float64))
        rows.append(torch.stack([flat.sum(), flat.norm(), flat @ wave]))
    return torch.stack(rows)
