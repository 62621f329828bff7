"""Which pictures belong together where a model enlarges: large ones, and the small ones that they were or would be."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from i2i.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from i2i.data.decoding import PictureHeader
    from i2i.evaluation.team import Team
    from i2i.inference.image_model import ImageModel

_Result = TypeVar("_Result")

_NAMED = 3
# What benchmarks append to one name for the two sizes: img_001_SRF_4_HR, 0801x4, baby_GT.
_ENDING = re.compile(r"(?i)[_-](?:HR|GT|LR)$|[_-]SRF[_-]?\d+$|[_-]?x[2348]$")


@dataclass(frozen=True)
class Pair:
    """Files of one picture; without `low` it is made from `high`."""

    high: Path
    low: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.high,) if self.low is None else (self.high, self.low)


def of_each_pair(
    pairs: Sequence[Pair], unfit: Mapping[Pair, str], team: Team, work: Callable[[Pair], _Result]
) -> list[_Result | str]:
    """What `work` finds of every pair, or why it cannot be read, on every process.

    Args:
        unfit: pairs of which that is known beforehand.
        team: the processes that share the work.
    """
    found: dict[int, _Result | str] = {}
    for number in range(team.share.index, len(pairs), team.share.count):
        try:
            found[number] = unfit.get(pairs[number]) or work(pairs[number])
        except DataError as error:
            found[number] = str(error)
    together = {number: one for part in team.gather(found) for number, one in part.items()}
    return [together[number] for number in range(len(pairs))]


def truth_of(pair: Pair, scale: int, max_pixels: int) -> np.ndarray:
    """The true picture (H, W, 3) uint8, cut at the bottom and at the right to multiples of the scale."""
    from i2i.data.decoding import decode_rgb8
    from i2i.data.upscaling_files import cut_to_multiple

    return cut_to_multiple(decode_rgb8(pair.high, max_pixels), scale)


def low_of(pair: Pair, truth: np.ndarray, model: ImageModel, max_pixels: int) -> np.ndarray:
    """The small picture (h, w, 3) uint8: from its file, or made of the true one where the model computes."""
    from fractions import Fraction

    from i2i.core.resize import resize_levels
    from i2i.data.decoding import decode_rgb8

    if pair.low is not None:
        return decode_rgb8(pair.low, max_pixels)
    low = resize_levels(as_planes(truth, model)[None], Fraction(1, model.entry_point.scale))[0]
    return low.permute(1, 2, 0).contiguous().cpu().numpy()


def as_planes(picture: np.ndarray, model: ImageModel) -> Tensor:
    """A picture (H, W, 3) uint8 as a tensor (3, H, W) on the model's device."""
    import numpy as np
    import torch

    return torch.from_numpy(np.require(picture, requirements=("C", "W"))).permute(2, 0, 1).to(model.device)


# Which files belong together


def find_pairs(hr: str, lr: str | None) -> list[Pair]:
    """The pictures that `--hr` and `--lr` mean, each with its counterpart.

    Raises:
        DataError: nothing is found, or names do not match.
    """
    highs = _find(hr, other="LR")
    if lr is None:
        return [Pair(path) for path in highs]
    lows = _find(lr, other="HR")
    by_high, by_low = (_by_name(paths, lambda path: path.stem) for paths in (highs, lows))
    if by_high.keys() != by_low.keys():
        by_high, by_low = (_by_name(paths, _bare_name) for paths in (highs, lows))
    lonely = [
        f"{_listed([have[name] for name in sorted(have.keys() - others.keys())])} in {place}"
        for have, others, place in ((by_high, by_low, "--hr"), (by_low, by_high, "--lr"))
        if have.keys() - others.keys()
    ]
    if lonely:
        raise DataError(
            f"no counterpart for {' and '.join(lonely)} - pairs are told by equal names,"
            f" apart from endings such as _HR, _LR, _SRF_4_LR or x4"
        )
    return [Pair(by_high[name], by_low[name]) for name in sorted(by_high)]


def _find(place: str, *, other: str) -> list[Path]:
    """The pictures that a folder, a file or a pattern means, sorted.

    Benchmarks keep both sizes in one folder: those whose name ends in `other` are left out, unless all do.
    """
    from i2i.data.folders import PICTURE_SUFFIXES, find_pictures

    path = Path(place).expanduser()
    if path.is_dir():
        return _without([path / name for name in find_pictures(path)], other)
    if path.is_file():
        return [path]
    fixed = next((index for index, part in enumerate(path.parts) if glob.has_magic(part)), None)
    fitting = [] if fixed is None else Path(*path.parts[:fixed]).glob(str(Path(*path.parts[fixed:])))
    found = sorted(file for file in fitting if file.is_file() and file.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise DataError(f"{place}: no such folder, and no picture fits it as a pattern - check the spelling")
    return _without(found, other)


def _without(found: list[Path], other: str) -> list[Path]:
    return [file for file in found if not re.search(f"(?i)[_-]{other}$", file.stem)] or found


def _by_name(paths: Sequence[Path], name_of: Callable[[Path], str]) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(name_of(path), path)
        if other != path:
            raise DataError(f"{other} and {path} have one name - remove one, pairs are told by names")
    return found


def _bare_name(path: Path) -> str:
    """``img_001_SRF_4_HR.png`` as ``img_001``."""
    name = path.stem
    while (shorter := _ENDING.sub("", name)) not in (name, ""):
        name = shorter
    return name


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more


# Which sizes belong together


def check_sizes(pairs: Sequence[Pair], scale: int, max_pixels: int) -> dict[Pair, str]:
    """Look at all headers before anything is computed; returns which pairs cannot be read, and why.

    Raises:
        DataError: a size does not fit.
    """
    from i2i.data.decoding import check_pixels, read_header

    unfit: dict[Pair, str] = {}
    problems: list[str] = []
    for pair in pairs:
        try:
            headers = [read_header(file) for file in pair.files]
            for header, file in zip(headers, pair.files, strict=True):
                check_pixels(header, file, max_pixels)
        except DataError as error:
            unfit[pair] = str(error)
        else:
            problems += _size_problems(pair, headers, scale)
    if problems:
        more = f" (and {len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    return unfit


def _size_problems(pair: Pair, headers: Sequence[PictureHeader], scale: int) -> list[str]:
    from i2i.evaluation.upscaling import minimum_pixels

    high, size = headers[0], f"{pair.high} is {headers[0].width}x{headers[0].height}"
    cut = [side - side % scale for side in (high.width, high.height)]
    if min(cut) < minimum_pixels(scale):
        return [f"{size}: too small to be scored at x{scale} - leave out pictures under {minimum_pixels(scale)} pixels"]
    if len(headers) == 1 or cut == [headers[1].width * scale, headers[1].height * scale]:
        return []
    low = headers[1]
    remedy = "give the low-resolution pictures of this scale, or no --lr to have them made"
    across, down = high.width // low.width, high.height // low.height
    if across == down and across not in (0, scale):
        remedy = f"these are x{across}: {remedy}"
    return [f"{size} and {pair.low} is {low.width}x{low.height}, but the model enlarges x{scale} - {remedy}"]
