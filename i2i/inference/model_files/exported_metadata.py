"""What an exported file says about itself: one JSON text under the key "i2i", the same in every format.

It has two parts: ``model``, the metadata of the model file cut down to the one entry point that was exported, and
``export``, how it was made. ONNX carries the text in its ``metadata_props``, TorchScript and ``.pt2`` as an extra file
in their zip, OpenVINO in its ``rt_info``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from i2i.errors import ModelError, one_line
from i2i.inference.model_files.model_file import (
    FORMAT_VERSION,
    EntryPointRecord,
    LatentRecord,
    ModelMetadata,
    PictureRecord,
)

ExportForm = Literal["onnx", "torchscript", "pt2", "openvino"]

METADATA_KEY = "i2i"
"""Under which every format keeps the text; in a zip it is the name of the extra file."""
IMAGES, LATENTS, LABELS, PICTURES = "images", "latents", "labels", "pictures"
"""Names of the graph's inputs and of its output."""


@dataclass(frozen=True)
class ExportFacts:
    """How a file was exported."""

    form: ExportForm
    uint8: bool
    """Whether the graph takes and gives uint8 (N, H, W, C) in place of float32 (N, C, H, W) in [-1, 1]."""
    strength: float
    """Of an upscaler's invention, 0 to 1: that of the one network in the file."""
    source_sha256: str
    """Of the model file that was exported."""
    i2i: str
    torch: str
    """Versions that made the file."""


@dataclass(frozen=True)
class _Content:
    model: ModelMetadata
    export: ExportFacts


# A setting unknown here would change what the graph computes; it must not be passed over.
_adapter: TypeAdapter[list[_Content]] = TypeAdapter(list[_Content], config=ConfigDict(extra="forbid", strict=False))


def sealed_metadata(metadata: ModelMetadata, name: str, facts: ExportFacts) -> str:
    """The JSON text for a file that holds the entry point `name` of a model and nothing else."""
    record = metadata.entry_points[name]
    if isinstance(record, PictureRecord):
        # Its strength is settled: the twin it was interpolated with stays behind.
        record = replace(record, pixel_network=None)
    only = replace(metadata, format_version=FORMAT_VERSION, entry_points={name: record})
    return json.dumps(_adapter.dump_python([_Content(only, facts)], mode="json")[0])


def parse_exported_metadata(path: Path, text: str) -> tuple[ModelMetadata, ExportFacts]:
    """Read the JSON text in the exported file at `path`, which only errors name.

    Raises:
        ModelError: it is something else, of a newer version, or names not exactly one entry point.
    """
    try:
        version = int(json.loads(text)["model"]["format_version"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ModelError(f"{path}: i2i's metadata are unreadable ({one_line(error)}) - export it anew") from error
    if version > FORMAT_VERSION:
        raise ModelError(f"{path}: model format {version}, this i2i reads up to {FORMAT_VERSION} - install a newer i2i")
    try:
        content = _adapter.validate_json(f"[{text}]")[0]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise ModelError(f"{path}: metadata {where}: {one_line(first['msg'])} - export it anew") from error
    count = len(content.model.entry_points)
    if count != 1:
        raise ModelError(f"{path}: metadata name {count} entry points, an exported file has one - export it anew")
    return content.model, content.export


def input_names(record: EntryPointRecord) -> tuple[str, ...]:
    """Names of the inputs of the graph that was made of an entry point, in order."""
    if not isinstance(record, LatentRecord):
        return (IMAGES,)
    return (LATENTS, LABELS) if record.classes else (LATENTS,)
