"""Files of high-resolution pictures and, given or made, their low-resolution counterparts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import __version__ as pillow_version

from i2i.data.cache_files import UnfitSetError
from i2i.data.counterparts import pair_names, refuse_both_sides
from i2i.data.decoding import decode_rgb8_bytes
from i2i.data.degradations import PIXELS_VERSION, bicubic
from i2i.data.picture_files import PictureFiles, open_picture_files
from i2i.data.picture_groups import Group, PictureGroups, open_groups
from i2i.errors import DataError

_FILES_VERSION = 1
"""To be raised with any change of the way from a file to its pixels, so that no old cache is taken."""


@dataclass(frozen=True, kw_only=True)
class UpscalingFiles:
    """High-resolution picture files, and where their low-resolution counterparts are from.

    `low_names`: given counterparts, by high name. Without them `shrink` says whether bicubic ones are made.
    """

    high: PictureFiles
    names: list[str]
    low: PictureFiles | None
    low_names: dict[str, str]
    scale: int
    shrink: bool
    max_pixels: int

    def digests(self, cache_folder: Path | None) -> list[list[str]]:
        """What changes with any byte or name of a file: a row a picture."""
        high = self.high.digests(cache_folder)
        if self.low is None:
            return [[name, high[name]] for name in self.names]
        low = self.low.digests(cache_folder)
        return [[name, high[name], self.low_names[name], low[self.low_names[name]]] for name in self.names]

    def open(self, digests: list[list[str]], cache_folder: Path | None) -> PictureGroups:
        """Decode all pictures, or take them from the cache: high, and low where it is given or made.

        Raises:
            DataError: a counterpart is not `scale` times smaller, or none of the pictures can be used.
        """
        import cv2

        key = [
            _FILES_VERSION,
            [PIXELS_VERSION, "bicubic"] if self.shrink else "as given",
            [cv2.__version__, pillow_version],
            [self.scale, self.max_pixels],
            digests,
        ]
        try:
            return open_groups(self.names, self._produce, key=key, cache_folder=cache_folder)
        except UnfitSetError:
            raise
        except DataError as error:
            raise DataError(f"{self.high.place}: {error}") from error

    def _produce(self, name: str) -> Group:
        # Named relative to its set, for the cache outlives a move of the folder.
        picture = decode_rgb8_bytes(self.high.read(name), Path(name), self.max_pixels)
        height, width = picture.shape[:2]
        if min(height, width) < self.scale:
            raise DataError(f"{name}: {width} x {height} is smaller than scale {self.scale} - remove it")
        high = cut_to_multiple(picture, self.scale)
        if self.low is not None:
            return high, self._given(name, (height, width))
        return (high, bicubic(high, self.scale)) if self.shrink else (high,)

    def _given(self, name: str, size: tuple[int, int]) -> np.ndarray:
        assert self.low is not None
        low_name = self.low_names[name]
        picture = decode_rgb8_bytes(self.low.read(low_name), Path(low_name), self.max_pixels)
        wanted = [side // self.scale for side in size]
        if list(picture.shape[:2]) != wanted:
            raise UnfitSetError(
                f"{self.low.place / low_name}: {picture.shape[1]} x {picture.shape[0]} does not fit"
                f" {self.high.place / name}, {size[1]} x {size[0]} - at data.scale {self.scale} it needs"
                f" {wanted[1]} x {wanted[0]}"
            )
        return picture


def find_upscaling_files(
    root: str, low: str | None, *, low_key: str, scale: int, shrink: bool, max_pixels: int
) -> UpscalingFiles:
    """Find high-resolution pictures and, where `low` names a place, their counterparts there.

    Args:
        root: folder or .zip file.
        low: likewise; may be the same.
        low_key: of the recipe, for messages.
        scale: high over low side.
        shrink: whether counterparts that are not given are made, bicubic.
        max_pixels: larger pictures are skipped.

    Raises:
        DataError: there are no pictures, or their names do not match.
    """
    high_files = open_picture_files(Path(root))
    if low is None:
        refuse_both_sides(high_files.names, high_files.place, scale, low_key)
        names, low_files, low_names = list(high_files.names), None, {}
    else:
        low_files = open_picture_files(Path(low))
        low_names = pair_names(
            high_files.names,
            low_files.names,
            scale,
            high_place=high_files.place,
            low_place=low_files.place,
            low_key=low_key,
        )
        names = list(low_names)
    return UpscalingFiles(
        high=high_files,
        names=names,
        low=low_files,
        low_names=low_names,
        scale=scale,
        shrink=shrink and low is None,
        max_pixels=max_pixels,
    )


def cut_to_multiple(picture: np.ndarray, multiple: int) -> np.ndarray:
    """Cut a picture at the bottom and the right, so that both sides are multiples: contiguous."""
    height, width = (side - side % multiple for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
