"""Model files of every form that carry code, which leaves a mark when anything runs it."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

Trap = Callable[[Path, Path], None]
"""Writes a file to the first path; run, it makes a folder at the second."""


class Planted:
    """An object whose unpickling creates a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def bare_pickle(path: Path, mark: Path) -> None:
    """As `pickle.dump` writes it."""
    path.write_bytes(pickle.dumps(Planted(mark)))


def zipped_checkpoint(path: Path, mark: Path) -> None:
    """As `torch.save` writes it, beside true weights."""
    torch.save({"model.1.weight": torch.zeros(2, 3, 7, 7), "options": Planted(mark)}, path)


def legacy_checkpoint(path: Path, mark: Path) -> None:
    """As `torch.save` wrote it before there were zips."""
    content = {"params": {"conv_first.weight": torch.zeros(2, 3, 3, 3)}, "options": Planted(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def checkpoint_with_metadata(path: Path, mark: Path) -> None:
    """A checkpoint that has been given the marks of an export, and metadata as ours."""
    zipped_checkpoint(path, mark)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/extra/i2i", METADATA)
        archive.writestr(f"{path.stem}/constants.pkl", pickle.dumps(Planted(mark)))
        archive.writestr(f"{path.stem}/code/__torch__.py", "import os\n")


class _Writes(torch.nn.Module):
    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, self.target)
        return images


def torchscript(path: Path, mark: Path) -> None:
    """A program that writes a file when it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this format is on its way out
        program = torch.jit.script(_Writes(str(mark)))  # pyright: ignore[reportPrivateImportUsage]
        torch.jit.save(program, str(path), _extra_files={"i2i": METADATA})  # pyright: ignore[reportPrivateImportUsage]


def exported_program(path: Path, mark: Path) -> None:
    """A `.pt2` whose sample inputs, which PyTorch unpickles, are a trap."""
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(1),))
    whole = path.with_name("whole.pt2")
    torch.export.save(program, whole, extra_files={"i2i": METADATA})
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            content = source.read(name)
            if "sample_inputs" in name:
                inner = path.with_name("inner.pt")
                torch.save(Planted(mark), inner)
                content = inner.read_bytes()
            target.writestr(name, content)
    whole.unlink()


METADATA = json.dumps(
    {
        "model": {
            "format_version": 3,
            "entry_points": {
                "AtoB": {
                    "network": "generator",
                    "generator": {"kind": "resnet", "base_channels": 2, "blocks": 1},
                    "domains": ["a", "b"],
                    "scale": 1,
                    "in_channels": 3,
                    "out_channels": 3,
                    "size_multiple": 4,
                    "minimum_pixels": 8,
                    "receptive_field": 41,
                    "normalization": "instance",
                    "kind": "picture",
                }
            },
        },
        "export": {
            "form": "torchscript",
            "uint8": False,
            "strength": 1.0,
            "source_sha256": "0" * 64,
            "i2i": "0",
            "torch": "0",
        },
    }
)
"""What an honest export of a small translator would say of itself."""
