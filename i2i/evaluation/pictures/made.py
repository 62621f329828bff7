"""Pictures that a trained model makes, as sources for evaluations: by number, and rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from i2i.errors import DataError
from i2i.evaluation.pictures.sources import Given, PictureSource
from i2i.inference.generation.generate import drawn_series
from i2i.inference.image_model import ImageModel
from i2i.inference.latent_model import BLOCK, LatentModel


@dataclass(frozen=True, kw_only=True)
class GeneratedPictures:
    """Pictures 0 to `count` - 1 of a seed, the same as `i2i generate` writes; of models with classes, each in turn."""

    model: LatentModel = field(repr=False)
    count: int
    seed: int
    truncation: float | None = None
    classes: Sequence[int] = ()
    """Of which pictures are made; none named means all."""

    sha256: str | None = field(default=None, init=False)

    @property
    def description(self) -> str:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return f"pictures of {self.model.path or 'a generator'}, seed {self.seed}"

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        series = drawn_series(self.model, self.count, seed=self.seed, truncation=self.truncation, classes=self.classes)
        # A picture depends on its place in the network's block: begin where a block does.
        start = first - first % BLOCK
        numbers = range(start, min(last, self.count))
        labels = None if series.labels is None else series.labels(numbers)
        made = self.model(series.latents(numbers), labels)
        return list(made[first - start :])


@dataclass(frozen=True, kw_only=True)
class TranslatedPictures:
    """What a model makes of the pictures of another source, one by one."""

    model: ImageModel = field(repr=False)
    source: PictureSource

    sha256: str | None = field(default=None, init=False)

    @property
    def count(self) -> int:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return self.source.count

    @property
    def description(self) -> str:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`."""
        return f"{self.model.name} of {self.model.path or 'a model'} from {self.source.description}"

    @property
    def given(self) -> Given:
        """See :class:`i2i.evaluation.pictures.sources.MadeOfOthers`."""
        return Given(source=self.source, scale=self.model.entry_point.scale)

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`i2i.evaluation.pictures.sources.PictureSource`.

        Raises:
            DataError: a picture is grey, and the model knows colour only.
        """
        made: list[np.ndarray] = []
        # One at a time: results of another batch shape differ in the last bits, and then in rounding.
        for number, picture in enumerate(self.source.pictures(first, last), start=first):
            if picture.shape[-1] != 3:
                raise DataError(f"{self.source.description}: picture {number} is grey - give pictures in colour")
            # Those of a data set cannot be written to, which PyTorch does not like.
            made.append(self.model(np.require(picture, requirements="W")))
        return made
