"""Where the recipes of several runs differ, setting by setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "-"
"""Stands for a setting that a recipe does not have."""

_NO_SETTINGS = ("name", "description")


@dataclass(frozen=True, kw_only=True)
class RecipeDifference:
    """Settings that are not the same in all recipes, and how many are."""

    differing: Mapping[str, Sequence[str]]
    """By dotted name, as ``--set`` takes it: one value a recipe, as text."""
    same: int


def recipe_difference(recipes: Sequence[Mapping[str, Any]]) -> RecipeDifference:
    """Compare resolved recipes; what they are called is no setting."""
    flat = [dict(_flatten(recipe, "")) for recipe in recipes]
    names = dict.fromkeys(name for settings in flat for name in settings if name not in _NO_SETTINGS)
    values = {name: [settings.get(name, ABSENT) for settings in flat] for name in names}
    differing = {name: found for name, found in values.items() if len(set(found)) > 1}
    return RecipeDifference(differing=differing, same=len(values) - len(differing))


def _flatten(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        pairs = [_flatten(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()]
        return [pair for inner in pairs for pair in inner]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [pair for number, item in enumerate(value) for pair in _flatten(item, f"{name}.{number}")]
    if isinstance(value, list):
        return [(name, ", ".join(str(item) for item in value) or "none")]
    written = {None: "none", True: "yes", False: "no"}
    return [(name, written[value] if value is None or isinstance(value, bool) else str(value))]
