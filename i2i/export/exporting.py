"""A trained model -> one file that other engines run, checked against the model before it gets its name."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2i.errors import ModelError, StorageError, UsageError
from i2i.export.formats import FORMATS, Recording
from i2i.export.parity import MOST_LEVELS, ParityRow, compare
from i2i.files import atomic_path, write_atomically
from i2i.inference import ImageModel, LatentModel, load_any_model
from i2i.inference.graphs import recordable
from i2i.inference.model_files.exported_metadata import ExportFacts, ExportForm, sealed_metadata
from i2i.inference.model_files.forms import form_of
from i2i.inference.model_files.graph_files import openvino_text
from i2i.inference.model_files.loading import entry_point_of
from i2i.inference.model_files.model_bytes import ModelBytes, read_model_bytes
from i2i.inference.model_files.model_file import PictureRecord, build_network, read_model_file, resolve_model
from i2i.inference.model_files.strength import network_of_strength
from i2i.inference.model_files.trust import report_path, seal


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and the proof; kept as JSON beside the file."""

    file: str
    """Its name."""
    form: ExportForm
    entry_point: str
    uint8: bool
    strength: float
    source: str
    """Name of the model file."""
    source_sha256: str
    sha256: str
    """Of the file; of both files of an OpenVINO model together."""
    seal: str | None
    """Says to this user's i2i that it made the file; None where no key could be kept."""
    unsealed: str | None
    """Why no key could be kept."""
    bytes: int
    """Of all its files."""
    parity: tuple[ParityRow, ...]
    versions: dict[str, str]
    """Of what made the file."""

    @property
    def levels(self) -> float:
        """The largest difference from the model, in grey levels of 255."""
        return max(row.levels for row in self.parity)


def export_model(
    path_to_model: Path | str,
    form: ExportForm,
    out: Path,
    *,
    direction: str | None = None,
    strength: float = 1.0,
    uint8: bool = False,
    version: str,
) -> ExportReport:
    """Write one entry point of a model as `out`, compare it with the model, and write the report beside it.

    Both run on five odd sizes in two batches, in fp32 on the CPU. A file that differs by more than one grey level is
    not kept.

    Args:
        path_to_model: a run folder, a checkpoint folder or a ``.safetensors``.
        direction: name of an entry point; the first one by default.
        strength: 0 to 1, of what an upscaler invents; the file holds that one network.
        uint8: let the graph take and give pictures as uint8 (N, H, W, C).
        version: of i2i, for the record in the file.

    Raises:
        ModelError: no model, damaged, not a ``.safetensors``, too large for the format, or the file differs from it.
        UsageError: arguments that do not go together, or what writes the format is not installed.
        StorageError: `out` cannot be written.
    """
    source = resolve_model(Path(path_to_model))
    _check(source, form, out)
    # A training may replace the file meanwhile: what is written, proven and named is of one reading.
    file = read_model_bytes(source)
    reference = load_any_model(source, "cpu", direction, strength=strength, runner="torch", expected_sha256=file.sha256)
    facts = ExportFacts(form, uint8, strength, file.sha256, version, torch.__version__)
    with _files_of(form, out) as temporary:
        _record(file, reference.name, facts, temporary)
        sha256, rows = _proven(reference, temporary, facts)
        size = sum(file.stat().st_size for file in _all_files(form, temporary))
    key, reason = _sealed(sha256)
    report = ExportReport(
        file=out.name,
        form=form,
        entry_point=reference.name,
        uint8=uint8,
        strength=strength,
        source=source.name,
        source_sha256=facts.source_sha256,
        sha256=sha256,
        seal=key,
        unsealed=reason,
        bytes=size,
        parity=tuple(rows),
        versions=_versions(form, version),
    )
    write_atomically(report_path(out), json.dumps(as_json(report), indent=1) + "\n")
    return report


def as_json(report: ExportReport) -> dict[str, Any]:
    """The report as JSON has it, with the largest difference beside the rows."""
    return {**dataclasses.asdict(report), "levels": report.levels}


def _check(source: Path, form: ExportForm, out: Path) -> None:
    """Refuse what could only fail later."""
    if form not in FORMATS:
        raise UsageError(f"--to {form}: unknown - use {', '.join(FORMATS)}")
    if form_of(source) != "safetensors":
        raise ModelError(f"{source}: an exported file already - export the .safetensors that it was made of")
    suffixes = FORMATS[form].suffixes
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"-o {out}: a file of {form} ends in {' or '.join(suffixes)} - rename it")
    if out.is_dir():
        raise UsageError(f"-o {out}: is a folder - name a file")
    if form == "openvino":
        from i2i.inference.runners.openvino_library import load_openvino

        load_openvino()
        _refuse_foreign_weights(out)


def _refuse_foreign_weights(out: Path) -> None:
    """An OpenVINO model is two files, and only one of them is named: the other may be somebody's data."""
    weights = out.with_suffix(".bin")
    if not weights.exists():
        return
    try:
        openvino_text(out, out.read_bytes())
    except (ModelError, OSError) as error:
        raise UsageError(
            f"-o {out}: {weights.name} beside it would be replaced, and no export of i2i's shows that it is one's"
            " weights - choose another name"
        ) from error


def _record(file: ModelBytes, name: str, facts: ExportFacts, path: Path) -> None:
    """Write the entry point `name` of a model file to `path`."""
    metadata, tensors = read_model_file(file.path, file.content)
    record = metadata.entry_points[name]
    if isinstance(record, PictureRecord):
        network = network_of_strength(file.path, record, tensors, facts.strength)
    else:
        network = build_network(file.path, record, tensors)
    module = recordable(network, entry_point_of(record), facts.uint8)
    FORMATS[facts.form].write(Recording(module), sealed_metadata(metadata, name, facts), path)


def _proven(reference: ImageModel | LatentModel, path: Path, facts: ExportFacts) -> tuple[str, list[ParityRow]]:
    """Load the file at `path` as its users will, and compare it; its checksum, and the comparison.

    Raises:
        ModelError: it cannot be run, or differs too much.
    """
    # What was written a moment ago needs no seal.
    exported = load_any_model(path, "cpu", runner=FORMATS[facts.form].runner, trust=True)
    rows = compare(reference.runner, exported.runner, reference.entry_point, uint8=facts.uint8)
    worst = max(rows, key=lambda row: row.levels)
    if worst.levels > MOST_LEVELS:
        raise ModelError(
            f"{reference.path}: as {facts.form} it differs by {worst.levels:.3g} grey levels (at {worst.width} x"
            f" {worst.height} pixels, batch {worst.batch}; {MOST_LEVELS:g} is allowed), so no file was written"
            " - export to another format"
        )
    assert exported.sha256 is not None
    return exported.sha256, rows


@contextlib.contextmanager
def _files_of(form: ExportForm, out: Path) -> Iterator[Path]:
    """A temporary path that becomes `out` on success; on failure nothing is left, whatever lay beside it."""
    if form != "openvino":
        with atomic_path(out) as temporary:
            yield temporary
        return
    # The graph gets its name last: it is the one that is opened, and looks for its weights.
    with atomic_path(out) as graph, atomic_path(out.with_suffix(".bin")) as weights:
        beside = graph.with_suffix(".bin")
        try:
            yield graph
            beside.replace(weights)
        finally:
            beside.unlink(missing_ok=True)


def _all_files(form: ExportForm, path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if form == "openvino" else [path]


def _sealed(sha256: str) -> tuple[str | None, str | None]:
    """The seal, or why there is none."""
    try:
        return seal(sha256), None
    except StorageError as error:
        # The file is as good without: its user says --trust.
        return None, str(error)


def _versions(form: ExportForm, version: str) -> dict[str, str]:
    versions = {"i2i": version, "torch": torch.__version__}
    if form in ("onnx", "openvino"):
        import onnx
        import onnxscript

        versions |= {"onnx": onnx.__version__, "onnxscript": onnxscript.__version__}
    if form == "onnx":
        from i2i.inference.runners.onnxruntime_library import load_onnxruntime

        versions["onnxruntime"] = load_onnxruntime().__version__
    if form == "openvino":
        from i2i.inference.runners.openvino_library import load_openvino

        versions["openvino"] = load_openvino().__version__
    return versions
