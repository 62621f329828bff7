"""Every recipe that comes with the package loads, says what it is, and keeps to what it claims to reproduce."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.core.discriminators import PatchDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings
from i2i.core.initialization import InitializationSettings
from i2i.data.settings import DrawnAnimalsSettings, UnpairedFoldersSettings
from i2i.pipelines import CycleGANSettings
from i2i.recipe import BuiltInRecipe, Recipe, built_in_recipes, dump_recipe, load_recipe, parse_recipe
from i2i.training.schedule import LinearSchedule
from i2i.training.settings import AdamSettings, LengthSettings

RECIPES = built_in_recipes()


def test_the_list_is_not_empty() -> None:
    names = {recipe.name for recipe in RECIPES}
    assert {"cyclegan_horse2zebra", "cyclegan_maps", "cyclegan_apple2orange", "cyclegan_demo"} <= names


@pytest.mark.parametrize("built_in", RECIPES, ids=lambda recipe: recipe.name)
class TestEveryRecipe:
    def test_loads_and_is_named_after_its_file(self, built_in: BuiltInRecipe) -> None:
        recipe = load_recipe(built_in.name)
        assert isinstance(recipe, Recipe)
        assert recipe.name == built_in.name

    def test_dump_loads_back_equal(self, built_in: BuiltInRecipe) -> None:
        recipe = load_recipe(built_in.path)
        assert parse_recipe(dump_recipe(recipe)) == recipe

    def test_header_says_what_to_expect(self, built_in: BuiltInRecipe) -> None:
        assert built_in.summary.endswith(".")
        header = built_in.path.read_text(encoding="utf-8").split("\n\n")[0]
        for word in ("# Source:", "# Hardware:", "# Time:", "# Result:"):
            assert word in header


def assert_is_the_papers_cyclegan(recipe: Recipe) -> None:
    """Zhu et al. 2017, section 4 and appendix 7, as the authors' code has them."""
    assert recipe.pipeline == CycleGANSettings(
        generator=ResNetGeneratorSettings(base_channels=64, blocks=9, normalization="instance", dropout=0.0),
        discriminator=PatchDiscriminatorSettings(base_channels=64, layers=3, normalization="instance"),
        initialization=InitializationSettings(kind="normal", standard_deviation=0.02),
        adversarial="lsgan",
        cycle_weight=10.0,
        identity_weight=0.5,
        pool_size=50,
    )
    adam = AdamSettings(learning_rate=2e-4, betas=(0.5, 0.999), epsilon=1e-8)
    assert recipe.training.optimizers == {"generator": adam, "discriminator": adam}
    assert recipe.training.schedule == LinearSchedule(constant=100, decay=100, unit="epochs")
    assert recipe.training.length == LengthSettings(epochs=200)
    assert recipe.training.batch_size == 1
    assert recipe.training.ema_half_life_images == 0
    assert recipe.training.clip_gradient_norm is None


@pytest.mark.parametrize(("name", "fetch"), [("horse2zebra", "horse2zebra"), ("maps", None)])
def test_full_size_recipes_are_the_papers(name: str, fetch: str | None) -> None:
    recipe = load_recipe(f"cyclegan_{name}")
    assert_is_the_papers_cyclegan(recipe)
    data = recipe.data
    assert isinstance(data, UnpairedFoldersSettings)
    assert (data.root, data.fetch) == (f"datasets/{name}", fetch)
    assert (data.resize_pixels, data.crop_pixels, data.flip) == (286, 256, True)


def test_small_recipe_keeps_the_papers_losses_and_proportions() -> None:
    recipe = load_recipe("cyclegan_apple2orange")
    assert isinstance(recipe.pipeline, CycleGANSettings)
    assert (recipe.pipeline.adversarial, recipe.pipeline.cycle_weight, recipe.pipeline.identity_weight) == (
        "lsgan",
        10,
        0.5,
    )
    assert isinstance(recipe.data, UnpairedFoldersSettings)
    assert recipe.data.resize_pixels / recipe.data.crop_pixels == pytest.approx(286 / 256, rel=0.01)


def test_demo_needs_no_files_and_ends_by_the_clock() -> None:
    recipe = load_recipe("cyclegan_demo")
    assert isinstance(recipe.data, DrawnAnimalsSettings)
    assert recipe.training.length.minutes is not None
    assert recipe.training.length.minutes <= 10


def test_recipes_folder_is_where_the_wheel_takes_it_from() -> None:
    assert {recipe.path.parent.name for recipe in RECIPES} <= {"recipes", "_recipes"}
    assert all(isinstance(recipe.path, Path) for recipe in RECIPES)
