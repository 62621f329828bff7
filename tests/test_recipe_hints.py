"""What is wrong with a recipe is said where it was written, and what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.errors import RecipeError
from i2i.recipe import load_recipe, parse_recipe
from i2i.recipe.suggestions import near_names

GENERATION = """\
pipeline: {kind: unconditional, generator: {kind: dcgan}}
data:
  kind: drawn_digits
  size_pixels: 32
training:
  length: {epochs: 5}
"""
PAIRS = """\
pipeline: {kind: cyclegan}
data:
  kind: unpaired_folders
  root: animals
  resize_pixels: 72
  crop_pixels: 64
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "my.yaml", overrides)
    return str(caught.value).splitlines()


class TestNames:
    @pytest.mark.parametrize(
        ("word", "names"),
        [
            ("cyclegan_dmo", ["cyclegan_demo"]),
            ("demo", ["cyclegan_demo", "dcgan_demo"]),
            ("mnist", ["cdcgan_mnist", "dcgan_mnist", "gan_mnist"]),
            ("wgan-gp", ["wgan_gp_mnist"]),
            ("faces", ["dcgan_faces64"]),
            ("horse2zebra", ["cyclegan_horse2zebra"]),
            ("something else", []),
        ],
    )
    def test_that_are_meant(self, word: str, names: list[str]) -> None:
        known = ["cdcgan_mnist", "cyclegan_demo", "cyclegan_horse2zebra", "dcgan_demo", "dcgan_faces64", "dcgan_mnist"]
        hint = near_names(word, [*known, "gan_mnist", "wgan_gp_mnist"])
        assert [name for name in hint.split("'")[1::2] if name] == names
        assert hint == "" or (hint.startswith(", did you mean '") and hint.endswith("'?"))

    @pytest.mark.parametrize("name", ["my.yam", "my", "my.yml", "mi.yaml"])
    def test_a_file_with_nearly_this_name_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("my.yaml").write_text(GENERATION)
        with pytest.raises(RecipeError) as caught:
            load_recipe(name)
        assert str(caught.value).startswith(f"{name}: no ")
        assert ", did you mean my.yaml? - `i2i recipes` lists" in str(caught.value)
        Path("sub").mkdir()
        with pytest.raises(RecipeError, match="no such file - `i2i recipes`"):
            load_recipe("sub/my.yam")


class TestOverrides:
    def test_a_contradiction_is_laid_to_the_override_that_made_it(self) -> None:
        (line,) = mistakes(GENERATION, "training.batch_size=4", "pipeline.classes=10")
        assert line.startswith("--set pipeline.classes: ") and "my.yaml" not in line
        (line,) = mistakes(GENERATION, "pipeline.generator.kind=cyclegan_resnet")
        assert line.startswith("--set pipeline.generator.kind: ")

    def test_what_the_file_says_wrong_by_itself_stays_with_the_file(self) -> None:
        text = GENERATION.replace("{kind: dcgan}}", "{kind: dcgan}, classes: 10}")
        (line,) = mistakes(text, "training.batch_size=4")
        assert line.startswith("my.yaml:2: ")

    def test_of_two_values_that_do_not_fit_the_one_from_outside_is_named(self) -> None:
        assert mistakes(PAIRS, "data.crop_pixels=100") == [
            "--set data.crop_pixels: is 100; resize_pixels is 72, smaller than crop_pixels 100; raise it to that"
        ]
        assert mistakes(PAIRS.replace("crop_pixels: 64", "crop_pixels: 100")) == [
            "my.yaml:5: data.resize_pixels: is 72, smaller than crop_pixels 100; raise it to that"
        ]

    def test_a_length_that_is_switched_off_needs_another(self) -> None:
        (line,) = mistakes(GENERATION, "training.length.epochs=null")
        assert line.startswith("--set training.length.epochs: is null; length needs one of epochs, steps, ")
        assert line.endswith(" - set another one, such as --set training.length.steps=...")
        (line,) = mistakes(GENERATION.replace("epochs: 5", "epochs: null"))
        assert line.startswith("my.yaml:6: training.length.epochs: is null; ")
        assert line.endswith(" - set another one, such as steps: ...")
