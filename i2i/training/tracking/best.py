"""The best value of each score of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from i2i.evaluation.measures import kind_of

_SCORE_GROUPS = ("evaluation", "validation")
# The one score of validations that no metric table knows: how much of a picture is lost on the way there and back.
_LOSSES = frozenset({"consistency"})


def higher_is_better(name: str) -> bool | None:
    """Which way a value of a row gets better, by its name ("evaluation/fid_AtoB"); None where neither is."""
    group, _, score = name.partition("/")
    if group not in _SCORE_GROUPS:
        return None
    if score in _LOSSES:
        return False
    kind = kind_of(score) or kind_of(score.rpartition("_")[0])
    return None if kind is None else kind.higher_is_better


def best_values(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The best value of every score in rows as from `read_metrics`, and the step of each.

    Returns:
        "best/evaluation/fid" and "best_step/evaluation/fid" and so on, for each score with a better side; the earliest
        of equal values counts, and values that are not finite never do.
    """
    found: dict[str, tuple[float, int]] = {}
    for row in rows:
        for name, value in row["values"].items():
            higher = higher_is_better(name)
            if higher is None or not math.isfinite(value):
                continue
            if name not in found or (value > found[name][0] if higher else value < found[name][0]):
                found[name] = (value, row["step"])
    values = {f"best/{name}": value for name, (value, _) in found.items()}
    return values | {f"best_step/{name}": step for name, (_, step) in found.items()}
