"""Trainings of two phases resume bit for bit, within either phase and between them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2i.commands import train
from tests.training.runs import hash_of_state, make_upscaling_recipe

STEPS = 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cut_at", [1, 2, 4], ids=["in the first phase", "between the phases", "in the second"])
def test_cut_and_resumed_equals_uninterrupted(tmp_path: Path, precision: str, cut_at: int) -> None:
    recipe = str(make_upscaling_recipe(tmp_path))
    settings = [f"precision={precision}"]
    train.start(recipe, [*settings, f"training.length.steps={STEPS}"], out=tmp_path / "whole", quiet=True)
    train.start(recipe, [*settings, f"training.length.steps={cut_at}"], out=tmp_path / "cut", quiet=True)
    train.start(None, [f"training.length.steps={STEPS}"], resume=tmp_path / "cut", quiet=True)
    assert hash_of_state(tmp_path / "cut", STEPS) == hash_of_state(tmp_path / "whole", STEPS)


def test_the_second_phase_alone_from_the_weights_of_the_first(tmp_path: Path) -> None:
    recipe = str(make_upscaling_recipe(tmp_path))
    alone = ["pipeline.discriminator=null", "training.length.steps=2"]
    pixels = train.start(recipe, alone, out=tmp_path / "pixels", quiet=True)
    second = [f"initialize_from={pixels.run}", "pipeline.pixel_images=0", "training.length.steps=2"]
    train.start(recipe, second, out=tmp_path / "game", quiet=True)
    model = load_file(tmp_path / "game" / "model.safetensors")
    begun = load_file(tmp_path / "pixels" / "checkpoints" / "step_2" / "state.safetensors")
    twin = {key.removeprefix("pixel_generator."): value for key, value in model.items() if key.startswith("pixel_g")}
    assert twin
    for key, value in twin.items():
        assert torch.equal(value, begun[f"average/generator/{key}"]), key
