"""Figures that say how they were made, and the sheets they are kept on.

A number such as "FID 12.3" can be compared with another only where the same network looked at equally many pictures
that were prepared in the same way and held against the same real ones. All of that is in a figure's passport.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from i2i.errors import DataError, one_line
from i2i.files import read_regular, write_atomically
from i2i.version import __version__

EVALUATIONS_FOLDER = "evaluations"
"""In a run folder: the sheets of its evaluations."""

METRICS_REVISION = 1
"""Raised whenever a metric here gives another number for the same pictures."""

CODE_VERSION = f"i2i {__version__}, metrics {METRICS_REVISION}"

QUANTISATION = "8 bits, made pictures rounded to the nearest level"

_FORMAT = 1

Setting = str | bool | int | float
"""A value of a setting that a model was run with."""


@dataclass(frozen=True, kw_only=True)
class Passport:
    """All that decides whether two figures may be compared; None where a metric has no such thing."""

    metric: str
    """Its key in the table of metrics: "fid", "kid"; "psnr_y"."""
    extractor: str | None = None
    """The network whose features were taken."""
    weights_sha256: str | None = None
    preprocessing: str | None = None
    """What was done to pictures before the network, in words."""
    quantisation: str | None = QUANTISATION
    split: str | None = None
    """Which real pictures: "test", "train", "test b", "folder"."""
    real_count: int | None = None
    fake_count: int | None = None
    seed: int | None = None
    """Of the latents that pictures were made from; what a metric draws itself is among its parameters."""
    data_sha256: str | None = None
    """Of the real pictures' content."""
    source_sha256: str | None = None
    """Of the content of what the made pictures were made of: a translator's or an upscaler's input."""
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    """The metric's own: kernel, number and size of subsets, neighbours, splits."""
    code_version: str | None = CODE_VERSION


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How far a figure strays, where that can be said soundly."""

    half_width: float
    kind: str
    """What it is: "standard deviation over 100 subsets of 1000"."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of an evaluation."""

    name: str
    """Unlike all others on its sheet: "fid", "fid_AtoB", "precision", "psnr_y"."""
    label: str
    """For a person: "FID", "PSNR-Y, x4"."""
    value: float
    unit: str | None = None
    higher_is_better: bool | None = None
    """None where neither is: a diversity."""
    interval: Interval | None = None
    passport: Passport


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was evaluated."""

    description: str
    model: str | None = None
    """Path of the model's file; None where a folder of pictures was evaluated."""
    sha256: str | None = None
    """Of the model's file, or of the pictures' content."""
    step: int | None = None
    images: int | None = None
    """Pictures seen in training."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """How a model was run, by name ("precision", "runner", "strength", "consistent"), and what it got ("data")."""

    def is_as_trained(self, strength: float = 1.0) -> bool:
        """Whether the model was run as it is by default: with its whole strength, and what it makes not corrected.

        Args:
            strength: what counts as the whole of it, for a file that holds a network of less.
        """
        return self.settings.get("strength", 1.0) == strength and not self.settings.get("consistent", False)


@dataclass(frozen=True, kw_only=True)
class FigureSheet:
    """All figures of one evaluation."""

    subject: Subject
    created: str
    """ISO 8601, UTC."""
    figures: Sequence[Figure]

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; numbers that are not finite are written as text ("inf", "nan")."""
        return _plain({"format": _FORMAT} | asdict(self))

    @classmethod
    def from_json(cls, content: Any) -> FigureSheet:
        """What `to_json` gave; keys it does not know are passed over.

        Raises:
            DataError: something is missing or of the wrong kind; the message is a reason without the place.
        """
        from pydantic import TypeAdapter, ValidationError

        if not isinstance(content, dict) or content.get("format") != _FORMAT or "figures" not in content:
            raise DataError("no sheet of figures as `i2i evaluate -o FILE` writes them")
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(f"a damaged sheet of figures ({where}: {one_line(first['msg'])})") from error

    def write(self, path: Path) -> None:
        """Write the sheet to `path`, whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(path, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> FigureSheet:
        """The sheet in the file `path`.

        Raises:
            DataError: there is none, or it cannot be understood.
        """
        try:
            content = json.loads(read_regular(path))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error}) - give a file of `i2i evaluate -o FILE`"
            ) from error
        except ValueError as error:
            raise DataError(f"{path}: not a JSON file - give one that `i2i evaluate -o FILE` wrote") from error
        try:
            return cls.from_json(content)
        except DataError as error:
            raise DataError(f"{path}: {error} - evaluate again") from error


def sheet_of(subject: Subject, figures: Sequence[Figure]) -> FigureSheet:
    """A sheet made now."""
    return FigureSheet(subject=subject, created=datetime.now(UTC).isoformat(timespec="seconds"), figures=tuple(figures))


def read_sheets(run_folder: Path) -> list[FigureSheet]:
    """The sheets in a run's folder for evaluations, in order of their making; damaged ones are left out."""
    found: list[FigureSheet] = []
    for path in sorted((Path(run_folder) / EVALUATIONS_FOLDER).glob("*.json")):
        try:
            found.append(FigureSheet.read(path))
        except DataError:
            continue
    return sorted(found, key=lambda sheet: sheet.created)


def passport_fields(passport: Passport) -> dict[str, str | int | float | None]:
    """All fields by name, the metric's own as ``parameters.NAME``."""
    plain = {one.name: getattr(passport, one.name) for one in fields(passport) if one.name != "parameters"}
    return plain | {f"parameters.{name}": value for name, value in passport.parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value
