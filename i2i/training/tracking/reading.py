"""Reads the record of a run: `metrics.jsonl` and `alarms.jsonl`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from i2i.errors import ModelError
from i2i.files import read_regular
from i2i.training.tracking.lines import record_in

METRICS_FILE, ALARMS_FILE = "metrics.jsonl", "alarms.jsonl"
_log = logging.getLogger(__name__)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl` (or the one in a run folder) as rows in the order of their steps.

    Each row has attempt, step, images, epoch, wall_seconds, time and values (name to float; NaN and infinity are
    floats again). Where training went back, what it did anew wins: rows of an older attempt whose step is not below
    the first step of a newer attempt are left out, and so are those from which one attempt itself went back (to its
    last good checkpoint). Damaged lines (a process killed while writing) are skipped; a missing file gives no rows.
    """
    path = Path(path)
    kept: list[dict[str, Any]] = []
    for row in all_rows(path / METRICS_FILE if path.is_dir() else path):
        gone_back = bool(kept) and row["attempt"] == kept[-1]["attempt"] and row["step"] < kept[-1]["step"]
        of_this_step: list[dict[str, Any]] = []
        while kept and kept[-1]["step"] >= row["step"]:
            other = kept.pop()
            # Several rows of one step and attempt (losses, then validation) are no step back.
            if other["step"] == row["step"] and not gone_back and _stays(other, row):
                of_this_step.append(other)
        kept += reversed(of_this_step)
        kept.append(row)
    return kept


def _stays(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether an earlier row of the same step stays beside `row`: of the same attempt, or because a newer attempt says
    something else and takes no step. So it is when an evaluation was cut off: the next attempt begins with it."""
    if other["attempt"] == row["attempt"]:
        return True
    return not _takes_a_step(row) and not other["values"].keys() <= row["values"].keys()


def _takes_a_step(row: Mapping[str, Any]) -> bool:
    return any(name.startswith("loss/") for name in row["values"])


def read_alarms(run_folder: Path) -> list[dict[str, Any]]:
    """Read `alarms.jsonl` of a run: rows with attempt, step, images, kind, title, reason, advice and action.

    A warning about steps that a newer attempt did anew is left out, as `read_metrics` leaves out those steps; an alarm
    that stopped the run or made it go back stays, for it tells why. Damaged lines are skipped; a missing file gives no
    rows.
    """
    begun: dict[int, int] = {}
    for row in all_rows(Path(run_folder) / METRICS_FILE):
        # One that begins with the evaluation that the one before it owed has not done that step anew.
        if _takes_a_step(row):
            begun.setdefault(row["attempt"], row["step"])
    return [
        row
        for row in all_rows(Path(run_folder) / ALARMS_FILE, _typed_alarm)
        if row["action"] != "warn"
        or not any(attempt > row["attempt"] and first <= row["step"] for attempt, first in begun.items())
    ]


def next_attempt(run_folder: Path) -> int:
    """The number of the attempt that would begin now: 1 in a fresh folder."""
    return 1 + max((row["attempt"] for row in all_rows(Path(run_folder) / METRICS_FILE)), default=0)


def all_rows(path: Path, typed: Callable[[dict[str, Any]], bool] | None = None) -> Iterator[dict[str, Any]]:
    """All whole rows of a record, those done anew too; damaged lines are skipped, a missing file has none."""
    try:
        lines = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error} - check the file") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = record_in(line)
        if row is not None and (typed or _typed)(row):
            yield row
        elif number < len(lines):
            _log.warning("%s:%d: damaged line skipped", path, number)


def _typed(row: dict[str, Any]) -> bool:
    """Whether all is there; numbers are then of their types."""
    try:
        row["values"] = {str(name): float(value) for name, value in row["values"].items()}
        row["attempt"], row["step"], row["images"] = int(row["attempt"]), int(row["step"]), int(row["images"])
        row["epoch"], row["wall_seconds"] = float(row["epoch"]), float(row["wall_seconds"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
    return True


def _typed_alarm(row: dict[str, Any]) -> bool:
    try:
        row["attempt"], row["step"], row["images"] = int(row["attempt"]), int(row["step"]), int(row["images"])
        for name in ("kind", "title", "reason", "advice", "action"):
            row[name] = str(row[name])
    except (ValueError, TypeError, KeyError, OverflowError):
        return False
    return True
