"""Trainings of every method in small, for comparing what makes steps faster with the plain way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch

from i2i.core.discriminators import DCGANDiscriminatorSettings, R3GANDiscriminatorSettings, VGGDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings, R3GANGeneratorSettings, SRResNetSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import PenaltySettings, R1Settings, R2Settings, WGANGPSettings
from i2i.core.randomness import generator_of
from i2i.pipelines import SRGANSettings, UnconditionalSettings
from i2i.pipelines.protocol import Pipeline
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import TrainingSettings, TrickName
from tests.training.toys import tiny_cyclegan

STEPS = 50
PIXELS, SCALE, BATCH = 16, 2, 4
SHAPE = ImageShape(3, PIXELS)


def dcgan() -> Pipeline:
    """Batch norm, and a generator that learns through the very pictures that the discriminator saw."""
    return UnconditionalSettings(
        generator=DCGANGeneratorSettings(base_channels=2, latent=4),
        discriminator=DCGANDiscriminatorSettings(base_channels=2),
    ).build(SHAPE)


def penalized(*penalties: PenaltySettings) -> Pipeline:
    """A plain discriminator under penalties."""
    return UnconditionalSettings(
        generator=DCGANGeneratorSettings(base_channels=2, latent=4),
        discriminator=DCGANDiscriminatorSettings(base_channels=2, normalization="none"),
        penalties=penalties,
        fakes="separate",
    ).build(SHAPE)


def r3gan() -> Pipeline:
    """Penalties that are due in every fourth step."""
    widths, twos, ones = (8, 8, 8), (2, 2, 2), (1, 1, 1)
    return UnconditionalSettings(
        generator=R3GANGeneratorSettings(latent=4, widths=widths, cardinalities=twos, blocks=ones),
        discriminator=R3GANDiscriminatorSettings(widths=widths, cardinalities=twos, blocks=ones),
        adversarial="relativistic",
        penalties=(R1Settings(weight=1.0, every=4), R2Settings(weight=1.0, every=4)),
        fakes="separate",
    ).build(SHAPE)


def srgan() -> Pipeline:
    """Half of the steps on pixels alone, then against a discriminator."""
    return SRGANSettings(
        generator=SRResNetSettings(base_channels=4, blocks=1, scale=SCALE),
        discriminator=VGGDiscriminatorSettings(base_channels=2),
        pixel_images=STEPS // 2 * BATCH,
    ).build(SHAPE)


METHODS: Mapping[str, Callable[[], Pipeline]] = {
    "cyclegan": tiny_cyclegan,
    "dropout": lambda: tiny_cyclegan(dropout=0.5),
    "dcgan": dcgan,
    "r3gan": r3gan,
    "srgan": srgan,
    "wgan_gp": lambda: penalized(WGANGPSettings()),
    "r1_r2": lambda: penalized(R1Settings(), R2Settings()),
}


class Samples:
    """Noise by stream and counter, in the dtype of the weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def __call__(self, streams: Collection[str], counters: Mapping[str, int]) -> list[dict[str, torch.Tensor]]:
        return [{stream: self._batch(stream, counters[stream]) for stream in streams}]

    def _batch(self, stream: str, first: int) -> torch.Tensor:
        side = PIXELS // SCALE if stream == "low" else PIXELS
        random = generator_of(stream, first)
        values = torch.rand(BATCH, 3, side, side, generator=random, dtype=torch.float64) * 2 - 1
        return values.to(self._dtype).contiguous(memory_format=torch.channels_last)


def engine_of(method: str, precision: ChosenPrecision) -> tuple[Engine, Samples]:
    """A plain engine at its first step, and what to feed it."""
    pipeline = METHODS[method]()
    pipeline.initialize(0)
    settings = TrainingSettings(batch_size=BATCH)
    chosen = Precision(precision, torch.device("cpu"))
    engine = Engine(pipeline, settings, chosen, images_per_epoch=100, seed=3)
    return engine, Samples(chosen.weights_dtype)


def losses_of(
    method: str, precision: ChosenPrecision, tricks: Collection[TrickName], report: Callable[[str], None], steps: int
) -> dict[str, list[float]]:
    """Every loss term of every step of a short training with these tricks."""
    engine, samples = engine_of(method, precision)
    take_back = accelerate(engine, tricks, report)
    curves: dict[str, list[float]] = {}
    try:
        for _ in range(steps):
            for update, done in engine.take_step(samples).items():
                for name, term in done.losses[0].terms.items():
                    curves.setdefault(f"{update}/{name}", []).append(float(term.value))
    finally:
        take_back()
    return curves


def distance(found: Mapping[str, list[float]], expected: Mapping[str, list[float]]) -> float:
    """The largest difference of a term at a step, over the term's largest value."""
    assert set(found) == set(expected) and expected
    assert all(len(found[name]) == len(expected[name]) for name in expected)
    return max(
        max(abs(one - other) for one, other in zip(found[name], expected[name], strict=True))
        / max(1e-6, max(map(abs, expected[name])))
        for name in expected
    )
