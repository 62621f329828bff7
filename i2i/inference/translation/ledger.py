"""What made each result: a list beside them, so that nothing is made twice and nothing old is taken for new.

It is a file of JSON lines in the folder for results. A line is a maker (a model with its settings, and what it ran on)
or a result with its maker; of several about one result the last holds. Lines are only ever added, each in one write,
so that processes can share the folder and an interruption costs one line at most.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from i2i.errors import StorageError
from i2i.inference.pictures.image_files import OutputFormat
from i2i.inference.translation.failures import stops_everything
from i2i.inference.translation.planning import Job, VideoJob

LEDGER_NAME = ".i2i_results.jsonl"
State = Literal["missing", "same", "unknown", "other maker", "other source"]
"""Of a result: not there; made as it would be now; there and not in the list; made otherwise; of another picture."""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """All that the pixels of a result depend on, besides the picture that it is made of.

    Which engine computed it is left out: in the same arithmetic they differ by one grey level at most.
    """

    model_sha256: str
    direction: str
    precision: str
    strength: float = 1.0
    consistent: bool = False
    alpha: str = "copy"
    statistics: str = "exact"
    """See `i2i.inference.tiling.tiles.TileSettings`."""
    quality: int | None = None
    """Of the formats that have one."""


class Ledger:
    """The lists of all folders that one translation writes to.

    Args:
        maker: of all results; the quality is that of the formats with a loss.
        facts: what else is worth knowing of this maker, such as what it ran on; must fit into JSON.
    """

    def __init__(self, maker: Maker, facts: Mapping[str, Any]) -> None:
        self._maker, self._facts = maker, dict(facts)
        self._lists: dict[Path, dict[str, Any]] = {}
        self._announced: set[tuple[Path, str]] = set()
        self._sources: dict[Path, dict[str, int] | None] = {}
        self._lock = threading.Lock()

    def state(self, job: Job | VideoJob) -> State:
        """What is known of the result of `job`."""
        if not job.destination.exists():
            return "missing"
        with self._lock:
            known = self._read(job.results)
        entry = known.get(_name(job))
        if entry is None:
            return "unknown"
        if entry.get("maker") != _key(self._maker_of(job)):
            return "other maker"
        return "same" if entry.get("source") == _source(job) else "other source"

    def note_source(self, job: Job | VideoJob) -> None:
        """Keep what tells the picture of `job` from a later one; to be called before it is read."""
        source = _source(job)
        with self._lock:
            self._sources[job.destination] = source

    def record(self, job: Job | VideoJob) -> tuple[str, ...]:
        """Add the result of `job`, which was just written.

        Returns:
            What its owner may want to know, a phrase each: that the list cannot be written, which does the result
            no harm.

        Raises:
            StorageError: the disk is full or read-only.
        """
        try:
            self._record(job)
        except StorageError as error:
            if stops_everything(error):
                raise
            return (f"not in the list of results: {error}",)
        return ()

    def _record(self, job: Job | VideoJob) -> None:
        maker = self._maker_of(job)
        key = _key(maker)
        with self._lock:
            source = self._sources.pop(job.destination, None)
            lines = [{"result": _name(job), "maker": key, "source": source}]
            if (job.results, key) not in self._announced:
                self._announced.add((job.results, key))
                lines.insert(0, {"maker": key, **asdict(maker), **self._facts})
            _append(job.results / LEDGER_NAME, lines)

    def _maker_of(self, job: Job | VideoJob) -> Maker:
        with_loss = isinstance(job, Job) and job.format in _WITH_LOSS
        return self._maker if with_loss else replace(self._maker, quality=None)

    def _read(self, folder: Path) -> dict[str, Any]:
        if folder not in self._lists:
            self._lists[folder] = read_results(folder)
        return self._lists[folder]


_WITH_LOSS: tuple[OutputFormat, ...] = ("jpg", "webp")


def check_lists(jobs: Iterable[Job | VideoJob]) -> None:
    """Refuse lists that could not be added to, before anything is computed; the folders are there.

    Raises:
        StorageError: there is one.
    """
    for folder in dict.fromkeys(job.results for job in jobs):
        if (folder / LEDGER_NAME).exists():
            _append(folder / LEDGER_NAME, [])


def read_results(folder: Path) -> dict[str, Any]:
    """The entries of the list in `folder` by the names of the results; lines that make no sense are passed over."""
    try:
        lines = (folder / LEDGER_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("result"), str):
            found[entry["result"]] = entry
    return found


def _key(maker: Maker) -> str:
    return hashlib.sha256(json.dumps(asdict(maker), sort_keys=True).encode()).hexdigest()[:16]


def _name(job: Job | VideoJob) -> str:
    return job.destination.relative_to(job.results).as_posix()


def _source(job: Job | VideoJob) -> dict[str, int] | None:
    """What tells that a picture has changed, without reading it."""
    try:
        status = job.source.stat()
    except OSError:
        return None
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    try:
        if lines and _is_torn(path):
            content = b"\n" + content
        # One write at the file's end, wherever that is by now: another process may have added to it.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}"
            " - free space, make it writable or choose another folder with -o"
        ) from error


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end, for whoever wrote it was interrupted."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # There is no such file, or nothing in it.
