"""What a recipe may say about its data; every variant is told apart by `kind`.

Every variant says under which keys it has paths (`path_keys`), so that a run can keep them whole, and how many times
smaller than what a network makes of them its pictures are (`scale`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from i2i.core.image_shape import ImageShape
from i2i.data.upscaling_settings import DrawnScenesSettings, UpscalingFolderSettings

PublishedSetName = Literal["horse2zebra"]
Crop = Literal["center", "none"]
""" "center" cuts the largest square out of the middle, "none" lets go of the aspect ratio."""

_SMALLEST_SIZE_PIXELS = 4
_LARGEST_SIZE_PIXELS = 4096


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

    streams: ClassVar[Sequence[str]] = ("a", "b")
    pixels_key: ClassVar[str] = "crop_pixels"
    scale: ClassVar[int] = 1
    path_keys: ClassVar[Sequence[str]] = ("root", "a", "b", "test_a", "test_b")
    displaces: ClassVar[Mapping[str, Sequence[str]]] = {
        "root": ("a", "b"),
        "a": ("root", "fetch"),
        "b": ("root", "fetch"),
    }
    """Given on top of another recipe, a key takes the place of these."""

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(3, self.crop_pixels)

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

    streams: ClassVar[Sequence[str]] = ("a", "b")
    pixels_key: ClassVar[str] = "size_pixels"
    scale: ClassVar[int] = 1
    path_keys: ClassVar[Sequence[str]] = ()

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(3, self.size_pixels)

    def __post_init__(self) -> None:
        if self.size_pixels < 8:
            raise ValueError(f"size_pixels is {self.size_pixels}; it must be at least 8")
        _check_drawn(self.pictures, self.test_pictures, self.seed)


class _OneSet:
    """What settings of one set of square pictures, with labels or without, have in common."""

    labels: bool
    pixels_key: ClassVar[str] = "size_pixels"
    scale: ClassVar[int] = 1

    @property
    def streams(self) -> Sequence[str]:
        """What training can draw."""
        return ("real", "label") if self.labels else ("real",)


@dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(_OneSet):
    """One set of pictures: those of a folder and all folders below it, or of a .zip file, which is read in place.

    Every picture is cropped as `crop` says, resized to a square of `size_pixels` (bicubic) and kept with `channels` 1
    (grey) or 3 (colour); with `flip`, half of the training pictures are mirrored. Pictures with a side under
    `min_side_pixels` or of more than `max_pixels` are skipped.

    `labels`: the folders directly below `root` are classes, numbered in the order of their names (code points).
    `test`: a folder or .zip file with test pictures, with the same class folders if there are labels.
    `cache`: keep the resized pictures on disk, under ``$I2I_CACHE`` or ``~/.cache/i2i``.
    """

    kind: Literal["image_folder"] = "image_folder"
    root: str
    size_pixels: int = 64
    channels: Literal[1, 3] = 3
    crop: Crop = "center"
    flip: bool = True
    labels: bool = False
    test: str | None = None
    min_side_pixels: int = 16
    max_pixels: int = 200_000_000
    cache: bool = True

    path_keys: ClassVar[Sequence[str]] = ("root", "test")

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(self.channels, self.size_pixels)

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_size(self.size_pixels)
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; needs 1 (grey) or 3 (colour)")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class IdxSettings(_OneSet):
    """MNIST, Fashion-MNIST or any other set in their file format: grey pictures and class numbers.

    `root` holds ``train-images-idx3-ubyte`` and, for `labels`, ``train-labels-idx1-ubyte``, plain or as ``.gz``; the
    same with ``t10k`` in place of ``train``, where they are there, are the test pictures.

    `size_pixels`: pictures of 28 pixels get a black margin of 2 for 32; to any other size they are resized (bicubic).
    `flip`: mirror half of the training pictures; digits and letters do not stand it, clothes do.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (the format is described there).
    """

    kind: Literal["idx"] = "idx"
    root: str
    size_pixels: int = 28
    flip: bool = False
    labels: bool = False

    path_keys: ClassVar[Sequence[str]] = ("root",)

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(1, self.size_pixels)

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_size(self.size_pixels)


@dataclass(frozen=True, kw_only=True)
class Cifar10Settings(_OneSet):
    """CIFAR-10: colour photos of 32 pixels in ten classes.

    `root` is the published ``cifar-10-python.tar.gz``, a folder that holds it or its extracted batches, or a folder
    with ``train`` and ``test``, each with a folder a class. Nothing in the archive is run, though it is pickled.

    `size_pixels`: other sizes than 32 are resized to (bicubic).

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """

    kind: Literal["cifar10"] = "cifar10"
    root: str
    size_pixels: int = 32
    flip: bool = True
    labels: bool = False
    cache: bool = True

    path_keys: ClassVar[Sequence[str]] = ("root",)

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(3, self.size_pixels)

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_size(self.size_pixels)


@dataclass(frozen=True, kw_only=True)
class DrawnDigitsSettings(_OneSet):
    """Handwritten-looking digits that code draws, white on black, with `labels` if wanted: nothing to download.

    `seed` says which digits are drawn; it is apart from the training seed, so that runs with other seeds see the same
    set. Every class has as many pictures as any other, or one fewer.
    """

    kind: Literal["drawn_digits"] = "drawn_digits"
    size_pixels: int = 28
    pictures: int = 10_000
    test_pictures: int = 1000
    labels: bool = False
    seed: int = 0

    path_keys: ClassVar[Sequence[str]] = ()

    @property
    def shape(self) -> ImageShape:
        """Of the pictures that training sees."""
        return ImageShape(1, self.size_pixels)

    def __post_init__(self) -> None:
        if not 16 <= self.size_pixels <= 128:
            raise ValueError(f"size_pixels is {self.size_pixels}; needs 16 to 128")
        _check_drawn(self.pictures, self.test_pictures, self.seed)


DataSettings = (
    UnpairedFoldersSettings
    | DrawnAnimalsSettings
    | ImageFolderSettings
    | IdxSettings
    | Cifar10Settings
    | DrawnDigitsSettings
    | UpscalingFolderSettings
    | DrawnScenesSettings
)
"""Every way a recipe may name its data."""


def _check_root(root: str) -> None:
    if not root.strip():
        raise ValueError("root is empty; name the folder or file that holds the pictures")


def _check_size(size_pixels: int) -> None:
    if not _SMALLEST_SIZE_PIXELS <= size_pixels <= _LARGEST_SIZE_PIXELS:
        raise ValueError(f"size_pixels is {size_pixels}; needs {_SMALLEST_SIZE_PIXELS} to {_LARGEST_SIZE_PIXELS}")


def _check_drawn(pictures: int, test_pictures: int, seed: int) -> None:
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; it must be at least 1")
    if test_pictures < 0:
        raise ValueError(f"test_pictures is {test_pictures}; it cannot be negative")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it cannot be negative")
