"""The command line: one thin function a verb; what a verb does lies in `i2i.commands`.

Everything heavy is imported inside the functions, so that `i2i --help` answers at once.
"""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from i2i.cli.failures import report_failure
from i2i.cli.verbs import app

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error is reported here and nowhere else."""
    words, debug = _take_debug(list(sys.argv[1:] if arguments is None else arguments))
    # Its remarks on damaged files, two lines each, name no file; what is said of such files is ours.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    command = command_line()
    try:
        with command.make_context("i2i", words) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as done:
        return done.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error)
        return report_failure(error)


@functools.cache
def command_line() -> Any:
    """The whole command line, read off the verbs' signatures once a process."""
    return typer.main.get_command(app)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """Take `--debug` out of the words before a `--`, so that it may stand anywhere."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end
