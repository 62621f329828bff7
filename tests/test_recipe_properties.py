"""Recipes of every kind: what is written loads back equal, and nothing makes the reader fail in an unknown way."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from i2i.core.discriminators import PixelDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings
from i2i.core.sizes import MOST_REPEATS
from i2i.data.settings import DrawnAnimalsSettings, UnpairedFoldersSettings
from i2i.errors import RecipeError
from i2i.pipelines import CycleGANSettings
from i2i.recipe import Recipe, dump_recipe, parse_recipe
from i2i.training.settings import AdamSettings, LengthSettings, SGDSettings, TrainingSettings
from i2i.training.tracking import TrackingSettings

SHORT = """\
pipeline: {kind: cyclegan}
data:
  kind: unpaired_folders
  root: animals
"""
FULL = Recipe(
    name="full",
    pipeline=CycleGANSettings(discriminator=PixelDiscriminatorSettings(), cycle_weight=1e-7),
    data=DrawnAnimalsSettings(flip=False),
    training=TrainingSettings(
        length=LengthSettings(minutes=1e20), optimizers={"generator": AdamSettings(), "discriminator": SGDSettings()}
    ),
)
# Printable text, as a recipe may hold it: no control characters, no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "1e-4",
        "no",
        "null",
        "~",
        "",
        "0o7",
        "1_0",
        "a: b",
        "- x",
        "# x",
        "'",
        '"',
        "\\",
        "\x85",
        "\ufeff",
        " x ",
        "<<",
        "=",
        "true",
    ]
)


class TestDump:
    def test_dump_loads_back_equal(self) -> None:
        assert parse_recipe(dump_recipe(FULL)) == FULL

    @settings(max_examples=80)
    @given(
        root=TEXT,
        project=TEXT,
        seed=st.integers(0, 2**63 - 1),
        rate=st.floats(0, exclude_min=True, allow_infinity=False),
        betas=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
        blocks=st.integers(0, MOST_REPEATS),
        player=st.sampled_from(["generator", "discriminator"]),
    )
    def test_any_recipe_loads_back_equal(
        self, root: str, project: str, seed: int, rate: float, betas: tuple[float, float], blocks: int, player: str
    ) -> None:
        recipe = Recipe(
            name="any",
            seed=seed,
            initialize_from=root,
            pipeline=CycleGANSettings(generator=ResNetGeneratorSettings(blocks=blocks)),
            data=UnpairedFoldersSettings(root=root),
            training=TrainingSettings(optimizers={player: AdamSettings(learning_rate=rate, betas=betas)}),
            tracking=TrackingSettings(project=project),
        )
        assert parse_recipe(dump_recipe(recipe)) == recipe

    def test_every_value_is_written(self) -> None:
        dumped = dump_recipe(FULL)
        for field in dataclasses.fields(Recipe):
            assert f"{field.name}:" in dumped


FRAGMENTS = st.sampled_from(
    [
        "pipeline:",
        "data:",
        "  kind: ",
        "training:",
        "cyclegan",
        "extends: ",
        "cyclegan_demo",
        "\n",
        "  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "&a ",
        "*a",
        "!!int ",
        "<<",
        "1e400",
        "-",
        "|",
        ">",
        "'",
        '"',
        "\\U",
        "\t",
        "%",
        "null",
        "true",
        "\x00",
        "0x",
        "9" * 500,
    ]
)


class TestFuzz:
    """Whatever is thrown at the reader, it answers with a recipe or a RecipeError."""

    @settings(max_examples=80)
    @given(st.binary(max_size=60))
    def test_bytes(self, content: bytes) -> None:
        self.read(content)

    @settings(max_examples=80)
    @given(st.lists(FRAGMENTS | st.text(max_size=4), max_size=25).map("".join))
    def test_text_that_resembles_yaml(self, text: str) -> None:
        self.read(text)

    @settings(max_examples=80)
    @given(
        st.sampled_from(
            [
                "seed",
                "pipeline",
                "pipeline.generator",
                "training",
                "training.optimizers",
                "training.schedule.kind",
                "training.length.epochs",
                "data",
                "data.root",
                "tracking",
                "name",
                "training.optimizers.x.betas",
            ]
        ),
        st.lists(FRAGMENTS | st.text(max_size=4), max_size=8).map("".join),
    )
    def test_overrides(self, key: str, value: str) -> None:
        self.read(SHORT, f"{key}={value}")

    @staticmethod
    def read(content: str | bytes, *overrides: str) -> None:
        try:
            assert isinstance(parse_recipe(content, "fuzz.yaml", overrides), Recipe)
        except RecipeError as error:
            assert str(error)
