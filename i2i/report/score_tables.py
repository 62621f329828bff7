"""Scores and figures of one run as HTML tables; every figure with its passport."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from i2i.evaluation.passports.figures import Figure, Interval, Subject
from i2i.report.names import ScoreName, capital, format_number, score_name, words
from i2i.report.scores import FigureHistory, Score


def scores_html(scores: Sequence[Score], caption: str, explanation: str) -> str:
    """Newest and best values of recorded scores, and what baselines reach; "" without any."""
    if not scores:
        return ""
    body = "".join(_score_row(score) for score in scores)
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Score", "Newest", "Best"))
    return (
        f'<div class="card scores"><table><caption>{html.escape(caption)}<small>{html.escape(explanation)}</small>'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _score_row(score: Score) -> str:
    name = score.name
    baseline = "".join(f"; {other} {name.write(reached)}" for other, reached in score.baselines.items())
    best = "" if name.higher_is_better is None else f"<b>{name.write(score.best)}</b>"
    return (
        f'<tr><th scope="row">{html.escape(name.label)}'
        f"<small>{html.escape(unit_and_direction(name.unit, name.higher_is_better) + baseline)}</small></th>"
        f"<td>{name.write(score.newest)}</td>"
        f"<td>{best}<small>step {score.best_step:,}</small></td></tr>"
    )


def figures_html(histories: Sequence[FigureHistory]) -> str:
    """The newest and, where one has it, the best figure of every kind, with passport and interval; "" without any."""
    if not histories:
        return ""
    with_best = any(history.best is not None for history in histories)
    body = "".join(_figure_rows(history, with_best=with_best) for history in histories)
    titles = ("Figure", "Newest", "Best") if with_best else ("Figure", "Newest")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        '<div class="card scores"><table><caption>Evaluation<small>Figures may be held against others with the same '
        "passport: open it to see how a figure was made.</small></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure_rows(history: FigureHistory, *, with_best: bool) -> str:
    newest, name = history.newest, figure_name(history.newest)
    direction = unit_and_direction(newest.unit or "", newest.higher_is_better)
    best = ""
    if history.best is not None and history.best_subject is not None:
        best = f"<b>{html.escape(name.write(history.best.value))}</b>{small(_step_words(history.best_subject))}"
    passport = passport_html(history.passport, history.subject, history.created, newest.interval)
    label = html.escape(newest.label)
    best_cell = f"<td>{best}</td>" if with_best else ""
    weakened = "" if history.subject.is_as_trained() else run_with(history.subject)
    return (
        f'<tr><th scope="row">{label}{small(direction)}{small(_counts_words(history.passport))}{small(weakened)}</th>'
        f"<td>{value_html(newest, name)}{small(_step_words(history.subject))}</td>{best_cell}</tr>"
        f'<tr class="passport"><td colspan="{3 if with_best else 2}"><details><summary>Passport'
        f'<span class="unseen"> of {label}</span></summary>{passport}</details></td></tr>'
    )


def _counts_words(passport: Mapping[str, Any]) -> str:
    """What tells figures of one name apart at first sight: how many pictures they are of."""
    counts = ((passport.get("fake_count"), "made"), (passport.get("real_count"), "real"))
    return ", ".join(f"{count:,} {which}" for count, which in counts if count is not None)


def value_html(figure: Figure, name: ScoreName) -> str:
    """A figure's value, with the interval it has."""
    value = f"<b>{html.escape(name.write(figure.value))}</b>"
    if figure.interval is None:
        return value
    return (
        f'{value} <b class="interval">± {html.escape(name.write(figure.interval.half_width, beside=figure.value))}</b>'
    )


def figure_name(figure: Figure) -> ScoreName:
    """How a figure's value is written."""
    return score_name(figure.name)


def passport_html(passport: Mapping[str, Any], subject: Subject, created: str, interval: Interval | None = None) -> str:
    """How a figure was made, field by field, and of what."""
    step = _step_words(subject)
    pairs = [("Measured", ", ".join([subject.description, *([step] if step not in subject.description else [])]))]
    hashed = "Model" if subject.model else "Pictures"
    pairs += [(name, text) for name, text in (("Model", subject.model), (f"{hashed}, SHA-256", subject.sha256)) if text]
    pairs += [("Run with", run_with(subject))] if subject.settings else []
    pairs += [] if interval is None else [("Interval", f"± {format_number(interval.half_width)}: {interval.kind}")]
    pairs += [(field_words(name), str(value)) for name, value in passport.items() if value is not None]
    pairs.append(("Made", created))
    items = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{items}</dl>"


def run_with(subject: Subject) -> str:
    """The settings of the model in one phrase."""
    return ", ".join(f"{words(name)} {value}" for name, value in subject.settings.items())


_FIELDS = {
    "weights_sha256": "Weights, SHA-256",
    "data_sha256": "Real pictures, SHA-256",
    "source_sha256": "Source pictures, SHA-256",
    "real_count": "Real pictures",
    "fake_count": "Made pictures",
    "code_version": "Code",
}


def field_words(name: str) -> str:
    """A field of a passport as a person would call it."""
    return _FIELDS.get(name) or capital(words(name.removeprefix("parameters.")))


def unit_and_direction(unit: str, higher_is_better: bool | None) -> str:
    """What stands below a score's name: "dB, higher is better"."""
    direction = "" if higher_is_better is None else f"{'higher' if higher_is_better else 'lower'} is better"
    return ", ".join(part for part in (unit, direction) if part)


def _step_words(subject: Subject) -> str:
    return "" if subject.step is None else f"step {subject.step:,}"


def small(text: str) -> str:
    """Plain text as a small line, "" where there is none."""
    return f"<small>{html.escape(text)}</small>" if text else ""
