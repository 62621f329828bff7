"""What a report says in numbers: curves sorted into panels, and where theory or a baseline expects them to end."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from i2i.core.losses.adversarial import AdversarialKind, equilibrium
from i2i.report.names import capital, score_name, words

# A curve is drawn some 400 pixels wide; all of them shall take no more of the page than its pictures.
MOST_POINTS_PER_CURVE = 600
MOST_POINTS = 30_000
MOST_AXIS_POINTS = 200

SCORE_SECTIONS = ("evaluation", "validation")
"""What their names begin with is a score: of pictures nobody trains on, and with a best value."""

BASELINE = "baseline/"
"""A value that a validation score is to be held against: ``baseline/psnr_y_upscale/bicubic``."""

# Gradient norms live on a scale of factors: beyond this ratio, equal distances in the panel are equal factors.
_LOGARITHMIC_FROM = 30.0


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


def curve_panels(
    rows: Sequence[Mapping[str, Any]],
    theory: Theory | None = None,
    scale: int | None = None,
    most_points: int = MOST_POINTS,
) -> list[dict[str, Any]]:
    """Sort the rows' values into panels, each with the curves that share an axis.

    Args:
        rows: see `i2i.training.tracking.read_metrics`.
        theory: where curves should end.
        scale: by which the run's model enlarges, where it does.
        most_points: of all curves together.

    Returns:
        Panels with section, heading (of the section), title, unit, series, lines, logarithmic and a note that explains
        what is not common knowledge, or "". A series has name, steps, values, and `broken`: the steps at which its
        value was not finite. A line has a value and a label: where a curve should end, or what a baseline reaches.
    """
    theory = theory or Theory()
    curves = _shown_curves(rows, theory)
    limit = max(50, min(MOST_POINTS_PER_CURVE, most_points // max(1, len(curves))))
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    baselines: list[tuple[tuple[str, str], dict[str, Any]]] = []
    for name, (steps, values) in curves.items():
        section, title, series_name = _place(name, scale)
        if name.startswith(BASELINE):
            baselines.append(((section, title), {"value": float(f"{values[-1]:.5g}"), "label": series_name}))
            continue
        panel = panels.setdefault((section, title), _empty_panel(section, title, name, scale))
        panel["series"].append({"name": series_name, **_points(steps, values, limit)})
    for panel in panels.values():
        panel["series"].sort(key=lambda series: (series["name"] != "total", series["name"]))
        panel["lines"] = _lines(panel, theory)
        panel["logarithmic"] = "gradient_norm" in panel["section"] and _spans_factors(panel["series"])
    for place, line in baselines:
        if place in panels and math.isfinite(line["value"]):
            panels[place]["lines"].append(line)
    return sorted(panels.values(), key=_panel_order)


def time_axes(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """What a step means in pictures and in hours, at a few steps in rising order; between them it is linear.

    Returns:
        steps, images and hours, lists of one length.
    """
    table: dict[int, tuple[int, float]] = {}
    spent = 0.0
    for row in rows:
        # Where training went back the clock went on: hours never fall.
        spent = max(spent, row["wall_seconds"])
        table[row["step"]] = (row["images"], spent)
    steps = sorted(table)
    if len(steps) > MOST_AXIS_POINTS:
        last = len(steps) - 1
        steps = [steps[round(index * last / (MOST_AXIS_POINTS - 1))] for index in range(MOST_AXIS_POINTS)]
    return {
        "steps": [float(step) for step in steps],
        "images": [float(table[step][0]) for step in steps],
        "hours": [float(f"{table[step][1] / 3600:.6g}") for step in steps],
    }


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


def newest_value(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The newest finite value of that name."""
    found = (row["values"].get(name, math.nan) for row in reversed(rows))
    return next((value for value in found if math.isfinite(value)), None)


def _shown_curves(rows: Sequence[Mapping[str, Any]], theory: Theory) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values by name, without what says nothing or says it twice."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        for name, value in (*row["values"].items(), *_both_sides(row["values"], theory)):
            steps, values = curves.setdefault(name, ([], []))
            steps.append(row["step"])
            values.append(value)
    if not theory.is_probability:
        # Of other losses than cross entropies the outputs are no log-odds: what looks like a probability is none.
        curves = {name: curve for name, curve in curves.items() if not name.endswith("_probability")}
    # That no update was skipped: a line of zeros says nothing.
    curves = {name: curve for name, curve in curves.items() if not name.startswith("updates/") or any(curve[1])}
    return {name: curve for name, curve in curves.items() if not _repeats_another(name, curves)}


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
    if section == "balance" and title == capital(theory.both_sides) and theory.discriminator is not None:
        value = theory.sign * theory.discriminator
        label = "equilibrium -log 4 =" if theory.is_probability and math.isclose(value, -math.log(4)) else label
    elif section == "balance":
        value = theory.judgement
    elif section == "sample" and title in ("Diversity", "Midtones"):
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


def _place(name: str, scale: int | None) -> tuple[str, str, str]:
    """Section, panel and curve of a value: `loss/generator/cycle_a` is curve "cycle A" of panel "Generator"."""
    first, *rest = name.split("/")
    if not rest:
        return "other", capital(words(first)), words(first)
    last = words("/".join(rest[1:]))
    if name.startswith(BASELINE):
        return "validation", score_name(rest[0], scale).measure, last or "baseline"
    if first in SCORE_SECTIONS:
        # AtoB and BtoA share an axis; PSNR and SSIM do not.
        score = score_name("/".join(rest), scale)
        return first, score.measure, score.of or score.measure
    if first == "output" and rest[-1] in ("real_probability", "fake_probability"):
        return "balance", f"{capital(words(rest[0]))}: D(real) and D(fake)", f"D({rest[-1].partition('_')[0]})"
    if first == "balance":
        return first, capital(rest[0]), last
    if first == "sample":
        # Both are shares of what real pictures have, so they have an axis in common.
        return first, "Diversity" if rest[-1] == "repeated" else capital(words(rest[-1])), words(rest[-1])
    if len(rest) >= 2:
        return first, capital(words(rest[0])), last
    if first == "memory" and rest[0] == "peak_gib":
        return first, "Most memory in use", "memory"
    if first == "speed":
        return first, capital(words(rest[0])), words(rest[0])
    return first, capital(words(first)), words(rest[0])


def _empty_panel(section: str, title: str, name: str, scale: int | None) -> dict[str, Any]:
    unit = score_name(name.partition("/")[2], scale).unit if section in SCORE_SECTIONS else _UNITS.get(section, "")
    note = _NOTES.get((section, title.split(": ")[-1]), "")
    heading = _HEADINGS.get(section, capital(words(section)))
    return {"section": section, "heading": heading, "title": title, "unit": unit, "note": note, "series": []}


_NOTES = {
    ("sample", "Diversity"): (
        "Diversity: how different the pictures of a sheet are from each other, measured against real ones. 1 is as"
        " varied as real pictures; 0 means that all are the same. Repeated: the share of them with a near twin on the"
        " sheet."
    ),
    ("sample", "Midtones"): (
        "How many pixel values lie between the darkest and the brightest, measured against real pictures. Above 1"
        " pictures are still soft; near 0 they are pure black and white, and the generator hardly learns any more."
    ),
    ("balance", "D(real) and D(fake)"): (
        "The probability of being real that the discriminator gives to real and to generated pictures. At the dashed"
        " line it cannot tell them apart."
    ),
}
"""By section and title of a panel: what it shows, for those who have not read the method's paper."""

_UNITS = {"memory": "GiB"}

_HEADINGS: Mapping[str, str] = {
    "evaluation": "Evaluation during training",
    "validation": "Validation scores",
    "balance": "Balance of the two players",
    "sample": "Pictures from fixed latents",
    "loss": "Losses",
    "output": "Discriminator outputs (mean logits)",
    "weighted": "Weighted losses",
    "gradient_norm": "Gradient norms",
    "term_gradient_norm": "Gradient norms of single loss terms",
    "learning_rate": "Learning rates, speed and memory",
    "updates": "Learning rates, speed and memory",
    "speed": "Learning rates, speed and memory",
    "memory": "Learning rates, speed and memory",
}
"""By the first part of a recorded name, in the order of the page."""


def _panel_order(panel: Mapping[str, Any]) -> tuple[int, str, bool]:
    section = panel["section"]
    order = list(_HEADINGS)
    rank = order.index(section) if section in order else len(order)
    return rank, section, not panel["title"].startswith("Generator")
