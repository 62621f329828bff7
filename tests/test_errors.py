"""What messages show of the names that strangers chose."""

from __future__ import annotations

import pytest

from i2i.cli.failures import report_failure
from i2i.errors import DataError, printable


def test_what_would_command_the_terminal_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\x07c\x9b") == "a\\x1b[2Jb\\x07c\\x9b"
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"
    assert printable("two\nlines, ä 日本 \U0001f600") == "two\nlines, ä 日本 \U0001f600"
    assert report_failure(DataError("\x1b]0;mine\x07.png: damaged - remove it")) == 4
    assert capsys.readouterr().err == "i2i: error: \\x1b]0;mine\\x07.png: damaged - remove it\n"
