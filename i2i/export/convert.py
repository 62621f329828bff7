"""A checkpoint of another project -> a model file of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i.errors import ModelError, UsageError
from i2i.export.checkpoint_files import read_checkpoint
from i2i.export.recognition import LAYOUTS, Recognized, Unlike, Weights, nearest, recognize, unknown_names
from i2i.files import sha256_of_file
from i2i.inference.image_model import ImageModel
from i2i.inference.model_file import write_model_file
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import PictureEntryPoint

_NETWORK = "generator"
_NAMED = 3


@dataclass(frozen=True)
class Conversion:
    """What was made of a checkpoint."""

    model: ImageModel
    """Read again from the file that was written."""
    recognized: Recognized
    sha256: str
    """Of the checkpoint."""
    weights: int
    """Numbers that training had moved."""


def convert_checkpoint(
    source: Path, out: Path, layout: str | None = None, direction: str | None = None, *, version: str
) -> Conversion:
    """Write the network in the checkpoint `source` as the model file `out`, and read that again.

    Args:
        layout: name of the layout it must have; by default it is recognized.
        direction: name of the entry point of a translator, "AtoB" by default; upscalers have none.
        version: of i2i, for the record in the file.

    Raises:
        ModelError: the checkpoint is missing, damaged, more than tensors, or of no known layout.
        UsageError: arguments that do not go together.
        StorageError: `out` cannot be written.
    """
    if out.suffix.lower() != ".safetensors":
        raise UsageError(f"-o {out}: a model file ends in .safetensors - rename it")
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"-o {out}: the checkpoint would be overwritten - choose another name")
    checkpoint = read_checkpoint(source)
    recognized = _recognized(source, checkpoint.weights, layout)
    name, entry_point = _entry_point(recognized, direction)
    provenance = {
        "converted_from": source.name,
        "sha256": sha256_of_file(source),
        "layout": recognized.layout,
        "wrapper": checkpoint.wrapper,
        "i2i": version,
    }
    network = recognized.settings.build()
    network.load_state_dict(recognized.state)
    # Weights may fit and yet be of no use; this says so before anything is written.
    ImageModel(PyTorchRunner(network, entry_point), entry_point, name=name, path=source)(
        np.full((8, 8, 3), 128, np.uint8)
    )
    write_model_file(out, {_NETWORK: recognized.state}, {name: entry_point}, provenance)
    weights = sum(parameter.numel() for parameter in network.parameters())
    return Conversion(ImageModel.load(out, "cpu"), recognized, provenance["sha256"], weights)


def _recognized(source: Path, weights: Weights, wanted: str | None) -> Recognized:
    if wanted is not None:
        layout = next((layout for layout in LAYOUTS if layout.name == wanted), None)
        if layout is None:
            raise UsageError(f"--layout {wanted}: unknown - use {', '.join(layout.name for layout in LAYOUTS)}")
        try:
            return recognize(weights, layout)
        except Unlike as reason:
            raise ModelError(f"{source}: not in the layout {wanted}, which {reason} - leave --layout out") from reason
    for layout in LAYOUTS:
        try:
            return recognize(weights, layout)
        except Unlike:
            continue
    raise ModelError(_unknown(source, weights))


def _unknown(source: Path, weights: Weights) -> str:
    """The nearest layouts and in what this file differs from the first, in one line."""
    near = nearest(weights)[:_NAMED]
    if not near:
        names = ", ".join(list(weights)[:_NAMED])
        known = ", ".join(layout.name for layout in LAYOUTS)
        return f"{source}: unknown layout, its names ({names}, ...) are like none of {known}"
    unknown = unknown_names(weights, near[0])
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        reason = f"does not know {', '.join(unknown[:_NAMED])}{more}"
    else:
        try:
            recognize(weights, near[0])
            raise AssertionError("it is known")
        except Unlike as unlike:
            reason = str(unlike)
    others = "".join(f", then {layout.name}" for layout in near[1:])
    return f"{source}: unknown layout - nearest is {near[0].name}, which {reason}{others}"


def _entry_point(recognized: Recognized, direction: str | None) -> tuple[str, PictureEntryPoint]:
    settings = recognized.settings
    if recognized.upscales:
        if direction is not None:
            raise UsageError(f"--direction {direction}: an upscaler ({recognized.layout}) has none - leave it out")
        scale = getattr(settings, "scale", 1)
        return "upscale", PictureEntryPoint(_NETWORK, settings, ("low", "high"), scale)
    name = direction or "AtoB"
    if not re.fullmatch("AtoB|BtoA", name):
        raise UsageError(f"--direction {name}: use AtoB or BtoA")
    return name, PictureEntryPoint(_NETWORK, settings, (name[0].lower(), name[-1].lower()))
