"""`i2i evaluate --hr`: scores of a model that enlarges pictures, beside bicubic enlargement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.errors import DataError, PartialFailureError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from i2i.commands.evaluation.upscaling_pairs import Pair
    from i2i.data.dataset import DataSet
    from i2i.evaluation.team import Team
    from i2i.evaluation.upscaling import PictureScores
    from i2i.inference.image_model import ImageModel, Precision


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
    samples: int | None = None,
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
        samples: score only the first pictures, as many as this.
        team: the processes that share the work.

    Raises:
        PartialFailureError: some pictures cannot be read; the others are scored.
        DataError: nothing is found or can be read, names do not match, or sizes disagree with each other or the scale.
        ModelError, UsageError: the model cannot be used, or enlarges nothing.
    """
    from i2i.commands.evaluation.results import console_of, tell_failures
    from i2i.commands.evaluation.upscaling_pairs import check_sizes, find_pairs, of_each_pair
    from i2i.evaluation.team import Team
    from i2i.inference import load_model

    team = team or Team()
    console = console_of(team, quiet)
    loaded = load_model(
        model, device, direction, precision, strength=strength, consistent=consistent, runner=runner, trust=trust
    )
    check_enlarges(model, loaded)
    scale = loaded.entry_point.scale
    pairs = find_pairs(hr, lr)[:samples]
    unfit = check_sizes(pairs, scale, max_pixels)
    console.print(f"{sum(pair not in unfit for pair in pairs)} pictures, x{scale}, on {loaded.device}")
    found = of_each_pair(pairs, unfit, team, lambda pair: _score(loaded, pair, max_pixels))
    failed = [one for one in found if isinstance(one, str)]
    scored = [one for one in found if not isinstance(one, str)]
    tell_failures(failed, team)
    if not scored:
        raise DataError(f"{hr}: none of {len(pairs)} pictures can be read - see above")
    if team.leads:
        about = {"hr": hr, "lr": lr, "direction": direction and loaded.name}
        _deliver(loaded, scored, about=about, failed=failed, out=out, json=json)
    if failed:
        raise PartialFailureError(f"{len(failed)} of {len(pairs)} pictures could not be read, see above")


def run_on_data_set(
    loaded: ImageModel,
    data: DataSet,
    description: str,
    *,
    samples: int | None = None,
    out: Path | None = None,
    json: bool = False,
    team: Team,
) -> None:
    """Score an upscaler on the test pictures of an opened data set, or on the first `samples` of them.

    Raises:
        PartialFailureError: pictures of the set cannot be used; the others are scored.
    """
    from i2i.commands.evaluation.results import refuse_silence, tell_failures

    tell_failures(data.report, team)
    high, low = data.test["high"], data.test["low"]
    count = min(len(high), samples or len(high))
    found = {
        number: _scored(f"test {number:05d}", loaded, low[number], high[number])
        for number in range(team.share.index, count, team.share.count)
    }
    together = {number: one for part in team.gather(found) for number, one in part.items()}
    if team.leads:
        scored = [together[number] for number in range(count)]
        _deliver(loaded, scored, about={"data": description}, failed=data.report, out=out, json=json)
    refuse_silence(data.report)


def _deliver(
    model: ImageModel,
    scored: Sequence[_Scored],
    *,
    about: Mapping[str, str | None],
    failed: Sequence[str],
    out: Path | None,
    json: bool,
) -> None:
    """To standard output, and as figures with passports into files."""
    from i2i.commands.evaluation.results import deliver
    from i2i.evaluation.passports.score_figures import upscaling_figures
    from i2i.evaluation.pictures.sources import sha256_of_digests
    from i2i.evaluation.upscaling import UpscalingScores

    found = UpscalingScores(scale=model.entry_point.scale, pictures=[one.scores for one in scored])
    truth, low = (sha256_of_digests(getattr(one, which) for one in scored) for which in ("truth", "low"))
    figures = upscaling_figures(found, truth, low_sha256=low)
    deliver(model, figures, found.table(), about=about, scores=found.to_json(), failed=failed, out=out, json=json)


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
    from i2i.commands.evaluation.upscaling_pairs import low_of, truth_of
    from i2i.inference.runtime import out_of_memory_as_help

    truth = truth_of(pair, model.entry_point.scale, max_pixels)
    height, width = truth.shape[:2]
    with out_of_memory_as_help(1, height, width, "leave it out, cut it, or use --device cpu"):
        return _scored(pair.high.name, model, low_of(pair, truth, model, max_pixels), truth)


def _scored(name: str, model: ImageModel, low: np.ndarray, truth: np.ndarray) -> _Scored:
    import numpy as np

    from i2i.commands.evaluation.upscaling_pairs import as_planes
    from i2i.evaluation.pictures.sources import digest_of
    from i2i.evaluation.upscaling import score_picture

    # Pictures of a data set cannot be written to, which PyTorch does not like.
    low = np.require(low, requirements="W")
    upscaled, given, true = (as_planes(picture, model) for picture in (model(low), low, truth))
    scores = score_picture(name, upscaled, given, true, model.entry_point.scale)
    return _Scored(scores, digest_of(truth), digest_of(low))
