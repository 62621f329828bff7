"""The plain trainings are the same mathematics as ours: equal losses over steps, from equal weights, in float64."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.recipe import Recipe
from tests.tools.bench_weights import copy_weights

BENCHES = Path(__file__).parents[2] / "tools" / "benches"
CPU = torch.device("cpu")
STEPS = 3
# Not all that a training would take: what it does to memory and threads is for the whole process.
FAST = "speed=[channels_last, fused_optimizers]"

# The smallest sizes at which every kind of layer is there.
TINY = {
    "cyclegan": (
        "data.crop_pixels=32",
        "data.resize_pixels=32",
        "pipeline.generator={kind: resnet, base_channels: 4, blocks: 2, normalization: instance}",
        "pipeline.discriminator.base_channels=4",
        "training.batch_size=2",
    ),
    "dcgan": (
        "pipeline.generator.base_channels=4",
        "pipeline.discriminator.base_channels=4",
        "training.batch_size=4",
    ),
    "r3gan": (
        "data.size_pixels=16",
        "pipeline.generator.widths=[16, 16, 8]",
        "pipeline.generator.cardinalities=[2, 2, 1]",
        "pipeline.discriminator.widths=[8, 16, 16]",
        "pipeline.discriminator.cardinalities=[1, 2, 2]",
        "training.batch_size=2",
    ),
    "srresnet": (
        "data.crop_pixels=32",
        "pipeline.generator={kind: srresnet, scale: 4, base_channels: 4, blocks: 2}",
        "training.batch_size=2",
    ),
    "msrresnet": (
        "data.crop_pixels=32",
        "pipeline.generator={kind: msrresnet, scale: 4, base_channels: 4, blocks: 2}",
        "training.batch_size=2",
    ),
    "srgan": (
        "data.crop_pixels=32",
        "pipeline.generator={kind: srresnet, scale: 4, base_channels: 4, blocks: 1}",
        "pipeline.discriminator={kind: vgg, base_channels: 4, hidden_features: 8}",
        "pipeline.perceptual.layers={relu5_4: 0, relu2_2: 1.0}",
        "training.batch_size=2",
    ),
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_steps")


def recipe_for(bench: Any, name: str, folder: Path, *more: str) -> Recipe:
    (row,) = [row for row in bench.ROWS if row.name == name]
    return bench.with_features(bench.recipe_of(row, [*TINY[name], FAST, *more]), folder)


def an_input(name: str, network: str, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Something that our network of that name takes, and the plain one."""
    shape = recipe.data.shape
    if recipe.pipeline.kind == "unconditional" and network == "generator":
        latents = torch.zeros(2, recipe.pipeline.generator.latent, dtype=torch.float64)
        return latents, latents[:, :, None, None] if name == "dcgan" else latents
    side = shape.pixels // (recipe.data.scale if network == "generator" else 1)
    images = torch.zeros(2, shape.channels, side, side, dtype=torch.float64)
    return images, images


@pytest.mark.parametrize("name", TINY)
def test_losses_are_those_of_the_plain_training(
    bench: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(bench, name, tmp_path, "precision=fp64")
    training = importlib.import_module("our_training")
    engine = training.engine_for(recipe, CPU)
    plain = bench.plain_training(recipe, CPU)
    for key, network in plain.networks.items():
        network.double()
        if key != "features":
            copy_weights(engine.pipeline.networks[key], network, *an_input(name, key, recipe))
    if recipe.pipeline.kind == "unconditional":
        rows = recipe.training.batch_size
        drawn = [
            torch.randn(rows, recipe.pipeline.generator.latent, dtype=torch.float64, generator=random)
            for random in [torch.Generator().manual_seed(1)]
            for _ in range(2 * STEPS)
        ]
        mine, theirs = iter(drawn), iter(drawn)
        monkeypatch.setattr(engine.pipeline, "draw_latents", lambda context: next(mine))
        points = (..., None, None) if name == "dcgan" else (...,)
        monkeypatch.setattr(plain, "latents", lambda real: next(theirs)[points])
    samples = {key: values.double() for key, values in training.samples_for(recipe, CPU).items()}
    plain_samples = {key: values.double() for key, values in bench.plain_samples(recipe, CPU).items()}
    seen = []
    for _ in range(STEPS):
        ours = training.losses_of(engine.take_step(training.draw_from(samples)))
        expected = plain.step(plain_samples)
        assert ours.keys() == expected.keys()
        for update, value in expected.items():
            # The noise has passed through float32.
            torch.testing.assert_close(ours[update], value, rtol=1e-6, atol=1e-9)
            seen.append(float(value))
    # They are no constants, and they move.
    assert len(set(seen)) == len(seen)


def test_every_row_is_tried_here(bench: Any) -> None:
    assert {row.name.rstrip("8") for row in bench.ROWS} == set(TINY)


def test_large_sides_take_their_steps_one_after_the_other(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    @contextlib.contextmanager
    def own_process(make: Any, *given: Any) -> Iterator[Any]:
        yield make(*given)
        happened.append("ended")

    monkeypatch.setattr(bench, "in_own_process", own_process)
    monkeypatch.setattr(bench, "plain_step", lambda recipe, device: lambda: happened.append("plain"))
    monkeypatch.setattr(bench, "our_step", lambda recipe, device: lambda: happened.append("ours"))
    plain, ours = bench._apart(None, "cpu", 2, 1)
    assert len(plain) == len(ours) == 2
    assert happened == ["plain"] * 3 + ["ended"] + ["ours"] * 3 + ["ended"]
    happened.clear()
    bench._in_turns(None, "cpu", 2, 1)
    assert happened == ["plain", "ours"] * 3 + ["ended"] * 2


@pytest.mark.parametrize("name", ["cyclegan", "srresnet", "srgan"])
def test_ours_does_what_is_counted(bench: Any, name: str, tmp_path: Path) -> None:
    recipe = recipe_for(bench, name, tmp_path, "precision=fp32")
    training, roofline = importlib.import_module("our_training"), importlib.import_module("roofline")
    engine = training.engine_for(recipe, CPU)
    draw = training.draw_from(training.samples_for(recipe, CPU))
    # The first step also audits the losses: a gradient of each term.
    engine.take_step(draw)
    assert roofline.operations_of(lambda: engine.take_step(draw)) == bench.step_operations(recipe) > 0


def test_operations_of_penalties(bench: Any, tmp_path: Path) -> None:
    # What differentiates twice is counted too: with penalties far more than without.
    recipe = recipe_for(bench, "r3gan", tmp_path)
    plain, roofline = importlib.import_module("plain_r3gan"), importlib.import_module("roofline")
    network = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
    images = torch.rand(1, 4, 4, 4, requires_grad=True)
    once = 2 * 16 * 9 * 2 * 6
    # Forward, gradient of the input; then of that gradient: its own two, and nothing of the forward's, which is linear.
    counted = roofline.operations_of(lambda: plain.slope(network(images), images).backward())
    assert counted == 4 * once
    assert bench.step_operations(recipe) > 0


def test_needless_gradients_are_not_counted(bench: Any, tmp_path: Path) -> None:
    recipe = recipe_for(bench, "dcgan", tmp_path)
    roofline = importlib.import_module("roofline")
    training, samples = bench.plain_training(recipe, CPU), bench.plain_samples(recipe, CPU)
    assert roofline.operations_of(lambda: training.step(samples)) > bench.step_operations(recipe) > 0
    assert all(parameter.requires_grad for parameter in training.discriminator.parameters())


def test_micro_batches(bench: Any) -> None:
    draw = importlib.import_module("our_training").draw_from({"a": torch.arange(4.0).view(4, 1, 1, 1)}, 2)
    parts = draw(("a",), {"a": 0})
    assert [part["a"].flatten().tolist() for part in parts] == [[0.0, 1.0], [2.0, 3.0]]


@contextlib.contextmanager
def here(make: Any, *given: Any) -> Iterator[Any]:
    yield make(*given)


def test_the_table(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Processes of their own are tried once, elsewhere: they take seconds to start.
    monkeypatch.setattr(bench, "in_own_process", here)
    monkeypatch.setattr(bench.Roofline, "look", lambda self, *names: self.limits.update(dict.fromkeys(names, 1e12)))
    changes = {row.name: (*row.changes, *TINY[row.name]) for row in bench.ROWS if row.name in TINY}
    rows = [dataclasses.replace(row, changes=changes[row.name]) for row in bench.ROWS if row.name in ("dcgan", "srgan")]
    monkeypatch.setattr(bench, "ROWS", tuple(rows))
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    words = ["--steps", "2", "--warmup", "1", "--batch", "2", "--set", "precision=fp32", "--set", FAST]
    result = bench.run(parser.parse_args(words))
    assert json.loads(json.dumps(result)) == result
    assert [(row["name"], row["recipe"], row["batch"]) for row in result["rows"]] == [
        ("dcgan", "dcgan_faces64", 2),
        ("srgan", "srgan_x4", 2),
    ]
    assert all(
        row["steps"] == 2 and row["ours_precision"] == "fp32" and row["operations"] > 0 for row in result["rows"]
    )
    assert result["limits"] == {"fp32": 1e12}
    text = "\n".join(bench.table(result))
    assert "DCGAN, 64 px, batch 2" in text and "of the limit" in text
    only = bench.run(parser.parse_args([*words, "--only", "srgan"]))
    assert [row["name"] for row in only["rows"]] == ["srgan"]


def test_sizes_are_the_papers(bench: Any) -> None:
    plain = {name: importlib.import_module(name) for name in ("plain_r3gan", "plain_upscaling", "plain_dcgan")}
    recipes = {row.name: bench.recipe_of(row) for row in bench.ROWS}
    shape = recipes["r3gan"].data.shape
    for kind in ("generator", "discriminator"):
        ours = getattr(recipes["r3gan"].pipeline, kind).build(shape)
        theirs = getattr(plain["plain_r3gan"], f"Plain{kind.capitalize()}")()
        assert sum(map(nn.Parameter.numel, ours.parameters())) == sum(map(nn.Parameter.numel, theirs.parameters()))
    judge = recipes["srgan"].pipeline.discriminator.build(recipes["srgan"].data.shape)
    theirs = plain["plain_upscaling"].plain_discriminator()
    assert [tuple(p.shape) for p in judge.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    assert recipes["cyclegan"].training.batch_size == 1 and recipes["cyclegan8"].training.batch_size == 8
    assert all(recipes[name].data.shape.pixels == 128 for name in ("srresnet", "msrresnet", "srgan"))
    assert {type(recipe.pipeline).__name__ for recipe in recipes.values()} == {
        "CycleGANSettings", "UnconditionalSettings", "SRGANSettings",
    }  # fmt: skip
