"""Pictures out of a generator into files: which picture goes where, and a conveyor that writes behind the network.

A picture belongs to its number: latent, class, place in a block of the network and file name follow from it. So it is
the same however many are asked for, however many are in flight and however many processes share the work.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2i.errors import UsageError
from i2i.files import write_atomically
from i2i.inference.generation.latents import SavedLatents
from i2i.inference.latent_model import BLOCK, DEFAULT_BATCH, LatentModel
from i2i.inference.pictures.image_files import DEFAULT_QUALITY, OutputFormat

_WRITERS = 4
_LEAST_DIGITS = 6
_ENCODERS: dict[OutputFormat, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": DEFAULT_QUALITY, "subsampling": 0}),
    "webp": ("WEBP", {"quality": DEFAULT_QUALITY}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """Pictures to make, by number: 0 to count - 1."""

    count: int
    latents: Callable[[Sequence[int]], Tensor]
    """The latents of these numbers, (n, width)."""
    labels: Callable[[Sequence[int]], Tensor] | None = None
    """The labels of these numbers, (n,) int64; None for a model without classes."""


def drawn_series(
    model: LatentModel, count: int, *, seed: int = 0, truncation: float | None = None, classes: Sequence[int] = ()
) -> Series:
    """Pictures from latents that are drawn, of each of `classes` (all, if none is named) in turn."""

    def latents(numbers: Sequence[int]) -> Tensor:
        return model.latents(numbers, seed, truncation)

    return Series(count=count, latents=latents, labels=_in_turn(model, classes))


def saved_series(
    model: LatentModel, saved: SavedLatents, count: int | None = None, classes: Sequence[int] = ()
) -> Series:
    """Pictures from latents out of a file, with the labels that were saved with them unless `classes` are named.

    Raises:
        UsageError: there are fewer latents than `count`, or no labels where the model needs them.
    """
    have = len(saved.latents)
    if count is not None and count > have:
        raise UsageError(f"{count} pictures from a file of {have} latents - ask for {have} or fewer")
    labels = _in_turn(model, classes)
    if labels is not None and not classes:
        numbers = labels_of(model, saved)
        labels = lambda wanted: numbers[list(wanted)]  # noqa: E731 - a function of the same shape as above
    return Series(
        count=have if count is None else count, latents=lambda wanted: saved.latents[list(wanted)], labels=labels
    )


def labels_of(model: LatentModel, saved: SavedLatents) -> Tensor:
    """The labels in a file of latents for a model with classes.

    Raises:
        UsageError: there are none, or of classes that the model does not know.
    """
    if saved.labels is None:
        raise UsageError(
            f"labels are missing: the file holds latents alone and this model has {model.classes} classes"
            " - say which with --classes"
        )
    wrong = saved.labels[(saved.labels < 0) | (saved.labels >= model.classes)]
    if len(wrong):
        raise UsageError(
            f"the file's labels hold class {int(wrong[0])}, this model has 0 to {model.classes - 1}"
            " - say which with --classes"
        )
    return saved.labels


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the pictures of a series go."""

    folder: Path
    count: int
    format: OutputFormat = "png"
    class_folders: tuple[str, ...] = ()
    """Folder of each class, in the order of the labels; empty: all pictures lie in `folder`."""

    def path(self, number: int, label: int | None) -> Path:
        """The file of one picture."""
        digits = max(_LEAST_DIGITS, len(str(self.count - 1)))
        parent = self.folder if not self.class_folders or label is None else self.folder / self.class_folders[label]
        return parent / f"{number:0{digits}d}.{self.format}"


@dataclass(frozen=True)
class Share:
    """This process's part among several that do one work: every `count`-th block."""

    rank: int = 0
    count: int = 1

    def owns(self, number: int) -> bool:
        """Whether the picture of this number is made here."""
        return number // BLOCK % self.count == self.rank


@dataclass(frozen=True)
class Made:
    """What `generate_files` did."""

    written: int
    skipped: int
    """Files that were there already."""
    first: np.ndarray
    """The first pictures, (n, H, W, C) uint8, as many as were to be kept."""


def class_folders(names: Sequence[str]) -> tuple[str, ...]:
    """A folder name for each class: its own name as far as file systems allow, in doubt with its number before it."""
    digits = len(str(len(names) - 1))
    if list(names) == [str(label) for label in range(len(names))]:
        # Of equal length: whoever reads the folders in order finds the classes in theirs.
        return tuple(f"{label:0{digits}d}" for label in range(len(names)))
    safe = [re.sub(r"[^\w .+-]+", "_", name).strip(" .") for name in names]
    if all(safe) and len({name.casefold() for name in safe}) == len(names):
        return tuple(safe)
    return tuple(f"{label:0{digits}d}_{name}" for label, name in enumerate(safe))


def check_target(target: Target, series: Series, share: Share, *, beside: Sequence[Path] = ()) -> None:
    """Refuse a folder that holds files already, with which the pictures would mix.

    Args:
        beside: files besides the pictures that another process of this work may have written.

    Raises:
        UsageError: there are such files.
    """
    others = {path.resolve() for path in beside}

    def passed_over(path: Path) -> bool:
        return path.resolve() in others or (share.count > 1 and _is_of_another_process(path, target, series, share))

    remedy = "choose another folder with -o, fill it up with --skip-existing or overwrite with --force"
    refuse_files(target.folder, remedy, passed_over)


def refuse_files(folder: Path, remedy: str, passed_over: Callable[[Path], bool] = lambda path: False) -> None:
    """Refuse a folder that holds files, hidden ones and those that are `passed_over` aside.

    Raises:
        UsageError: there are such files.
    """
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if not path.name.startswith(".") and not path.is_dir() and not passed_over(path):
            raise UsageError(f"{folder}: holds files already, such as {path.relative_to(folder)} - {remedy}")


def generate_files(
    model: LatentModel,
    series: Series,
    target: Target,
    *,
    batch: int = DEFAULT_BATCH,
    skip_existing: bool = False,
    share: Share | None = None,
    keep: int = 0,
    on_settled: Callable[[int], None] | None = None,
) -> Made:
    """Make the pictures of a series, or this process's share of them, and write each to its file.

    Args:
        batch: so many pictures, but whole blocks of 16, are computed together; as many again may wait to be written.
        skip_existing: leave files alone that are there already.
        keep: so many of the first pictures are returned, whoever writes them.
        on_settled: called in this thread with the number of files done since the last call.

    Raises:
        StorageError: a file cannot be written; those written so far are whole.
        I2IError: see `LatentModel`.
    """
    share = share or Share()
    written = skipped = 0
    kept: list[np.ndarray] = []
    waiting: deque[Future[None]] = deque()
    writers = ThreadPoolExecutor(_WRITERS)
    try:
        for group in _groups(series, target, share, batch, skip_existing, keep):
            if group.numbers:
                labels = None if series.labels is None else series.labels(group.numbers)
                pictures = model(series.latents(group.numbers), labels, batch=batch)
                kept += [picture for number, picture in zip(group.numbers, pictures, strict=True) if number < keep]
                for number, picture in zip(group.numbers, pictures, strict=True):
                    if number in group.files:
                        waiting.append(writers.submit(write_picture, group.files[number], picture, target.format))
            done = _wait_until(waiting, at_most=max(batch, BLOCK))
            written, skipped = written + done, skipped + group.skipped
            if on_settled is not None:
                on_settled(done + group.skipped)
        done = _wait_until(waiting, at_most=0)
        written += done
        if on_settled is not None:
            on_settled(done)
    finally:
        # After an interruption what has begun is finished (a file is whole or absent) and the rest is dropped.
        writers.shutdown(wait=True, cancel_futures=True)
    shape = model.entry_point.shape
    empty = np.empty((0, shape.pixels, shape.pixels, shape.channels), np.uint8)
    return Made(written, skipped, np.stack(kept) if kept else empty)


def write_picture(path: Path, picture: np.ndarray, format: OutputFormat) -> None:
    """Write one picture (H, W, C) uint8, grey ones as grey, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    name, options = _ENCODERS[format]
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, format=name, **options)
    write_atomically(path, buffer.getvalue())


@dataclass
class _Group:
    numbers: list[int]
    """Whole blocks, to be computed together."""
    files: dict[int, Path]
    """Those of them that are to be written."""
    skipped: int


def _groups(
    series: Series, target: Target, share: Share, batch: int, skip_existing: bool, keep: int
) -> Iterator[_Group]:
    group = _Group([], {}, 0)
    for start in range(0, series.count, BLOCK):
        numbers = range(start, min(start + BLOCK, series.count))
        files: dict[int, Path] = {}
        if share.owns(start):
            labels = [None] * len(numbers) if series.labels is None else series.labels(numbers).tolist()
            files = {number: target.path(number, label) for number, label in zip(numbers, labels, strict=True)}
            there = [number for number, path in files.items() if skip_existing and path.exists()]
            files = {number: path for number, path in files.items() if number not in there}
            group.skipped += len(there)
        # A block is computed whole or not at all: a picture's place in it must stay the same.
        if files or start < keep:
            group.numbers += numbers
            group.files |= files
        if len(group.numbers) >= batch or group.skipped >= batch:
            yield group
            group = _Group([], {}, 0)
    yield group


def _wait_until(waiting: deque[Future[None]], at_most: int) -> int:
    """Wait for the oldest until not more than `at_most` wait, and take along what is done; returns how many."""
    done = 0
    while waiting and (len(waiting) > at_most or waiting[0].done()):
        waiting.popleft().result()
        done += 1
    return done


def _in_turn(model: LatentModel, classes: Sequence[int]) -> Callable[[Sequence[int]], Tensor] | None:
    """Labels that go through the wanted classes in turn, by the picture's number; None for a model without classes."""
    if not model.classes:
        return None
    wanted = torch.tensor(list(classes) or range(model.classes), dtype=torch.int64)
    return lambda numbers: wanted[[number % len(wanted) for number in numbers]]


def _is_of_another_process(path: Path, target: Target, series: Series, share: Share) -> bool:
    if not path.stem.isdecimal() or int(path.stem) >= series.count:
        return False
    number = int(path.stem)
    label = None if series.labels is None else int(series.labels([number])[0])
    return target.path(number, label) == path and not share.owns(number)
