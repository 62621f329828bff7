"""Weights of networks that others trained and ours look through: found, proven and filled in; never downloaded here."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from i2i.core.losses.perceptual import PerceptualSettings, ScriptedFeatures, ScriptedFeaturesSettings
from i2i.data.fetch import PUBLISHED_WEIGHTS
from i2i.data.weight_files import given_file, published_file, read_fitting_tensors, read_script
from i2i.errors import ModelError
from i2i.files import sha256_of_file


def load_pretrained(network: nn.Module, settings: PerceptualSettings) -> None:
    """Fill the `network` that `settings` built with its trained weights, in place and on its own device.

    Weights are read as plain tensors (safetensors, or PyTorch's format without its code). TorchScript, which can carry
    code, is opened only if its SHA-256 is the one in the settings.

    Raises:
        ModelError: the file is missing, damaged, not the one that was meant, or made for another network.
    """
    if isinstance(settings, ScriptedFeaturesSettings):
        assert isinstance(network, ScriptedFeatures)
        network.script = _read_allowed_script(settings).to(network.mean)
        network.freeze()
        return
    published = PUBLISHED_WEIGHTS["vgg19"]
    path = published_file(published) if settings.weights is None else given_file(Path(settings.weights), published)
    wanted = network.state_dict()
    found = read_fitting_tensors(
        path,
        wanted,
        network="VGG19",
        instead=f"a VGG19 with the keys of torchvision, such as {published.url}",
        fitting="the weights of a VGG19 without batch norm",
    )
    network.load_state_dict(found)


def _read_allowed_script(settings: ScriptedFeaturesSettings) -> nn.Module:
    path = Path(settings.path).expanduser()
    if not path.is_file():
        raise ModelError(f"{path}: no such file of a scripted network - put it there, or correct perceptual.path")
    found = sha256_of_file(path)
    if found != settings.sha256.lower():
        raise ModelError(
            f"{path}: its SHA-256 is {found}, the recipe allows {settings.sha256.lower()[:8]}... alone"
            " - if you trust this file, which can carry code, correct perceptual.sha256"
        )
    return read_script(path)
