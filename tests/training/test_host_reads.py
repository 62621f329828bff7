"""A step asks the device for numbers and never looks at them, so that a GPU is not left idle while the host waits.

Watched on a CPU: whoever looks at one number of a tensor, or wants to know how many it will get, is caught. On a GPU
`tools/gpu_check` has CUDA itself watch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from i2i.core.augmentation import DiffAugmentSettings
from i2i.core.discriminators import DCGANDiscriminatorSettings, PatchDiscriminatorSettings, VGGDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings, ResNetGeneratorSettings, SRResNetSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import R1Settings
from i2i.pipelines import CycleGANSettings, SRGANSettings, UnconditionalSettings
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.late_numbers import LateNumbers
from i2i.training.loss_audit import LossAuditSettings
from i2i.training.precision import Precision
from i2i.training.settings import TrainingSettings
from tests.training.toys import assert_same_bits

SHAPE = ImageShape(3, 32)
METHODS = {
    "cyclegan": CycleGANSettings(
        generator=ResNetGeneratorSettings(base_channels=4, blocks=1),
        discriminator=PatchDiscriminatorSettings(base_channels=4, layers=1),
        pool_size=2,
    ),
    "dcgan": UnconditionalSettings(
        generator=DCGANGeneratorSettings(base_channels=4), discriminator=DCGANDiscriminatorSettings(base_channels=4)
    ),
    "penalties": UnconditionalSettings(
        generator=DCGANGeneratorSettings(base_channels=4),
        discriminator=DCGANDiscriminatorSettings(base_channels=4, normalization="none"),
        penalties=(R1Settings(every=2),),
        augmentation=DiffAugmentSettings(),
        fakes="separate",
    ),
    "srgan": SRGANSettings(
        generator=SRResNetSettings(base_channels=4, blocks=1),
        discriminator=VGGDiscriminatorSettings(base_channels=4),
        perceptual=None,
        pixel_images=4,
    ),
}


class Watch(TorchDispatchMode):
    """Refuses operations after which the host knows something that only the device knew."""

    LOOKS = (
        torch.ops.aten._local_scalar_dense,
        torch.ops.aten.equal,
        torch.ops.aten.nonzero,
        torch.ops.aten.masked_select,
        torch.ops.aten._unique2,
    )

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        assert function.overloadpacket not in self.LOOKS, f"{function} makes the host wait for the device"
        return function(*arguments, **(keywords or {}))


@contextmanager
def counted_late(engine: Engine) -> Iterator[None]:
    """As on a GPU: what became of a step is not asked yet."""
    engine._outcomes, kept = LateNumbers(late_by=100), engine._outcomes
    yield
    engine.settle()
    engine._outcomes = kept


def build(method: str, **settings: Any) -> Engine:
    pipeline = METHODS[method].build(SHAPE)
    pipeline.initialize(0)
    chosen = TrainingSettings(batch_size=2, ema_half_life_images=8.0, **settings)
    engine = Engine(pipeline, chosen, Precision("fp32", torch.device("cpu")), images_per_epoch=8, seed=0)
    # The plain optimizers ask whether gradients are finite; the fused ones need no answer.
    accelerate(engine, ("fused_optimizers",), pytest.fail)
    return engine


def draw_for(engine: Engine) -> Any:
    generator = torch.Generator().manual_seed(0)
    sides = {"low": SHAPE.pixels // 4}
    batch = {
        name: torch.rand(2, 3, *[sides.get(name, SHAPE.pixels)] * 2, generator=generator)
        for name in engine.pipeline.streams
    }

    def draw(streams: Sequence[str], counters: Mapping[str, int]) -> list[dict[str, Tensor]]:
        return [batch]

    return draw


@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_a_method_looks_at_a_number(method: str) -> None:
    engine = build(method, clip_gradient_norm=1.0, loss_audit=LossAuditSettings(every_steps=None))
    draw, seen = draw_for(engine), set()
    with counted_late(engine), Watch():
        for _ in range(4):  # so many that a pool is full, a lazy penalty is due and a phase has changed
            seen |= set(engine.take_step(draw))
    assert len(seen) >= 2 and engine.skipped_updates == 0


def test_a_look_is_noticed() -> None:
    engine = build("cyclegan")
    with Watch(), pytest.raises(AssertionError, match="makes the host wait"):
        # The loss terms are measured in the first step, by looking.
        engine.take_step(draw_for(engine))


def test_outcomes_that_are_read_late_are_the_same() -> None:
    """Steps 2 and 3 are broken; whenever that is read, it ends up in the same counters."""
    found = []
    for late_by in (0, 1, 100):
        engine = build("cyclegan")
        engine._outcomes = LateNumbers(late_by)
        draw = draw_for(engine)
        streaks = []
        for step in range(5):
            (batch,) = draw((), {})
            broken = {name: pictures.clone() for name, pictures in batch.items()}
            if step in (2, 3):
                broken["a"][0, 0, 0, 0] = torch.nan
            engine.take_step(lambda streams, counters, batch=broken: [batch])
            streaks.append(engine.nonfinite_streak)
        engine.settle()
        found.append((engine.skipped_updates, engine.nonfinite_streak, engine.state().tensors))
        assert streaks == {0: [0, 0, 1, 2, 0], 1: [0, 0, 0, 1, 2], 100: [0] * 5}[late_by]
    for skipped, streak, tensors in found:
        assert (skipped, streak) == (2, 0)
        assert_same_bits(tensors, found[0][2])
