"""Every built-in recipe trains two tiny steps and leaves a model that does what it is for."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from i2i.commands import train
from i2i.core.losses.perceptual import VGGFeaturesSettings
from i2i.evaluation.passports.figures import read_sheets
from i2i.inference import load_model
from i2i.inference.latent_model import LatentModel
from i2i.pipelines import SRGANSettings
from i2i.recipe import Recipe, built_in_recipes, load_recipe
from tests.training.runs import make_pictures

# Smaller networks and pictures; everything else is the recipe's own.
TINY = [
    "training.length={steps: 2, epochs: null, minutes: null, images: null}",
    "training.validation.pictures=2",
    "training.samples.pictures=1",
    "training.batch_size=4",
    "tracking.wandb=disabled",
    "precision=fp32",
]
TINY_GENERATORS = {
    "resnet": ["base_channels=2", "blocks=1"],
    "mlp": ["hidden=[8, 8]"],
    "dcgan": ["base_channels=2"],
    "sngan": ["widths=[4, 4, 4, 4]"],
    "r3gan": ["widths=[8, 8, 4, 4, 4]", "cardinalities=[2, 2, 2, 2, 2]", "blocks=[1, 1, 1, 1, 1]"],
    "srresnet": ["base_channels=4", "blocks=1"],
    "msrresnet": ["base_channels=4", "blocks=1"],
    "rrdb": ["base_channels=4", "blocks=1", "growth_channels=2"],
    "compact": ["base_channels=4", "convs=1"],
}
TINY_DISCRIMINATORS = {
    "patch": ["base_channels=2"],
    "maxout": ["units=8"],
    "dcgan": ["base_channels=2"],
    "sngan": ["widths=[4, 4, 4, 4]"],
    "r3gan": ["widths=[4, 4, 4, 8, 8]", "cardinalities=[2, 2, 2, 2, 2]", "blocks=[1, 1, 1, 1, 1]"],
    "vgg": ["base_channels=2"],
    "unet": ["base_channels=2"],
}
RECIPES = [recipe.name for recipe in built_in_recipes()]


def make_idx(root: Path) -> Path:
    """Eight pictures of noise in MNIST's format, of classes 0 to 7."""
    root.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8)
    for split in ("train", "t10k"):
        with gzip.open(root / f"{split}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, 8, 28, 28) + pictures.tobytes())
        with gzip.open(root / f"{split}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, 8) + bytes(range(8)))
    return root


def make_folder(root: Path, pixels: int, *, classes: bool = False) -> Path:
    """Pictures of noise, in folders of their classes if wanted."""
    for index in range(8):
        place = root / f"class_{index % 2}" if classes else root
        place.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(index).integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
        Image.fromarray(picture).save(place / f"{index}.png")
    return root


def tiny_data(name: str, folder: Path) -> list[str]:
    """Overrides that put small made-up data in place of the recipe's."""
    match load_recipe(name).data.kind:
        case "drawn_animals":
            return ["data.size_pixels=32", "data.pictures=4", "data.test_pictures=2"]
        case "drawn_digits":
            return ["data.pictures=10", "data.test_pictures=2"]
        case "unpaired_folders":
            return [f"data.root={make_pictures(folder)}", "data.resize_pixels=36", "data.crop_pixels=32"]
        case "image_folder":
            return [f"data.root={make_folder(folder, 64)}"]
        case "cifar10":
            for split in ("train", "test"):
                make_folder(folder / split, 32, classes=True)
            return [f"data.root={folder}"]
        case "idx":
            return [f"data.root={make_idx(folder)}"]
        case "upscaling_folder":
            return [f"data.root={make_folder(folder, 40)}", "data.crop_pixels=32", "data.held_out=2"]
        case "drawn_scenes":
            return ["data.pictures=3", "data.test_pictures=2", "data.size_pixels=48", "data.crop_pixels=32"]
        case kind:
            raise AssertionError(f"no made-up data of kind {kind}")


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the names of the published ones."""
    network = VGGFeaturesSettings(layers={"relu5_4": 1.0}).build()
    random = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=random) * 0.03 for key, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "vgg19.safetensors"
    save_file(state, path)
    return path


def tiny_networks(recipe: Recipe, vgg19: Path) -> list[str]:
    """Overrides that make the recipe's networks small; of two phases one step each is left."""
    pipeline = recipe.pipeline
    networks = [f"pipeline.generator.{setting}" for setting in TINY_GENERATORS[pipeline.generator.kind]]
    if pipeline.discriminator is not None:
        networks += [
            f"pipeline.discriminator.{setting}" for setting in TINY_DISCRIMINATORS[pipeline.discriminator.kind]
        ]
    if pipeline.classes:
        networks.append("pipeline.classes=8")
    if isinstance(pipeline, SRGANSettings):
        networks += ["pipeline.pixel_images=4"] if pipeline.pixel_images else []
        networks += [f"pipeline.perceptual.weights={vgg19}"] if pipeline.perceptual is not None else []
    return networks


@pytest.mark.parametrize("name", RECIPES)
def test_two_tiny_steps(name: str, tmp_path: Path, vgg19: Path) -> None:
    recipe = load_recipe(name)
    networks = tiny_networks(recipe, vgg19)
    out = tmp_path / "run"
    few = ["evaluate.samples=4"] if recipe.evaluate is not None else []
    finished = train.start(name, [*TINY, *networks, *few, *tiny_data(name, tmp_path / "pictures")], out=out, quiet=True)
    assert finished.step == 2
    assert len(read_sheets(out)) == len(few)
    if recipe.pipeline.kind == "cyclegan":
        for direction in ("AtoB", "BtoA"):
            pictures = load_model(out, direction=direction, device="cpu")(np.zeros((1, 30, 41, 3), np.uint8))
            assert pictures.shape == (1, 30, 41, 3)
    elif recipe.pipeline.kind == "srgan":
        pictures = load_model(out, device="cpu")(np.zeros((1, 15, 21, 3), np.uint8))
        assert pictures.shape == (1, 60, 84, 3)
    else:
        model = LatentModel.load(out, device="cpu")
        labels = np.array([0, 7]) if recipe.pipeline.classes else None
        shape = recipe.data.shape
        pictures = model(np.zeros((2, model.latent_width), np.float32), labels)
        assert pictures.shape == (2, shape.pixels, shape.pixels, shape.channels)
        assert pictures.dtype == np.uint8
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "model.safetensors", "report.html"} <= {
        path.name for path in out.iterdir()
    }
