"""The Python API: a recipe in, a run folder out, a model to call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import i2i
from i2i.errors import UsageError
from i2i.recipe import load_recipe

TINY = (
    "training.length={steps: 1, minutes: null}",
    "data={pictures: 4, test_pictures: 2, size_pixels: 16}",
    "pipeline.generator={base_channels: 4, blocks: 1}",
    "pipeline.discriminator={kind: pixel, base_channels: 4}",
    "training.batch_size=1",
    "precision=fp32",
    "tracking.wandb=disabled",
)


def test_train_takes_a_recipe_and_load_its_run(tmp_path: Path) -> None:
    recipe = load_recipe("cyclegan_demo", TINY)
    folder = i2i.train(recipe, ["seed=3"], out=tmp_path / "run", device="cpu")
    assert folder == tmp_path / "run"
    kept = load_recipe(folder / "recipe.yaml")
    assert (kept.name, kept.seed, kept.data) == ("cyclegan_demo", 3, recipe.data)
    pictures = np.full((2, 16, 20, 3), 100, np.uint8)
    forward, backward = (i2i.load(folder, direction, device="cpu")(pictures) for direction in ("AtoB", "BtoA"))
    assert forward.shape == pictures.shape
    assert forward.dtype == np.uint8
    assert not np.array_equal(forward, backward)


def test_train_without_anything_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="name a recipe"):
        i2i.train()


@pytest.mark.parametrize("overrides", ["training.length.minutes=2", ["seed", 3]])
def test_overrides_that_are_no_list_of_texts_are_one_clear_mistake(overrides: Any) -> None:
    with pytest.raises(UsageError, match=r"needs a list of texts, such as overrides=\['seed=3'\]"):
        i2i.train("cyclegan_demo", overrides)
