"""i2i: train, test and ship GAN image-to-image models.

    model = i2i.load("runs/cyclegan_demo-...")      # or a .safetensors, .onnx ... file
    zebras = model(horses)                          # (N, H, W, 3) uint8 RGB in, the same out
    enlarge = i2i.load("runs/srgan_x4-...", strength=0.7)  # (N, H, W, 3) in, (N, 4 H, 4 W, 3) out
    generator = i2i.load("runs/dcgan_mnist-...")    # a model without an input picture
    digits = generator(generator.latents(range(9))) # (9, H, W, C) uint8
    i2i.train("cyclegan_demo", overrides=["training.length.minutes=2"])

Importing the package loads no torch; the functions below do so when first called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from i2i.version import __version__

if TYPE_CHECKING:
    from i2i.inference.image_model import ImageModel
    from i2i.inference.latent_model import LatentModel
    from i2i.recipe import Recipe

__all__ = ["Recipe", "__version__", "load", "train"]


def load(
    model: str | Path,
    direction: str | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    strength: float = 1.0,
    consistent: bool = False,
    runner: str = "auto",
    trust: bool = False,
) -> ImageModel | LatentModel:
    """Load a model to call: on pictures, uint8 RGB arrays (N, H, W, 3) in, the same out; a generator on latents.

    Args:
        model: a run folder, a checkpoint folder, a `.safetensors` file, or what `i2i export` made of one.
        direction: "AtoB" or "BtoA"; the model's first by default. A generator has none.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: arithmetic of the network.
        strength: of an upscaler trained in two phases, 0 (true to the pixels) to 1 (all the detail it invents).
        consistent: make an upscaler's results shrink back to their inputs, against shifted colours.
        runner: "torch", "onnxruntime" or "openvino"; "auto" takes the first that runs this file.
        trust: open a TorchScript or `.pt2` file that you did not export; such files can carry code.

    Raises:
        i2i.errors.ModelError: there is no model, it is damaged, or not trusted.
        i2i.errors.UsageError: it has no such direction, cannot do what was asked, or the device or runner is not there.
    """
    from i2i.inference import load_any_model

    return load_any_model(
        model, device, direction, precision, strength=strength, consistent=consistent, runner=runner, trust=trust
    )


def train(
    recipe: Recipe | str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    resume: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> Path:
    """Train as `i2i train` does; returns the run folder, which `load` takes.

    Args:
        recipe: a built-in recipe's name, a file, or a `Recipe`; None with `resume`.
        overrides: changes such as "training.length.minutes=2".
        resume: the folder of a run to go on with.
        out: folder for the run; `runs/<recipe>-<time>` by default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: show no progress.

    Raises:
        i2i.errors.I2IError: see `i2i.commands.train.run`.
    """
    import tempfile

    if isinstance(overrides, str) or not all(isinstance(entry, str) for entry in overrides):
        from i2i.errors import UsageError

        raise UsageError(f"overrides is {overrides!r}; needs a list of texts, such as overrides=['seed=3']")
    from i2i.commands import train as command
    from i2i.recipe import Recipe, dump_recipe

    with tempfile.TemporaryDirectory() as folder:
        if isinstance(recipe, Recipe):
            text, recipe = dump_recipe(recipe), Path(folder, "recipe.yaml")
            recipe.write_text(text, encoding="utf-8")
        finished = command.start(
            None if recipe is None else str(recipe),
            list(overrides),
            resume=None if resume is None else Path(resume),
            out=None if out is None else Path(out),
            device=device,
            quiet=quiet,
        )
    return Path(finished.run)


def __getattr__(name: str) -> Any:
    if name == "Recipe":
        from i2i.recipe import Recipe

        return Recipe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
