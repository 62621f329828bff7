"""What a recipe may say about the data of super-resolution; part of :mod:`i2i.data.settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from i2i.core.image_shape import ImageShape
from i2i.data.degradation_settings import BicubicSettings, DegradationSettings

LARGEST_SCALE = 16
_LARGEST_CROP_PIXELS = 4096
_SMALLEST_SCENE_PIXELS = 48
_LARGEST_SCENE_PIXELS = 1024


class _Pairs:
    """What settings of low- and high-resolution pictures have in common."""

    scale: int
    crop_pixels: int
    streams: ClassVar[Sequence[str]] = ("low", "high")
    pixels_key: ClassVar[str] = "crop_pixels"

    @property
    def shape(self) -> ImageShape:
        """Of the high-resolution pictures that training sees."""
        return ImageShape(3, self.crop_pixels)

    def _check_crop(self) -> None:
        if not 1 <= self.scale <= LARGEST_SCALE:
            raise ValueError(f"scale is {self.scale}; needs 1 to {LARGEST_SCALE}")
        if not self.scale <= self.crop_pixels <= _LARGEST_CROP_PIXELS:
            raise ValueError(f"crop_pixels is {self.crop_pixels}; needs {self.scale} to {_LARGEST_CROP_PIXELS}")
        if self.crop_pixels % self.scale:
            below = self.crop_pixels - self.crop_pixels % self.scale
            raise ValueError(
                f"crop_pixels is {self.crop_pixels}; needs a multiple of scale {self.scale}"
                f" - try {below} or {below + self.scale}"
            )


@dataclass(frozen=True, kw_only=True)
class UpscalingFolderSettings(_Pairs):
    """High-resolution pictures of any size: those of a folder and all folders below it, or of a .zip file.

    A sample is a crop of `crop_pixels` (a multiple of `scale`) at a random place of a high-resolution picture, and the
    same place of its low-resolution counterpart. With `flip` half of the samples are mirrored, with `quarter_turns`
    they are turned by 0, 90, 180 or 270 degrees, each as often.

    Low-resolution counterparts are made from them as `degradation` says, or are given in `low`: pictures of the same
    names, also with the usual endings (``0001x4``, ``img_001_SRF_4_LR`` for ``img_001_SRF_4_HR``), and exactly `scale`
    times smaller. High-resolution pictures are first cut at the bottom and the right to a multiple of `scale`; those
    with a side under `crop_pixels` or of more than `max_pixels` are skipped.

    `test`, `test_low`: pictures for testing, used whole. Without `test`, `held_out` of the pictures at `root`, evenly
    spread over their names, are kept for it and not trained on.
    `cache`: keep the decoded pictures on disk, under ``$I2I_CACHE`` or ``~/.cache/i2i``, and not in memory.

    Source: Ledig et al. 2017, section 3.2 (crops of 96 pixels, scale 4).
    """

    kind: Literal["upscaling_folder"] = "upscaling_folder"
    root: str
    low: str | None = None
    test: str | None = None
    test_low: str | None = None
    held_out: int = 0
    scale: int = 4
    crop_pixels: int = 96
    degradation: DegradationSettings = field(default_factory=BicubicSettings)
    flip: bool = True
    quarter_turns: bool = True
    max_pixels: int = 200_000_000
    cache: bool = True

    path_keys: ClassVar[Sequence[str]] = ("root", "low", "test", "test_low")
    displaces: ClassVar[Mapping[str, Sequence[str]]] = {
        "root": ("low",),
        "low": ("degradation",),
        "degradation": ("low",),
        "test": ("test_low", "held_out"),
    }
    """Given on top of another recipe, a key takes the place of these."""

    def __post_init__(self) -> None:
        self._check_crop()
        for name in self.path_keys:
            path: str | None = getattr(self, name)
            if path is not None and not path.strip():
                raise ValueError(f"{name} is empty; name the folder or .zip file that holds the pictures")
        if self.low is not None and not isinstance(self.degradation, BicubicSettings):
            raise ValueError(f"low is given, so degradation {self.degradation.kind} has nothing to do; leave out one")
        if self.test_low is not None and self.test is None:
            raise ValueError("test_low is given without test; name the folder of its high-resolution counterparts")
        if self.low is not None and self.test is not None and self.test_low is None:
            raise ValueError("test is given without test_low; where low is given, it is needed too")
        if self.held_out < 0:
            raise ValueError(f"held_out is {self.held_out}; it cannot be negative")
        if self.held_out and self.test is not None:
            raise ValueError(f"held_out is {self.held_out}, but test is given; leave out one")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class DrawnScenesSettings(_Pairs):
    """Pictures full of detail that code draws (text, edges, textures), and their counterparts: nothing to download.

    Samples are as those of :class:`UpscalingFolderSettings`. `size_pixels`: side of the high-resolution pictures.
    `seed` says which pictures are drawn; it is apart from the training seed, so that runs with other seeds see the same
    set.
    """

    kind: Literal["drawn_scenes"] = "drawn_scenes"
    size_pixels: int = 192
    pictures: int = 200
    test_pictures: int = 10
    scale: int = 4
    crop_pixels: int = 96
    degradation: DegradationSettings = field(default_factory=BicubicSettings)
    flip: bool = True
    quarter_turns: bool = True
    seed: int = 0

    path_keys: ClassVar[Sequence[str]] = ()

    def __post_init__(self) -> None:
        self._check_crop()
        if not _SMALLEST_SCENE_PIXELS <= self.size_pixels <= _LARGEST_SCENE_PIXELS:
            raise ValueError(
                f"size_pixels is {self.size_pixels}; needs {_SMALLEST_SCENE_PIXELS} to {_LARGEST_SCENE_PIXELS}"
            )
        largest = self.size_pixels - self.size_pixels % self.scale
        if self.crop_pixels > largest:
            raise ValueError(f"crop_pixels is {self.crop_pixels}; size_pixels {self.size_pixels} allows {largest}")
        if self.pictures < 1:
            raise ValueError(f"pictures is {self.pictures}; it must be at least 1")
        if self.test_pictures < 0:
            raise ValueError(f"test_pictures is {self.test_pictures}; it cannot be negative")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it cannot be negative")
