"""Checkpoints that are whole, checked and never unpickled.

A checkpoint is a folder ``checkpoints/step_N`` with ``state.safetensors`` (every tensor of the training),
``state.json`` (counters), ``manifest.json`` (size and SHA-256 of both) and the model of that step, which seals itself.
It is written under another name, flushed and renamed; what does not match its manifest is not used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2i.errors import ModelError, StorageError, one_line
from i2i.files import TEMPORARY, flush_to_disk, read_regular, remove_leftovers, sha256_of_file
from i2i.inference.runtime import is_out_of_memory

FORMAT_VERSION = 1
CHECKPOINTS_FOLDER, MODEL_FILE = "checkpoints", "model.safetensors"
_TENSORS, _COUNTERS, _MANIFEST = "state.safetensors", "state.json", "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on as if it had never stopped."""

    tensors: Mapping[str, Tensor]
    counters: Mapping[str, Any]
    """JSON values."""


def save_checkpoint(
    run_folder: Path, step: int, state: TrainingState, write_model: Callable[[Path], None] | None = None
) -> Path:
    """Write the checkpoint of `step`; returns its folder.

    Args:
        write_model: writes the model of this step to a path, which the checkpoint keeps as `MODEL_FILE`.

    Raises:
        StorageError: it cannot be written; earlier checkpoints are untouched and no part of this one remains.
    """
    target = run_folder / CHECKPOINTS_FOLDER / f"step_{step}"
    temporary = target.with_name(f"{TEMPORARY}{step}-{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in state.tensors.items()}, temporary / _TENSORS)
        (temporary / _COUNTERS).write_text(json.dumps(state.counters, indent=1))
        files = {
            name: {"bytes": (temporary / name).stat().st_size, "sha256": sha256_of_file(temporary / name)}
            for name in (_TENSORS, _COUNTERS)
        }
        manifest = {"format_version": FORMAT_VERSION, "step": step, "files": files}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        for name in (_TENSORS, _COUNTERS, _MANIFEST):
            flush_to_disk(temporary / name)
        if write_model is not None:
            write_model(temporary / MODEL_FILE)
        flush_to_disk(temporary)
        _put_in_place(temporary, target)
    except (OSError, SafetensorError, StorageError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # Of a file within, the reason alone: its name under the temporary folder would help nobody.
        cause = error.__cause__ if isinstance(error, StorageError) else error
        reason = getattr(cause, "strerror", None) or cause
        raise StorageError(
            f"{target}: the checkpoint cannot be written: {reason} - free space; earlier checkpoints are untouched"
        ) from error
    return target


def load_checkpoint(folder: Path) -> TrainingState:
    """Read one checkpoint folder after checking it against its manifest.

    Raises:
        ModelError: it is incomplete, damaged, or of a newer version.
    """
    try:
        manifest = json.loads(read_regular(folder / _MANIFEST))
        if manifest["format_version"] > FORMAT_VERSION:
            raise ModelError(f"{folder}: checkpoint format {manifest['format_version']} - install a newer i2i")
        for name in (_TENSORS, _COUNTERS):
            recorded = manifest["files"][name]
            if (folder / name).stat().st_size != recorded["bytes"] or sha256_of_file(folder / name) != recorded[
                "sha256"
            ]:
                raise ModelError(f"{folder}: {name} does not match its checksum, the checkpoint is damaged")
        return TrainingState(load_file(folder / _TENSORS), json.loads(read_regular(folder / _COUNTERS)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ModelError(f"{folder}: not a whole checkpoint ({type(error).__name__})") from error


@contextlib.contextmanager
def misfit_as_help(run_folder: Path) -> Iterator[None]:
    """Around loading a state: whole, but of another training, it fails in whatever way its numbers fail.

    Raises:
        ModelError: naming the run.
    """
    try:
        with warnings.catch_warnings():
            # It would be taken, with a half of its numbers.
            warnings.filterwarnings("error", message="Casting complex")
            yield
    except ModelError as error:
        raise ModelError(f"{run_folder}: cannot be resumed: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, UserWarning) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{run_folder}: cannot be resumed, its checkpoint is not one of this training ({type(error).__name__}:"
            f" {one_line(error, 120)}) - start a new run, --set initialize_from={run_folder} takes its model along"
        ) from error


def load_newest_checkpoint(run_folder: Path, *, up_to_step: int | None = None) -> tuple[int, TrainingState]:
    """The newest checkpoint of a run (of those `up_to_step`) that is whole; damaged ones are reported and passed over.

    Nothing is changed: the run may be somebody else's, or be training now.

    Raises:
        ModelError: the run has none.
    """
    steps = [step for step in checkpoint_steps(run_folder) if up_to_step is None or step <= up_to_step]
    for step in reversed(steps):
        try:
            return step, load_checkpoint(checkpoint_folder(run_folder, step))
        except ModelError as error:
            _log.warning("%s; going back to the checkpoint before it", error)
    if steps:
        raise ModelError(f"{run_folder}: cannot be resumed, all its checkpoints are damaged - start a new run")
    raise ModelError(f"{run_folder}: cannot be resumed, it has no checkpoint yet - start it again, --out may name it")


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies, also if its writer was killed between the two renames of a replacement."""
    folder = run_folder / CHECKPOINTS_FOLDER / f"step_{step}"
    aside = _aside(folder)
    return aside if aside.exists() and not folder.exists() else folder


def checkpoint_steps(run_folder: Path) -> list[int]:
    """Steps of the checkpoints in a run, ascending, damaged ones included."""
    folder = run_folder / CHECKPOINTS_FOLDER
    if not folder.is_dir():
        return []
    names = (path.name.removeprefix(_REPLACED) for path in folder.iterdir())
    return sorted({int(match[1]) for name in names if (match := re.fullmatch(r"step_(\d+)", name))})


def remove_old_checkpoints(run_folder: Path, step: int, keep_last: int, keep_step: int | None = None) -> None:
    """Remove all but the newest `keep_last` checkpoints and that of `keep_step`, and what killed writers left.

    `step` is where training stands. Checkpoints beyond it were damaged and passed over when the run was resumed, or
    belong to a failure from which training went back: they must not count as the newest, nor as the best.
    """
    finish_replacements(run_folder)
    until_now = [kept for kept in checkpoint_steps(run_folder) if kept <= step]
    keep = {*until_now[-keep_last:], *(kept for kept in until_now if kept == keep_step)}
    for old in checkpoint_steps(run_folder):
        if old not in keep:
            shutil.rmtree(checkpoint_folder(run_folder, old), ignore_errors=True)
    remove_leftovers(run_folder / CHECKPOINTS_FOLDER)


_REPLACED = ".replaced-"


def _aside(target: Path) -> Path:
    return target.with_name(_REPLACED + target.name)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename the finished folder; one of the same step that is already there steps aside first."""
    if target.exists():
        aside = _aside(target)
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    try:
        temporary.rename(target)
    finally:
        flush_to_disk(target.parent)
        finish_replacements(target.parents[1])


def finish_replacements(run_folder: Path) -> None:
    """Undo a replacement that was cut off between its two renames; remove what a finished one left.

    Only for the process that writes the checkpoints of this run, while no other reads them.
    """
    for aside in (run_folder / CHECKPOINTS_FOLDER).glob(f"{_REPLACED}step_*"):
        target = aside.with_name(aside.name.removeprefix(_REPLACED))
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)
