"""What an evaluation during training compares: the pictures of every entry point with those they should look like."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from i2i.data.dataset import DataSet, IndexedStream
from i2i.errors import RecipeError
from i2i.evaluation.measures import METRICS
from i2i.evaluation.pictures.made import GeneratedPictures, TranslatedPictures
from i2i.evaluation.pictures.sources import PictureSource, at_most, data_source
from i2i.inference.image_model import ImageModel
from i2i.inference.latent_model import LatentModel
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint, Pipeline
from i2i.training.settings import EvaluationSettings


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one entry point makes, and what that should look like."""

    name: str
    entry: EntryPoint
    suffix: str
    """Of the figures' names, where there are several entry points."""
    split: str
    real: PictureSource = field(repr=False)
    held_out: PictureSource | None = field(default=None, repr=False)
    """Real pictures that the training has not seen, where `real` are those that it has."""
    source: PictureSource | None = field(repr=False)
    """Of the pictures that are translated; None where they are made out of nothing."""
    count: int
    """Pictures to make."""
    latent_seed: int | None
    """Of pictures out of nothing."""
    side_pixels: int
    """Of the pictures that the discriminator meets in training."""
    classes: int = 0
    labels: np.ndarray | None = field(default=None, repr=False)
    """Of the real pictures, int64 (N,), where there are classes."""

    def made(self, networks: Mapping[str, nn.Module], device: torch.device) -> PictureSource:
        """What `networks` make, in fp32 as a model file is run by default; they are left as they are."""
        # A copy: the runner moves it, changes its layout and folds its layers.
        runner = PyTorchRunner(copy.deepcopy(networks[self.entry.network]).float(), self.entry, device)
        if isinstance(self.entry, LatentEntryPoint):
            model = LatentModel(runner, self.entry, name=self.name)
            return GeneratedPictures(model=model, count=self.count, seed=self.latent_seed or 0)
        assert self.source is not None
        return TranslatedPictures(model=ImageModel(runner, self.entry, name=self.name), source=self.source)


def comparisons(
    settings: EvaluationSettings, pipeline: Pipeline, data: DataSet, description: str
) -> tuple[Comparison, ...]:
    """One for each entry point; `description` is that of the data, for a person.

    Raises:
        RecipeError: the data have no test pictures, or these have no counterparts and a metric wants some.
    """
    several = len(pipeline.entry_points) > 1
    return tuple(
        _translation(settings, data, description, name, entry, f"_{name}" if several else "")
        if isinstance(entry, PictureEntryPoint)
        else _generation(settings, data, description, name, entry, f"_{name}" if several else "")
        for name, entry in pipeline.entry_points.items()
    )


def _generation(
    settings: EvaluationSettings, data: DataSet, description: str, name: str, entry: LatentEntryPoint, suffix: str
) -> Comparison:
    labels = None
    if entry.classes:
        stream = data.train["label"]
        assert isinstance(stream, IndexedStream)
        labels = np.asarray(stream.rows)
    return Comparison(
        name=name,
        entry=entry,
        suffix=suffix,
        split="train",
        real=data_source(data, "real", "train", description),
        held_out=data_source(data, "real", "test", description) if len(data.test.get("real", ())) else None,
        source=None,
        count=settings.samples,
        latent_seed=settings.seed,
        side_pixels=entry.shape.pixels,
        classes=entry.classes,
        labels=labels,
    )


def _translation(
    settings: EvaluationSettings, data: DataSet, description: str, name: str, entry: PictureEntryPoint, suffix: str
) -> Comparison:
    assert entry.domains is not None
    source, target = entry.domains
    if not all(len(data.test.get(stream, ())) for stream in entry.domains):
        raise RecipeError(
            f"evaluate: the data have no test pictures for {name} - give them some, or leave evaluate out"
        )
    paired = [metric for metric in settings.measured if METRICS[metric].needs == "counterparts"]
    if paired and not data.aligned:
        raise RecipeError(
            f"evaluate.metrics: {paired[0]} compares with true counterparts, and the test pictures have none of the"
            " same names - leave it out, or take fid or kid"
        )
    sources = at_most(data_source(data, source, "test", description), settings.samples)
    return Comparison(
        name=name,
        entry=entry,
        suffix=suffix,
        split="test" if target == "high" else f"test {target}",
        real=data_source(data, target, "test", description),
        source=sources,
        count=sources.count,
        latent_seed=None,
        side_pixels=data.train[target][0].shape[0],
    )
