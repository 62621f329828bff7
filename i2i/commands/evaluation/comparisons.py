"""Which pictures are held against which: what a model makes, or a folder holds, and what that should look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i2i.commands.evaluation.data_sets import OpenedSet
from i2i.commands.evaluation.upscaling_pairs import Pair, check_sizes, low_of, of_each_pair, truth_of
from i2i.commands.evaluation.wishes import DEFAULT_SAMPLES, Wishes
from i2i.data.counterparts import common_names
from i2i.errors import DataError, UsageError
from i2i.evaluation.pictures.folder import PictureFolder, open_picture_folder
from i2i.evaluation.pictures.made import GeneratedPictures, TranslatedPictures
from i2i.evaluation.pictures.sources import (
    CallableSource,
    PictureSource,
    Split,
    at_most,
    data_source,
    digest_of,
    sha256_of_digests,
)
from i2i.evaluation.team import Team
from i2i.inference import ImageModel, LatentModel


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Made pictures and real ones."""

    real: PictureSource
    fake: PictureSource
    split: str
    suffix: str = ""
    """Of the figures' names, for a model of several directions."""
    latent_seed: int | None = None
    held_out: PictureSource | None = None
    """Real pictures that the model has not learnt from, where `real` are those that it has."""
    counterparts: tuple[PictureSource, PictureSource] | None = None
    """Real and made pictures of which number i shows the same; None where nothing is known of that."""
    without_counterparts: str = "these have none of the same names"
    """Why there are none."""
    damaged: Sequence[str] = field(default=(), repr=False)
    """Files that were left out, a line each."""


def of_generator(model: LatentModel, opened: OpenedSet, wishes: Wishes) -> Comparison:
    """What a generator makes against the pictures it learnt from, or with ``--split test`` those it never saw."""
    split = wishes.split or "train"
    real = data_source(opened.data, "real", split, opened.description)
    has_other_half = wishes.split is None and len(opened.data.test.get("real", ())) > 0
    count = wishes.samples or min(real.count, DEFAULT_SAMPLES)
    seed = wishes.seed or 0
    return Comparison(
        real=real,
        fake=GeneratedPictures(model=model, count=count, seed=seed),
        split=split,
        latent_seed=seed,
        held_out=data_source(opened.data, "real", "test", opened.description) if has_other_half else None,
        without_counterparts="those of a generator have none",
        damaged=opened.data.report,
    )


def of_data_set(models: Mapping[str, ImageModel], opened: OpenedSet, wishes: Wishes) -> list[Comparison]:
    """What a translator or an upscaler makes of one side of a data set against the other, in each direction."""
    split: Split = wishes.split or "test"
    found: list[Comparison] = []
    for name, model in models.items():
        source, target = streams_of(name, model)
        for stream in (source, target):
            if stream not in opened.data.train:
                raise UsageError(
                    f"{opened.description}: has no pictures {stream!r}, which this model needs - give the data of"
                    " another recipe"
                )
        given, real = (data_source(opened.data, stream, split, opened.description) for stream in (source, target))
        fake = TranslatedPictures(model=model, source=at_most(given, wishes.samples))
        aligned = split == "test" and opened.data.aligned
        found.append(
            Comparison(
                real=real,
                fake=fake,
                split=split if target == "high" else f"{split} {target}",
                suffix=_suffix(model),
                counterparts=(at_most(real, fake.count), fake) if aligned else None,
                without_counterparts="those of the training half have none"
                if split == "train"
                else "the test pictures have none of the same names",
                damaged=[] if found else opened.data.report,
            )
        )
    return found


def of_test_folders(
    models: Mapping[str, ImageModel], root: Path, wishes: Wishes, team: Team, cache_folder: Path | None = None
) -> list[Comparison]:
    """What a translator makes of ``testA`` and ``testB`` at their own size, in each direction."""
    halves = {
        half: open_picture_folder(
            root / f"test{half.upper()}", max_pixels=wishes.max_pixels, cache_folder=cache_folder, team=team
        )
        for half in "ab"
    }
    found: list[Comparison] = []
    damaged = [line for half in halves.values() for line in half.damaged]
    for name, model in models.items():
        source, target = streams_of(name, model)
        given, real = halves[source], halves[target]
        paired, reason = _paired(real, given)
        found.append(
            Comparison(
                real=real,
                fake=TranslatedPictures(model=model, source=at_most(given, wishes.samples)),
                split=f"test {target}",
                suffix=_suffix(model),
                counterparts=None
                if paired is None
                else (
                    at_most(paired[0], wishes.samples),
                    TranslatedPictures(model=model, source=at_most(paired[1], wishes.samples)),
                ),
                without_counterparts=reason,
                damaged=[] if found else damaged,
            )
        )
    return found


def of_folders(real: Path, fake: Path, wishes: Wishes, team: Team) -> Comparison:
    """The pictures of two folders."""
    sets = [open_picture_folder(place, max_pixels=wishes.max_pixels, team=team) for place in (real, fake)]
    paired, reason = _paired(sets[0], sets[1])
    return Comparison(
        real=sets[0],
        fake=at_most(sets[1], wishes.samples),
        split="folder",
        counterparts=None
        if paired is None
        else (at_most(paired[0], wishes.samples), at_most(paired[1], wishes.samples)),
        without_counterparts=reason,
        damaged=[line for one in sets for line in one.damaged],
    )


def of_high_pictures(model: ImageModel, pairs: Sequence[Pair], wishes: Wishes, team: Team) -> Comparison:
    """What an upscaler makes of small pictures against the large ones.

    Raises:
        DataError: sizes disagree with each other or the scale, or no picture can be read.
    """
    scale, most = model.entry_point.scale, wishes.max_pixels

    def truth(pair: Pair) -> np.ndarray:
        return truth_of(pair, scale, most)

    def low(pair: Pair) -> np.ndarray:
        return low_of(pair, truth(pair), model, most)

    def look(pair: Pair) -> tuple[str, str]:
        true = truth(pair)
        return digest_of(true), digest_of(low_of(pair, true, model, most))

    found = of_each_pair(pairs, check_sizes(pairs, scale, most), team, look)
    digests = {pair: one for pair, one in zip(pairs, found, strict=True) if not isinstance(one, str)}
    damaged = [one for one in found if isinstance(one, str)]
    chosen = [pair for pair in pairs[: wishes.samples] if pair in digests]
    if not chosen:
        raise DataError(
            f"{wishes.hr}: none of {len(pairs[: wishes.samples])} pictures can be read; the first: {damaged[0]}"
        )

    def source(of: Sequence[Pair], which: str, picture: Callable[[Pair], np.ndarray]) -> CallableSource:
        return CallableSource(
            count=len(of),
            description=f"{which} {wishes.hr}",
            picture=lambda number: picture(of[number]),
            sha256=sha256_of_digests(digests[pair][picture is low] for pair in of),
        )

    fake = TranslatedPictures(model=model, source=source(chosen, "small pictures of", low))
    return Comparison(
        real=source(list(digests), "pictures in", truth),
        fake=fake,
        split="test",
        counterparts=(source(chosen, "pictures in", truth), fake),
        damaged=damaged,
    )


def streams_of(name: str, model: ImageModel) -> tuple[str, str]:
    """The streams that a model's input and output look like."""
    if model.entry_point.domains is not None:
        return model.entry_point.domains
    # A model of another project says nothing of its data.
    if model.entry_point.scale > 1:
        return "low", "high"
    return (name[0].lower(), name[-1].lower()) if name in ("AtoB", "BtoA") else ("a", "b")


def _paired(real: PictureFolder, fake: PictureFolder) -> tuple[tuple[PictureFolder, PictureFolder] | None, str]:
    """Those pictures of two folders that have a counterpart of the same name, or None and why there are none."""
    try:
        both = common_names(real.names, fake.names, real.files.place, fake.files.place)
    except DataError as error:
        return None, str(error)
    if not both:
        return None, "these have none of the same names"
    return (real.only([name for name, _ in both]), fake.only([name for _, name in both])), ""


def _suffix(model: ImageModel) -> str:
    return f"_{model.name}" if len(model.names) > 1 else ""
