"""Methods and pictures small enough to follow by hand, and engines that train them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import PatchDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings
from i2i.core.layers import Normalization
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.randomness import generator_of
from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.pipelines import CycleGAN, CycleGANSettings
from i2i.pipelines.protocol import EntryPoint, Pipeline, Sheet, Snapshot, Stateful
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import SGDSettings, TrainingSettings

PLAIN_DESCENT = {name: SGDSettings(learning_rate=0.1, momentum=0.0) for name in ("painter", "judge")}
"""New weight = weight - 0.1 gradient."""


class Toy:
    """A painter and a judge, one 1x1 convolution each; what they do to each other is up to the test."""

    streams = ("a", "b")
    averaged = ("painter",)
    memories: Mapping[str, Stateful] = {}
    entry_points: Mapping[str, EntryPoint] = {}
    snapshots: Mapping[str, Snapshot] = {}
    pretrained: Mapping[str, PerceptualSettings] = {}

    def __init__(self, script: Callable[[Toy], Sequence[Update]]) -> None:
        self.painter = nn.Conv2d(3, 3, 1)
        self.judge = nn.Conv2d(3, 1, 1)
        self.networks: Mapping[str, nn.Module] = {"painter": self.painter, "judge": self.judge}
        self.players: Mapping[str, Sequence[str]] = {"painter": ("painter",), "judge": ("judge",)}
        self._script = script
        self.initialize(0)

    def initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for network in self.networks.values():
            for parameter in network.parameters():
                nn.init.normal_(parameter, 0.0, 0.5, generator=generator)

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        return (0,)

    def updates(self, progress: Progress) -> Sequence[Update]:
        return self._script(self)

    def paint(self, context: StepContext) -> Losses:
        """The painter pleases the judge."""
        return Losses({"adversarial": Term(-mean(self.judge(self.painter(context.batch["a"]))))})

    def weigh(self, context: StepContext) -> Losses:
        """The judge tells b from a."""
        gap = mean(self.judge(context.batch["b"])) - mean(self.judge(context.batch["a"]))
        return Losses({"gap": Term((gap - 1.0).square())})

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet]:
        return {}

    def consistency(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Tensor:
        return torch.zeros(len(pictures["a"]))


def mean(logits: Tensor) -> Tensor:
    """As in the real losses: never in a narrow format."""
    return (logits if logits.dtype.itemsize >= 4 else logits.float()).mean()


def both(toy: Toy) -> Sequence[Update]:
    """The usual two updates, a fresh batch each."""
    return (
        Update("paint", "painter", toy.paint, draws=("a",)),
        Update("weigh", "judge", toy.weigh, draws=("a", "b")),
    )


class Pictures:
    """Pictures by stream and counter; split into micro-batches, and what was asked for is remembered."""

    def __init__(self, settings: TrainingSettings, dtype: torch.dtype = torch.float64, pixels: int = 4) -> None:
        self.settings, self.dtype, self.pixels = settings, dtype, pixels
        self.asked: list[dict[str, int]] = []
        self.poisoned: set[tuple[str, int]] = set()
        """(stream, counter) of pictures that are not numbers."""

    def __call__(self, streams: Sequence[str], counters: Mapping[str, int]) -> list[dict[str, Tensor]]:
        self.asked.append(dict(counters))
        size = self.settings.batch_size // self.settings.accumulate
        joined = {
            stream: torch.stack(
                [self.picture(stream, counters[stream] + row) for row in range(self.settings.batch_size)]
            ).contiguous(memory_format=torch.channels_last)
            for stream in streams
        }
        return [
            {stream: images[first : first + size] for stream, images in joined.items()}
            for first in range(0, self.settings.batch_size, size)
        ]

    def picture(self, stream: str, counter: int) -> Tensor:
        values = torch.rand(3, self.pixels, self.pixels, generator=generator_of(stream, counter), dtype=torch.float64)
        values = torch.full_like(values, torch.nan) if (stream, counter) in self.poisoned else 2 * values - 1
        return values.to(self.dtype)


def train(
    pipeline: Pipeline, settings: TrainingSettings, precision: ChosenPrecision = "fp64", *, pixels: int = 4
) -> tuple[Engine, Pictures]:
    """An engine for `pipeline`, with the tricks that trainings have everywhere, and pictures to feed it."""
    engine = Engine(pipeline, settings, Precision(precision, torch.device("cpu")), images_per_epoch=10, seed=3)
    accelerate(engine, ("channels_last", "fused_optimizers"), pytest.fail)
    return engine, Pictures(settings, engine.precision.weights_dtype, pixels)


def tiny_cyclegan(
    *, base_channels: int = 2, normalization: Normalization = "instance", dropout: float = 0.0, pool_size: int = 3
) -> CycleGAN:
    """A whole CycleGAN for pictures of 16 pixels, initialized."""
    generator = ResNetGeneratorSettings(
        base_channels=base_channels, blocks=1, normalization=normalization, dropout=dropout
    )
    discriminator = PatchDiscriminatorSettings(
        base_channels=base_channels, layers=1, normalization="batch" if normalization == "batch" else "instance"
    )
    pipeline = CycleGANSettings(generator=generator, discriminator=discriminator, pool_size=pool_size).build()
    pipeline.initialize(0)
    return pipeline


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values as they are now."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_same_bits(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Same names, types and values to the last bit."""
    assert set(found) == set(expected) and expected
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
