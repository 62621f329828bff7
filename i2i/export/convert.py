"""A checkpoint of another project -> a model file of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from i2i.core.generators import LatentGeneratorSettings
from i2i.errors import ModelError, UsageError
from i2i.export.checkpoint_files import read_checkpoint
from i2i.export.inferred_settings import Unlike, Weights
from i2i.export.other_networks import other_network
from i2i.export.recognition import LAYOUTS, Recognized, nearest, recognize, unknown_names
from i2i.files import sha256_of_file
from i2i.inference.image_model import ImageModel
from i2i.inference.latent_model import LatentModel
from i2i.inference.model_files.model_file import write_model_file
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint

_NETWORK = "generator"
_NAMED = 3


@dataclass(frozen=True)
class Conversion:
    """What was made of a checkpoint."""

    model: ImageModel | LatentModel
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
        direction: name of the entry point of a translator, "AtoB" by default; others have none.
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
        "layout": recognized.layout.name,
        "wrapper": checkpoint.wrapper,
        "i2i": version,
    }
    network = recognized.build()
    # Weights may fit and yet be of no use; this says so before anything is written.
    _make_one_picture(network, name, entry_point, source)
    write_model_file(out, {_NETWORK: recognized.state}, {name: entry_point}, provenance)
    weights = sum(parameter.numel() for parameter in network.parameters())
    kind = ImageModel if isinstance(entry_point, PictureEntryPoint) else LatentModel
    return Conversion(kind.load(out, "cpu"), recognized, provenance["sha256"], weights)


def _make_one_picture(network: nn.Module, name: str, entry_point: EntryPoint, source: Path) -> None:
    runner = PyTorchRunner(network, entry_point)
    if isinstance(entry_point, PictureEntryPoint):
        ImageModel(runner, entry_point, name=name, path=source)(np.full((8, 8, 3), 128, np.uint8))
    else:
        model = LatentModel(runner, entry_point, name=name, path=source)
        model(model.latents([0]))


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
    known = other_network(weights)
    if known is not None:
        return f"{source}: no generator but {known} - give a file that makes pictures"
    near = nearest(weights)[:_NAMED]
    if not near:
        names = ", ".join(list(weights)[:_NAMED])
        known = ", ".join(layout.name for layout in LAYOUTS)
        return f"{source}: unknown layout, its names ({names}, ...) are like none of {known} - give one of those"
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


def _entry_point(recognized: Recognized, direction: str | None) -> tuple[str, EntryPoint]:
    settings, layout = recognized.settings, recognized.layout
    if layout.purpose != "translate" and direction is not None:
        what = "an upscaler" if layout.purpose == "upscale" else "a generator from latents"
        raise UsageError(f"--direction {direction}: {what} ({layout.name}) has none - leave it out")
    if isinstance(settings, LatentGeneratorSettings):
        assert recognized.shape is not None
        return layout.purpose, LatentEntryPoint(_NETWORK, settings, recognized.shape)
    if layout.purpose == "upscale":
        return layout.purpose, PictureEntryPoint(_NETWORK, settings, ("low", "high"), getattr(settings, "scale", 1))
    name = direction or "AtoB"
    if not re.fullmatch("AtoB|BtoA", name):
        raise UsageError(f"--direction {name}: use AtoB or BtoA")
    return name, PictureEntryPoint(_NETWORK, settings, (name[0].lower(), name[-1].lower()))
