"""`i2i evaluate --hr`: scores of a model that enlarges pictures, beside bicubic enlargement."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from i2i.errors import DataError, PartialFailureError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from i2i.data.dataset import DataSet
    from i2i.data.decoding import PictureHeader
    from i2i.evaluation.team import Team
    from i2i.evaluation.upscaling import PictureScores
    from i2i.inference.image_model import ImageModel, Precision

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


@dataclass(frozen=True)
class _Scored:
    """One picture's scores, and the digests of what they were made from."""

    scores: PictureScores
    truth: str
    low: str


def run(
    model: Path | str,
    hr: str,
    lr: str | None = None,
    *,
    direction: str | None = None,
    strength: float = 1.0,
    consistent: bool = False,
    device: str = "auto",
    precision: Precision = "fp32",
    runner: str = "auto",
    trust: bool = False,
    max_pixels: int = 200_000_000,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
    team: Team | None = None,
) -> None:
    """Score the upscaler `model` on high-resolution pictures, in all protocols, picture by picture and in the mean.

    A table goes to standard output, or one JSON object with `json`; the figures with their passports go to `out` and
    to the model's run.

    Args:
        hr: a folder, a file or a pattern such as ``set5/*_HR.png``; cut at the bottom and at the right to a multiple of
            the model's scale.
        lr: the low-resolution counterparts, told by equal names apart from endings such as ``_HR``, ``_SRF_4_LR`` or
            ``x4``; without them they are made from `hr` as MATLAB does, and rounded to 8 bits.
        strength, consistent, runner, trust: see `i2i.inference.load_model`.
        team: the processes that share the work.

    Raises:
        PartialFailureError: some pictures cannot be read; the others are scored.
        DataError: nothing is found or can be read, names do not match, or sizes disagree with each other or the scale.
        ModelError, UsageError: the model cannot be used, or enlarges nothing.
    """
    from i2i.evaluation.team import Team
    from i2i.inference import load_model

    team = team or Team()
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False, quiet=quiet or not team.leads)
    loaded = load_model(
        model, device, direction, precision, strength=strength, consistent=consistent, runner=runner, trust=trust
    )
    check_enlarges(model, loaded)
    scale = loaded.entry_point.scale
    pairs = find_pairs(hr, lr)
    unfit: dict[Pair, str] = {}
    _check_sizes(pairs, scale, max_pixels, lambda pair, reason: unfit.setdefault(pair, reason))
    console.print(f"{len(pairs) - len(unfit)} pictures, x{scale}, on {loaded.device}")
    found = _scores_of(loaded, pairs, unfit, max_pixels, team)
    failed = [one for one in found if isinstance(one, str)]
    scored = [one for one in found if not isinstance(one, str)]
    for reason in failed if team.leads else ():
        typer.echo(f"failed: {reason}", err=True)
    if not scored:
        raise DataError(f"{hr}: none of {len(pairs)} pictures can be read - see above")
    if team.leads:
        about = {"hr": hr, "lr": lr, "strength": strength, "consistent": consistent}
        _deliver(loaded, scored, about=about, failed=failed, out=out, json=json)
    if failed:
        raise PartialFailureError(f"{len(failed)} of {len(pairs)} pictures could not be read, see above")


def run_on_data_set(
    loaded: ImageModel,
    data: DataSet,
    description: str,
    *,
    out: Path | None = None,
    json: bool = False,
    team: Team,
) -> None:
    """Score an upscaler on the test pictures of an opened data set."""
    high, low = data.test["high"], data.test["low"]
    found = {
        number: _scored(f"test {number:05d}", loaded, low[number], high[number])
        for number in range(team.share.index, len(high), team.share.count)
    }
    together = {number: one for part in team.gather(found) for number, one in part.items()}
    if team.leads:
        scored = [together[number] for number in range(len(high))]
        about = {"data": description, "strength": loaded.strength, "consistent": loaded.consistent}
        _deliver(loaded, scored, about=about, failed=(), out=out, json=json)


def _scores_of(
    model: ImageModel, pairs: Sequence[Pair], unfit: Mapping[Pair, str], max_pixels: int, team: Team
) -> list[_Scored | str]:
    """The scores of every pair, or why it has none, on every process."""
    found: dict[int, _Scored | str] = {}
    for number in range(team.share.index, len(pairs), team.share.count):
        try:
            found[number] = unfit.get(pairs[number]) or _score(model, pairs[number], max_pixels)
        except DataError as error:
            found[number] = str(error)
    together = {number: one for part in team.gather(found) for number, one in part.items()}
    return [together[number] for number in range(len(pairs))]


def _deliver(
    model: ImageModel,
    scored: Sequence[_Scored],
    *,
    about: Mapping[str, object],
    failed: Sequence[str],
    out: Path | None,
    json: bool,
) -> None:
    """To standard output, and as figures with passports into files."""
    from i2i.commands.evaluation.results import keep, sheet_of_model, tell
    from i2i.evaluation.passports.score_figures import upscaling_figures
    from i2i.evaluation.pictures.sources import sha256_of_digests
    from i2i.evaluation.upscaling import UpscalingScores

    found = UpscalingScores(scale=model.entry_point.scale, pictures=[one.scores for one in scored])
    truth, low = (sha256_of_digests(getattr(one, which) for one in scored) for which in ("truth", "low"))
    sheet = sheet_of_model(model, upscaling_figures(found, truth, low_sha256=low))
    keep(sheet, out, model.path)
    facts = {"model": str(model.path), **about, "precision": model.precision, "device": str(model.device)}
    tell(facts | {"runner": model.runner.name} | found.to_json(), sheet, found.table(), json=json, failed=failed)


def check_enlarges(model: Path | str, loaded: ImageModel) -> None:
    """Refuse a model that keeps the size.

    Raises:
        UsageError: it does.
    """
    if loaded.entry_point.scale == 1:
        raise UsageError(
            f"{model}: --hr is for models that enlarge, and this one keeps the size"
            " - use --data SET with testA and testB in it"
        )


def _score(model: ImageModel, pair: Pair, max_pixels: int) -> _Scored:
    from i2i.inference.runtime import out_of_memory_as_help

    truth = truth_of(pair, model.entry_point.scale, max_pixels)
    height, width = truth.shape[:2]
    with out_of_memory_as_help(1, height, width, "leave it out, cut it, or use --device cpu"):
        return _scored(pair.high.name, model, low_of(pair, truth, model, max_pixels), truth)


def _scored(name: str, model: ImageModel, low: np.ndarray, truth: np.ndarray) -> _Scored:
    import numpy as np

    from i2i.evaluation.pictures.sources import digest_of
    from i2i.evaluation.upscaling import score_picture

    # Pictures of a data set cannot be written to, which PyTorch does not like.
    low = np.require(low, requirements="W")
    upscaled, given, true = (_as_planes(picture, model) for picture in (model(low), low, truth))
    scores = score_picture(name, upscaled, given, true, model.entry_point.scale)
    return _Scored(scores, digest_of(truth), digest_of(low))


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
    low = resize_levels(_as_planes(truth, model)[None], Fraction(1, model.entry_point.scale))[0]
    return low.permute(1, 2, 0).contiguous().cpu().numpy()


def _as_planes(picture: np.ndarray, model: ImageModel) -> Tensor:
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


def _check_sizes(
    pairs: Sequence[Pair], scale: int, max_pixels: int, on_unreadable: Callable[[Pair, str], object]
) -> None:
    """Look at all headers before anything is computed.

    Raises:
        DataError: a size does not fit.
    """
    from i2i.data.decoding import check_pixels, read_header

    problems: list[str] = []
    for pair in pairs:
        try:
            headers = [read_header(file) for file in pair.files]
            for header, file in zip(headers, pair.files, strict=True):
                check_pixels(header, file, max_pixels)
        except DataError as error:
            on_unreadable(pair, str(error))
        else:
            problems += _size_problems(pair, headers, scale)
    if problems:
        more = f" (and {len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)


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
