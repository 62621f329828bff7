"""One self-contained HTML page about a run, made from nothing but the files of its run folder.

The page needs no network and no other file: pictures and numbers lie inside it. Style and scripts are in `assets`
beside this module; `i2i.report.shell` puts them together.
"""

from __future__ import annotations

from pathlib import Path

from i2i.files import write_atomically
from i2i.report.before_after import before_after
from i2i.report.curves import curve_panels, theory_of, time_axes
from i2i.report.pictures import grids_over_time, sample_sheets
from i2i.report.run_files import RunFiles, read_run
from i2i.report.score_tables import figures_html, scores_html
from i2i.report.scores import Score, figure_histories, recorded_scores
from i2i.report.sections import (
    alarms_html,
    details_html,
    facts_html,
    facts_of,
    notice_html,
    reproduce_html,
    subtitle,
)
from i2i.report.shell import Section, assemble

REPORT_FILE = "report.html"


def write_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write a run's page from what lies in its folder, missing parts left out, and return the page's path.

    Args:
        run_folder: of the run.
        path: where to write it; `report.html` in the run folder by default.

    Raises:
        StorageError: the page cannot be written.
    """
    run_folder = Path(run_folder)
    path = run_folder / REPORT_FILE if path is None else Path(path)
    write_atomically(path, render_report(run_folder))
    return path


def render_report(run_folder: Path) -> str:
    """The page as text; see `write_report`."""
    run = read_run(run_folder)
    samples = run.folder / "samples"
    sheets = sample_sheets(samples)
    data = {
        "axes": [time_axes(run.rows)],
        "panels": curve_panels(run.rows, theory_of(run.pipeline), run.scale),
        "sheets": sheets,
        "overTime": grids_over_time(samples),
        "compare": before_after(samples, sheets),
        "alarms": [{"step": alarm["step"], "title": alarm["title"]} for alarm in run.alarms],
    }
    validated, evaluated = (recorded_scores(run.rows, section, run.scale) for section in ("validation", "evaluation"))
    scores = _scores_section(run, validated, evaluated)
    header = facts_html(facts_of(run, evaluated or validated)) + alarms_html(run.alarms) + notice_html(run.rows)
    sections = [
        Section(key="compare", title="Before and after", content="", hidden=True),
        *([Section(key="scores", title="Scores", content=scores)] if scores else []),
        Section(key="samples", title="Samples over time", content="", hidden=True),
        Section(key="curves", title="Curves", content="", hidden=True),
        Section(key="reproduce", title="Reproduce", content=reproduce_html(run)),
        Section(key="details", title="Details", content=details_html(run)),
    ]
    return assemble(
        kind="run report", title=run.name, subtitle=subtitle(run), header=header, sections=sections, data=data
    )


def _scores_section(run: RunFiles, validated: list[Score], evaluated: list[Score]) -> str:
    histories = figure_histories(run.evaluations)
    with_passport = {history.newest.name for history in histories}
    parts = (
        figures_html(histories),
        scores_html(
            [score for score in evaluated if score.key not in with_passport],
            "Evaluation during training",
            "As they were recorded; how they were made is in the recipe.",
        ),
        scores_html(
            validated, "Validation", "A quick look at a few test pictures during training, to follow this run by."
        ),
    )
    return "".join(part for part in parts if part)
