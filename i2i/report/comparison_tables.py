"""Tables of several runs, one column a run: facts, figures with passports, validation scores, and recipes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from i2i.report.names import ScoreName
from i2i.report.recipe_difference import recipe_difference
from i2i.report.run_files import RunFiles
from i2i.report.score_tables import (
    field_words,
    figure_name,
    passport_html,
    small,
    unit_and_direction,
    value_html,
)
from i2i.report.scores import FigureHistory, Score, differing_fields, figure_histories, recorded_scores
from i2i.report.sections import facts_of

_READABLE = 16
"""Longest value of a field that a table shows beside its name; hashes and sentences are in the passport."""

_BEST = ' <span class="badge">best</span>'


def facts_table(runs: Sequence[RunFiles], names: Sequence[str]) -> str:
    """What to know of each run at first sight."""
    columns = [{label: (value, note) for label, value, note in _plain_facts(run)} for run in runs]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    rows = [(html.escape(label), [_fact(column.get(label)) for column in columns]) for label in labels]
    return _table("", "Fact", names, rows)


def _plain_facts(run: RunFiles) -> list[tuple[str, str, str]]:
    pipeline = str(run.pipeline.get("kind") or "")
    about = [("Recipe", run.name, pipeline), ("Folder", str(run.folder), "")]
    alarms = [("Alarms", str(len(run.alarms)), run.alarms[-1]["title"])] if run.alarms else []
    return [*about, *facts_of(run, []), *alarms]


def _fact(fact: tuple[str, str] | None) -> str:
    if fact is None:
        return '<td class="same">-</td>'
    value, note = fact
    return f"<td>{html.escape(value)}{small(note)}</td>"


def figures_table(runs: Sequence[RunFiles], names: Sequence[str]) -> str:
    """The newest figure of every kind of each run, of its model as it was trained; those whose passports differ are
    marked and not ranked."""
    newest: list[dict[str, FigureHistory]] = []
    for run in runs:
        found: dict[str, FigureHistory] = {}
        for history in figure_histories([one for one in run.evaluations if one.subject.is_as_trained()]):
            found.setdefault(history.newest.name, history)
        newest.append(found)
    kinds = list(dict.fromkeys(name for found in newest for name in found))
    if not kinds:
        return ""
    rows = [_figure_row([found.get(kind) for found in newest]) for kind in kinds]
    caption = "Figures with the same passport may be held against each other; open it to see how one was made."
    return _table(f"Evaluation<small>{caption}</small>", "Figure", names, rows)


def _figure_row(histories: Sequence[FigureHistory | None]) -> tuple[str, list[str]]:
    present = [history for history in histories if history is not None]
    differing = differing_fields([history.passport for history in present])
    figure = present[0].newest
    head = f"{html.escape(figure.label)}{small(unit_and_direction(figure.unit or '', figure.higher_is_better))}"
    if differing:
        passports = [history.passport for history in present]
        fields = "; ".join(_differing_words(name, [passport.get(name) for passport in passports]) for name in differing)
        head += f'<span class="badge warning">not comparable</span>{small(f"passports differ in {fields}")}'
    values = [None if history is None else history.newest.value for history in histories]
    best = None if differing else _best(values, figure.higher_is_better)
    return head, [
        '<td class="same">-</td>' if history is None else _figure_cell(history, number == best)
        for number, history in enumerate(histories)
    ]


def _differing_words(name: str, values: Sequence[Any]) -> str:
    """A field that differs, and with which values, as far as they are short enough to read."""
    texts = ["none" if value is None else str(value) for value in values]
    shown = f" ({', '.join(texts)})" if max(map(len, texts)) <= _READABLE else ""
    return field_words(name) + shown


def _figure_cell(history: FigureHistory, is_best: bool) -> str:
    figure, name = history.newest, figure_name(history.newest)
    passport = passport_html(history.passport, history.subject, history.created, figure.interval)
    return (
        f"<td>{value_html(figure, name)}{_BEST if is_best else ''}"
        f'<div class="passport"><details><summary>Passport<span class="unseen"> of {html.escape(figure.label)}</span>'
        f"</summary>{passport}</details></div></td>"
    )


def scores_table(runs: Sequence[RunFiles], names: Sequence[str]) -> str:
    """Best validation scores; ranked only where the runs validated on the same pictures."""
    found = [{score.key: score for score in recorded_scores(run.rows, "validation", run.scale)} for run in runs]
    keys = list(dict.fromkeys(key for scores in found for key in scores))
    if not keys:
        return ""
    alike = len({repr(_validated_on(run)) for run in runs}) == 1
    rows = []
    for key in keys:
        scores = [one.get(key) for one in found]
        name = next(score.name for score in scores if score is not None)
        best = None
        if alike:
            best = _best([None if score is None else score.best for score in scores], name.higher_is_better)
        cells = [_score_cell(score, name, number == best) for number, score in enumerate(scores)]
        rows.append((html.escape(name.label) + small(unit_and_direction(name.unit, name.higher_is_better)), cells))
    marked = "" if alike else '<span class="badge warning">not ranked</span> The runs have different data settings. '
    caption = f"Validation<small>{marked}Best value of each run, on a few test pictures.</small>"
    return _table(caption, "Score", names, rows)


def _validated_on(run: RunFiles) -> Any:
    """What decides which pictures a run validates on."""
    training = run.recipe.get("training")
    validation = training.get("validation") if isinstance(training, dict) else None
    pictures = validation.get("pictures") if isinstance(validation, dict) else None
    return run.recipe.get("data"), pictures


def _score_cell(score: Score | None, name: ScoreName, is_best: bool) -> str:
    if score is None:
        return '<td class="same">-</td>'
    baseline = "".join(f"; {html.escape(other)} {name.write(reached)}" for other, reached in score.baselines.items())
    return (
        f"<td><b>{name.write(score.best)}</b>{_BEST if is_best else ''}"
        f"<small>step {score.best_step:,}{baseline}</small></td>"
    )


def recipes_table(runs: Sequence[RunFiles], names: Sequence[str]) -> str:
    """Settings that differ, by the names that ``--set`` takes."""
    difference = recipe_difference([run.recipe for run in runs])
    if not difference.differing:
        return f'<p class="notice">All {difference.same} settings of the recipes are the same.</p>'
    rows = [
        (_breakable(name), [f"<td>{html.escape(value)}</td>" for value in values])
        for name, values in difference.differing.items()
    ]
    caption = f"Settings that differ<small>{difference.same} others are the same.</small>"
    return _table(caption, "Setting", names, rows)


def _breakable(name: str) -> str:
    """A dotted name that a narrow column breaks at its dots."""
    return html.escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _best(values: Sequence[float | None], higher_is_better: bool | None) -> int | None:
    """Number of the one best value; None where there is none to compare with, or more than one is best."""
    known = [value for value in values if value is not None and value == value]
    if higher_is_better is None or len(known) < 2:
        return None
    best = (max if higher_is_better else min)(known)
    return values.index(best) if known.count(best) == 1 else None


def _table(caption: str, corner: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table with one column a run; captions, heads and cells are HTML, the runs' names plain text."""
    heads = "".join(
        f'<th scope="col"><i style="background:var(--c{number % 8})"></i>{html.escape(name)}</th>'
        for number, name in enumerate(names)
    )
    body = "".join(f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>' for head, cells in rows)
    title = f'<p class="table-title">{caption}</p>' if caption else ""
    return (
        f'{title}<div class="card sides" tabindex="0" role="group" aria-label="{html.escape(corner)} by run"><table>'
        f'<thead><tr><th scope="col">{corner}</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )
