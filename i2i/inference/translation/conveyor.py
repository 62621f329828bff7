"""The conveyor: pictures through a model, read ahead of the network and written behind it.

One picture that fails is recorded and the others are done. What does not fit into memory as a whole goes through in
bands, see `i2i.inference.translation.large_pictures`.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from i2i.data.decoding import DEFAULT_MAX_PIXELS, check_pixels, read_header
from i2i.errors import I2IError, OutOfMemoryError
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures.enlarging import AlphaMode, as_picture, brightness, fill_hidden, with_pixels
from i2i.inference.pictures.image_files import (
    DEFAULT_QUALITY,
    Picture,
    check_format_holds,
    in_eight_bits,
    read_picture,
    write_picture,
)
from i2i.inference.runtime import out_of_memory_as_help
from i2i.inference.tiling.tiles import TileSettings, needs_tiles
from i2i.inference.translation.failures import failed, stops_everything
from i2i.inference.translation.large_pictures import needs_layers, translate_large
from i2i.inference.translation.ledger import Ledger, State
from i2i.inference.translation.planning import (
    MADE_ANEW,
    UNKNOWN_MAKER,
    Job,
    Outcome,
    Plan,
    plan_translation,
    prepare_folders,
)

__all__ = ["UNKNOWN_MAKER", "Job", "Outcome", "Plan", "plan_translation", "prepare_folders", "translate_files"]

_READERS, _WRITERS = 2, 2
# Of decoded pictures: so much waits for the network, and so much again to be written.
_WAITING_BYTES = 2**29
OnPart = Callable[[float], None]


def translate_files(
    model: ImageModel,
    jobs: Sequence[Job],
    *,
    skip_existing: bool = False,
    batch: int = 1,
    quality: int = DEFAULT_QUALITY,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tiles: TileSettings | None = None,
    alpha: AlphaMode = "copy",
    ledger: Ledger | None = None,
    large_model: Callable[[], ImageModel] | None = None,
    processes: int = 1,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_part: OnPart | None = None,
) -> list[Outcome]:
    """Translate every job's picture; failures are recorded and do not stop the others.

    Pictures are read by threads ahead of the network and written by threads behind it, a few at a time.

    Args:
        skip_existing: leave results alone that are there already, except those of which `ledger` knows that they were
            made otherwise.
        batch: up to so many consecutive pictures of equal size go through the network together.
        max_pixels: of what is read.
        tiles: how pictures go through the network that do not fit into memory; by default all go as a whole.
        alpha: what becomes of transparency.
        ledger: where it is noted what made the results.
        large_model: gives the same model on an engine that shows its layers, for what has to go through in bands and
            cannot do so on this one; see `needs_layers`.
        processes: that share the device's memory with this one, itself included.
        on_outcome: called in this thread as each picture is settled.
        on_part: called in this thread with the share, 0 to 1, that is done of a picture in bands.

    Returns:
        One outcome a job, in the order in which they were settled.

    Raises:
        StorageError: the disk is full or read-only; no further picture could be written.
    """
    outcomes: list[Outcome] = []
    anew: dict[Path, str] = {}

    def settle(outcome: Outcome) -> None:
        if outcome.status == "written" and outcome.destination in anew:
            outcome = replace(outcome, notes=(*outcome.notes, anew[outcome.destination]))
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    how = _How(model, large_model, processes, quality, max_pixels, tiles or TileSettings(side=None), alpha, ledger)
    todo = [job for job in jobs if not (skip_existing and _is_finished(job, ledger, anew, settle))]
    depth = 2 * batch + 2
    with _threads(_READERS) as readers, _threads(_WRITERS) as writers:
        writing: deque[tuple[Job, Picture, Future[tuple[str, ...]]]] = deque()

        def settle_oldest() -> None:
            job, result, future = writing.popleft()
            height, width = result.rgb.shape[:2]
            settle(_outcome(job, result.notes, height * width // how.scale**2, future.result))

        for group in _groups(_read_ahead(readers, todo, depth, how), how, batch, settle):
            for job, result in _translate_group(how, group, settle, on_part):
                writing.append((job, result, writers.submit(_write, how, job, result)))
            while writing and (_are_enough(writing, depth) or writing[0][2].done()):
                settle_oldest()
        while writing:
            settle_oldest()
    return outcomes


@dataclass(frozen=True)
class _How:
    """What is the same for every picture."""

    model: ImageModel
    large_model: Callable[[], ImageModel] | None
    processes: int
    quality: int
    max_pixels: int
    tiles: TileSettings
    alpha: AlphaMode
    ledger: Ledger | None

    @property
    def scale(self) -> int:
        return self.model.entry_point.scale

    def is_large(self, picture: Picture, together: int = 1) -> bool:
        """Whether memory is short for so many pictures like this one at a time."""
        height, width = picture.rgb.shape[:2]
        at_once = together * self.processes
        return self.tiles.side is not None and needs_tiles(self.model, height, width, self.tiles, at_once)

    @functools.cached_property
    def model_for_large(self) -> ImageModel:
        return self.model if self.large_model is None or not needs_layers(self.model) else self.large_model()


def _is_finished(job: Job, ledger: Ledger | None, anew: dict[Path, str], settle: Callable[[Outcome], None]) -> bool:
    """Whether there is a result to be left alone; if it was made otherwise, a note on that goes into `anew`."""
    there: State = "unknown" if job.destination.exists() else "missing"
    state = there if ledger is None else ledger.state(job)
    if state in ("same", "unknown"):
        message = UNKNOWN_MAKER if state == "unknown" and ledger is not None else ""
        settle(Outcome(job.source, job.destination, "skipped", message))
        return True
    if state != "missing":
        anew[job.destination] = MADE_ANEW[state]
    return False


# Before the network


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        # After an interruption what has begun is finished (a file is whole or absent) and the rest is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _read_ahead(
    readers: ThreadPoolExecutor, jobs: Iterable[Job], depth: int, how: _How
) -> Iterator[tuple[Job, Future[Picture]]]:
    """Pictures in the order of the jobs, so many ahead as there is room for; one at least, whatever its size."""
    todo = iter(jobs)
    # How large they are is asked a little earlier, by the threads too: a folder may lie far away.
    sized: deque[tuple[Job, Future[int]]] = deque()
    waiting: deque[tuple[Job, Future[Picture], int]] = deque()
    while True:
        sized.extend((job, readers.submit(_decoded_bytes, job.source)) for job in islice(todo, depth - len(sized)))
        while sized and len(waiting) < depth:
            job, size = sized[0]
            if waiting and sum(held for _, _, held in waiting) + size.result() > _WAITING_BYTES:
                break
            sized.popleft()
            waiting.append((job, readers.submit(_read, job, how), size.result()))
        if not waiting:
            return
        job, picture, _ = waiting.popleft()
        yield job, picture


def _decoded_bytes(path: Path) -> int:
    try:
        header = read_header(path)
    except I2IError:
        return 0  # Reading it will say why.
    return header.pixels * (4 if header.has_alpha else 3) * header.bits // 8


def _read(job: Job, how: _How) -> Picture:
    header = read_header(job.source)
    check_pixels(header, job.source, how.max_pixels)
    # What could never be written is not computed.
    check_format_holds(job.destination, header.width * how.scale, header.height * how.scale, job.format)
    if how.ledger is not None:
        # Before it is read: what replaces it meanwhile must not pass for what the result was made of.
        how.ledger.note_source(job)
    picture = read_picture(job.source, how.max_pixels)
    if how.model.eight_bits:
        picture = in_eight_bits(picture, "by this model")
    if picture.alpha is not None and how.alpha == "drop":
        return replace(picture, alpha=None, notes=(*picture.notes, "transparency left out"))
    return picture if how.scale == 1 else fill_hidden(picture)


def _groups(
    read: Iterable[tuple[Job, Future[Picture]]], how: _How, batch: int, settle: Callable[[Outcome], None]
) -> Iterator[list[tuple[Job, Picture]]]:
    """Consecutive pictures of one size and type, at most `batch` together; unreadable ones are settled here."""
    group: list[tuple[Job, Picture]] = []
    for job, future in read:
        try:
            picture = future.result()
        except I2IError as error:
            settle(failed(job, error))
            continue
        if group and (group[0][1].rgb.shape, group[0][1].bits) != (picture.rgb.shape, picture.bits):
            yield group
            group = []
        group.append((job, picture))
        if len(group) >= batch or how.is_large(picture, len(group) + 1):
            yield group
            group = []
    if group:
        yield group


# The network


def _translate_group(
    how: _How, group: list[tuple[Job, Picture]], settle: Callable[[Outcome], None], on_part: OnPart | None
) -> list[tuple[Job, Picture]]:
    """Results that are to be written; what goes through in bands is written here, and what fails settled."""
    if how.is_large(group[0][1]):
        for job, picture in group:
            settle(_translate_large(how, job, picture, on_part))
        return []
    try:
        return list(zip((job for job, _ in group), _translated(how, [picture for _, picture in group]), strict=True))
    except I2IError as error:
        if len(group) > 1:
            # One by one: what was too much together may fit, and one picture's failure must not take the others along.
            return [done for single in group for done in _translate_group(how, [single], settle, on_part)]
        job, picture = group[0]
        outcome = failed(job, error)
        if isinstance(error, OutOfMemoryError) and how.tiles.side is not None:
            in_bands = _translate_large(how, job, picture, on_part)
            outcome = in_bands if in_bands.status == "written" else outcome
        settle(outcome)
        return []


def _translated(how: _How, pictures: list[Picture]) -> list[Picture]:
    height, width = pictures[0].rgb.shape[:2]
    # What lies around the network takes memory too.
    with out_of_memory_as_help(len(pictures), height, width, "shrink the picture or use a smaller --batch"):
        results = how.model.translate_array(np.stack([picture.rgb for picture in pictures]))
        alphas: list[np.ndarray | None] = [None] * len(pictures)
        through = [place for place, one in enumerate(pictures) if one.alpha is not None and how.alpha == "model"]
        if through:
            greys = [as_picture(alpha) for place in through if (alpha := pictures[place].alpha) is not None]
            for place, grey in zip(through, how.model.translate_array(np.stack(greys)), strict=True):
                alphas[place] = brightness(grey)
        return [with_pixels(*parts) for parts in zip(pictures, results, alphas, strict=True)]


def _translate_large(how: _How, job: Job, picture: Picture, on_part: OnPart | None) -> Outcome:
    def write() -> tuple[str, ...]:
        notes = translate_large(
            how.model_for_large, picture, job.destination, job.format, how.tiles, quality=how.quality, alpha=how.alpha,
            on_part=on_part,
        )  # fmt: skip
        return (*notes, *_recorded(how, job))

    height, width = picture.rgb.shape[:2]
    return _outcome(job, picture.notes, height * width, write)


# Behind the network


def _write(how: _How, job: Job, result: Picture) -> tuple[str, ...]:
    notes = write_picture(job.destination, result, job.format, how.quality)
    return (*notes, *_recorded(how, job))


def _recorded(how: _How, job: Job) -> tuple[str, ...]:
    return () if how.ledger is None else how.ledger.record(job)


def _are_enough(writing: Sequence[tuple[Job, Picture, Future[tuple[str, ...]]]], depth: int) -> bool:
    return len(writing) > depth or sum(result.rgb.nbytes for _, result, _ in writing) > _WAITING_BYTES


def _outcome(job: Job, notes: tuple[str, ...], pixels: int, written: Callable[[], tuple[str, ...]]) -> Outcome:
    """What became of the picture that `written` writes or waits for, and that has `notes` from being read."""
    try:
        return Outcome(job.source, job.destination, "written", notes=(*notes, *written()), pixels=pixels)
    except I2IError as error:
        if stops_everything(error):
            raise
        return failed(job, error)
    except MemoryError:
        message = f"{job.destination}: too little memory to write {pixels:,} pixels - shrink the picture"
        return failed(job, OutOfMemoryError(message))
