"""Tiny trainings for tests: folders of small pictures, a recipe that takes seconds, hashes of what comes out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]

RECIPE = """
name: tiny
seed: 3
precision: fp32
pipeline:
  kind: cyclegan
  generator: {kind: resnet, base_channels: 4, blocks: 1}
  discriminator: {kind: patch, base_channels: 4, layers: 1}
  pool_size: 3
data: {kind: unpaired_folders, root: ROOT, resize_pixels: 20, crop_pixels: 16}
training:
  batch_size: 2
  length: {steps: 12}
  schedule: {kind: linear, constant: 1, decay: 3}
  ema_half_life_images: 20
  checkpoints: {every_minutes: null, every_steps: 3, keep_last: 2}
  validation: {every_epochs: 1, pictures: 3}
  samples: {every_epochs: 2, pictures: 2}
  log_every_steps: 1
tracking: {wandb: disabled}
"""


def make_pictures(root: Path, counts: dict[str, int] | None = None, pixels: int = 24) -> Path:
    """Folders of noise pictures, seeded; returns `root`."""
    for folder, count in (counts or {"trainA": 5, "trainB": 7, "testA": 3, "testB": 4}).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            random = np.random.default_rng([index, len(folder), ord(folder[-1])])
            picture = random.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / folder / f"{folder}_{index}.png")
    return root


def make_recipe(folder: Path, root: Path, text: str = RECIPE) -> Path:
    """The tiny recipe over the pictures in `root`."""
    path = folder / "tiny.yaml"
    path.write_text(text.replace("ROOT", str(root)))
    return path


def i2i(*arguments: str | Path, timeout_seconds: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "i2i", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )


def hash_of_state(run_folder: Path, step: int) -> str:
    """One hash over everything that a checkpoint and the model file hold."""
    checkpoint = run_folder / "checkpoints" / f"step_{step}"
    digest = hashlib.sha256()
    for file in (checkpoint / "state.safetensors", checkpoint / "state.json", run_folder / "model.safetensors"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


GENERATION = """
name: tiny_generation
seed: 3
precision: fp32
pipeline:
  kind: unconditional
  generator: {kind: dcgan, latent: 6, base_channels: 2}
  discriminator: {kind: dcgan, base_channels: 2}
data: {kind: drawn_digits, size_pixels: 16, pictures: 20, test_pictures: 4}
training:
  batch_size: 4
  length: {steps: 12}
  ema_half_life_images: 20
  checkpoints: {every_minutes: null, every_steps: 3, keep_last: 2}
  samples: {every_epochs: 2}
  log_every_steps: 1
tracking: {wandb: disabled}
"""


def make_generation_recipe(folder: Path) -> Path:
    """A tiny DCGAN on drawn digits."""
    path = folder / "tiny_generation.yaml"
    path.write_text(GENERATION)
    return path


R3GAN = [
    "pipeline.generator={kind: r3gan, latent: 4, widths: [8, 4, 4], cardinalities: [2, 2, 2], blocks: [1, 1, 1]}",
    "pipeline.discriminator={kind: r3gan, widths: [4, 4, 8], cardinalities: [2, 2, 2], blocks: [1, 1, 1]}",
    "pipeline.adversarial=relativistic",
    "pipeline.fakes=separate",
    "pipeline.penalties=[{kind: r1, weight: {start: 2, end: 1, images: 40}}, {kind: r2, weight: 1.0, every: 2}]",
    "training.optimizers.discriminator.second_beta={start: 0.9, end: 0.99, images: 40}",
]
"""Overrides of the tiny DCGAN recipe that make it R3GAN, one penalty in every step and one in every second."""
ADAPTIVE = ["pipeline.augmentation={kind: adaptive, adjust_every_images: 8, images_to_full: 100}"]

UPSCALING = """
name: tiny_upscaling
seed: 3
precision: fp32
pipeline:
  kind: srgan
  generator: {kind: msrresnet, scale: 4, base_channels: 4, blocks: 1}
  discriminator: {kind: vgg, base_channels: 2}
  pixel_images: 8
data: {kind: drawn_scenes, scale: 4, crop_pixels: 32, size_pixels: 48, pictures: 6, test_pictures: 2}
training:
  batch_size: 4
  length: {steps: 12}
  ema_half_life_images: 20
  checkpoints: {every_minutes: null, every_steps: 3, keep_last: 2}
  samples: {every_epochs: 4}
  log_every_steps: 1
  loss_audit: {every_steps: 2}
tracking: {wandb: disabled}
"""


def make_upscaling_recipe(folder: Path) -> Path:
    """A tiny SRGAN on drawn scenes, whose pixel phase ends after two of its twelve steps."""
    path = folder / "tiny_upscaling.yaml"
    path.write_text(UPSCALING)
    return path
