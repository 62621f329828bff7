"""Names that no archive of pictures needs are refused, and all others are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.data.archive_names import check_archive_names
from i2i.errors import DataError

ARCHIVE = Path("x.zip")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["../a.png"], "the unsafe path '../a.png'"),
        (["a/../../b.png"], "the unsafe path"),
        (["/a.png"], "the unsafe path"),
        (["C:\\a.png"], "the unsafe path"),
        (["a.png:stream"], "the unsafe path"),
        (["a\\b.png"], "the unsafe path"),
        ([""], "the unsafe path"),
        (["a\nb.png"], "control characters"),
        (["\x1b[2J.png"], "control characters"),
        (["a\0.png"], "control characters"),
        (["x" * 252 + ".png"], "too long for a disk"),
        (["ä" * 130 + ".png"], "too long for a disk"),
        (["d/" * 2000 + "x.png"], "too long for a disk"),
        (["a.png", "a.png/b.png"], "a file that is also the folder of 'a.png/b.png'"),
        (["a.png", "a.png/b/c.png"], "a file that is also the folder of"),
    ],
)
def test_refused(names: list[str], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        check_archive_names(ARCHIVE, ["fine.png", *names])
    message = str(caught.value)
    assert message.startswith("x.zip: holds ") and reason in message and message.endswith("do not use this archive")
    assert message.isprintable() and len(message) < 400


def test_taken() -> None:
    strange = [
        "a.png",
        "a.png.png",
        "..a/b.png",
        "ä/é.png",
        "日本.png",
        "family \U0001f468\u200d\U0001f469.png",
        "x" * 251 + ".png",
    ]
    check_archive_names(ARCHIVE, strange)
