"""Which networks a run of two phases hands on as its best: by PSNR, until it gives PSNR up on purpose."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.commands import train
from i2i.inference.model_files.model_file import read_model_file
from tests.training.runs import make_upscaling_recipe

VALIDATED = ["training.validation={every_steps: 1, every_epochs: null, pictures: 1}"]


@pytest.fixture
def _falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look finds a lower PSNR than the one before."""
    numbers = itertools.count(40, -1)
    monkeypatch.setattr("i2i.training.validation.luma_psnr", lambda *_, **__: float(next(numbers)))


def trained(folder: Path, steps: int) -> tuple[dict[str, Any], Path]:
    """The counters of the last checkpoint, and the best model."""
    recipe = str(make_upscaling_recipe(folder))
    run = folder / "run"
    train.start(recipe, [*VALIDATED, f"training.length.steps={steps}"], out=run, quiet=True)
    return json.loads((run / "checkpoints" / f"step_{steps}" / "state.json").read_text()), run / "best.safetensors"


@pytest.mark.usefixtures("_falling")
def test_in_the_pixel_phase_psnr_decides(tmp_path: Path) -> None:
    counters, best = trained(tmp_path, steps=2)
    assert (counters["best_step"], counters["best_score"]) == (1, 40.0)
    assert read_model_file(best)[0].provenance["step"] == 1


@pytest.mark.usefixtures("_falling")
def test_afterwards_the_newest_networks_are_the_best(tmp_path: Path) -> None:
    counters, best = trained(tmp_path, steps=5)
    assert counters["best_step"] == 5
    metadata, tensors = read_model_file(best)
    assert metadata.provenance["step"] == 5
    # Or a strength between 0 and 1 would lie between a network and itself.
    own = [name for name in tensors if name.startswith("generator.")]
    assert own and not all(torch.equal(tensors[name], tensors[f"pixel_{name}"]) for name in own)
