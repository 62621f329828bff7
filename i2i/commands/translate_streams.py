"""``-`` in place of a file: one picture from standard input, or one to standard output.

Both lie in temporary files meanwhile, so that everything else is as with files.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.errors import StorageError, UsageError

if TYPE_CHECKING:
    from i2i.inference.pictures.image_files import OutputFormat

STREAM = "-"
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tiff", "BMP": ".png"}


@dataclass(frozen=True)
class Streamed:
    """Inputs and output as files."""

    inputs: Sequence[Path | str]
    out: Path | None
    names: Mapping[str, str] = field(default_factory=dict)
    """What to say in place of temporary paths."""


@contextlib.contextmanager
def streams_as_files(
    inputs: Sequence[Path | str], out: Path | None, format: OutputFormat | None, *, json: bool
) -> Iterator[Streamed]:
    """Put files in the place of ``-``; what is written to the output's is handed on at the end.

    Without ``-o`` a picture from standard input goes to standard output.

    Raises:
        UsageError: ``-`` beside other inputs, or standard output is a terminal or wanted for something else too.
        DataError: there is no picture in standard input.
    """
    from_input = any(str(text) == STREAM for text in inputs)
    to_output = str(out) == STREAM or (from_input and out is None)
    if not (from_input or to_output):
        yield Streamed(inputs, out)
        return
    _check(inputs, to_output=to_output, json=json)
    with tempfile.TemporaryDirectory(prefix="i2i-") as name:
        folder = Path(name)
        source = _received(folder) if from_input else Path(inputs[0])
        result = folder / f"result{_suffix(source, format)}" if to_output else None
        names = {str(source): "standard input"} if from_input else {}
        if result is not None:
            names[str(result)] = "standard output"
        yield Streamed([source], result or out, names)
        if result is not None and result.exists():
            _send(result)


def _check(inputs: Sequence[Path | str], *, to_output: bool, json: bool) -> None:
    if len(inputs) > 1:
        raise UsageError("-: standard input and output are for one picture - name it alone, or name a folder with -o")
    if to_output and Path(inputs[0]).is_dir():
        raise UsageError(
            f"-o -: {inputs[0]} is a folder, and standard output takes one picture - name a folder with -o"
        )
    if to_output and json:
        raise UsageError("-o -: the picture and --json both want standard output - name a file with -o")
    if to_output and sys.stdout.isatty():
        raise UsageError("-: a picture is no text for a terminal - name a file with -o, or send the output elsewhere")


def _received(folder: Path) -> Path:
    from i2i.data.headers import parse_header

    source = folder / "input"
    try:
        with source.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise StorageError(
            f"{folder}: the picture cannot be kept there: {error.strerror or error}"
            " - free space or set TMPDIR to another folder"
        ) from error
    with source.open("rb") as file:
        header = parse_header(file, Path("standard input"))
    return source.rename(folder / f"input{_SUFFIXES[header.format]}")


def _suffix(source: Path, format: OutputFormat | None) -> str:
    from i2i.inference.translation.planning import is_video_name, output_format_of

    if is_video_name(source):
        raise UsageError(f"-o -: {source} is a video, which needs a file to go to - name one with -o")
    return f".{format or output_format_of(source)}"


def _send(result: Path) -> None:
    with result.open("rb") as file, contextlib.suppress(BrokenPipeError):
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
