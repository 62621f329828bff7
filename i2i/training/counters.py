"""Counters of a checkpoint, read as what they must be: whoever wrote the file can have sealed anything.

All raise ValueError or KeyError, which `misfit_as_help` makes a message of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

_LARGEST = 2**53
"""Of whole numbers that JSON carries exactly."""


def whole_number(counters: Mapping[str, Any], name: str, least: int = 0) -> int:
    """The counter `name`, `least` or more."""
    value = counters[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise ValueError(f"{name} is {str(value)[:40]!r}, no whole number of {least} or more")
    return value


def whole_numbers(counters: Mapping[str, Any], name: str, keys: Iterable[str]) -> dict[str, int]:
    """A counter for each of `keys`."""
    values = counters[name]
    if not isinstance(values, dict) or set(values) != set(keys):
        raise ValueError(f"{name} has not the keys {', '.join(keys)}")
    return {key: whole_number(values, key) for key in keys}


def score_of(counters: Mapping[str, Any], name: str) -> float | None:
    """A finite number; None where there is none yet."""
    value = counters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:40]!r}, no number")
    return value


def words(counters: Mapping[str, Any], name: str) -> list[str]:
    """A list of names; older checkpoints do not know it."""
    values = counters.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is {str(values)[:40]!r}, no list of names")
    return values
