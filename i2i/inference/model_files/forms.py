"""The forms that a model file can have, told by looking at it; nothing in a file is unpickled or run for that."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from i2i.errors import ModelError, one_line
from i2i.files import open_regular

Form = Literal["safetensors", "onnx", "openvino", "torchscript", "pt2"]

SUPPORTED = "give a run folder, a checkpoint folder, a .safetensors that i2i wrote, or what i2i export made of one"
_BY_SUFFIX: dict[str, Form] = {".safetensors": "safetensors", ".onnx": "onnx", ".xml": "openvino"}
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")
"""Of other projects' checkpoints, as `i2i convert` takes them; a ``.safetensors`` may be one too."""
_PICKLE_IN_ZIP = "data.pkl"
_LONGEST_METADATA = 1 << 24


def form_of(path: Path, content: bytes | None = None) -> Form:
    """The form of the model file at `path`: by its suffix, or by what lies in it if it is a zip.

    Args:
        content: of the file, where it was read already.

    Raises:
        ModelError: it is no model file, or another project's checkpoint.
    """
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is not None:
        return form
    with _damage_as_help(path), open_regular(path) if content is None else io.BytesIO(content) as file:
        is_torn_zip = file.read(4) == b"PK\3\4"
        names: set[str] = set()
        if zipfile.is_zipfile(file):
            is_torn_zip, names = False, _names_in_zip(file)
    found = _form_of_zip(names)
    if found is not None:
        return found
    raise ModelError(f"{path}: {_reason_against(path, names, is_torn_zip)}")


def archived_text(path: Path, content: bytes, name: str) -> str:
    """The extra file `name` in a TorchScript or ``.pt2`` archive, whose checksums are all verified first.

    Args:
        path: of the archive, which only errors name.

    Raises:
        ModelError: the archive is damaged, or holds no such file.
    """
    with _damage_as_help(path), zipfile.ZipFile(io.BytesIO(content)) as archive:
        broken = archive.testzip()
        if broken is not None:
            raise ModelError(f"{path}: damaged, the checksum of {broken} does not match - copy it anew")
        for entry in archive.infolist():
            if entry.filename.partition("/")[2] == f"extra/{name}":
                with archive.open(entry) as file:
                    return file.read(_LONGEST_METADATA).decode()
    raise ModelError(f"{path}: carries no metadata of i2i - {SUPPORTED}")


def _reason_against(path: Path, names: set[str], is_torn_zip: bool) -> str:
    """Why this is no model file, and what to do."""
    graph = path.with_suffix(".xml")
    if path.suffix.lower() == ".bin" and not names and graph.is_file():
        return f"the weights of an OpenVINO model - give the .xml beside it: {graph}"
    if path.suffix.lower() == ".pt2" or is_torn_zip:
        return "damaged or not a model file - copy it anew"
    convert = "make a model of its weights with i2i convert"
    if path.suffix.lower() in CHECKPOINT_SUFFIXES:
        return f"another project's checkpoint, which may carry code - {convert} {path} -o MODEL.safetensors"
    if _PICKLE_IN_ZIP in names:
        return f"another project's checkpoint, which may carry code - give its name the suffix .pth and {convert}"
    return f"not a model file - {SUPPORTED}"


def _names_in_zip(file: BinaryIO) -> set[str]:
    with zipfile.ZipFile(file) as archive:
        # Below one folder, whose name is that of the file when it was saved.
        return {name.partition("/")[2] for name in archive.namelist()}


def _form_of_zip(names: set[str]) -> Form | None:
    if "archive_format" in names:
        return "pt2"
    # A pickled checkpoint has a pickle of its data as well, but neither of these.
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
        reason = one_line(error)
        raise ModelError(f"{path}: damaged or not a model file ({reason}) - copy it anew") from error
