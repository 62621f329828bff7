"""Guesses at what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest of `known`, or "" when none is near."""
    near = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
