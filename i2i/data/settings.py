"""What a recipe may say about its data; every variant is told apart by `kind`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PublishedSetName = Literal["horse2zebra"]


@dataclass(frozen=True, kw_only=True)
class UnpairedFoldersSettings:
    """Two folders of pictures without counterparts.

    Either `root` with `trainA`, `trainB` and, if wanted, `testA`, `testB` below it, or `a` and `b` (and `test_a`,
    `test_b`) anywhere. Pictures may lie in nested folders.

    Every training picture is resized once to a square of `resize_pixels` (bicubic, aspect ratio let go), then each
    draw crops `crop_pixels` at random and, with `flip`, mirrors every second one. Test pictures are resized to
    `crop_pixels` and left whole. Pictures with a side under `min_side_pixels` are skipped.

    `pairing`: how B is drawn for an A; "random" draws it uniformly with replacement.
    `cache`: keep the resized pictures on disk, under ``$I2I_CACHE`` or ``~/.cache/i2i``.
    `fetch`: the published set that the folders hold, so that an error can name the command that gets it.

    Source: Zhu et al. 2017, section 4 and its reference code (load 286, crop 256).
    """

    kind: Literal["unpaired_folders"] = "unpaired_folders"
    root: str | None = None
    a: str | None = None
    b: str | None = None
    test_a: str | None = None
    test_b: str | None = None
    resize_pixels: int = 286
    crop_pixels: int = 256
    flip: bool = True
    pairing: Literal["random"] = "random"
    min_side_pixels: int = 16
    max_pixels: int = 200_000_000
    cache: bool = True
    fetch: PublishedSetName | None = None

    def __post_init__(self) -> None:
        if self.root is None and (self.a is None or self.b is None):
            raise ValueError("name the pictures: either root, or both a and b")
        if self.root is not None and (self.a is not None or self.b is not None):
            raise ValueError("give either root, or a and b, not both")
        if self.crop_pixels < 1:
            raise ValueError(f"crop_pixels is {self.crop_pixels}; it must be at least 1")
        if self.resize_pixels < self.crop_pixels:
            raise ValueError(
                f"resize_pixels is {self.resize_pixels}, smaller than crop_pixels {self.crop_pixels}; raise it to that"
            )
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class DrawnAnimalsSettings:
    """Two sets of pictures that code draws: nothing to download, and test pictures with true counterparts.

    `pictures` and `test_pictures` count each domain's. `seed` says which pictures are drawn; it is apart from the
    training seed, so that runs with other seeds see the same set.
    """

    kind: Literal["drawn_animals"] = "drawn_animals"
    size_pixels: int = 64
    pictures: int = 400
    test_pictures: int = 40
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size_pixels < 8:
            raise ValueError(f"size_pixels is {self.size_pixels}; it must be at least 8")
        if self.pictures < 1:
            raise ValueError(f"pictures is {self.pictures}; it must be at least 1")
        if self.test_pictures < 0:
            raise ValueError(f"test_pictures is {self.test_pictures}; it cannot be negative")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it cannot be negative")


DataSettings = UnpairedFoldersSettings | DrawnAnimalsSettings
"""Every way a recipe may name its data."""
