"""Which pictures are held against which: what a model makes, or a folder holds, and what that should look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i2i.commands.evaluate_upscaling import Pair, low_of, truth_of
from i2i.commands.evaluation.data_sets import OpenedSet
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
    counterparts: tuple[PictureSource, PictureSource] | None = None
    """Real and made pictures of which number i shows the same; None where nothing is known of that."""
    damaged: Sequence[str] = field(default=(), repr=False)
    """Files that were left out, a line each."""


def of_generator(model: LatentModel, opened: OpenedSet, wishes: Wishes) -> Comparison:
    """What a generator makes against the pictures it learnt from, or with ``--split test`` those it never saw."""
    split = wishes.split or "train"
    real = data_source(opened.data, "real", split, opened.description)
    count = wishes.samples or min(real.count, DEFAULT_SAMPLES)
    fake = GeneratedPictures(model=model, count=count, seed=wishes.seed)
    return Comparison(real=real, fake=fake, split=split, latent_seed=wishes.seed)


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
        paired = _paired(real, given)
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
                damaged=[] if found else damaged,
            )
        )
    return found


def of_folders(real: Path, fake: Path, wishes: Wishes, team: Team) -> Comparison:
    """The pictures of two folders."""
    sets = [open_picture_folder(place, max_pixels=wishes.max_pixels, team=team) for place in (real, fake)]
    made = at_most(sets[1], wishes.samples)
    return Comparison(
        real=sets[0],
        fake=made,
        split="folder",
        counterparts=_paired(sets[0], sets[1]) if made.count == sets[1].count else None,
        damaged=[line for one in sets for line in one.damaged],
    )


def of_high_pictures(model: ImageModel, pairs: Sequence[Pair], wishes: Wishes) -> Comparison:
    """What an upscaler makes of small pictures against the large ones."""
    scale, most = model.entry_point.scale, wishes.max_pixels

    def truth(number: int) -> np.ndarray:
        return truth_of(pairs[number], scale, most)

    def low(number: int) -> np.ndarray:
        return low_of(pairs[number], truth(number), model, most)

    given = CallableSource(count=len(pairs), description=f"small pictures of {wishes.hr}", picture=low)
    real = CallableSource(
        count=len(pairs),
        description=f"pictures in {wishes.hr}",
        picture=truth,
        sha256=sha256_of_digests(digest_of(truth(number)) for number in range(len(pairs))),
    )
    fake = TranslatedPictures(model=model, source=given)
    return Comparison(real=real, fake=fake, split="test", counterparts=(real, fake))


def streams_of(name: str, model: ImageModel) -> tuple[str, str]:
    """The streams that a model's input and output look like."""
    if model.entry_point.domains is not None:
        return model.entry_point.domains
    # A model of another project says nothing of its data.
    if model.entry_point.scale > 1:
        return "low", "high"
    return (name[0].lower(), name[-1].lower()) if name in ("AtoB", "BtoA") else ("a", "b")


def _paired(real: PictureFolder, fake: PictureFolder) -> tuple[PictureFolder, PictureFolder] | None:
    """Those pictures of two folders that have a counterpart of the same name; None where there are none."""
    try:
        both = common_names(real.names, fake.names, real.files.place, fake.files.place)
    except DataError:
        return None
    return (real.only([name for name, _ in both]), fake.only([name for _, name in both])) if both else None


def _suffix(model: ImageModel) -> str:
    return f"_{model.name}" if len(model.names) > 1 else ""
