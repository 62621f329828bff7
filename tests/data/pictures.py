"""Small sets of picture files for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int, *, seed: int = 0, side: int = 24, prefix: str = "") -> None:
    """Write `count` different noise pictures ``00.png, 01.png, ...`` of `side` x `side`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{prefix}{index:02d}.png")


def write_unpaired(root: Path, *, a: int = 5, b: int = 8, test: int = 3) -> Path:
    """Write the four folders of an unpaired set; test pictures have other names in A than in B."""
    write_pictures(root / "trainA", a, seed=1)
    write_pictures(root / "trainB", b, seed=2)
    if test:
        write_pictures(root / "testA", test, seed=3, prefix="a")
        write_pictures(root / "testB", test, seed=4, prefix="b")
    return root
