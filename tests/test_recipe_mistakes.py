"""Mistakes of one recipe come all at once, and those against YAML in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest

from i2i.core.losses.adversarial import AdversarialKind
from i2i.errors import RecipeError
from i2i.recipe import load_recipe, parse_recipe
from i2i.recipe.nodes import MAX_BYTES

SHORT = """\
pipeline: {kind: cyclegan}
data:
  kind: unpaired_folders
  root: animals
"""


def mistakes(text: str | bytes, *overrides: str) -> list[str]:
    """The lines of the RecipeError that `text` must give."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "cat.yaml", overrides)
    return str(caught.value).splitlines()


class TestMistakes:
    def test_all_are_reported_at_once_in_the_order_of_the_file(self) -> None:
        text = (
            "seeed: 1\n"
            "pipeline:\n"
            "  kind: cyclegan\n"
            "  generator: {kind: resnett}\n"
            "  adversarial: lsgam\n"
            "data:\n"
            "  kind: unpaired_folders\n"
            "  root: animals\n"
            "  flip: no\n"
            "training:\n"
            '  batch_size: "4"\n'
            "  batch_size: 4\n"
            "  schedule: {kind: constant, decay: 5}\n"
        )
        kinds = ", ".join(map(repr, get_args(AdversarialKind)))
        assert mistakes(text, "training.workers=true") == [
            "cat.yaml:1: seeed: unknown key, did you mean 'seed'?",
            "cat.yaml:4: pipeline.generator.kind: 'resnett' is no known kind, did you mean 'resnet'?",
            f"cat.yaml:5: pipeline.adversarial: is the text 'lsgam'; needs one of {kinds}, did you mean 'lsgan'?",
            "cat.yaml:9: data.flip: is the text 'no'; needs true or false - write false",
            "cat.yaml:11: training.batch_size: is the text '4'; needs a whole number - remove the quotes",
            "cat.yaml:12: training.batch_size: given twice; first in line 11",
            "cat.yaml:13: training.schedule.decay: unknown key here; it belongs to kind: linear",
            "--set training.workers: is true; needs a whole number",
        ]

    @pytest.mark.parametrize(
        ("addition", "message"),
        [
            ("training: {batch_size: 2.5}", "training.batch_size: is 2.5; needs a whole number"),
            ("training: {batch_size: true}", "training.batch_size: is true; needs a whole number"),
            ("training: {batch_size: null}", "training.batch_size: is null; needs a whole number"),
            (
                "training: {length: {images: 1e6}}",
                "training.length.images: is 1000000.0; needs a whole number or null - write 1000000",
            ),
            (
                "training: {length: {steps: 1_000}}",
                "training.length.steps: is the text '1_000'; needs a whole number or null - write 1000",
            ),
            ("training: {ema_half_life_images: .nan}", "training.ema_half_life_images: is nan; needs a finite number"),
            ("training: {length: {epochs: .inf}}", "training.length.epochs: is inf; needs a finite number"),
            (
                "training: {optimizers: {generator: {kind: adam, betas: [1]}}}",
                "training.optimizers.generator.betas: is [1]; needs a list of 2: a number each",
            ),
            (
                "training: {optimizers: {generator: {momentum: 0.9}}}",
                "training.optimizers.generator.momentum: unknown key",
            ),
            ("training: {optimizers: 5}", "training.optimizers: is 5; needs a mapping of keys to values"),
            (
                "training: {schedule: linear}",
                "training.schedule: is the text 'linear'; needs keys indented below it, first of all kind: constant or",
            ),
            ("training:", "training: is empty; needs keys indented below it, such as batch_size,"),
            (
                "training:\n  batch_size:4",
                "training: is the text 'batch_size:4' - a space is missing after the colon; needs keys",
            ),
            ("training: {length: {epochs: 0}}", "training.length.epochs: is 0"),
            ("training: {batch_size: 3, accumulate: 2}", "training.batch_size: 3 cannot be split into 2"),
            ("batch_size: 4", "batch_size: unknown key, did you mean 'training.batch_size'?"),
            ("colour: red", "colour: unknown key; known here: name, seed"),
            ("extend: other", "extend: unknown key, did you mean 'extends'?"),
            ("name: 5", "name: is 5; needs text - put it in quotes"),
            ("name: ../up", "name: is '../up'; it names a folder"),
            ("seed: -1", "seed: is -1; needs 0 to"),
            ("precision: fp8", "precision: is the text 'fp8'; needs one of 'auto', 'fp64', 'fp32', 'bf16', 'fp16'"),
            (
                "tracking: !!python/object:os.system {}",
                "tracking: the tag 'tag:yaml.org,2002:python/object:os.system' is not supported",
            ),
            ("<<: {seed: 1}", "YAML 1.2 has no merge key '<<' - use 'extends'"),
            ("{a: b}: 1", "a key must be a word"),
            ('initialize_from: "\\ud800"', "initialize_from: holds half of a surrogate pair"),
        ],
    )
    def test_one_mistake_has_its_line_and_key(self, addition: str, message: str) -> None:
        (line,) = mistakes(SHORT + addition)
        assert line.startswith(f"cat.yaml:5: {message}")

    def test_missing_parts_are_named(self) -> None:
        assert mistakes("seed: 1") == ["cat.yaml:1: pipeline: is missing", "cat.yaml:1: data: is missing"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "cat.yaml: is empty"),
            ("# only a comment\n", "cat.yaml: is empty"),
            ("- a\n- b\n", "cat.yaml:1: a recipe is a mapping"),
            ("seed: 1\ndata:\n\tkind: x\n", "cat.yaml:3: a tab character"),
            ("seed: &\n", "cat.yaml:1: not valid YAML"),
            (b"seed: 1\nname: \xff\n", "cat.yaml:2: is not UTF-8 text"),
            ("seed: 1\nname: \x07\n", "cat.yaml:2: holds a character that YAML does not allow"),
            ('name: "\\U00110000"\n', "cat.yaml: not valid YAML"),
            (SHORT + "seed: " + "9" * 5000, "cat.yaml:5: seed: a number of 5000 characters"),
            ("a: " + "[" * 40 + "]" * 40, "cat.yaml:1: is nested more than"),
            ("a: " + "[" * 100_000, "cat.yaml: is nested too deeply"),
            ("a: &a [*a]\n", "cat.yaml:1: is nested more than"),
            ("#" * (MAX_BYTES + 1), "cat.yaml: is larger than"),
        ],
    )
    def test_what_is_no_recipe_at_all(self, text: str | bytes, message: str) -> None:
        (line,) = mistakes(text)
        assert line.startswith(message)

    def test_alias_bomb_is_stopped(self) -> None:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        (line,) = mistakes("\n".join(rows))
        assert "aliases expand to more than" in line

    def test_a_flood_of_mistakes_is_cut_short(self) -> None:
        lines = mistakes("".join(f"k{n}: {'x' * 10}\n" for n in range(5000)))
        assert len(lines) == 51
        assert lines[-1] == "and 4952 more mistakes"  # with the two missing parts

    def test_crop_must_suit_the_generator(self) -> None:
        text = SHORT + "  crop_pixels: 250\n"
        assert mistakes(text) == [
            "cat.yaml:5: data.crop_pixels is 250; this generator needs a multiple of 4 - try 248 or 252"
        ]

    def test_drawn_pictures_must_suit_the_generator(self) -> None:
        text = "pipeline:\n  kind: cyclegan\n  generator: {kind: unet, levels: 7}\ndata:\n  kind: drawn_animals\n"
        # The size is a default here, so the line is that of `data`.
        assert mistakes(text) == [
            "cat.yaml:4: data.size_pixels is 64; this generator needs a multiple of 128 - try 128"
        ]

    def test_crop_larger_than_resize(self) -> None:
        (line,) = mistakes(SHORT + "  resize_pixels: 100\n")
        assert line.startswith("cat.yaml:5: data.resize_pixels: is 100, smaller than crop_pixels 256")


def test_values_out_of_range_are_reported_together_with_all_else() -> None:
    text = (
        "seed: -1\n"
        "pipeline:\n"
        "  kind: cyclegan\n"
        "  cycle_weight: 10\n"
        "  identity_weight: -3\n"
        "  pool_size: -5\n"
        "  generator: {kind: resnet, base_channels: 0, blocks: -4}\n"
        "data: {kind: unpaired_folders, root: animals, crop_pixels: 0}\n"
        "training:\n"
        "  batch_size: -1\n"
        "  length: {steps: -2, epochs: many}\n"
        "  workers: -1\n"
        "  nonfinite: {tolerated_steps: -1, colour: red}\n"
    )
    found = mistakes(text, "training.log_every_steps=0", "training.samples.pictures=0")
    assert [line.split(": ")[0:2] for line in found[:-2]] == [
        ["cat.yaml:1", "seed"],
        ["cat.yaml:5", "pipeline.identity_weight"],
        ["cat.yaml:6", "pipeline.pool_size"],
        ["cat.yaml:7", "pipeline.generator.base_channels"],
        ["cat.yaml:7", "pipeline.generator.blocks"],
        ["cat.yaml:8", "data.crop_pixels"],
        ["cat.yaml:10", "training.batch_size"],
        ["cat.yaml:11", "training.length.epochs"],
        ["cat.yaml:11", "training.length.steps"],
        ["cat.yaml:12", "training.workers"],
        ["cat.yaml:13", "training.nonfinite.colour"],
        ["cat.yaml:13", "training.nonfinite.tolerated_steps"],
    ]
    assert sorted(line.split(": ")[0] for line in found[-2:]) == [
        "--set training.log_every_steps",
        "--set training.samples.pictures",
    ]
    assert found[1].startswith("cat.yaml:5: pipeline.identity_weight: is -3; ")


def test_a_default_that_stands_in_is_never_complained_about() -> None:
    # With the default of 286 for what cannot be read, crop_pixels would be too large.
    (line,) = mistakes(SHORT + "  crop_pixels: 512\n  resize_pixels: large\n")
    assert line.startswith("cat.yaml:6: data.resize_pixels: is the text 'large'")
    # Nor a contradiction between two parts of which one could not be read.
    text = SHORT.replace("cyclegan}", "cyclegan, generator: {kind: unet, levels: many}}") + "  crop_pixels: 64\n"
    (line,) = mistakes(text)
    assert "pipeline.generator.levels: is the text 'many'" in line


def test_contradictions_between_parts_are_reported_with_other_mistakes() -> None:
    crop, batch = mistakes(SHORT + "  crop_pixels: 250\ntraining: {batch_size: 0}\n")
    assert "multiple of 4" in crop
    assert batch.startswith("cat.yaml:6: training.batch_size: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n    b: 2\n", "2: indented deeper (4 spaces) than line 1 (0), which has its value already"),
        ("a:\n  b: 2\n\n  # c\n   d: 4\n", "5: indented deeper (3 spaces) than line 2 (2), which has its value"),
        ("a:\n    b: 2\n  c: 3\n", "3: indented by 2 spaces, and the keys above by 0 or 4 - align it"),
        ("a:\n  b:\n      c: 3\n    d: 4\n", "4: indented by 4 spaces, and the keys above by 0, 2 or 6"),
        ("  a: 1\nb: 2\n", "2: indented by 0 spaces, and the keys above by 2"),
        ("a:\n  b:2\n  c: 3\n", "2: a space is missing after the ':'"),
        ("a\n  b: 2\n", "1: 'a' is no 'key: value' - is a ':' missing?"),
        ("a: 1\nb 2\n", "2: 'b 2' is no 'key: value' - is a ':' missing?"),
        ("a: b: c\n", "1: a second ': ' on the line"),
        ("a: {b: 1\nc: 2\n", "1: the { here is never closed - add }"),
        ("a: [1, 2\n", "1: the [ here is never closed - add ]"),
        ("a: {\n  b: 1\n  c: 2\n}\n", "3: a comma is missing between two entries inside { }"),
        ("a: {b: 1}}\n", "1: a closing } without an opening one"),
        ("a: [1, 2}\n", "1: } closes what [ opened - write ]"),
        ('a: 1\nb: "c\nd: 2\n', "2: a quote is opened here and never closed"),
        ("a: 'b' c\n", "1: text goes on after a closing quote"),
        ('a: "C:\\data"\n', "1: a backslash in double quotes is special"),
        ("a:\n  b: 2\n  - c\n", "3: an entry of a list"),
        (": 1\n", "1: nothing stands in front of the ':'"),
        ("a: 1\n---\na: 2\n", "2: a second document begins here"),
        ("a: *b\n", "1: *b refers to an anchor that is not there"),
    ],
)
def test_broken_yaml_is_explained_in_plain_words(text: str, message: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith(f"cat.yaml:{message}")
    assert "block" not in line and "scalar" not in line and "token" not in line


def test_labels_that_nobody_asks_for_are_a_mistake() -> None:
    with pytest.raises(RecipeError, match=r"data\.labels is true, but pipeline\.classes is 0"):
        load_recipe("dcgan_demo", ["data.labels=true"])
    assert load_recipe("dcgan_demo", ["data.labels=true", "pipeline.classes=10"]).pipeline.classes == 10


VIRTUAL = ("pipeline.discriminator.normalization=virtual", "data={kind: drawn_digits, size_pixels: 16}")
"""With 64 reference pictures, which the first micro-batch must have."""


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        (("training.batch_size=32",), 32),
        (("training.batch_size=64", "training.accumulate=2"), 32),
        (("training.batch_size=63",), 63),
    ],
)
def test_a_batch_smaller_than_the_reference_batch_is_a_mistake(changes: Sequence[str], rows: int) -> None:
    """It was an internal error in the first step."""
    with pytest.raises(RecipeError) as caught:
        load_recipe("dcgan_demo", [*VIRTUAL, *changes])
    (line,) = str(caught.value).splitlines()
    assert "training.batch_size is" in line and f"from the first micro-batch, which has {rows} - set" in line
    assert f"pipeline.discriminator.reference_rows to at most {rows}" in line
    assert load_recipe("dcgan_demo", [*VIRTUAL, *changes, f"pipeline.discriminator.reference_rows={rows}"])


def test_a_batch_as_large_as_the_reference_batch_is_fine() -> None:
    assert load_recipe("dcgan_demo", [*VIRTUAL, "training.batch_size=64"])
    assert load_recipe("dcgan_demo", [*VIRTUAL, "training.batch_size=128", "training.accumulate=2"])
    # Weights of another run bring their reference along.
    assert load_recipe("dcgan_demo", [*VIRTUAL, "training.batch_size=32", "initialize_from=runs/other"])


@pytest.mark.parametrize("change", ["training.batch_size=many", "training=many"])
def test_a_batch_size_that_cannot_be_read_is_one_mistake(change: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("dcgan_demo", [*VIRTUAL, change])
    (line,) = str(caught.value).splitlines()
    assert "is the text 'many'" in line
