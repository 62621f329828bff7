"""Recipes as users write them: what is read, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import pytest

from i2i.core.generators import UNetGeneratorSettings
from i2i.data.settings import UnpairedFoldersSettings
from i2i.errors import RecipeError
from i2i.pipelines import CycleGANSettings
from i2i.recipe import Recipe, changes_on_resume, load_recipe, parse_recipe
from i2i.recipe.nodes import resolve_scalar
from i2i.training.schedule import CosineSchedule, LinearSchedule
from i2i.training.settings import AdamSettings, LengthSettings, SGDSettings
from tests.test_recipe_mistakes import SHORT, mistakes


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class TestReading:
    def test_short_recipe_gets_the_defaults(self) -> None:
        recipe = parse_recipe(SHORT)
        assert recipe == Recipe(
            name="recipe", pipeline=CycleGANSettings(), data=UnpairedFoldersSettings(root="animals")
        )

    def test_values_reach_their_fields(self) -> None:
        recipe = parse_recipe(
            SHORT + "seed: 7\n"
            "training:\n"
            "  batch_size: 4\n"
            "  optimizers:\n"
            "    generator: {kind: adam, learning_rate: 1e-4, betas: [0, 0.9]}\n"
            "    discriminator: {kind: sgd}\n"
            "  schedule: {kind: cosine, total: 9}\n"
        )
        assert recipe.seed == 7
        assert recipe.training.batch_size == 4
        assert recipe.training.optimizers == {
            "generator": AdamSettings(learning_rate=1e-4, betas=(0.0, 0.9)),
            "discriminator": SGDSettings(),
        }
        assert recipe.training.schedule == CosineSchedule(total=9)

    def test_whole_numbers_become_the_floats_that_fields_ask_for(self) -> None:
        pipeline = parse_recipe(SHORT.replace("cyclegan}", "cyclegan, cycle_weight: 5}")).pipeline
        assert isinstance(pipeline, CycleGANSettings)
        assert pipeline.cycle_weight == 5.0
        assert isinstance(pipeline.cycle_weight, float)

    def test_byte_order_mark_is_passed_over(self) -> None:
        assert parse_recipe(b"\xef\xbb\xbf" + SHORT.encode()) == parse_recipe(SHORT)

    def test_anchors_work(self) -> None:
        text = (
            SHORT + "training: {optimizers: {generator: &fast {kind: adam, learning_rate: 1e-3}, discriminator: *fast}}"
        )
        optimizers = parse_recipe(text).training.optimizers
        assert optimizers["discriminator"] == optimizers["generator"] == AdamSettings(learning_rate=1e-3)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 1e-4),
            ("1E+3", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0.0", -0.0),
            ("010", 10),
            ("0o10", 8),
            ("0x1F", 31),
            ("+3", 3),
            ("1_000", "1_000"),
            ("no", "no"),
            ("off", "off"),
            ("yes", "yes"),
            ("True", True),
            ("FALSE", False),
            ("~", None),
            ("", None),
            ("Null", None),
            ("12:30", "12:30"),
            ("1e", "1e"),
            ("-.inf", -math.inf),
            ("e5", "e5"),
        ],
    )
    def test_scalars_follow_yaml_1_2(self, text: str, value: object) -> None:
        result = resolve_scalar(text)
        assert result == value
        assert type(result) is type(value)


class TestOverrides:
    def test_override_wins_over_the_file(self) -> None:
        recipe = parse_recipe(SHORT, overrides=["data.root=plants"])
        assert recipe.data == UnpairedFoldersSettings(root="plants")

    def test_values_are_yaml(self) -> None:
        recipe = parse_recipe(
            SHORT,
            overrides=[
                "data.flip=false",
                "data.root='12'",
                "training.clip_gradient_norm=null",
                "training.optimizers.generator={kind: adam, betas: [0, 0.9]}",
            ],
        )
        assert recipe.data == UnpairedFoldersSettings(root="12", flip=False)
        assert recipe.training.optimizers == {"generator": AdamSettings(betas=(0.0, 0.9))}

    def test_last_of_two_wins(self) -> None:
        assert parse_recipe(SHORT, overrides=["seed=3", "seed=4"]).seed == 4

    def test_folders_given_one_way_take_the_place_of_those_given_the_other_way(self) -> None:
        """Nobody has to know that the recipe names a root, and that it must go."""
        two = load_recipe("cyclegan_horse2zebra", ["data.a=summer", "data.b=winter"]).data
        assert isinstance(two, UnpairedFoldersSettings)
        assert (two.root, two.a, two.b, two.fetch) == (None, "summer", "winter", None)
        extended = parse_recipe("extends: cyclegan_maps\ndata: {a: summer, b: winter, test_a: x}\n")
        assert extended.data == dataclasses.replace(two, test_a="x")
        text = SHORT.replace("root: animals", "a: x\n  b: y\n  test_a: z")
        assert parse_recipe(text, overrides=["data.root=r"]).data == UnpairedFoldersSettings(root="r", test_a="z")
        # Both ways in one place still contradict each other, and one folder alone is too few.
        (both,) = mistakes(SHORT, "data.a=x", "data.b=y", "data.root=z")
        assert both.startswith("--set data.root: give either root, or a and b")
        (one,) = mistakes(SHORT, "data.a=x")
        assert one == "--set data.a: name the pictures: either root, or both a and b"

    @pytest.mark.parametrize("order", [1, -1])
    def test_new_kind_replaces_the_old_part_and_keeps_its_sister_overrides(self, order: int) -> None:
        text = SHORT.replace("cyclegan}", "cyclegan, generator: {kind: resnet, blocks: 3}}")
        overrides = ["pipeline.generator.kind=unet", "pipeline.generator.levels=6"][::order]
        assert parse_recipe(text, overrides=overrides).pipeline.generator == UNetGeneratorSettings(levels=6)

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("foo", "--set foo: needs the form KEY=VALUE"),
            ("a..b=1", "--set a..b=1: needs the form KEY=VALUE"),
            (
                "training.legth.steps=5",
                "--set training.legth.steps: training.legth: unknown key, did you mean 'length'?",
            ),
            ("seed=abc", "--set seed: is the text 'abc'; needs a whole number"),
            ("seed=[1", "--set seed: the [ here is never closed - add ]"),
            ("seed=@x", "--set seed: a value cannot begin with @"),
            ("extends=other", "--set extends: cannot be set from outside"),
            (
                "data.crop_pixels=250",
                "--set data.crop_pixels: data.crop_pixels is 250; this generator needs a multiple of 4",
            ),
        ],
    )
    def test_bad_override_is_named(self, override: str, message: str) -> None:
        (line,) = mistakes(SHORT, override)
        assert line.startswith(message)


class TestExtends:
    def test_file_is_merged_over_its_base(self, tmp_path: Path) -> None:
        write(tmp_path, "base.yaml", SHORT + "name: base\nseed: 5\ntraining: {batch_size: 2, length: {epochs: 3}}\n")
        (tmp_path / "sub").mkdir()
        path = write(tmp_path / "sub", "child.yaml", "extends: ../base.yaml\ntraining: {length: {minutes: 1}}\n")
        recipe = load_recipe(path)
        assert recipe.name == "child"
        assert recipe.seed == 5
        assert recipe.training.batch_size == 2
        assert recipe.training.length == LengthSettings(epochs=3, minutes=1)

    def test_new_kind_replaces_the_part(self, tmp_path: Path) -> None:
        write(tmp_path, "base.yaml", SHORT + "training: {schedule: {kind: linear, constant: 5, decay: 5}}\n")
        path = write(tmp_path, "child.yaml", "extends: base.yaml\ntraining: {schedule: {kind: cosine}}\n")
        assert load_recipe(path).training.schedule == CosineSchedule()

    def test_mistakes_are_reported_in_the_file_that_holds_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "base.yaml", SHORT + "sed: 5\n")
        path = write(tmp_path, "child.yaml", "extends: base.yaml\n\nnam: x\n")
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        assert sorted(str(caught.value).splitlines()) == [
            "base.yaml:5: sed: unknown key, did you mean 'seed'?; child.yaml extends it",
            "child.yaml:3: nam: unknown key, did you mean 'name'?",
        ]

    def test_a_contradiction_with_a_base_names_both_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "child.yaml", "extends: dcgan_mnist\npipeline: {classes: 10, conditioning: projection}\n")
        with pytest.raises(RecipeError, match=r"dcgan_mnist\.yaml:\d+: .*classes is 10.*; child\.yaml extends it$"):
            load_recipe("child.yaml")

    def test_built_in_recipe_can_be_extended(self) -> None:
        recipe = parse_recipe("extends: cyclegan_horse2zebra\ndata: {root: cats, fetch: null}\n")
        assert recipe.data == UnpairedFoldersSettings(root="cats")
        assert recipe.training.schedule == LinearSchedule(constant=100, decay=100)

    def test_circle_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "a.yaml", "extends: b.yaml\n")
        write(tmp_path, "b.yaml", "extends: a.yaml\n")
        with pytest.raises(RecipeError, match=r"b\.yaml:1: extends: goes in a circle: a\.yaml -> b\.yaml -> a\.yaml"):
            load_recipe("a.yaml")

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("cyclegan_horse2zbra", "did you mean 'cyclegan_horse2zebra'"),
            ("nowhere/base.yaml", "no such file"),
            ("[a, b]", "needs the name of one recipe"),
            ('"a\\0b"', "extends"),
        ],
    )
    def test_bad_base_is_refused(self, tmp_path: Path, value: str, message: str) -> None:
        path = write(tmp_path, "child.yaml", f"extends: {value}\n")
        with pytest.raises(RecipeError, match=message):
            load_recipe(path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "waiting")
        (tmp_path / "x.yaml").write_text("extends: ./waiting\n")
        with pytest.raises(RecipeError, match=r"waiting is no file - name a \.yaml file"):
            load_recipe(tmp_path / "x.yaml")

    def test_what_is_wrong_with_a_base_is_said_with_who_named_it(self, tmp_path: Path) -> None:
        (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
        (tmp_path / "x.yaml").write_text("extends: picture.png\n")
        with pytest.raises(RecipeError, match=r"picture\.png:1: is not UTF-8 text - .*; .*x\.yaml:1 extends it"):
            load_recipe(tmp_path / "x.yaml")

    def test_a_chain_has_an_end(self, tmp_path: Path) -> None:
        for index in range(21):
            (tmp_path / f"{index}.yaml").write_text(f"extends: {index + 1}.yaml\n")
        (tmp_path / "21.yaml").write_text("extends: cyclegan_demo\n")
        assert load_recipe(tmp_path / "3.yaml").pipeline == load_recipe("cyclegan_demo").pipeline
        with pytest.raises(RecipeError, match=r"19\.yaml:1: extends: is more than 20 recipes deep"):
            load_recipe(tmp_path / "0.yaml")


class TestFinding:
    def test_built_in_by_name_or_file_name(self) -> None:
        assert load_recipe("cyclegan_demo") == load_recipe("cyclegan_demo.yaml")

    def test_unknown_name_names_the_nearest(self) -> None:
        with pytest.raises(RecipeError, match=r"did you mean 'cyclegan_demo'\? - `i2i recipes` lists"):
            load_recipe("cyclegan_dmo")

    def test_folder_of_a_run_points_to_its_recipe(self, tmp_path: Path) -> None:
        write(tmp_path, "recipe.yaml", SHORT)
        with pytest.raises(RecipeError, match=r"is a folder; did you mean .*recipe\.yaml, or --resume"):
            load_recipe(tmp_path)

    @pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "no/such.yaml", "."])
    def test_odd_names_are_refused(self, name: str) -> None:
        with pytest.raises(RecipeError):
            load_recipe(name)

    def test_name_falls_back_to_the_file(self, tmp_path: Path) -> None:
        assert load_recipe(write(tmp_path, "my cat!.yaml", SHORT)).name == "my_cat_"


class TestResume:
    def test_length_logging_checkpoints_and_workers_may_change(self) -> None:
        old = load_recipe("cyclegan_horse2zebra")
        new = load_recipe(
            "cyclegan_horse2zebra",
            [
                "training.length.epochs=300",
                "training.length.minutes=5",
                "training.log_every_steps=1",
                "training.workers=3",
                "training.checkpoints.keep_last=9",
                "training.samples.pictures=1",
                "training.validation.every_epochs=1",
                "training.loss_audit.every_steps=null",
                "tracking.tensorboard=true",
            ],
        )
        assert changes_on_resume(old, new) == [
            "training.length.epochs",
            "training.length.minutes",
            "training.workers",
            "training.loss_audit.every_steps",
            "training.checkpoints.keep_last",
            "training.validation.every_epochs",
            "training.samples.pictures",
            "training.log_every_steps",
            "tracking.tensorboard",
        ]

    def test_unchanged_recipe_has_no_changes(self) -> None:
        assert changes_on_resume(load_recipe("cyclegan_demo"), load_recipe("cyclegan_demo")) == []

    def test_everything_else_is_refused_by_name(self) -> None:
        old = load_recipe("cyclegan_horse2zebra")
        new = load_recipe(
            "cyclegan_horse2zebra",
            ["seed=1", "training.schedule.kind=constant", "training.workers=3", "pipeline.cycle_weight=5"],
        )
        with pytest.raises(RecipeError) as caught:
            changes_on_resume(old, new)
        keys = {line.split(":")[0] for line in str(caught.value).splitlines()}
        assert keys == {
            "seed",
            "pipeline.cycle_weight",
            "training.schedule.kind",
            "training.schedule.constant",
            "training.schedule.decay",
            "training.schedule.unit",
        }
        assert "pipeline.cycle_weight: was 10.0, now 5.0: a resumed run cannot change this" in str(caught.value)
