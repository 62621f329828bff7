"""What messages show of the names that strangers chose, and which of strangers' messages tell of want of memory."""

from __future__ import annotations

import pytest

from i2i.cli.failures import report_failure
from i2i.errors import DataError, printable, tells_want_of_memory
from i2i.inference.runtime import is_out_of_memory


def test_what_would_command_the_terminal_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\x07c\x9b") == "a\\x1b[2Jb\\x07c\\x9b"
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"
    assert printable("two\nlines, ä 日本 \U0001f600") == "two\nlines, ä 日本 \U0001f600"
    assert report_failure(DataError("\x1b]0;mine\x07.png: damaged - remove it")) == 4
    assert capsys.readouterr().err == "i2i: error: \\x1b]0;mine\\x07.png: damaged - remove it\n"


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "MPS backend out of memory (MPS allocated: 1.00 GiB)",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 8 bytes",
        "RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 8",
        "std::bad_alloc",
        "could not execute a primitive",
    ],
)
def test_want_of_memory_is_the_same_to_all_who_ask(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The user gets exit code 6 and advice for what the training, too, takes for want of memory."""
    assert tells_want_of_memory(message)
    assert is_out_of_memory(RuntimeError(message))
    assert report_failure(RuntimeError(message)) == 6
    assert "use smaller pictures or batches" in capsys.readouterr().err


@pytest.mark.parametrize(
    "message", ["shapes do not match", "unsupported memory format option", "could not create a primitive descriptor"]
)
def test_other_failures_are_no_want_of_memory(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not tells_want_of_memory(message)
    assert report_failure(RuntimeError(message)) == 1
    assert "internal error" in capsys.readouterr().err
