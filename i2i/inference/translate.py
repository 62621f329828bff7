"""Files through a model: which file goes where, and a conveyor that reads ahead and writes behind.

One picture that fails is recorded and the others are done.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.data.folders import PICTURE_SUFFIXES, RESULTS_SUFFIX
from i2i.errors import DataError, I2IError, StorageError, UsageError
from i2i.inference.enlarging import check_enlarged_pixels, fill_hidden, with_pixels
from i2i.inference.image_files import DEFAULT_QUALITY, OutputFormat, Picture, read_picture, write_picture
from i2i.inference.image_model import ImageModel

_FORMAT_OF_SUFFIX: dict[str, OutputFormat] = {
    ".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip
_READERS, _WRITERS = 2, 2
_NAMED_MISSING = 3
# Errors that every further picture would meet too.
_STORAGE_IS_GONE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """One picture to translate."""

    source: Path
    destination: Path
    format: OutputFormat


@dataclass(frozen=True)
class Outcome:
    """What became of one picture."""

    source: Path
    destination: Path | None
    status: Literal["written", "skipped", "failed"]
    message: str = ""
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What its owner may want to know, a phrase each."""


@dataclass(frozen=True)
class Plan:
    """What a translation will do, found out before it starts."""

    jobs: tuple[Job, ...]
    missing: tuple[Outcome, ...]
    """Inputs that are not there or cannot be listed."""
    folders: tuple[Path, ...]
    """Where the results go."""


def plan_translation(
    inputs: Sequence[str | Path],
    out: Path | None = None,
    format: OutputFormat | None = None,
    *,
    direction: str | None = None,
) -> Plan:
    """Map inputs to output files.

    Args:
        inputs: picture files, folders (with all pictures below them; other files are passed over) and glob patterns.
        out: folder for the results; names and the structure below a folder are kept. By default
            ``<folder>_translated`` beside a folder (or beside the folder that several files or a pattern lie in) and
            ``<name>_translated`` beside a single file. For a single file, a name that ends like a picture's is the
            file to write.
        format: of the results; by default that of each input, and png for kinds that are only read.
        direction: part of the default names, as ``<folder>_BtoA_translated``, so that what several directions make of
            one input lies apart.

    Raises:
        UsageError: two inputs would be written to one file, or an input would be overwritten.
        DataError: there is no picture at all.
    """
    if out is not None and _is_picture_name(out) and not out.is_dir():
        if len(inputs) > 1 or Path(inputs[0]).is_dir() or _is_pattern(str(inputs[0])):
            raise UsageError(f"-o {out}: names one picture, and the input may be several - name a folder")
        if Path(inputs[0]).exists():
            return _plan_one(Path(inputs[0]), out, format)
    suffix = RESULTS_SUFFIX if direction is None else f"_{direction}{RESULTS_SUFFIX}"
    roots = [_output_folder(text, out, suffix, alone=len(inputs) == 1) for text in map(str, inputs)]
    left_out = frozenset(root.resolve() for root in roots)
    jobs: dict[Path, Job] = {}
    missing: list[Outcome] = []
    used: list[Path] = []
    for text, root in zip(map(str, inputs), roots, strict=True):
        found = list(_pictures(text, left_out, missing))
        if not found and not Path(text).is_dir():
            reason = f"{text}: no such file or folder - check the spelling"
            missing.append(Outcome(Path(text), None, "failed", reason))
        if found:
            used.append(root)
        for source, relative in found:
            if Path(text).is_dir() and root.resolve() == Path(text).resolve():
                raise UsageError(f"{root}: the results would lie among the inputs - choose another folder with -o")
            _add(jobs, _job(source, root / relative, format))
    _check_that_no_source_is_overwritten(jobs)
    if not jobs:
        raise DataError(_nothing_to_do(inputs, missing))
    return Plan(tuple(jobs.values()), tuple(missing), tuple(dict.fromkeys(used)))


def prepare_folders(plan: Plan) -> None:
    """Create the folders for the results, before a model spends time on pictures that could not be written.

    Raises:
        UsageError: a file is where a folder should be.
        StorageError: a folder cannot be created or written to.
    """
    for folder in plan.folders:
        if folder.is_file():
            raise UsageError(
                f"-o {folder}: is a file, and its name is no picture's - name a folder, or one that ends in .png, .jpg,"
                " .webp or .tiff"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{folder}: cannot be created: {error.strerror} - choose another folder with -o"
            ) from error
        if not os.access(folder, os.W_OK):
            raise StorageError(f"{folder}: not writable - choose another folder with -o")


def translate_files(
    model: ImageModel,
    jobs: Sequence[Job],
    *,
    skip_existing: bool = False,
    batch: int = 1,
    quality: int = DEFAULT_QUALITY,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Translate every job's picture; failures are recorded and do not stop the others.

    Pictures are read by threads ahead of the network and written by threads behind it, a few at a time.

    Args:
        skip_existing: leave results alone that are there already.
        batch: up to so many consecutive pictures of equal size go through the network together.
        max_pixels: of what is read and of what is written.
        on_outcome: called in this thread as each picture is settled.

    Returns:
        One outcome a job, in the order in which they were settled.

    Raises:
        StorageError: the disk is full or read-only; no further picture could be written.
    """
    outcomes: list[Outcome] = []

    def settle(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    todo: list[Job] = []
    for job in jobs:
        if skip_existing and job.destination.exists():
            settle(Outcome(job.source, job.destination, "skipped"))
        else:
            todo.append(job)
    depth = 2 * batch + 2
    read = functools.partial(_read, scale=model.entry_point.scale, max_pixels=max_pixels)
    with _threads(_READERS) as readers, _threads(_WRITERS) as writers:
        writing: deque[tuple[Job, Picture, Future[tuple[str, ...]]]] = deque()
        for group in _groups(_read_ahead(readers, todo, depth, read), batch, settle):
            for job, picture in _translate_group(model, group, settle):
                future = writers.submit(write_picture, job.destination, picture, job.format, quality)
                writing.append((job, picture, future))
            while writing and (len(writing) > depth or writing[0][2].done()):
                settle(_written(*writing.popleft()))
        while writing:
            settle(_written(*writing.popleft()))
    return outcomes


# Which file goes where


def _is_picture_name(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _plan_one(source: Path, out: Path, format: OutputFormat | None) -> Plan:
    """One picture to one named file, whose name says the format."""
    named = _FORMAT_OF_SUFFIX.get(out.suffix.lower())
    if named is None:
        raise UsageError(f"-o {out}: {out.suffix} is only read, not written - use .png, .jpg, .webp or .tiff")
    if format not in (None, named):
        raise UsageError(f"-o {out} and --format {format} contradict each other - leave one out")
    job = Job(source, out, named)
    _check_that_no_source_is_overwritten({out.resolve(): job})
    return Plan((job,), (), (out.parent,))


def _nothing_to_do(inputs: Sequence[str | Path], missing: Sequence[Outcome]) -> str:
    if missing:
        more = f"; and {len(missing) - _NAMED_MISSING} more" if len(missing) > _NAMED_MISSING else ""
        return "; ".join(outcome.message for outcome in missing[:_NAMED_MISSING]) + more
    kinds = " ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
    return f"{', '.join(map(str, inputs))}: no pictures found ({kinds}) - give another folder"


def _output_folder(text: str, out: Path | None, suffix: str, *, alone: bool) -> Path:
    if out is not None:
        return Path(out)
    path = Path(text)
    if path.is_dir():
        folder = path
    elif _is_pattern(text):
        folder = _pattern_base(text)
    elif alone:
        return path.with_name(f"{path.stem}{suffix}")
    else:
        folder = path.parent
    # "." and ".." have no name to extend.
    named = folder if folder.name not in ("", "..") else folder.resolve()
    if not named.name:
        raise UsageError(f"{text}: no folder beside this one for the results - say where with -o")
    return named.with_name(f"{named.name}{suffix}")


def _add(jobs: dict[Path, Job], job: Job) -> None:
    other = jobs.setdefault(job.destination.resolve(), job)
    if other.source.resolve() != job.source.resolve():
        raise UsageError(
            f"{other.source} and {job.source} would both be written to {job.destination}"
            " - translate them separately, each with its own -o"
        )


def _check_that_no_source_is_overwritten(jobs: Mapping[Path, Job]) -> None:
    sources = {job.source.resolve() for job in jobs.values()}
    for destination, job in jobs.items():
        if destination in sources:
            raise UsageError(f"{job.destination}: an input would be overwritten - choose another folder with -o")


def _is_pattern(text: str) -> bool:
    return not Path(text).exists() and glob.has_magic(text)


def _pattern_base(text: str) -> Path:
    """The folder in front of a pattern's first part with a wildcard."""
    parts = Path(text).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _pictures(text: str, left_out: frozenset[Path], closed: list[Outcome]) -> Iterator[tuple[Path, Path]]:
    """Pictures that an input means, each with its path below the output folder; sorted."""
    path = Path(text)
    if path.is_dir():
        for source in _walk(path, left_out, closed):
            yield source, source.relative_to(path)
    elif path.exists():
        yield path, Path(path.name)
    elif _is_pattern(text):
        base = _pattern_base(text)
        for source in sorted(base.glob(str(path.relative_to(base)))):
            inside_results = not left_out.isdisjoint(parent for parent in source.resolve().parents)
            if source.is_file() and _looks_like_picture(source) and not inside_results:
                yield source, source.relative_to(base)


def _walk(folder: Path, left_out: frozenset[Path], closed: list[Outcome]) -> Iterator[Path]:
    def note_closed(error: OSError) -> None:
        reason = f"{error.filename}: cannot be listed: {error.strerror} - check its permissions"
        closed.append(Outcome(Path(error.filename), None, "failed", reason))

    for name, children, files in os.walk(folder, onerror=note_closed):
        directory = Path(name)
        # In place: this is how os.walk is told where not to go. Links are not followed.
        children[:] = sorted(
            child
            for child in children
            # Earlier results are no input, wherever they lie.
            if not child.startswith(".")
            and not child.endswith(RESULTS_SUFFIX)
            and (directory / child).resolve() not in left_out
        )
        yield from (directory / file for file in sorted(files) if _looks_like_picture(directory / file))


def _looks_like_picture(path: Path) -> bool:
    # Hidden files are no pictures: macOS leaves "._name.jpg" beside every picture on foreign disks.
    return not path.name.startswith(".") and path.suffix.lower() in PICTURE_SUFFIXES


def _job(source: Path, destination: Path, format: OutputFormat | None) -> Job:
    own = _FORMAT_OF_SUFFIX.get(source.suffix.lower())
    wanted = format or own or "png"
    return Job(source, destination if wanted == own else destination.with_suffix(f".{wanted}"), wanted)


# The conveyor


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        # After an interruption what has begun is finished (a file is whole or absent) and the rest is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _read_ahead(
    readers: ThreadPoolExecutor, jobs: Iterable[Job], depth: int, read: Callable[[Path], Picture]
) -> Iterator[tuple[Job, Future[Picture]]]:
    waiting: deque[tuple[Job, Future[Picture]]] = deque()
    for job in jobs:
        waiting.append((job, readers.submit(read, job.source)))
        if len(waiting) >= depth:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _read(path: Path, *, scale: int, max_pixels: int) -> Picture:
    if scale == 1:
        return read_picture(path, max_pixels)
    check_enlarged_pixels(path, scale, max_pixels)
    return fill_hidden(read_picture(path, max_pixels))


def _groups(
    read: Iterable[tuple[Job, Future[Picture]]], batch: int, settle: Callable[[Outcome], None]
) -> Iterator[list[tuple[Job, Picture]]]:
    """Consecutive pictures of one size and type, at most `batch` together; unreadable ones are settled here."""
    group: list[tuple[Job, Picture]] = []
    for job, future in read:
        try:
            picture = future.result()
        except I2IError as error:
            settle(_failed(job, error))
            continue
        if group and (group[0][1].rgb.shape, group[0][1].bits) != (picture.rgb.shape, picture.bits):
            yield group
            group = []
        group.append((job, picture))
        if len(group) >= batch:
            yield group
            group = []
    if group:
        yield group


def _translate_group(
    model: ImageModel, group: list[tuple[Job, Picture]], settle: Callable[[Outcome], None]
) -> list[tuple[Job, Picture]]:
    try:
        translated = model.translate_array(np.stack([picture.rgb for _, picture in group]))
        return [(job, with_pixels(picture, rgb)) for (job, picture), rgb in zip(group, translated, strict=True)]
    except I2IError as error:
        if len(group) > 1:
            # One by one: what was too much together may fit, and one picture's failure must not take the others along.
            return [done for single in group for done in _translate_group(model, [single], settle)]
        settle(_failed(group[0][0], error))
        return []


def _written(job: Job, picture: Picture, future: Future[tuple[str, ...]]) -> Outcome:
    try:
        notes = future.result()
    except StorageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _STORAGE_IS_GONE:
            raise
        return _failed(job, error)
    except I2IError as error:
        return _failed(job, error)
    return Outcome(job.source, job.destination, "written", notes=(*picture.notes, *notes))


def _failed(job: Job, error: I2IError) -> Outcome:
    message = str(error)
    # Errors of the network do not know the file.
    named = message if str(job.source) in message or str(job.destination) in message else f"{job.source}: {message}"
    return Outcome(job.source, job.destination, "failed", named)
