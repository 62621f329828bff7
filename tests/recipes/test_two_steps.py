"""Every built-in recipe trains two tiny steps and leaves a model that translates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2i.commands import train
from i2i.inference import load_model
from i2i.recipe import built_in_recipes, load_recipe
from tests.training.runs import make_pictures

# Smaller networks and pictures; everything else is the recipe's own.
TINY = [
    "pipeline.generator.base_channels=2",
    "pipeline.generator.blocks=1",
    "pipeline.discriminator.base_channels=2",
    "training.length={steps: 2, epochs: null, minutes: null}",
    "training.validation.pictures=2",
    "training.samples.pictures=1",
    "tracking.wandb=disabled",
    "precision=fp32",
]


@pytest.mark.parametrize("name", [recipe.name for recipe in built_in_recipes()])
def test_two_tiny_steps(name: str, tmp_path: Path) -> None:
    if load_recipe(name).data.kind == "drawn_animals":
        data = ["data.size_pixels=32", "data.pictures=4", "data.test_pictures=2"]
    else:
        data = [f"data.root={make_pictures(tmp_path / 'pictures')}", "data.resize_pixels=36", "data.crop_pixels=32"]
    out = tmp_path / "run"
    finished = train.start(name, [*TINY, *data], out=out, quiet=True)
    assert finished.step == 2
    for direction in ("AtoB", "BtoA"):
        pictures = load_model(out, direction=direction, device="cpu")(np.zeros((1, 30, 41, 3), np.uint8))
        assert pictures.shape == (1, 30, 41, 3)
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "model.safetensors", "report.html"} <= {
        path.name for path in out.iterdir()
    }
