"""Files of weights that others trained: where they lie, that they are the ones meant, and into which network they fit.

Nothing is downloaded here. Weights are read as plain tensors; what can carry code is opened by `read_script` alone.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from i2i.data.fetch import PublishedFile, weights_folder
from i2i.errors import ModelError, one_line
from i2i.files import sha256_of_file

# What a file that is no file of weights makes the readers raise.
_READER_ERRORS = (
    OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, pickle.UnpicklingError,
    SafetensorError, zipfile.BadZipFile,
)  # fmt: skip


def published_file(published: PublishedFile) -> Path:
    """The published file in our cache or in that of torch.hub, after a look at its checksum.

    Raises:
        ModelError: it is in neither, or not what was published.
    """
    places = (weights_folder(), Path(torch.hub.get_dir()) / "checkpoints")
    names = (published.file_name, *published.other_names)
    for path in (place / name for place in places for name in names):
        if path.is_file():
            if sha256_of_file(path) != published.sha256:
                raise ModelError(
                    f"{path}: its SHA-256 is not the published one, the file is damaged or incomplete"
                    f" - remove it, then: i2i data fetch {published.name}"
                )
            return path
    raise ModelError(
        f"the weights of {published.name} are not here - get them with: i2i data fetch {published.name}"
        f" ({_size_text(published)}), or put {published.url} at {places[0] / published.file_name}"
    )


def given_file(path: Path, published: PublishedFile) -> Path:
    """The file that a user named in place of the published one.

    Raises:
        ModelError: there is none.
    """
    path = path.expanduser()
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file of {published.name} weights - put {published.url} there, or name none and get it"
            f" with: i2i data fetch {published.name}"
        )
    return path


def read_tensors(path: Path, wanted: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or of PyTorch's format, without its code, that have a `wanted` name.

    Raises:
        ModelError: damaged, or something else than tensors by name.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, "pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in file.keys() if name in wanted}  # noqa: SIM118
        # Mapped where the format allows: often most of the file is of no use here.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _READER_ERRORS as error:
        raise ModelError(
            f"{path}: damaged, or holds more than plain tensors ({one_line(error, 120)}) - get it anew"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not tensors by name - give a state dict")
    return {name: value for name, value in content.items() if name in wanted and isinstance(value, Tensor)}


def check_tensors(
    path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, network: str, instead: str, fitting: str
) -> None:
    """Refuse a file that lacks a tensor of the network, or has one of another shape.

    Args:
        found: what the file holds.
        wanted: name and shape of all that the network needs.
        network: its name, for messages.
        instead: what to give where tensors are missing.
        fitting: what to give where one has another shape.

    Raises:
        ModelError: it does not fit.
    """
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ModelError(
            f"{path}: lacks {missing[0]} ({len(missing)} of {len(wanted)} tensors are missing) - give {instead}"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape or not found[name].is_floating_point():
            raise ModelError(
                f"{path}: {name} is {tuple(found[name].shape)} {found[name].dtype}, {network} needs"
                f" {tuple(tensor.shape)} floats - give {fitting}"
            )


def read_fitting_tensors(
    path: Path, wanted: Mapping[str, Tensor], *, network: str, instead: str, fitting: str
) -> dict[str, Tensor]:
    """The tensors of a file that a network is made of; see `read_tensors` and, for the names in messages,
    `check_tensors`.

    Raises:
        ModelError: damaged, or it does not fit.
    """
    found = read_tensors(path, wanted.keys())
    check_tensors(path, found, wanted, network=network, instead=instead, fitting=fitting)
    return found


def read_script(path: Path) -> nn.Module:
    """A TorchScript file, on the CPU. It can carry code: only for a file that somebody vouched for.

    Raises:
        ModelError: no TorchScript.
    """
    try:
        with warnings.catch_warnings():
            # torch discourages the format; it is still what such networks come in.
            warnings.simplefilter("ignore")
            return torch.jit.load(path, map_location="cpu")
    except _READER_ERRORS as error:
        raise ModelError(f"{path}: cannot be read as TorchScript ({one_line(error, 120)}) - export it anew") from error


def _size_text(published: PublishedFile) -> str:
    size = published.archive_bytes
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
