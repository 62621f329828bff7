"""Reads what Weights & Biases writes offline: the records of a `.wandb` file, in wandb's own format.

The file is a LevelDB log with a header of its own: blocks of 32 KiB, in them chunks of checksum (CRC-32 over kind and
content), length and kind (whole, first, middle or last part of a record); a record is a protocol buffer of wandb's.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_Record: Any = getattr(wandb_internal_pb2, "Record")  # noqa: B009 - made at run time, so types do not know it

_BLOCK_BYTES, _HEADER, _CHUNK = 32768, struct.Struct("<4sHB"), struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


@dataclass
class WandbRun:
    """What one run told Weights & Biases."""

    folder: Path
    """`files/` of the run, in which the paths of media begin."""
    info: Any = None
    """Name, group, job type, tags and git state."""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows in the order of their logging, without what wandb adds to them; nested values are dicts."""
    summary: dict[str, Any] = field(default_factory=dict)
    step_axes: dict[str, str] = field(default_factory=dict)
    """Pattern of names to the value they are drawn over; the axes themselves have none."""
    artifacts: list[Any] = field(default_factory=list)
    alerts: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    """None while it runs, or if it ended without a word."""

    @property
    def scalars(self) -> list[dict[str, float]]:
        """The rows of plain numbers."""
        return [row for row in self.history if not any(isinstance(value, dict) for value in row.values())]

    def of_kind(self, kind: str) -> list[Any]:
        """The artifacts of a kind, e.g. "model"."""
        return [artifact for artifact in self.artifacts if artifact.type == kind]

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a table that grew; pictures in it are only named as such."""
        columns: list[str] = []
        rows: list[list[Any]] = []
        for entry in (row[key] for row in self.history if key in row):
            part = json.loads((self.folder / entry["path"]).read_text())
            assert columns in ([], part["columns"])
            columns = part["columns"]
            rows += part["data"]
        return columns, rows

    def pictures(self, key: str) -> list[tuple[int, Path]]:
        """Step and file of every picture that was logged under this name."""
        return [(row["train/step"], self.folder / row[key]["path"]) for row in self.history if key in row]


def read_finished(run_folder: Path, count: int = 1, timeout_seconds: float = 60) -> list[WandbRun]:
    """All runs under `wandb/` of a run folder, oldest first, once that many have ended.

    wandb's own process writes the end of its file a moment after the training has gone on.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        runs = [read_run(path) for path in run_folder.glob("wandb/*run-*/run-*.wandb")]
        if sum(run.exit_code is not None for run in runs) >= count:
            # Folders are named after seconds, and two runs may begin in one.
            return sorted(runs, key=lambda run: run.info.start_time.ToNanoseconds())
        assert time.monotonic() < deadline, f"{len(runs)} runs, not all have ended"
        time.sleep(0.05)


def read_run(path: Path) -> WandbRun:
    """What is in one file so far."""
    run = WandbRun(folder=path.parent / "files")
    for record in read_records(path):
        content = getattr(record, record.WhichOneof("record_type"))
        match record.WhichOneof("record_type"):
            case "run":
                run.info = content
                _update(run.config, content.config.update)
            case "config":
                _update(run.config, content.update)
            case "history":
                row: dict[str, Any] = {}
                _update(row, content.item)
                run.history.append({name: value for name, value in row.items() if not name.startswith("_")})
            case "summary":
                _update(run.summary, content.update)
            case "metric":
                run.step_axes[content.glob_name or content.name] = content.step_metric
            case "artifact":
                run.artifacts.append(content)
            case "alert":
                run.alerts.append(content)
            case "exit":
                run.exit_code = content.exit_code
    return run


def read_records(path: Path) -> Iterator[Any]:
    """The whole records of a file; an end that is still being written is left out.

    Raises:
        ValueError: it is no such file, or damaged.
    """
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        return
    if _HEADER.unpack_from(data)[:2] != (b":W&B", 0xBEE1):
        raise ValueError(f"{path}: no record of Weights & Biases")
    position, parts = _HEADER.size, list[bytes]()
    while position + _CHUNK.size <= len(data):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _CHUNK.size:
            position += left
            continue
        checksum, length, kind = _CHUNK.unpack_from(data, position)
        content = data[position + _CHUNK.size : position + _CHUNK.size + length]
        if kind == 0 or len(content) < length:
            return
        if zlib.crc32(content, zlib.crc32(bytes([kind]))) != checksum:
            raise ValueError(f"{path}: damaged at byte {position}")
        position += _CHUNK.size + length
        parts.append(content)
        if kind in (_WHOLE, _LAST):
            yield _Record.FromString(b"".join(parts))
            parts.clear()


def _update(target: dict[str, Any], items: Sequence[Any]) -> None:
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        inner = target
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(item.value_json)
