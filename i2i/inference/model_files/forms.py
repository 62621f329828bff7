"""The forms that a model file can have, told by looking at it; nothing in a file is unpickled or run for that."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from i2i.errors import ModelError
from i2i.files import sha256_of_file

Form = Literal["safetensors", "onnx", "openvino", "torchscript", "pt2"]

SUPPORTED = "give a run folder, a checkpoint folder, a .safetensors that i2i wrote, or what i2i export made of one"
_BY_SUFFIX: dict[str, Form] = {".safetensors": "safetensors", ".onnx": "onnx", ".xml": "openvino"}
_CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".bin", ".tar")
_LONGEST_METADATA = 1 << 24


def form_of(path: Path) -> Form:
    """The form of the model file at `path`: by its suffix, or by what lies in it if it is a zip.

    Raises:
        ModelError: it is no model file, or another project's checkpoint.
    """
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is not None:
        return form
    with _damage_as_help(path):
        is_zip = zipfile.is_zipfile(path)
        found = _form_of_zip(path) if is_zip else None
        with path.open("rb") as file:
            is_torn_zip = file.read(4) == b"PK\3\4" and not is_zip
    if found is not None:
        return found
    if path.suffix.lower() == ".pt2" or is_torn_zip:
        raise ModelError(f"{path}: damaged or not a model file - copy it anew")
    if is_zip or path.suffix.lower() in _CHECKPOINT_SUFFIXES:
        raise ModelError(
            f"{path}: another project's checkpoint, which may carry code - make a model of its weights with"
            f" i2i convert {path} -o MODEL.safetensors"
        )
    raise ModelError(f"{path}: not a model file - {SUPPORTED}")


def archived_text(path: Path, name: str) -> str:
    """The extra file `name` in a TorchScript or ``.pt2`` archive, whose checksums are all verified first.

    Raises:
        ModelError: the archive is damaged, or holds no such file.
    """
    with _damage_as_help(path), zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
        if broken is not None:
            raise ModelError(f"{path}: damaged, the checksum of {broken} does not match - copy it anew")
        for entry in archive.infolist():
            if entry.filename.partition("/")[2] == f"extra/{name}":
                with archive.open(entry) as file:
                    return file.read(_LONGEST_METADATA).decode()
    raise ModelError(f"{path}: carries no metadata of i2i - {SUPPORTED}")


def sha256_of_model(path: Path) -> str:
    """SHA-256 of a model file; of the two files of an OpenVINO model together."""
    weights = path.with_suffix(".bin")
    if path.suffix.lower() != ".xml" or not weights.is_file():
        return sha256_of_file(path)
    return hashlib.sha256(f"{sha256_of_file(path)}\n{sha256_of_file(weights)}\n".encode()).hexdigest()


def _form_of_zip(path: Path) -> Form | None:
    with zipfile.ZipFile(path) as archive:
        # Below one folder, whose name is that of the file when it was saved.
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "archive_format" in names:
        return "pt2"
    # A pickled checkpoint has a data.pkl as well, but neither of these.
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    return None


@contextlib.contextmanager
def _damage_as_help(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error} - check the file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError) as error:
        # RuntimeError: encrypted, or compressed in a way unknown here.
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: damaged or not a model file ({reason}) - copy it anew") from error
