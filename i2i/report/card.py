"""A model's card: one page of Markdown that says what a model is, where it comes from and what it can be trusted with.

It is written from the model file and, where there is one, the run folder that the file came out of. No path of the
machine is in it, so that it can be given away with the model. Two things are the author's and stay when it is written
again: the licence, and whatever stands under the heading "Notes".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from i2i.errors import StorageError
from i2i.files import write_atomically
from i2i.inference.model_files.loading import ModelSource, describe_model
from i2i.inference.model_files.model_file import resolve_model
from i2i.inference.model_files.trust import report_path
from i2i.report.card_sections import (
    NOTES,
    Card,
    data_section,
    head,
    licence_section,
    limits_section,
    results_section,
    training_section,
    use_section,
    what_section,
)
from i2i.report.run_files import RunFiles, holds_training, read_run

CARD_FILE = "card.md"
UNKNOWN_LICENCE = "unknown"
_EMPTY_NOTES = "Whatever else is worth knowing; these lines stay when the card is written again."


@dataclass(frozen=True)
class _Kept:
    """What an earlier card's author wrote."""

    licence: str | None = None
    notes: str | None = None


def write_card(run_folder: Path, *, licence: str | None = None) -> Path:
    """Write `card.md` into a run folder, about the model that the folder stands for; returns the path.

    Args:
        run_folder: with ``best.safetensors`` or ``model.safetensors``, and whatever else a run has.
        licence: an SPDX name or any text; by default that of the card that is there, else "unknown".

    Raises:
        ModelError: the folder holds no model, or a damaged one.
        StorageError: the card cannot be written, or the one that is there cannot be read.
    """
    run_folder = Path(run_folder)
    return _write(run_folder / CARD_FILE, resolve_model(run_folder), read_run(run_folder), licence)


def write_model_card(model: Path, *, source: Path | None = None, licence: str | None = None) -> Path:
    """Write the card of the model file `model` beside it, named after it; returns the path.

    Args:
        model: a ``.safetensors`` or what `i2i export` made of one; none needs trust for that.
        source: of an exported file, the run folder or model file it was made of: what is known of that is in the card.
        licence: as for `write_card`.

    Raises:
        ModelError: no model, or a damaged one.
        StorageError: as for `write_card`.
    """
    model = Path(model)
    run_folder = _run_folder_of(model) or (None if source is None else _run_folder_of(Path(source)))
    return _write(card_path(model), model, None if run_folder is None else read_run(run_folder), licence)


def card_path(model: Path) -> Path:
    """Where the card of the model file `model` lies: beside it, with ``.card.md`` after its whole name."""
    return model.with_name(f"{model.name}.card.md")


def render_card(card: Card) -> str:
    """The card as Markdown, without the author's notes."""
    sections = (
        head, what_section, data_section, training_section, results_section, limits_section, licence_section,
        use_section,
    )  # fmt: skip
    return "\n\n".join(text for section in sections if (text := section(card)))


def _write(path: Path, model: Path, run: RunFiles | None, licence: str | None) -> Path:
    kept = _read_kept(path)
    # What was exported is under the licence of what it was made of.
    of_run = _read_kept(run.folder / CARD_FILE).licence if run is not None else None
    source = describe_model(model)
    card = Card(
        # The weights were counted: nothing on a card needs them any more.
        model=replace(source, tensors={}),
        bytes=_bytes_of(source),
        parameters=_parameters(source),
        run=run,
        levels_from_source=_levels_from_source(source),
        licence=" ".join((licence or kept.licence or of_run or UNKNOWN_LICENCE).split()),
    )
    write_atomically(path, f"{render_card(card)}\n\n{NOTES}\n\n{(kept.notes or _EMPTY_NOTES).strip()}\n")
    return path


def _run_folder_of(path: Path) -> Path | None:
    """The run folder that a model lies in, or that is named itself."""
    folder = path if path.is_dir() else path.parent
    return folder if holds_training(folder) else None


def _read_kept(path: Path) -> _Kept:
    """Licence and notes of the card at `path`; nothing where there is none yet.

    Raises:
        StorageError: there is one that cannot be read, and so would lose its author's words.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _Kept()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read, so its notes would be lost ({error}) - move it away") from error
    _, _, notes = text.partition(f"\n{NOTES}\n")
    return _Kept(_licence_in(text), notes.strip() or None)


def _licence_in(text: str) -> str | None:
    block = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        fields = yaml.safe_load(block[1]) if block else None
    except yaml.YAMLError:
        return None
    licence = fields.get("license") if isinstance(fields, dict) else None
    return str(licence) if licence and licence != UNKNOWN_LICENCE else None


def _bytes_of(source: ModelSource) -> int:
    files = [source.path, source.path.with_suffix(".bin")] if source.form == "openvino" else [source.path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _parameters(source: ModelSource) -> dict[str, int]:
    """Numbers in each network of a ``.safetensors``; empty for an exported file."""
    counts: dict[str, int] = {}
    for name, tensor in source.tensors.items():
        network = name.partition(".")[0]
        counts[network] = counts.get(network, 0) + tensor.numel()
    return counts


def _levels_from_source(source: ModelSource) -> float | None:
    """By how many grey levels at most an exported file differs from its model, if the report beside it is of it."""
    if source.export is None:
        return None
    try:
        report: Any = json.loads(report_path(source.path).read_text(encoding="utf-8"))
        return float(report["levels"]) if report["sha256"] == source.sha256 else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
