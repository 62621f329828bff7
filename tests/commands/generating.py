"""What the tests of `i2i generate` share: the command, and looks at what it wrote and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main


def generate(*arguments: object) -> int:
    """Run the verb on the CPU; returns the exit code."""
    return main(["generate", *map(str, arguments), "--device", "cpu"])


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their relative paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pixels(path: Path) -> np.ndarray:
    """A picture as it is stored."""
    with Image.open(path) as image:
        return np.asarray(image)


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a failed command printed."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("i2i: error: ")
    return line
