"""One page about several runs: facts side by side, figures with their passports, pictures, curves and recipes.

Figures whose passports differ are shown, and marked; which is better is said only where they were made alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2i.files import write_atomically
from i2i.report.comparison_tables import (
    facts_table,
    figures_table,
    recipes_table,
    scores_table,
)
from i2i.report.curves import MOST_POINTS, curve_panels, theory_of, time_axes
from i2i.report.pictures import sample_sheets
from i2i.report.run_files import RunFiles, read_run
from i2i.report.shell import Section, assemble

COMPARISON_FILE = "comparison.html"
SHEETS_BYTES = 1_500_000
MOST_SHEETS_PER_NAME = 6
"""Of a run: its own page has more."""


def write_comparison(run_folders: Sequence[Path], path: Path) -> Path:
    """Write the page about several runs to `path` and return that.

    Raises:
        StorageError: the page cannot be written.
    """
    write_atomically(Path(path), render_comparison(run_folders))
    return Path(path)


def render_comparison(run_folders: Sequence[Path]) -> str:
    """The page as text; see `write_comparison`."""
    runs = [read_run(folder) for folder in run_folders]
    names = run_names(runs)
    sheets = _sheets(runs, names)
    data = {
        "axes": [time_axes(run.rows) for run in runs],
        "panels": _panels(runs, names),
        "sheets": sheets,
        "overTime": {},
        "compare": _compare(runs, names, sheets),
        "alarms": [],
    }
    sections = [
        Section(key="facts", title="Facts", content=facts_table(runs, names)),
        Section(key="compare", title="Run against run", content="", hidden=True),
        *_scores_section(runs, names),
        Section(key="recipes", title="Recipes", content=recipes_table(runs, names)),
        Section(key="samples", title="Samples over time", content="", hidden=True),
        Section(key="curves", title="Curves", content="", hidden=True),
    ]
    return assemble(
        kind="comparison of runs",
        title=f"{len(runs)} runs side by side",
        subtitle=", ".join(names),
        header="",
        sections=sections,
        data=data,
    )


def run_names(runs: Sequence[RunFiles]) -> list[str]:
    """What the runs are called on the page: their folders' names, or their paths where names are the same."""
    folders = [run.folder.resolve().name for run in runs]
    return folders if len(set(folders)) == len(folders) else [str(run.folder) for run in runs]


def _scores_section(runs: Sequence[RunFiles], names: Sequence[str]) -> list[Section]:
    content = figures_table(runs, names) + scores_table(runs, names)
    return [Section(key="scores", title="Scores", content=content)] if content else []


def _panels(runs: Sequence[RunFiles], names: Sequence[str]) -> list[dict[str, Any]]:
    """A panel for every curve that a run has, with one series a run; panels of the first run come first."""
    panels: dict[tuple[str, str, str], dict[str, Any]] = {}
    for number, run in enumerate(runs):
        for panel in curve_panels(run.rows, theory_of(run.pipeline), run.scale, MOST_POINTS // len(runs)):
            for series in panel["series"]:
                key = (panel["section"], panel["title"], series["name"])
                title = panel["title"] if series["name"] in (panel["title"], "memory") else _title(panel, series)
                kept = panels.setdefault(key, {**panel, "title": title, "series": [], "lines": [], "compared": True})
                kept["series"].append({**series, "name": names[number], "run": number})
                kept["lines"] += [line for line in panel["lines"] if line not in kept["lines"]]
    order = list(dict.fromkeys(panel["heading"] for panel in panels.values()))
    return sorted(panels.values(), key=lambda panel: order.index(panel["heading"]))


def _title(panel: dict[str, Any], series: dict[str, Any]) -> str:
    same = panel["title"].lower() == series["name"].lower()
    return panel["title"] if same else f"{panel['title']}, {series['name']}"


def _sheets(runs: Sequence[RunFiles], names: Sequence[str]) -> list[dict[str, Any]]:
    """The sheets of all runs, those of one name beside each other; `run` is the number of the run."""
    found = [
        {**group, "name": f"{number}/{group['name']}", "of": group["name"], "run": number}
        | {"title": f"{group['title']}: {names[number]}"}
        for number, run in enumerate(runs)
        for group in sample_sheets(run.folder / "samples", SHEETS_BYTES // len(runs), MOST_SHEETS_PER_NAME)
    ]
    order = list(dict.fromkeys(group["of"] for group in found))
    return sorted(found, key=lambda group: order.index(group["of"]))


def _compare(runs: Sequence[RunFiles], names: Sequence[str], sheets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest sheets of runs over each other, by name, where at least two have one size."""
    groups = []
    for of in dict.fromkeys(group["of"] for group in sheets):
        newest = [(group, group["frames"][-1]) for group in sheets if group["of"] == of]
        sizes = [(frame["width"], frame["height"]) for _, frame in newest]
        alike = [item for item, size in zip(newest, sizes, strict=True) if size == sizes[0]]
        if len(alike) < 2:
            continue
        width, height = sizes[0]
        sources = [[group["name"], len(group["frames"]) - 1] for group, _ in alike]
        groups.append(
            {
                "title": alike[0][0]["title"].partition(":")[0],
                "step": alike[0][1]["step"],
                "caption": "The newest sheet of each run. Drag, or use the arrow keys.",
                "columns": [f"{names[group['run']]}, step {frame['step']:,}" for group, frame in alike],
                "left": 0,
                "right": 1,
                "pictures": [{"width": width, "height": height, "pixelated": False, "sources": sources}],
            }
        )
    return groups
