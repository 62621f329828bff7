"""Two evaluations side by side, where their figures were made alike; else what differs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from i2i.errors import UsageError
from i2i.evaluation.passports.figures import Figure, FigureSheet, Passport, Setting, passport_fields

_HASH_DIGITS = 8
_Value = Setting | None


@dataclass(frozen=True, kw_only=True)
class ComparedFigure:
    """A figure of both evaluations."""

    first: Figure
    second: Figure

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second.value - self.first.value

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Which is better; None where they are equal, their intervals overlap, or neither way is better."""
        if self.first.higher_is_better is None or not self.apart:
            return None
        return "second" if (self.difference > 0) == self.first.higher_is_better else "first"

    @property
    def apart(self) -> bool:
        """Whether the figures differ by more than their intervals together."""
        slack = sum(0.0 if one.interval is None else one.interval.half_width for one in (self.first, self.second))
        return abs(self.difference) > slack


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two sheets have in common."""

    figures: Sequence[ComparedFigure]
    only_first: Sequence[str]
    """Names of figures that the other sheet does not have."""
    only_second: Sequence[str]
    ignored: Mapping[str, str]
    """Fields of the passports that differ and were told to be passed over: both values, in words."""
    run_differently: Mapping[str, str]
    """Settings of the models that differ, which no passport forbids: both values, in words."""

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold."""
        return {
            "figures": [
                {
                    "name": one.first.name,
                    "label": one.first.label,
                    "first": _finite(one.first.value),
                    "second": _finite(one.second.value),
                    "difference": _finite(one.difference),
                    "unit": one.first.unit,
                    "better": one.better,
                    "intervals": [
                        None if figure.interval is None else figure.interval.half_width
                        for figure in (one.first, one.second)
                    ],
                }
                for one in self.figures
            ],
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "ignored": dict(self.ignored),
            "run_differently": dict(self.run_differently),
        }


def passport_differences(first: Passport, second: Passport) -> dict[str, tuple[_Value, _Value]]:
    """The fields in which two passports differ, with both values; the metric's own are called ``parameters.NAME``."""
    mine, others = passport_fields(first), passport_fields(second)
    return {
        name: (mine.get(name), others.get(name))
        for name in dict.fromkeys([*mine, *others])
        if mine.get(name) != others.get(name)
    }


def compare_sheets(first: FigureSheet, second: FigureSheet, *, ignore: Sequence[str] = ()) -> Comparison:
    """The figures that both sheets have.

    Args:
        ignore: fields of the passports that may differ; "parameters" stands for all of the metrics' own.

    Raises:
        UsageError: there is no such figure, passports differ, or a field to ignore is unknown.
    """
    _check_fields(ignore, [*first.figures, *second.figures])
    by_name = {figure.name: figure for figure in second.figures}
    pairs = [(figure, by_name[figure.name]) for figure in first.figures if figure.name in by_name]
    if not pairs:
        raise UsageError(
            f"no figure in common: one has {_listed(first.figures)}, the other {_listed(second.figures)}"
            " - evaluate both with the same --metrics"
        )
    refused: dict[str, list[str]] = {}
    ignored: dict[str, str] = {}
    for mine, other in pairs:
        for name, values in passport_differences(mine.passport, other.passport).items():
            said = f"{name} is {_shown(values[0])} and {_shown(values[1])}"
            if name in ignore or name.partition(".")[0] in ignore:
                ignored[name] = said
            else:
                refused.setdefault(said, []).append(mine.name)
    if refused:
        raise UsageError(_refusal(refused, len(pairs)))
    settings = first.subject.settings, second.subject.settings
    mine, others = ({figure.name for figure in sheet.figures} for sheet in (first, second))
    return Comparison(
        figures=[ComparedFigure(first=one, second=other) for one, other in pairs],
        only_first=[figure.name for figure in first.figures if figure.name not in others],
        only_second=[figure.name for figure in second.figures if figure.name not in mine],
        ignored=ignored,
        run_differently={
            name: f"{name} is {_shown(settings[0].get(name))} and {_shown(settings[1].get(name))}"
            for name in dict.fromkeys([*settings[0], *settings[1]])
            if settings[0].get(name) != settings[1].get(name)
        },
    )


def _refusal(refused: Mapping[str, Sequence[str]], figures: int) -> str:
    """What differs, and of which figures where it is not all of them."""
    parts = [said if len(names) == figures else f"{said} ({', '.join(names)})" for said, names in refused.items()]
    field = next(iter(refused)).partition(" ")[0]
    return (
        f"figures with different passports do not compare: {'; '.join(parts)}"
        f" - evaluate both alike, or say what may differ (--ignore {field})"
    )


def _check_fields(ignore: Sequence[str], figures: Sequence[Figure]) -> None:
    own = {f"parameters.{name}" for figure in figures for name in figure.passport.parameters}
    known = [*(one.name for one in fields(Passport)), *sorted(own)]
    for name in ignore:
        if name not in known:
            near = difflib.get_close_matches(name[:60], known, n=1, cutoff=0.5)
            guess = f", did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--ignore {name[:60]}: no field of a passport{guess} - there are {', '.join(known)}")


def _listed(figures: Sequence[Figure]) -> str:
    return ", ".join(figure.name for figure in figures) or "none"


def _shown(value: _Value) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    hexadecimal = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return f"{text[:_HASH_DIGITS]}..." if hexadecimal else text


def _finite(value: float) -> float | str:
    return value if abs(value) < float("inf") else str(value)
