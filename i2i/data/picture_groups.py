"""Pictures of any sizes, one or more of each name, held ready: from a cache file or in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from i2i.data.cache_files import open_or_make, produce_all, read_file, refuse_empty, write_file

# Apart from that of equal-sized pictures: it is part of the key and keeps the two kinds of files apart.
_FORMAT = "i2i picture groups 1"
_BLOCK = 8

Group = tuple[np.ndarray, ...]
"""The pictures of one name, uint8 (H, W, 3) each, such as a high-resolution one and its counterpart."""

Produce = Callable[[str], Group]
"""Makes the group of a name, always of as many pictures, or raises a DataError that begins with it."""


class PictureGroups(Sequence[Group]):
    """Groups of pictures, read-only uint8 (H, W, 3) each, of any sizes.

    `names` tells where each came from, `skipped` has a line for each that could not be had, beginning with its name.
    Pickled, groups from a file are its path and their shapes only, so that loader processes share the pages.
    """

    def __init__(
        self, groups: Sequence[Group], names: Sequence[str], skipped: Sequence[str] = (), file: Path | None = None
    ) -> None:
        assert len(groups) == len(names)
        self._groups = [tuple(_read_only(picture) for picture in group) for group in groups]
        self.names = tuple(names)
        self.skipped = tuple(skipped)
        self.file = file

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | Sequence[Group]:
        return self._groups[index]

    def pictures(self, part: int) -> list[np.ndarray]:
        """The pictures number `part` of all groups."""
        return [group[part] for group in self._groups]

    def __reduce__(self) -> tuple[object, ...]:
        if self.file is None:
            return PictureGroups, (self._groups, self.names, self.skipped)
        shapes = [[picture.shape for picture in group] for group in self._groups]
        return _map_groups, (self.file, shapes, self.names, self.skipped)


def open_groups(
    names: Sequence[str], produce: Produce, *, key: Sequence[object], cache_folder: Path | None
) -> PictureGroups:
    """Have `produce` make every named group once, or take them from the cache.

    Args:
        names: of the wanted groups; those that `produce` refuses are left out and reported in `skipped`.
        produce: called from several threads.
        key: everything (JSON values) that decides the pixels.
        cache_folder: where the cache lies; None holds the pictures in memory.

    Raises:
        UnfitSetError: `produce` does; nothing is kept.
        DataError: `produce` refused every group.
    """
    if cache_folder is not None:

        def write(file: Path) -> None:
            _write(file, names, produce)

        groups = open_or_make(cache_folder, [_FORMAT, list(names), *key], _read, write)
        if groups is not None:
            return groups
    made: list[Group] = []
    kept: list[str] = []
    skipped: list[str] = []
    for name, result in produce_all(names, produce, _BLOCK):
        if isinstance(result, str):
            skipped.append(result)
        else:
            made.append(result)
            kept.append(name)
    refuse_empty(kept, skipped)
    return PictureGroups(made, kept, skipped)


def _write(file: Path, names: Sequence[str], produce: Produce) -> None:
    kept: list[str] = []
    skipped: list[str] = []
    shapes: list[list[Sequence[int]]] = []

    def pictures() -> Iterator[np.ndarray]:
        for name, result in produce_all(names, produce, _BLOCK):
            if isinstance(result, str):
                skipped.append(result)
                continue
            assert all(picture.dtype == np.uint8 for picture in result)
            kept.append(name)
            shapes.append([picture.shape for picture in result])
            yield from result
        refuse_empty(kept, skipped)

    write_file(file, pictures(), lambda: {"shapes": shapes, "names": kept, "skipped": skipped})


def _read(file: Path, *, warn: bool) -> PictureGroups | None:
    def interpret(description: Any) -> PictureGroups:
        return _map_groups(file, description["shapes"], description["names"], description["skipped"])

    return read_file(file, interpret, warn=warn)


def _map_groups(
    file: Path, shapes: Sequence[Sequence[Sequence[int]]], names: Sequence[str], skipped: Sequence[str]
) -> PictureGroups:
    # As plain arrays: a view of a memmap is a memmap, which is slow to cut.
    content = np.asarray(np.memmap(file, np.uint8, mode="r"))
    groups: list[Group] = []
    place = 0
    for of_group in shapes:
        group: list[np.ndarray] = []
        for height, width, channels in of_group:
            size = height * width * channels
            group.append(content[place : place + size].reshape(height, width, channels))
            place += size
        groups.append(tuple(group))
    return PictureGroups(groups, names, skipped, file)


def _read_only(picture: np.ndarray) -> np.ndarray:
    view = picture.view()
    view.flags.writeable = False
    return view
