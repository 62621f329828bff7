"""Which low-resolution picture belongs to which high-resolution one, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from i2i.errors import DataError

_SIDE = re.compile(r"(?:_SRF_\d+)?[_-](?P<side>HR|GT|LR)$", re.IGNORECASE)


def pair_names(
    high: Sequence[str], low: Sequence[str], scale: int, *, high_place: Path, low_place: Path, low_key: str
) -> dict[str, str]:
    """Find the counterpart of every high-resolution picture.

    Names match when they are the same but for their kind of file; or else when they are after taking the usual endings
    away: ``_HR``, ``_GT`` or ``_LR``, with or without ``_SRF_4`` before it, and ``x4`` of low-resolution ones. Where
    both lie in one place, such endings of low-resolution pictures tell them apart.

    Args:
        high, low: relative names of the pictures.
        scale: high over low side, which ``x4`` has to name.
        high_place, low_place: where they lie, for messages and to see whether that is one place.
        low_key: of the recipe, that names `low_place`, for messages.

    Returns:
        Low by high name, in the order of `high`.

    Raises:
        DataError: a picture has no counterpart, or more than one.
    """
    if high_place.resolve() == low_place.resolve():
        low = [name for name in low if _is_low(name, scale)]
        high = [name for name in high if not _is_low(name, scale)]
    exactly = _by_key([(_without_suffix(name), name) for name in low], low_place)
    same = {name: exactly[_without_suffix(name)] for name in high if _without_suffix(name) in exactly}
    others = [name for name in low if name not in same.values()]
    similar = _by_key([(_plain(name, scale), name) for name in others], low_place)
    pairs: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in high:
        found = same.get(name) or similar.get(_plain(name))
        if found is None:
            raise DataError(
                f"{high_place / name}: has no low-resolution counterpart in {low_place} - add one of the same name"
                f" there, or leave {low_key} out to have them made"
            )
        if found in taken:
            raise DataError(
                f"{high_place / name}: and {taken[found]} have one counterpart, {low_place / found} - rename or remove"
                " one"
            )
        pairs[name], taken[found] = found, name
    if left := [name for name in low if name not in taken]:
        raise DataError(
            f"{low_place / left[0]}: has no high-resolution counterpart in {high_place} - add or remove it"
            + (f" (and {len(left) - 1} more)" if len(left) > 1 else "")
        )
    if not pairs:
        raise DataError(f"{high_place}: holds no high-resolution pictures - name the folder of those too")
    return pairs


def common_names(
    first: Sequence[str], second: Sequence[str], first_place: Path, second_place: Path
) -> list[tuple[str, str]]:
    """The names of two sets that are the same but for the kind of file, sorted by what they have in common.

    Args:
        first, second: relative names of the pictures.
        first_place, second_place: where they lie, for messages.

    Raises:
        DataError: one set has two pictures of one name.
    """
    mine, others = (
        _by_key([(_without_suffix(name), name) for name in names], place)
        for names, place in ((first, first_place), (second, second_place))
    )
    return [(mine[name], others[name]) for name in sorted(mine.keys() & others.keys())]


def refuse_both_sides(names: Sequence[str], place: Path, scale: int, low_key: str) -> None:
    """Refuse a place where low-resolution counterparts lie between the high-resolution pictures, unasked for.

    Raises:
        DataError: there are some; they would be taken for high-resolution pictures.
    """
    # By the last part of the name: they may lie in a folder of their own.
    high = {PurePosixPath(_plain(name)).name: name for name in names if not _is_low(name, scale)}
    for name in names:
        counterpart = high.get(PurePosixPath(_plain(name, scale)).name)
        if counterpart is not None and _is_low(name, scale):
            raise DataError(
                f"{place / name}: looks like the low-resolution counterpart of {counterpart} - set {low_key} to its"
                " folder to use it as that, or move it elsewhere"
            )


def _by_key(keyed: Sequence[tuple[str, str]], place: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for key, name in keyed:
        if key in names:
            raise DataError(f"{place / name}: has the same name as {names[key]} - rename or remove one")
        names[key] = name
    return names


def _is_low(name: str, scale: int) -> bool:
    stem = PurePosixPath(name).stem
    ending = _SIDE.search(stem)
    if ending is not None:
        return ending["side"].upper() == "LR"
    return _without_scale(stem, scale) != stem


def _plain(name: str, scale: int | None = None) -> str:
    """The name without its kind of file and without what says which side it is of; `scale` of a low one."""
    path = PurePosixPath(name)
    stem = _SIDE.sub("", path.stem)
    return str(path.with_name(stem if scale is None else _without_scale(stem, scale)))


def _without_scale(stem: str, scale: int) -> str:
    """``0001x4`` -> ``0001``."""
    return re.sub(rf"(?<=.)[_-]?x{scale}$", "", stem, flags=re.IGNORECASE)


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
