"""What a resumed run may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from i2i.errors import RecipeError
from i2i.recipe.settings import Recipe

# How long, how often looked at, how logged: none of it enters the mathematics of a step.
MAY_CHANGE = (
    "training.length",
    "training.checkpoints",
    "training.samples",
    "training.validation.every_epochs",
    "training.validation.every_steps",
    "training.validation.every_minutes",
    "training.watchdog",
    "training.loss_audit",
    "training.log_every_steps",
    "training.workers",
    "tracking",
)
_ABSENT = object()


def changes_on_resume(old: Recipe, new: Recipe) -> list[str]:
    """The dotted keys in which `new` differs from `old`, all of which a resumed run may change.

    Raises:
        RecipeError: keys differ that may not; one line each.
    """
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    keys = list(dict.fromkeys([*before, *after]))
    changed = [key for key in keys if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    refused = [key for key in changed if not _may_change(key)]
    if refused:
        lines = [
            f"{key}: was {_show(before.get(key, _ABSENT))}, now {_show(after.get(key, _ABSENT))}: a resumed run cannot "
            "change this - set it back, or start a new run"
            for key in refused
        ]
        raise RecipeError("\n".join(lines))
    return changed


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not isinstance(value, Mapping):
        return [(path, value)]
    return [leaf for key, child in value.items() for leaf in _leaves(child, f"{path}.{key}" if path else key)]


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)
