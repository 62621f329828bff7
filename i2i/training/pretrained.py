"""Weights of networks that others trained and ours look through: found, proven and filled in; never downloaded here."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from i2i.core.losses.perceptual import PerceptualSettings, ScriptedFeatures, ScriptedFeaturesSettings
from i2i.data.fetch import PUBLISHED_WEIGHTS, PublishedFile, weights_folder
from i2i.errors import ModelError, one_line
from i2i.files import sha256_of_file

# What a file that is no file of weights makes the readers raise.
_READER_ERRORS = (
    OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, pickle.UnpicklingError,
    SafetensorError, zipfile.BadZipFile,
)  # fmt: skip


def load_pretrained(network: nn.Module, settings: PerceptualSettings) -> None:
    """Fill the `network` that `settings` built with its trained weights, in place and on its own device.

    Weights are read as plain tensors (safetensors, or PyTorch's format without its code). TorchScript, which can carry
    code, is opened only if its SHA-256 is the one in the settings.

    Raises:
        ModelError: the file is missing, damaged, not the one that was meant, or made for another network.
    """
    if isinstance(settings, ScriptedFeaturesSettings):
        assert isinstance(network, ScriptedFeatures)
        network.script = _read_script(settings).to(network.mean)
        network.freeze()
        return
    published = PUBLISHED_WEIGHTS["vgg19"]
    path = _published_file(published) if settings.weights is None else _given_file(Path(settings.weights), published)
    wanted = network.state_dict()
    found = _read_tensors(path, wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ModelError(
            f"{path}: lacks {missing[0]} ({len(missing)} of {len(wanted)} tensors are missing)"
            f" - give a VGG19 with the keys of torchvision, such as {published.url}"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape or not found[name].is_floating_point():
            raise ModelError(
                f"{path}: {name} is {tuple(found[name].shape)} {found[name].dtype}, VGG19 needs {tuple(tensor.shape)}"
                " floats - give the weights of a VGG19 without batch norm"
            )
    network.load_state_dict(found)


def _published_file(published: PublishedFile) -> Path:
    """The published file in our cache or in that of torch.hub, after a look at its checksum."""
    places = (weights_folder(), Path(torch.hub.get_dir()) / "checkpoints")
    for place in places:
        path = place / published.file_name
        if path.is_file():
            if sha256_of_file(path) != published.sha256:
                raise ModelError(
                    f"{path}: its SHA-256 is not the published one, the file is damaged or incomplete"
                    f" - remove it, then: i2i data fetch {published.name}"
                )
            return path
    raise ModelError(
        f"the weights of {published.name} are not here - get them with: i2i data fetch {published.name}"
        f" ({published.archive_bytes / 1e6:.0f} MB), or put {published.url} at {places[0] / published.file_name}"
    )


def _given_file(path: Path, published: PublishedFile) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file of {published.name} weights - put {published.url} there, or name none and get it"
            f" with: i2i data fetch {published.name}"
        )
    return path


def _read_tensors(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file that have a `wanted` name."""
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, "pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in file.keys() if name in wanted}  # noqa: SIM118
        # Mapped where the format allows: nine tenths of the published file are of no use here.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _READER_ERRORS as error:
        raise ModelError(
            f"{path}: damaged, or holds more than plain tensors ({one_line(error, 120)}) - get it anew"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not tensors by name - give a state dict")
    return {name: value for name, value in content.items() if name in wanted and isinstance(value, Tensor)}


def _read_script(settings: ScriptedFeaturesSettings) -> nn.Module:
    path = Path(settings.path).expanduser()
    if not path.is_file():
        raise ModelError(f"{path}: no such file of a scripted network - put it there, or correct perceptual.path")
    found = sha256_of_file(path)
    if found != settings.sha256.lower():
        raise ModelError(
            f"{path}: its SHA-256 is {found}, the recipe allows {settings.sha256.lower()[:8]}... alone"
            " - if you trust this file, which can carry code, correct perceptual.sha256"
        )
    try:
        with warnings.catch_warnings():
            # torch discourages the format; it is still what such networks come in.
            warnings.simplefilter("ignore")
            return torch.jit.load(path, map_location="cpu")
    except _READER_ERRORS as error:
        raise ModelError(f"{path}: cannot be read as TorchScript ({one_line(error, 120)}) - export it anew") from error
