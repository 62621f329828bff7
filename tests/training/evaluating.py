"""Tiny trainings with evaluations: an extractor of a few hundred weights, in a file, and recipes that use it."""

from __future__ import annotations

from pathlib import Path

import torch

from i2i.evaluation.features.lenet import LeNet, save_lenet


def make_lenet(folder: Path) -> Path:
    """A file of LeNet weights, drawn at random: features that tell pictures apart, if not digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LeNet()
    path = folder / "lenet.safetensors"
    save_lenet(network, path)
    return path


def evaluating(folder: Path, *, metrics: str = "fid, kid", **others: object) -> list[str]:
    """Overrides that make a recipe evaluate."""
    settings = {"metrics": f"[{metrics}]", "samples": 40, "features": f"lenet:{make_lenet(folder)}", **others}
    return [f"evaluate.{key}={value}" for key, value in settings.items()]
