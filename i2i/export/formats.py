"""The formats that a model can be exported to: what each file is called, what computes it, and how it is written."""

from __future__ import annotations

import functools
import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from i2i.inference.graphs import Recordable, exported_program, onnx_model, openvino_model, put_metadata, traced
from i2i.inference.model_files.exported_metadata import METADATA_KEY, ExportForm
from i2i.inference.runners.openvino_library import load_openvino

if TYPE_CHECKING:
    import onnx

# The one moment that every zip can name: files of equal content should be equal.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


class Recording:
    """A network as graphs; what several formats are made of is made once."""

    def __init__(self, module: Recordable) -> None:
        self.module = module

    @functools.cached_property
    def program(self) -> torch.export.ExportedProgram:
        return exported_program(self.module)

    @functools.cached_property
    def onnx(self) -> onnx.ModelProto:
        return onnx_model(self.program)


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format."""

    suffixes: tuple[str, ...]
    """Of its files, the usual one first."""
    runner: str
    """Name of the engine that computes it."""
    carries_code: bool
    """Whether such a file is opened only where it is trusted."""
    write: Callable[[Recording, str, Path], None]
    """Writes a recorded network with its metadata text to a path that has one of the suffixes."""


def _write_onnx(recording: Recording, metadata_text: str, path: Path) -> None:
    put_metadata(recording.onnx, metadata_text)
    path.write_bytes(recording.onnx.SerializeToString())


def _write_torchscript(recording: Recording, metadata_text: str, path: Path) -> None:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch would rather be asked for the other format.
        torch.jit.save(traced(recording.module), content, _extra_files={METADATA_KEY: metadata_text})
    content.seek(0)
    with zipfile.ZipFile(content) as given, zipfile.ZipFile(path, "w") as kept:
        for name in given.namelist():
            # Which line of which source file each operation came from: places on this machine.
            if not name.endswith(".debug_pkl"):
                kept.writestr(zipfile.ZipInfo(name, _NO_TIME), given.read(name))


def _write_pt2(recording: Recording, metadata_text: str, path: Path) -> None:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(recording.program, content, extra_files={METADATA_KEY: metadata_text})
    path.write_bytes(content.getbuffer())


def _write_openvino(recording: Recording, metadata_text: str, path: Path) -> None:
    model = openvino_model(recording.onnx, metadata_text)
    try:
        # Its default would round the weights to fp16.
        load_openvino().save_model(model, str(path), compress_to_fp16=False)
    except RuntimeError as error:
        # The library writes the files itself and wraps a full disk in its own error.
        raise OSError(" ".join(str(error).split())[:200]) from error


FORMATS: Mapping[ExportForm, Format] = {
    "onnx": Format(suffixes=(".onnx",), runner="onnxruntime", carries_code=False, write=_write_onnx),
    "torchscript": Format(
        suffixes=(".pt", ".ts", ".torchscript"), runner="torch", carries_code=True, write=_write_torchscript
    ),
    "pt2": Format(suffixes=(".pt2",), runner="torch", carries_code=True, write=_write_pt2),
    "openvino": Format(suffixes=(".xml",), runner="openvino", carries_code=False, write=_write_openvino),
}
"""By the name that ``--to`` takes."""
