"""What a resumed run may change."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i.errors import RecipeError
from i2i.files import read_regular
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
    "training.activation_checkpointing",
    "evaluate.every_epochs",
    "evaluate.every_steps",
    "evaluate.every_minutes",
    "tracking",
)
_ABSENT = object()
_SEAL = "# A run's own recipe; change it with --resume and --set. SHA-256 of the lines below: "


def seal(text: str) -> str:
    """The recipe `text` of a run under a line that tells whether it was changed: a digit makes it another training."""
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def check_seal(path: Path) -> None:
    """Refuse a run's recipe that is not as the run wrote it; one without such a line, of an older run, is taken as is.

    Raises:
        RecipeError: it was damaged or edited.
    """
    try:
        line, _, rest = read_regular(path).partition(b"\n")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    if line.startswith(b"#") and line != f"{_SEAL}{hashlib.sha256(rest).hexdigest()}".encode():
        raise RecipeError(
            f"{path}: not as the run wrote it, so that it might go on as another training"
            " - put it back (report.html shows its lines); if you changed it on purpose, remove its first line"
        )


def changes_on_resume(old: Recipe, new: Recipe) -> list[str]:
    """The dotted keys in which `new` differs from `old`, all of which a resumed run may change.

    Raises:
        RecipeError: keys differ that may not; one line each.
    """
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    keys = list(dict.fromkeys([*before, *after]))
    changed = [key for key in keys if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    allowed = (*MAY_CHANGE, *(("evaluate",) if _only_looks(old) and _only_looks(new) else ()))
    refused = [key for key in changed if not _may_change(key, allowed)]
    if refused:
        lines = [
            f"{key}: was {_show(before.get(key, _ABSENT))}, now {_show(after.get(key, _ABSENT))}: a resumed run cannot "
            "change this - set it back, or start a new run"
            for key in refused
        ]
        raise RecipeError("\n".join(lines))
    return changed


def _only_looks(recipe: Recipe) -> bool:
    """Whether evaluations decide nothing: what another figure found the best would not be comparable."""
    return recipe.evaluate is None or recipe.evaluate.best is None


def _may_change(key: str, allowed: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not isinstance(value, Mapping):
        return [(path, value)]
    return [leaf for key, child in value.items() for leaf in _leaves(child, f"{path}.{key}" if path else key)]


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)
