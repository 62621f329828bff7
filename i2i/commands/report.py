"""`i2i report RUN...`: write each run's self-contained `report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from i2i.errors import UsageError

# Any of these makes a folder a run; writing a page into some other folder would only be clutter.
RUN_FILES = ("recipe.yaml", "metrics.jsonl", "environment.json", "model.safetensors")


def run(runs: Sequence[Path]) -> list[Path]:
    """Write `report.html` into every run folder and return the pages' paths, in order.

    Raises:
        UsageError: one of the paths is not a run folder; nothing is written then.
        StorageError: a page cannot be written.
    """
    from i2i.training.report import write_report

    if not runs:
        raise UsageError("report: no run given - name at least one run folder, e.g. runs/NAME")
    for folder in runs:
        if not Path(folder).is_dir():
            raise UsageError(f"{folder}: no such folder - give a run folder, e.g. runs/NAME")
        if not any((Path(folder) / name).exists() for name in RUN_FILES):
            raise UsageError(f"{folder}: not a run folder (no {', no '.join(RUN_FILES[:2])}) - give one from i2i train")
    return [write_report(Path(folder)) for folder in runs]
