"""From a model file of any form to what computes one of its entry points.

Nothing in a file is unpickled or run before it is known to be one that may be: see `i2i.inference.model_files.trust`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from i2i.errors import ModelError, OutOfMemoryError, UsageError
from i2i.inference.model_files.exported_metadata import METADATA_KEY, ExportFacts, parse_exported_metadata
from i2i.inference.model_files.forms import Form, archived_text, form_of
from i2i.inference.model_files.graph_files import onnx_text, openvino_text
from i2i.inference.model_files.model_bytes import ModelBytes, read_model_bytes
from i2i.inference.model_files.model_file import (
    EntryPointRecord,
    LatentRecord,
    ModelMetadata,
    PictureRecord,
    build_network,
    read_metadata,
    read_model_file,
    resolve_model,
)
from i2i.inference.model_files.strength import check_strength, network_of_strength
from i2i.inference.model_files.trust import is_sealed
from i2i.inference.runners import Computation, Runner, RunnerChoice, candidates, choose_runner
from i2i.inference.runners.engines import RUNNERS
from i2i.inference.runtime import Precision, is_out_of_memory
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint

_TIMED_PIXELS = 256
_TIMED_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """What is to compute a network, and how."""

    runner: str = "auto"
    """Name in `i2i.inference.runners.RUNNERS`, or "auto"."""
    precision: Precision = "fp32"
    strength: float = 1.0
    """0 to 1, of what an upscaler invents; see `i2i.inference.model_files.strength`."""
    worthwhile: bool = False
    """Whether "auto" may take seconds to find the fastest by a timing; else it takes the first that fits."""


@dataclass(frozen=True)
class ModelSource:
    """A model file that was read and looked into; nothing of it runs yet."""

    path: Path
    form: Form
    metadata: ModelMetadata
    sha256: str
    """Of the bytes that were read."""
    export: ExportFacts | None = None
    """How it was exported; None for a ``.safetensors``."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """Of a ``.safetensors``."""
    file: ModelBytes | None = None
    """What an engine reads; None for a ``.safetensors``."""

    @property
    def eight_bits(self) -> bool:
        """Whether the file's graph takes and gives uint8."""
        return self.export is not None and self.export.uint8

    def strength_of(self, settings: RunnerSettings) -> float:
        """Of the network that `runner` makes: an exported file has its own."""
        return settings.strength if self.export is None else self.export.strength

    def runner(
        self, record: EntryPointRecord, device: torch.device, settings: RunnerSettings
    ) -> tuple[Runner, RunnerChoice, EntryPoint]:
        """What computes an entry point, how it was chosen, and the entry point as pipelines know it.

        Raises:
            ModelError: damaged, or settings and weights do not fit each other.
            UsageError: no such runner here, or it or the model cannot do what was asked.
        """
        self._check_strength(settings.strength)
        names = candidates(self.form, device, settings.precision, settings.runner)
        entry = entry_point_of(record)
        computation = Computation(
            form=self.form,
            entry_point=entry,
            network=self._network_of(record, settings.strength) if self.form == "safetensors" else None,
            file=self.file,
            uint8=self.eight_bits,
        )

        def builder(name: str) -> Callable[[], Runner]:
            return lambda: RUNNERS[name].build(computation, device, settings.precision)

        try:
            choice, runner = choose_runner(
                {name: builder(name) for name in names},
                _example(entry, device),
                sha256=lambda: self.sha256,
                device=device,
                precision=settings.precision,
                variant=(record.network, settings.strength),
                worthwhile=settings.worthwhile,
            )
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    f"{self.path}: too little memory for this network on {device} - use another --device or --runner"
                ) from error
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{self.path}: cannot be run ({reason}) - copy or export it anew, or try another --runner"
            ) from error
        return runner, choice, entry

    def _check_strength(self, strength: float) -> None:
        check_strength(strength)
        if self.export is not None and strength not in (1, self.export.strength):
            raise UsageError(
                f"{self.path}: --strength {strength:g}: this file was exported with strength {self.export.strength:g}"
                " and has no other - leave --strength out, or export the .safetensors anew"
            )

    def _network_of(self, record: EntryPointRecord, strength: float) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            if isinstance(record, PictureRecord):
                return network_of_strength(self.path, record, self.tensors, strength)
            return build_network(self.path, record, self.tensors)

        return build


def open_model(path: Path | str, *, trust: bool = False, expected_sha256: str | None = None) -> ModelSource:
    """Read the model that `path` means: a run folder, a checkpoint folder or a file.

    The file is read once; all that is checked, run and recorded is of these bytes.

    Args:
        trust: open a file that may carry code although nobody knows who made it. Without it only those are opened
            that this user exported.
        expected_sha256: what `ModelSource.sha256` was when the file was first opened, where it is opened again.

    Raises:
        ModelError: no model, damaged, written by something else or by a newer version, not trusted, or not as
            expected.
    """
    place = resolve_model(Path(path))
    file = read_model_bytes(place)
    if expected_sha256 is not None and file.sha256 != expected_sha256:
        raise ModelError(f"{place}: changed since it was first read - run again")
    form = form_of(place, file.content)
    if form == "safetensors":
        metadata, tensors = read_model_file(place, file.content)
        return ModelSource(place, form, metadata, file.sha256, tensors=tensors)
    metadata, facts = _exported_metadata(place, form, file.content)
    if form in ("torchscript", "pt2") and not trust and not is_sealed(place, file.sha256):
        raise ModelError(
            f"{place}: a {form} file can carry code, and this one was not exported here"
            " - give --trust if you know who made it, or use a .safetensors or .onnx"
        )
    return ModelSource(place, form, metadata, file.sha256, facts, file=file)


def read_any_metadata(path: Path | str) -> ModelMetadata:
    """What the model that `path` means says about itself, without a look at its weights.

    Raises:
        ModelError: as `open_model`; nothing needs trust to be read.
    """
    file = resolve_model(Path(path))
    if form_of(file) == "safetensors":
        return read_metadata(file)
    return describe_model(file).metadata


def describe_model(path: Path | str) -> ModelSource:
    """What the model that `path` means is, without anything to run it by: an exported file needs no trust for that.

    Raises:
        ModelError: as `open_model`.
    """
    place = resolve_model(Path(path))
    file = read_model_bytes(place)
    form = form_of(place, file.content)
    if form == "safetensors":
        metadata, tensors = read_model_file(place, file.content)
        return ModelSource(place, form, metadata, file.sha256, tensors=tensors)
    metadata, facts = _exported_metadata(place, form, file.content)
    return ModelSource(place, form, metadata, file.sha256, facts)


def entry_point_of(record: EntryPointRecord) -> EntryPoint:
    """An entry point of a model file as pipelines know it."""
    if isinstance(record, LatentRecord):
        return LatentEntryPoint(record.network, record.generator, record.shape, record.classes)
    return PictureEntryPoint(record.network, record.generator, record.domains, record.scale, record.pixel_network)


def _exported_metadata(path: Path, form: Form, content: bytes) -> tuple[ModelMetadata, ExportFacts]:
    if form == "onnx":
        text = onnx_text(path, content)
    elif form == "openvino":
        text = openvino_text(path, content)
    else:
        text = archived_text(path, content, METADATA_KEY)
    return parse_exported_metadata(path, text)


def _example(entry: EntryPoint, device: torch.device) -> tuple[Tensor | None, ...]:
    """Inputs to time with: one picture, or one block of latents."""
    if isinstance(entry, LatentEntryPoint):
        labels = torch.zeros(_TIMED_ROWS, dtype=torch.int64, device=device) if entry.classes else None
        return torch.zeros(_TIMED_ROWS, entry.generator.latent, device=device), labels
    side = _TIMED_PIXELS if entry.scale == 1 else _TIMED_PIXELS // 2
    # Of many levels: some processors are slow with numbers next to zero, which a flat picture may lead to.
    levels = torch.linspace(-1.0, 1.0, 3 * side * side, device=device)
    return (levels.reshape(1, 3, side, side),)
