"""How fast pictures are made, in words."""

from __future__ import annotations


def pace(pictures: int, seconds: float) -> str:
    """As a person would say it: "312 pictures/s", "3.2 pictures/s", "4.1 s a picture"."""
    rate = pictures / max(seconds, 1e-9)
    if 0 < rate < 1:
        return f"{1 / rate:.1f} s a picture"
    return f"{rate:.0f} pictures/s" if rate >= 100 else f"{rate:.1f} pictures/s"
