"""`i2i report RUN...`: write each run's self-contained `report.html`, and one page that compares several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from i2i.errors import UsageError


def run(runs: Sequence[Path], out: Path | None = None) -> list[Path]:
    """Write `report.html` into every run folder and, of several, a page that compares them; return the paths.

    Args:
        runs: run folders; one that is named twice counts once.
        out: where to write the page of a single run, or the comparison of several; by default the former lies in the
            run folder, and the latter is `comparison.html` beside the first run.

    Raises:
        UsageError: one of the paths is not a run folder; nothing is written then.
        StorageError: a page cannot be written.
    """
    from i2i.report.comparison import COMPARISON_FILE, write_comparison
    from i2i.report.page import write_report

    folders = _checked(runs)
    if out is not None and Path(out).is_dir():
        raise UsageError(f"--out {out}: a folder - name the page's file, e.g. {Path(out) / COMPARISON_FILE}")
    if len(folders) == 1:
        return [write_report(folders[0], out)]
    pages = [write_report(folder) for folder in folders]
    return [*pages, write_comparison(folders, out or _beside(folders[0]) / COMPARISON_FILE)]


def _beside(folder: Path) -> Path:
    """The folder that it lies in, said as it was said itself, as far as that has a name."""
    return (folder if folder.name not in ("", "..") else folder.resolve()).parent


def _checked(runs: Sequence[Path]) -> list[Path]:
    from i2i.report.run_files import RUN_FILES, is_run_folder

    if not runs:
        raise UsageError("report: no run given - name at least one run folder, e.g. runs/NAME")
    folders = {Path(folder).resolve(): Path(folder) for folder in runs}
    for folder in folders.values():
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder - give a run folder, e.g. runs/NAME")
        if not is_run_folder(folder):
            raise UsageError(f"{folder}: not a run folder (no {', no '.join(RUN_FILES[:2])}) - give one from i2i train")
    return list(folders.values())
