"""How the scores of a run went: newest and best values, and the figures of its evaluations with their passports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i.evaluation.passports.figures import Figure, FigureSheet, Subject, passport_fields
from i2i.report.names import ScoreName, score_name


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one recorded score went: its newest value, its best one and the step of that."""

    key: str
    """As it is recorded, without ``validation/``."""
    name: ScoreName
    newest: float
    best: float
    best_step: int
    baselines: Mapping[str, float]
    """What else reached on the same pictures, by its name: bicubic."""


@dataclass(frozen=True, kw_only=True)
class FigureHistory:
    """All figures of one name that were made in exactly the same way: only these may be held against each other.

    Those of a model that was not run as it was trained (see `Subject.is_as_trained`) are none of its others'.
    """

    newest: Figure
    subject: Subject
    """What the newest one was measured of."""
    created: str
    best: Figure | None
    """None where no value is better than another, where there is only one, or none of the model as it was trained."""
    best_subject: Subject | None

    @property
    def passport(self) -> dict[str, str | int | float | None]:
        """Every field of the passport by name."""
        return passport_fields(self.newest.passport)


def recorded_scores(rows: Iterable[Mapping[str, Any]], section: str, scale: int | None = None) -> list[Score]:
    """Newest and best value of every score under `section` ("validation", "evaluation"), in order of appearance."""
    history: dict[str, list[tuple[int, float]]] = {}
    baselines: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, value in row["values"].items():
            first, _, key = name.partition("/")
            if first == section and key:
                history.setdefault(key, []).append((row["step"], value))
            elif first == "baseline" and math.isfinite(value):
                baselines.setdefault(key.partition("/")[0], {})[key.partition("/")[2] or "baseline"] = value
    scores = []
    for key, points in history.items():
        name = score_name(key, scale)
        finite = [(step, value) for step, value in points if math.isfinite(value)] or points[-1:]
        best_step, best = (min if name.higher_is_better is False else max)(finite, key=lambda point: point[1])
        if name.higher_is_better is None:
            best_step, best = points[-1]
        scores.append(
            Score(
                key=key,
                name=name,
                newest=points[-1][1],
                best=best,
                best_step=best_step,
                baselines=baselines.get(key, {}) if section == "validation" else {},
            )
        )
    return scores


def figure_histories(sheets: Sequence[FigureSheet]) -> list[FigureHistory]:
    """The figures of all `sheets` (in order of their making), one history for each name and passport.

    Names come in order of their first appearance; of several passports the newest comes first.
    """
    groups: dict[str, dict[str, list[tuple[Figure, FigureSheet]]]] = {}
    for sheet in sheets:
        for figure in sheet.figures:
            made_how = groups.setdefault(figure.name, {})
            key = repr((sorted(passport_fields(figure.passport).items()), _weakened(sheet.subject)))
            # Taken out and put back in: the order is that of the newest figure of each.
            made_how[key] = [*made_how.pop(key, []), (figure, sheet)]
    return [_history(items) for made_how in groups.values() for items in reversed(made_how.values())]


def _weakened(subject: Subject) -> list[str]:
    """How a model was run, where it was not as it was trained."""
    return [] if subject.is_as_trained() else [str(subject.settings.get(name)) for name in ("strength", "consistent")]


def _history(items: Sequence[tuple[Figure, FigureSheet]]) -> FigureHistory:
    newest, sheet = items[-1]
    finite = [item for item in items if math.isfinite(item[0].value)]
    best: tuple[Figure, FigureSheet] | None = None
    ranked = newest.higher_is_better is not None and sheet.subject.is_as_trained()
    if ranked and len(items) > 1 and finite:
        best = (max if newest.higher_is_better else min)(finite, key=lambda item: item[0].value)
    return FigureHistory(
        newest=newest,
        subject=sheet.subject,
        created=sheet.created,
        best=None if best is None else best[0],
        best_subject=None if best is None else best[1].subject,
    )


def differing_fields(passports: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields in which passports (see `passport_fields`) are not all the same, in order of appearance."""
    names = dict.fromkeys(name for passport in passports for name in passport)
    return [name for name in names if len({repr(passport.get(name)) for passport in passports}) > 1]
