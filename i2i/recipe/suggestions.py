"""Guesses at what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MOST_NAMES = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest of `known`, or "" when none is near."""
    near = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def near_names(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x' or 'y'?` for the names that `word` may stand for, or "".

    Of names made of parts, such as `dcgan_mnist`, a part is enough ("mnist"): those that have it are all proposed, up
    to three. A slip of the pen has one name only.
    """
    names, word = list(known), word[:80]
    slip = difflib.get_close_matches(word, names, n=1, cutoff=0.85)
    wanted = _parts(word)
    sharing = sorted((name for name in names if wanted & _parts(name)), key=lambda name: -len(wanted & _parts(name)))
    near = (slip or sharing or difflib.get_close_matches(word, names, n=1))[:_MOST_NAMES]
    if not near:
        return ""
    listed = " or ".join(filter(None, [", ".join(map(repr, near[:-1])), repr(near[-1])]))
    return f", did you mean {listed}?"


def _parts(name: str) -> set[str]:
    """Words of a name, without the sizes at their ends."""
    return {part.rstrip("0123456789") for part in re.split(r"[^a-z0-9]+", name.casefold()) if len(part) > 2}
