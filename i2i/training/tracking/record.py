"""Writes the record of a run: `metrics.jsonl`, the sample sheets, alarms, and the sinks that show them elsewhere.

`metrics.jsonl` is the truth; sinks are a convenience, so a failing sink never stops training while a record that
cannot be written does.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from i2i.errors import StorageError
from i2i.files import read_regular, remove_leftovers
from i2i.training.tracking.best import best_values
from i2i.training.tracking.lines import line_of, record_in
from i2i.training.tracking.reading import ALARMS_FILE, METRICS_FILE, all_rows, read_metrics
from i2i.training.tracking.sinks import Attempt, Row, Sink
from i2i.training.watchdog import Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from i2i.evaluation.passports.figures import Figure

_log = logging.getLogger(__name__)


class Tracker:
    """Writes what happens in one attempt of a run to the run folder, and passes it on to sinks.

    Args:
        run_folder: the run's folder; it is created if missing.
        sinks: where else rows and pictures go, e.g. from `open_sinks`.
        attempt: 1 for a fresh run, one more for each resume (`next_attempt`).

    Raises:
        StorageError: the record cannot be opened or, later, written.
    """

    def __init__(self, run_folder: Path, sinks: Sequence[Sink] = (), attempt: int = 1) -> None:
        self.run_folder = Path(run_folder)
        self.attempt = attempt
        self._sinks = list(sinks)
        self._path = self.run_folder / METRICS_FILE
        try:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            # An attempt begins, and nobody else writes here: what a killed one left unfinished stays so.
            remove_leftovers(self.run_folder)
            _repair_end(self._path)
            # Time lost to a killed attempt was spent all the same, so the largest value counts, not the newest row.
            self._earlier_seconds = max((row["wall_seconds"] for row in all_rows(self._path)), default=0.0)
            # Unbuffered: a row is in the file, whole or cut, as soon as `log` returns, even if the process is killed.
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise _storage_error(self._path, error) from error
        self._started = time.monotonic()

    @property
    def wall_seconds(self) -> float:
        """Seconds spent on this run, earlier attempts included."""
        return self._earlier_seconds + time.monotonic() - self._started

    def start(
        self,
        config: Mapping[str, Any],
        run_name: str,
        group: str | None = None,
        resumed: bool = False,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell the sinks that this attempt begins.

        Args:
            config: the resolved recipe as plain values.
            run_name: name of the run.
            group: what its attempts have in common; its name, unless given.
            resumed: it goes on from a checkpoint.
            environment: versions, machine and git state, from `describe_environment`.
        """
        attempt = Attempt(
            run_name=run_name,
            group=group or run_name,
            number=self.attempt,
            resumed=resumed,
            config=dict(config),
            environment=dict(environment or {}),
        )
        self._each_sink(lambda sink: sink.start(attempt))

    def log(self, row: Row) -> None:
        """Append one row to `metrics.jsonl` and pass it to the sinks.

        Raises:
            StorageError: the row cannot be written, e.g. because the disk is full.
        """
        record = {
            "attempt": self.attempt,
            "step": row.step,
            "images": row.images,
            "epoch": row.epoch,
            "wall_seconds": round(self.wall_seconds, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "values": {name: _to_json(float(value)) for name, value in row.values.items()},
        }
        try:
            _append(self._file, record)
        except (OSError, ValueError) as error:
            raise _storage_error(self._path, error) from error
        self._each_sink(lambda sink: sink.scalars(row))

    def alarm(self, verdict: Verdict) -> None:
        """Append a verdict of the watchdog to `alarms.jsonl` and pass it to the sinks.

        Raises:
            StorageError: the record cannot be written.
        """
        path = self.run_folder / ALARMS_FILE
        record = {
            "attempt": self.attempt,
            "wall_seconds": round(self.wall_seconds, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **asdict(verdict),
        }
        try:
            _repair_end(path)
            with path.open("ab", buffering=0) as file:
                _append(file, record)
        except OSError as error:
            raise _storage_error(path, error) from error
        self._each_sink(lambda sink: sink.alarm(verdict.step, verdict.title, verdict.line))

    def images(self, step: int, name: str, picture: np.ndarray) -> Path:
        """Save a sample sheet, uint8 (H, W, 3) RGB, under `samples/` and pass it to the sinks.

        Raises:
            StorageError: the picture cannot be written.
        """
        from i2i.training.sheets import save_sheet

        path = save_sheet(self.run_folder, step, name, picture)
        self._each_sink(lambda sink: sink.images(step, name, picture))
        return path

    def sheet(self, step: int, name: str, columns: Sequence[tuple[str, Tensor]]) -> Path:
        """Save pictures (N, C, H, W) in [-1, 1] side by side under labelled columns as a sheet under `samples/`.

        The file can be taken apart again, so that the report can lay one column over another.

        Raises:
            StorageError: the picture cannot be written.
        """
        from i2i.training.sheets import save_sheet, sheet, sheet_layout

        picture = sheet(columns)
        path = save_sheet(self.run_folder, step, name, picture, sheet_layout(columns))
        self._each_sink(lambda sink: sink.images(step, name, picture))
        return path

    def grid(self, step: int, name: str, pictures: Tensor, columns: int) -> Path:
        """Save pictures (N, C, H, W) in [-1, 1] that were made from fixed latents as a grid under `samples/`.

        The file can be taken apart again, so that the report can show the same pictures over time.

        Raises:
            StorageError: the picture cannot be written.
        """
        from i2i.training.sheets import grid, layout_of, save_sheet

        picture = grid(pictures, columns)
        path = save_sheet(self.run_folder, step, name, picture, layout_of(pictures, columns))
        self._each_sink(lambda sink: sink.images(step, name, picture))
        return path

    def figures(self, step: int, figures: Sequence[Figure]) -> None:
        """Pass the figures of an evaluation, with how each was made, to the sinks; their values are logged as a row."""
        kept = list(figures)
        self._each_sink(lambda sink: sink.figures(step, kept))

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        """Tell the sinks of a model file that was just written, under names like "latest" and "best"."""
        names = list(aliases)
        self._each_sink(lambda sink: sink.model(Path(path), names))

    def finish(self, summary: Mapping[str, float | str] | None = None, failed: bool = False) -> None:
        """Close the record and the sinks; calling it again does nothing.

        Args:
            summary: what else to say of the run besides the best value of every score.
            failed: the attempt ends before its time.
        """
        if self._file.closed:
            return
        if self._sinks:
            whole = best_values(read_metrics(self._path)) | dict(summary or {})
            self._each_sink(lambda sink: sink.finish(whole, failed))
            self._sinks.clear()
        try:
            self._file.close()
        except OSError as error:
            raise _storage_error(self._path, error) from error

    def _each_sink(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:  # a sink is foreign code: whatever it raises, training goes on
                self._sinks.remove(sink)
                _log.warning("%s failed and is off for this attempt: %s", type(sink).__name__, error or type(error))


def _append(file: IO[bytes], record: Mapping[str, Any]) -> None:
    """Write one line to an unbuffered file; a full disk is an error, not a line cut short."""
    line = line_of(record)
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _repair_end(path: Path) -> None:
    """Cut off the part of a line that a killed process left, so that the next row starts on a line of its own."""
    if not path.exists():
        return
    content = read_regular(path)
    if content and not content.endswith(b"\n"):
        complete = content.rfind(b"\n") + 1
        with path.open("r+b") as file:
            if record_in(content[complete:]) is None:
                file.truncate(complete)
            else:
                file.seek(0, os.SEEK_END)
                file.write(b"\n")


def _to_json(value: float) -> float | str:
    # JSON has no NaN or infinity; as text they survive every parser, and float("nan") reads them back.
    return value if math.isfinite(value) else str(value)


def _storage_error(path: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or str(error)
    return StorageError(f"{path}: cannot be written: {reason} - free space or choose another folder with --out")
