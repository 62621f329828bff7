"""Rates that people read."""

from __future__ import annotations

import pytest

from i2i.commands.pace import pace


@pytest.mark.parametrize(
    ("pictures", "seconds", "said"),
    [
        (624, 2.0, "312 pictures/s"),
        (32, 10.0, "3.2 pictures/s"),
        (1, 1.0, "1.0 pictures/s"),
        (3, 12.3, "4.1 s a picture"),
        (1, 5000.0, "5000.0 s a picture"),
        (0, 3.0, "0.0 pictures/s"),
    ],
)
def test_slow_ones_are_not_rounded_to_nothing(pictures: int, seconds: float, said: str) -> None:
    assert pace(pictures, seconds) == said
