"""Which file goes where: inputs as people name them, and the files that translations of them are written to."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.data.folders import PICTURE_SUFFIXES, RESULTS_SUFFIX
from i2i.errors import DataError, StorageError, UsageError
from i2i.inference.pictures.image_files import OutputFormat

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"})
"""Of files that are taken for videos where they are named themselves; in folders only pictures are looked for."""

_FORMAT_OF_SUFFIX: dict[str, OutputFormat] = {
    ".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip
# What holds H.264 and the usual sound; a video in anything else becomes Matroska, which holds everything.
_KEPT_CONTAINERS = frozenset({".mp4", ".m4v", ".mov", ".mkv"})
_NAMED_MISSING = 3
UNKNOWN_MAKER = "it is not known what made it"
"""What is said of a result that is skipped without being known."""
MADE_ANEW = {
    "other maker": "made anew: the result that was there came from another model or other settings",
    "other source": "made anew: its source has changed since",
}
"""What is said of a result that was there and did not count, by the state that the list of results gives."""


@dataclass(frozen=True)
class Job:
    """One picture to translate."""

    source: Path
    destination: Path
    format: OutputFormat
    folder: Path | None = None
    """The folder for results that `destination` lies in, or deeper; its own by default."""

    @property
    def results(self) -> Path:
        """The folder for results that `destination` lies in, or deeper."""
        return self.folder or self.destination.parent


@dataclass(frozen=True)
class VideoJob:
    """One video to translate."""

    source: Path
    destination: Path
    folder: Path | None = None
    """As in `Job`."""

    @property
    def results(self) -> Path:
        """As in `Job`."""
        return self.folder or self.destination.parent


@dataclass(frozen=True)
class Outcome:
    """What became of one picture or video."""

    source: Path
    destination: Path | None
    status: Literal["written", "skipped", "failed"]
    message: str = ""
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What its owner may want to know, a phrase each."""
    pixels: int = 0
    """Of what was read, over all frames."""


@dataclass(frozen=True)
class Plan:
    """What a translation will do, found out before it starts."""

    jobs: tuple[Job, ...]
    missing: tuple[Outcome, ...]
    """Inputs that are not there or cannot be listed."""
    folders: tuple[Path, ...]
    """Where the results go."""
    videos: tuple[VideoJob, ...] = ()


def plan_translation(
    inputs: Sequence[str | Path],
    out: Path | None = None,
    format: OutputFormat | None = None,
    *,
    direction: str | None = None,
) -> Plan:
    """Map inputs to output files.

    Args:
        inputs: picture files, videos, folders (with all pictures below them; all else is passed over) and glob
            patterns for pictures.
        out: folder for the results; names and the structure below a folder are kept. By default
            ``<folder>_translated`` beside a folder (or beside the folder that several files or a pattern lie in) and
            ``<name>_translated`` beside a single file. For a single file, a name that ends like a picture's (for a
            video, like a video's) is the file to write.
        format: of the results; by default that of each input, and png for kinds that are only read.
        direction: part of the default names, as ``<folder>_BtoA_translated``, so that what several directions make of
            one input lies apart.

    Raises:
        UsageError: two inputs would be written to one file, or an input would be overwritten.
        DataError: there is no picture at all.
    """
    if out is not None and (_is_picture_name(out) or is_video_name(out)) and not out.is_dir():
        if len(inputs) > 1 or Path(inputs[0]).is_dir() or _is_pattern(str(inputs[0])):
            kind = "picture" if _is_picture_name(out) else "video"
            raise UsageError(f"-o {out}: names one {kind}, and the input may be several - name a folder")
        if Path(inputs[0]).exists():
            return _plan_one(Path(inputs[0]), out, format)
    suffix = RESULTS_SUFFIX if direction is None else f"_{direction}{RESULTS_SUFFIX}"
    roots = [_output_folder(text, out, suffix, alone=len(inputs) == 1) for text in map(str, inputs)]
    left_out = frozenset(root.resolve() for root in roots)
    jobs: dict[Path, Job | VideoJob] = {}
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
            _add(jobs, _job(source, root / relative, format, root))
    _check_that_no_source_is_overwritten(jobs)
    if not jobs:
        raise DataError(_nothing_to_do(inputs, missing))
    pictures = tuple(job for job in jobs.values() if isinstance(job, Job))
    videos = tuple(job for job in jobs.values() if isinstance(job, VideoJob))
    return Plan(pictures, tuple(missing), tuple(dict.fromkeys(used)), videos)


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


@contextlib.contextmanager
def folders_for_results(plan: Plan, *, shared: bool = False) -> Iterator[None]:
    """As `prepare_folders`; afterwards those that were created and got no result are gone again.

    Args:
        shared: other processes write there too, which may not have come to it yet; all folders stay.

    Raises:
        UsageError, StorageError: as there.
    """
    missing = {place for folder in plan.folders for place in (folder, *folder.parents) if not place.exists()}
    try:
        prepare_folders(plan)
        yield
    finally:
        # What lies within another one first; and what holds something stays.
        for folder in () if shared else sorted(missing, key=lambda place: len(place.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


def output_format_of(path: Path) -> OutputFormat:
    """The format that a picture of this name is written in; png for kinds that are only read."""
    return _FORMAT_OF_SUFFIX.get(path.suffix.lower(), "png")


def is_video_name(path: Path) -> bool:
    """Whether a file of this name is taken for a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_picture_name(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _plan_one(source: Path, out: Path, format: OutputFormat | None) -> Plan:
    """One picture or video to one named file, whose name says the format."""
    if is_video_name(source) != is_video_name(out):
        kinds = ("video", "picture") if is_video_name(source) else ("picture", "video")
        raise UsageError(f"-o {out}: {source} is a {kinds[0]} and this names a {kinds[1]} - name a {kinds[0]}")
    if is_video_name(source):
        video = VideoJob(source, out)
        _check_that_no_source_is_overwritten({out.resolve(): video})
        return Plan((), (), (out.parent,), (video,))
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


def _add(jobs: dict[Path, Job | VideoJob], job: Job | VideoJob) -> None:
    other = jobs.setdefault(job.destination.resolve(), job)
    if other.source.resolve() != job.source.resolve():
        raise UsageError(
            f"{other.source} and {job.source} would both be written to {job.destination}"
            " - translate them separately, each with its own -o"
        )


def _check_that_no_source_is_overwritten(jobs: Mapping[Path, Job | VideoJob]) -> None:
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
    if (path / "recipe.yaml").is_file() and (path / "checkpoints").is_dir():
        # A pattern behind --model that means several runs puts all but the first among the pictures.
        raise UsageError(f"{text}: is a run, and no folder of pictures - name one model with --model")
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


def _job(source: Path, destination: Path, format: OutputFormat | None, folder: Path) -> Job | VideoJob:
    if is_video_name(source):
        kept = source.suffix.lower() in _KEPT_CONTAINERS
        return VideoJob(source, destination if kept else destination.with_suffix(".mkv"), folder)
    own = _FORMAT_OF_SUFFIX.get(source.suffix.lower())
    wanted = format or own or "png"
    return Job(source, destination if wanted == own else destination.with_suffix(f".{wanted}"), wanted, folder)
