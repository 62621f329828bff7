"""Figures as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence

from i2i.evaluation.measures import decimals, kind_of
from i2i.evaluation.passports.comparison import ComparedFigure, Comparison
from i2i.evaluation.passports.figures import Figure, Passport
from i2i.evaluation.upscaling import PROTOCOLS

_HASH_DIGITS = 8


def figure_table(figures: Sequence[Figure]) -> str:
    """A line a figure, and below how they were made."""
    rows = [(figure.label, shown(figure), _interval(figure), _which_is_better(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{label:<{widths[0]}}  {value:>{widths[1]}}  {interval:<{widths[2]}}  {better}".rstrip()
        for label, value, interval, better in rows
    ]
    return "\n".join([*lines, *_how_made(figures)])


def comparison_table(comparison: Comparison, names: tuple[str, str]) -> str:
    """Both values of each figure, their difference, and which is better."""
    heads = ["", *_short(names), "difference", ""]
    rows = [heads]
    for one in comparison.figures:
        values = [f"{shown(figure)} {_interval(figure)}".rstrip() for figure in (one.first, one.second)]
        difference = f"{one.difference:+.{digits(one.first)}f}"
        rows.append([one.first.label, *values, difference, _verdict(one, difference, heads)])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]
    kinds = [
        figure.interval.kind for one in comparison.figures for figure in (one.first, one.second) if figure.interval
    ]
    lines += [f"+- {kind}" for kind in dict.fromkeys(kinds)]
    for name, only in zip(names, (comparison.only_first, comparison.only_second), strict=True):
        lines += [f"only in {name}: {', '.join(only)}"] if only else []
    lines += [f"ignored: {said}" for said in comparison.ignored.values()]
    return "\n".join([*lines, *(f"note: {said}" for said in comparison.run_differently.values())])


def shown(figure: Figure) -> str:
    """The value as a table shows it, with its unit."""
    unit = f" {figure.unit}" if figure.unit else ""
    return f"{figure.value:.{digits(figure)}f}{unit}"


def digits(figure: Figure) -> int:
    """Behind the point."""
    known = kind_of(figure.name) or kind_of(figure.passport.metric) or PROTOCOLS.get(figure.passport.metric)
    return decimals(figure.value, 4 if known is None else known.digits)


def _interval(figure: Figure) -> str:
    return "" if figure.interval is None else f"+- {figure.interval.half_width:.{digits(figure)}f}"


def _verdict(one: ComparedFigure, difference: str, heads: Sequence[str]) -> str:
    """Which is better, as far as the table shows it."""
    if one.first.higher_is_better is None or not difference.strip("+-0."):
        return ""
    if one.better is None:
        return "within the intervals"
    return f"{heads[1] if one.better == 'first' else heads[2]} is better"


def _which_is_better(figure: Figure) -> str:
    if figure.higher_is_better is None:
        return ""
    return "higher is better" if figure.higher_is_better else "lower is better"


def _how_made(figures: Sequence[Figure]) -> list[str]:
    """Intervals, networks and sets of pictures, each said once."""
    intervals = [f"+- {figure.interval.kind}" for figure in figures if figure.interval is not None]
    networks = [_network(figure.passport) for figure in figures if figure.passport.extractor is not None]
    return list(dict.fromkeys([*intervals, *networks]))


def _network(passport: Passport) -> str:
    return f"{passport.extractor} ({str(passport.weights_sha256)[:_HASH_DIGITS]}), {passport.preprocessing}"


def _short(names: tuple[str, str]) -> list[str]:
    """The names, without what both begin with where they are paths in one folder."""
    first, second = (name.rstrip("/").split("/") for name in names)
    common = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    return ["/".join(first[common:]) or names[0], "/".join(second[common:]) or names[1]]
