"""Errors that a user can act on, and the exit code of each.

Every message is one line that says what is wrong, where, and what to do. The command line prints the message
alone; the traceback appears only with ``--debug``.
"""

from __future__ import annotations

from collections.abc import Iterable


class I2IError(Exception):
    """Base of all errors meant for the user; the exit code is that of an internal error."""

    exit_code = 1


class UsageError(I2IError):
    """The command was called with arguments that do not go together."""

    exit_code = 2


class RecipeError(I2IError):
    """A recipe cannot be read or contains mistakes; the message may hold one line a mistake."""

    exit_code = 3


class DataError(I2IError):
    """Pictures or data sets are missing, unreadable or unfit."""

    exit_code = 4


class ModelError(I2IError):
    """A model file or checkpoint is missing, damaged or of the wrong kind."""

    exit_code = 5


class OutOfMemoryError(I2IError):
    """The device or the machine has too little memory for what was asked."""

    exit_code = 6


class PartialFailureError(I2IError):
    """Some inputs failed; all others were done."""

    exit_code = 7


class DivergedError(I2IError):
    """Training produced non-finite numbers beyond what the recipe tolerates."""

    exit_code = 8


class DeadLossError(I2IError):
    """A loss term that the recipe asks for moves no weight."""

    exit_code = 8


class StorageError(I2IError):
    """A file could not be written (disk full, read-only, no permission); nothing half-written remains."""

    exit_code = 1


class InterruptedBySignal(I2IError):  # noqa: N818 - it is an orderly end, not a failure
    """A signal asked the program to stop and everything was saved; the exit code is 128 + the signal's number."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


# PyTorch: "can't allocate memory"; ONNX Runtime: "Failed to allocate memory"; all of them: "bad_alloc", "ALLOC_FAILED".
_WANT_OF_MEMORY = ("alloc", "out of memory", "not enough memory", "insufficient memory")
_WANT_OF_SOMETHING = ("could not create a primitive", "could not execute a primitive")
"""oneDNN says no more where it gets no memory; for want of a kernel it names a "primitive descriptor"."""


def tells_want_of_memory(message: str) -> bool:
    """Whether a message of another library means that memory was short, which many errors say in words alone."""
    text = message.lower()
    return any(phrase in text for phrase in _WANT_OF_MEMORY) or text in _WANT_OF_SOMETHING


def one_line(error: object, longest: int = 200) -> str:
    """What another library says of a failure, fit for a message of ours; its kind where it says nothing."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def printable(text: str) -> str:
    """Text of strangers, such as names in an archive, without what would command the terminal: that is spelt out."""
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1] for character in text
    )


def printable_lines(lines: Iterable[str]) -> str:
    """Lines for the terminal, each `printable` and one line whatever names stand in it."""
    return "\n".join(printable(line).replace("\n", "\\n") for line in lines)
