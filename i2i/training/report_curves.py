"""What a report says in numbers: curves sorted into panels, where theory expects them to end, and the best scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from i2i.core.losses.adversarial import AdversarialKind, equilibrium

# A curve is drawn some 400 pixels wide; all of them shall take no more of the page than its pictures.
MOST_POINTS_PER_CURVE = 600
MOST_POINTS = 30_000

_LOWER_IS_BETTER = re.compile(r"(?i)fid|kid|lpips|loss|error|mae|mse|l1|l2|distance|consistency|seconds")
# Gradient norms live on a scale of factors: beyond this ratio, equal distances in the panel are equal factors.
_LOGARITHMIC_FROM = 30.0


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one validation score went: its newest value, its best one and the step of that."""

    name: str
    newest: float
    best: float
    best_step: int
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Theory:
    """Where the loss of a run makes it end, if generated pictures become like real ones; numbers as far as known.

    See `i2i.core.losses.adversarial.equilibrium`.
    """

    judgement: float | None = None
    """Of a picture by the discriminator: a probability, or a logit where `is_probability` is false."""
    is_probability: bool = False
    discriminator: float | None = None
    """Sum of the discriminator's terms."""
    generator: float | None = None
    both_sides: str = ""
    """What the sum of the terms for real and generated pictures is called."""
    sign: float = 1.0
    """By which that sum is multiplied then."""


def theory_of(pipeline: Mapping[str, Any]) -> Theory:
    """What theory says about the loss that a recipe's `pipeline` names as `adversarial`; nothing if that is unknown."""
    kind, real_label = str(pipeline.get("adversarial")), pipeline.get("real_label", 1.0)
    if kind not in get_args(AdversarialKind) or not isinstance(real_label, int | float) or not 0 < real_label <= 1:
        return Theory()
    known = equilibrium(cast(AdversarialKind, kind), real_label)
    cross_entropy = kind in ("minimax", "nonsaturating", "maximum_likelihood")
    names = {"wasserstein": "Wasserstein distance, estimated"}
    return Theory(
        judgement=known.get("judgement"),
        is_probability=cross_entropy,
        discriminator=known.get("discriminator"),
        generator=known.get("generator"),
        both_sides="value function V(D, G)" if cross_entropy else names.get(kind, "real + fake"),
        sign=-1.0 if cross_entropy or kind == "wasserstein" else 1.0,
    )


def curve_panels(rows: Sequence[Mapping[str, Any]], theory: Theory | None = None) -> list[dict[str, Any]]:
    """Sort the rows' values into panels, each with the curves that share an axis.

    Returns:
        Panels with section, title, series, lines, logarithmic and a note that explains what is not common knowledge, or
        "". A series has name, steps, values, and `broken`: the steps at which its value was not finite. A line has a
        value and a label: where a curve should end.
    """
    theory = theory or Theory()
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        for name, value in (*row["values"].items(), *_both_sides(row["values"], theory)):
            steps, values = curves.setdefault(name, ([], []))
            steps.append(row["step"])
            values.append(value)
    if not theory.is_probability:
        # Of other losses than cross entropies the outputs are no log-odds: what looks like a probability is none.
        curves = {name: curve for name, curve in curves.items() if not name.endswith("_probability")}
    curves = {name: curve for name, curve in curves.items() if not _repeats_another(name, curves)}
    limit = max(100, min(MOST_POINTS_PER_CURVE, MOST_POINTS // max(1, len(curves))))
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    for name, (steps, values) in curves.items():
        section, title, series_name = _place(name)
        if section == "updates" and not any(values):
            continue  # no update was skipped: a line of zeros says nothing
        panel = panels.setdefault((section, title), {"section": section, "title": title, "series": []})
        panel["series"].append({"name": series_name, **_points(steps, values, limit)})
    for panel in panels.values():
        panel["series"].sort(key=lambda series: (series["name"] != "total", series["name"]))
        panel["lines"] = _lines(panel, theory)
        panel["note"] = _NOTES.get((panel["section"], panel["title"].split(": ")[-1]), "")
        panel["logarithmic"] = panel["section"] == "gradient_norm" and _spans_factors(panel["series"])
    return sorted(panels.values(), key=_panel_order)


def thin(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Keep at most `most` points: the lowest and highest of equal stretches, so that no spike is lost; ends stay."""
    if len(points) <= most:
        return list(points)
    inner, buckets = points[1:-1], max(1, (most - 2) // 2)
    kept = [points[0]]
    for bucket in range(buckets):
        part = inner[bucket * len(inner) // buckets : (bucket + 1) * len(inner) // buckets]
        if part:
            kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def higher_is_better(name: str) -> bool:
    """Whether a larger value of this validation score is the better one (PSNR, SSIM), judged by its name."""
    return _LOWER_IS_BETTER.search(name) is None


def validation_scores(rows: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Newest and best value of every `validation/...` score, in order of first appearance."""
    history: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row["values"].items():
            if name.startswith("validation/"):
                history.setdefault(name.removeprefix("validation/"), []).append((row["step"], value))
    scores = []
    for name, points in history.items():
        higher = higher_is_better(name)
        finite = [(step, value) for step, value in points if math.isfinite(value)] or points[-1:]
        best_step, best = (max if higher else min)(finite, key=lambda point: point[1])
        scores.append(Score(name=name, newest=points[-1][1], best=best, best_step=best_step, higher_is_better=higher))
    return scores


def newest_value(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The newest finite value of that name."""
    found = (row["values"].get(name, math.nan) for row in reversed(rows))
    return next((value for value in found if math.isfinite(value)), None)


def words(name: str) -> str:
    """A recorded name as a person would write it."""
    return name.replace("_", " ")


def _points(steps: Sequence[int], values: Sequence[float], limit: int) -> dict[str, Any]:
    pairs = list(zip(steps, values, strict=True))
    broken = [step for step, value in pairs if not math.isfinite(value)]
    kept = thin([(step, value) for step, value in pairs if math.isfinite(value)], limit)
    return {
        "steps": [step for step, _ in kept],
        "values": [float(f"{value:.5g}") for _, value in kept],
        "broken": broken[:: max(1, len(broken) // 100)],
    }


def _both_sides(values: Mapping[str, float], theory: Theory) -> list[tuple[str, float]]:
    """The sum of a discriminator's terms for real and generated pictures, whose end theory knows."""
    if theory.discriminator is None or not theory.both_sides:
        return []
    sums = []
    for name, value in values.items():
        fake = name.removesuffix("real") + "fake"
        if re.fullmatch(r"loss/[^/]+/real", name) and fake in values:
            update = name.split("/")[1]
            sums.append((f"balance/{theory.both_sides}/{update}", theory.sign * (value + values[fake])))
    return sums


def _lines(panel: Mapping[str, Any], theory: Theory) -> list[dict[str, Any]]:
    section, title = panel["section"], panel["title"]
    names = {series["name"] for series in panel["series"]}
    value, label = None, "equilibrium"
    if section == "balance" and title == theory.both_sides and theory.discriminator is not None:
        value = theory.sign * theory.discriminator
        label = "equilibrium -log 4 =" if theory.is_probability and math.isclose(value, -math.log(4)) else label
    elif section == "balance":
        value = theory.judgement
    elif section == "sample" and title in ("diversity", "midtones"):
        value, label = 1.0, "real pictures"
    elif section == "output" and names == {"real", "fake"} and not theory.is_probability:
        value = theory.judgement
    elif section == "loss" and "pair" in names:
        value = theory.discriminator
    elif section == "loss" and "adversarial" in names and names <= {"total", "adversarial"}:
        value = theory.generator
    return [] if value is None else [{"value": float(f"{value:.5g}"), "label": label}]


def _repeats_another(name: str, curves: Mapping[str, tuple[list[int], list[float]]]) -> bool:
    """Whether this is a weighted loss of weight 1, or the total of a single term."""
    if name.startswith("weighted/"):
        return curves.get("loss/" + name.removeprefix("weighted/")) == curves[name]
    update, _, last = name.rpartition("/")
    terms = [other for other in curves if other.startswith(f"{update}/") and other != name]
    return name.startswith("loss/") and last == "total" and len(terms) == 1 and curves[terms[0]] == curves[name]


def _spans_factors(series: Sequence[Mapping[str, Any]]) -> bool:
    values = [value for one in series for value in one["values"]]
    return bool(values) and min(values) > 0 and max(values) > _LOGARITHMIC_FROM * min(values)


def _place(name: str) -> tuple[str, str, str]:
    """Section, panel and curve of a value: `loss/generator/cycle_a` is curve cycle_a of panel "generator"."""
    first, *rest = name.split("/")
    if not rest:
        return "other", words(first), words(first)
    if first == "validation":
        # psnr_AtoB and psnr_BtoA share an axis; psnr and ssim do not.
        stem, _, entry_point = "/".join(rest).partition("_")
        return first, stem, entry_point or stem
    if first == "output" and rest[-1] in ("real_probability", "fake_probability"):
        return "balance", f"{words(rest[0])}: D(real) and D(fake)", f"D({rest[-1].removesuffix('_probability')})"
    if first == "sample":
        # Both are shares of what real pictures have, so they have an axis in common.
        return first, "diversity" if rest[-1] == "repeated" else words(rest[-1]), words(rest[-1])
    if len(rest) >= 2:
        return first, words(rest[0]), "/".join(rest[1:])
    if first in ("speed", "memory"):
        return first, words(rest[0]), words(rest[0])
    return first, words(first), rest[0]


_NOTES = {
    ("sample", "diversity"): (
        "Diversity: how different the pictures of a sheet are from each other, measured against real ones. 1 is as"
        " varied as real pictures; 0 means that all are the same. Repeated: the share of them with a near twin on the"
        " sheet."
    ),
    ("sample", "midtones"): (
        "How many pixel values lie between the darkest and the brightest, measured against real pictures. Above 1"
        " pictures are still soft; near 0 they are pure black and white, and the generator hardly learns any more."
    ),
    ("balance", "D(real) and D(fake)"): (
        "The probability of being real that the discriminator gives to real and to generated pictures. At the dashed"
        " line it cannot tell them apart."
    ),
}
"""By section and title of a panel: what it shows, for those who have not read the method's paper."""

_SECTIONS = (
    "validation",
    "balance",
    "sample",
    "loss",
    "output",
    "weighted",
    "gradient_norm",
    "learning_rate",
    "updates",
    "speed",
    "memory",
)


def _panel_order(panel: Mapping[str, Any]) -> tuple[int, str, bool]:
    section = panel["section"]
    rank = _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS)
    return rank, section, not panel["title"].startswith("generator")
