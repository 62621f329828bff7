"""From what a user types to the feature extractor that is meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from i2i.data.fetch import PUBLISHED_WEIGHTS
from i2i.data.weight_files import given_file, published_file
from i2i.errors import ModelError, UsageError
from i2i.evaluation.features.callable import open_script
from i2i.evaluation.features.inception import open_inception
from i2i.evaluation.features.lenet import open_lenet
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.evaluation.features.torchvision_networks import open_torchvision_network

GRAMMAR = "inception[:FILE], vgg16[:FILE], alexnet[:FILE], lenet:FILE, or a TorchScript FILE.pt with --trust"
"""What `open_extractor` understands, for help texts."""

TORCHSCRIPT = "torchscript"
_SCRIPT_ENDINGS = (".pt", ".ts", ".torchscript")


def open_extractor(spec: str, device: str | torch.device = "cpu", *, trust: bool = False) -> FeatureExtractor:
    """The extractor that `spec` names, on `device`.

    Args:
        spec: "inception", "vgg16", "alexnet" with their published weights, or with ":FILE" behind them for given ones;
            "lenet:FILE"; or a TorchScript file.
        device: where it computes.
        trust: open a TorchScript file, which can carry code.

    Raises:
        UsageError: nothing of that name is known.
        ModelError: its weights are missing or unfit, or a TorchScript file is not trusted.
    """
    place = torch.device(device)
    name, file = split_spec(spec)
    if name == TORCHSCRIPT:
        return _open_script(Path(spec).expanduser(), place, trust=trust)
    return _NETWORKS[name](file, place)


def split_spec(spec: str) -> tuple[str, str | None]:
    """The network that `spec` names and the file given for it, if one is; `TORCHSCRIPT` and the file of such a network.

    Raises:
        UsageError: nothing of that name is known.
    """
    name, _, file = spec.partition(":")
    if name in _NETWORKS:
        return name, file or None
    if Path(spec).suffix.lower() in _SCRIPT_ENDINGS:
        return TORCHSCRIPT, spec
    close = difflib.get_close_matches(name, _NETWORKS, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"there are no features {spec!r} - {meant}known: {GRAMMAR}")


def _open_published(file: str | None, name: str) -> tuple[Path, str | None]:
    """The file of weights, and its hash where that was looked at already."""
    published = PUBLISHED_WEIGHTS[name]
    if file is None:
        return published_file(published), published.sha256
    return given_file(Path(file), published), None


def _inception(file: str | None, device: torch.device) -> FeatureExtractor:
    path, sha256 = _open_published(file, "inception")
    return open_inception(path, device, sha256)


def _torchvision(name: str) -> Callable[[str | None, torch.device], FeatureExtractor]:
    def open_it(file: str | None, device: torch.device) -> FeatureExtractor:
        path, sha256 = _open_published(file, name)
        return open_torchvision_network(name, path, device, sha256)

    return open_it


def _lenet(file: str | None, device: torch.device) -> FeatureExtractor:
    if file is None:
        raise ModelError(
            "lenet has no published weights - give a file of them as lenet:FILE; in Python, train_lenet and save_lenet"
            " of i2i.evaluation.features.lenet make one from any labelled digits"
        )
    return open_lenet(Path(file), device)


def _open_script(path: Path, device: torch.device, *, trust: bool) -> FeatureExtractor:
    if not path.is_file():
        raise ModelError(f"{path}: no such file of a scripted network - put it there, or use one of: {GRAMMAR}")
    if not trust:
        raise ModelError(
            f"{path}: a torchscript file can carry code - give --trust if you know who made it,"
            " or use inception, vgg16, alexnet or lenet:FILE"
        )
    return open_script(path, device)


_NETWORKS: Mapping[str, Callable[[str | None, torch.device], FeatureExtractor]] = {
    "inception": _inception,
    "vgg16": _torchvision("vgg16"),
    "alexnet": _torchvision("alexnet"),
    "lenet": _lenet,
}
"""One line a network."""
