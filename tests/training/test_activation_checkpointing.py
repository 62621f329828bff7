"""A recipe with activation checkpointing trains to the same bits as without, in every method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from i2i.core.discriminators import (
    DCGANDiscriminatorSettings,
    PatchDiscriminatorSettings,
    R3GANDiscriminatorSettings,
    SNGANDiscriminatorSettings,
)
from i2i.core.generators import (
    DCGANGeneratorSettings,
    R3GANGeneratorSettings,
    SNGANGeneratorSettings,
    SRResNetSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import R1Settings, R2Settings
from i2i.pipelines import SRGANSettings, UnconditionalSettings
from i2i.pipelines.protocol import Pipeline
from i2i.recipe import changes_on_resume, load_recipe
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import TrainingSettings
from tests.training.runs import make_recipe
from tests.training.test_gradients import Streams
from tests.training.toys import assert_same_bits, copies, tiny_cyclegan

SHAPE = ImageShape(3, 16)
PIPELINES: dict[str, Callable[[], Pipeline]] = {
    "cyclegan": lambda: tiny_cyclegan(dropout=0.5),
    "srgan": lambda: SRGANSettings(
        generator=SRResNetSettings(base_channels=4, blocks=2),
        discriminator=PatchDiscriminatorSettings(base_channels=4, layers=1, normalization="batch"),
    ).build(SHAPE),
    "dcgan": lambda: UnconditionalSettings(
        generator=DCGANGeneratorSettings(latent=4, base_channels=4),
        discriminator=DCGANDiscriminatorSettings(base_channels=4),
        fakes="shared",
    ).build(SHAPE),
    "sngan": lambda: UnconditionalSettings(
        generator=SNGANGeneratorSettings(latent=4, widths=(4, 4, 4)),
        discriminator=SNGANDiscriminatorSettings(widths=(4, 4, 4, 4)),
        adversarial="hinge",
        fakes="separate",
        discriminator_steps=2,
    ).build(SHAPE),
    "r3gan": lambda: UnconditionalSettings(
        generator=R3GANGeneratorSettings(latent=4, widths=(8, 4, 4)),
        discriminator=R3GANDiscriminatorSettings(widths=(4, 4, 8)),
        adversarial="relativistic",
        fakes="separate",
        penalties=(R1Settings(weight=2.0), R2Settings(weight=1.0, every=2)),
    ).build(SHAPE),
}


def trained(name: str, precision: ChosenPrecision, *, again: bool) -> tuple[Engine, list[torch.Tensor]]:
    """Three steps, and the gradients of the first."""
    pipeline = PIPELINES[name]()
    pipeline.initialize(0)
    settings = TrainingSettings(batch_size=4, activation_checkpointing=again, ema_half_life_images=20)
    engine = Engine(pipeline, settings, Precision(precision, torch.device("cpu")), images_per_epoch=10, seed=3)
    pictures = Streams(settings, engine.precision.weights_dtype, 16)
    norms = []
    for _ in range(3):
        norms += [report.gradient_norm for report in engine.take_step(pictures).values()]
    return engine, [norm for norm in norms if norm is not None]


def computes_again(engine: Engine) -> bool:
    networks = engine.pipeline.networks.values()
    return any("forward" in vars(part) for network in networks for part in network.modules())


@pytest.mark.parametrize("name", PIPELINES)
def test_a_training_is_the_same_to_the_last_bit(name: str) -> None:
    plain, norms = trained(name, "fp32", again=False)
    again, again_norms = trained(name, "fp32", again=True)
    assert any("forward" in vars(part) for network in again.pipeline.networks.values() for part in network.modules())
    assert not any(
        "forward" in vars(part) for network in plain.pipeline.networks.values() for part in network.modules()
    )
    assert min(norms) > 0 and again_norms == norms
    assert_same_bits(again.state().tensors, plain.state().tensors)
    pictures = copies(plain.inference_networks()[plain.pipeline.averaged[0]].state_dict())
    assert_same_bits(again.inference_networks()[again.pipeline.averaged[0]].state_dict(), pictures)


@pytest.mark.parametrize("name", ["cyclegan", "dcgan", "r3gan"])
def test_a_narrow_format_too(name: str) -> None:
    assert_same_bits(
        trained(name, "bf16", again=True)[0].state().tensors, trained(name, "bf16", again=False)[0].state().tensors
    )


def test_memory_that_runs_out_on_the_way_back_splits_the_batch() -> None:
    """What is computed a second time is computed in the backward pass; its want of memory counts as any other."""
    pipeline = tiny_cyclegan(dropout=0.5)
    settings = TrainingSettings(batch_size=4, activation_checkpointing=True)
    halves = TrainingSettings(batch_size=4, activation_checkpointing=True, accumulate=2)
    engine = Engine(pipeline, settings, Precision("fp32", torch.device("cpu")), images_per_epoch=10, seed=3)
    expected = Engine(
        tiny_cyclegan(dropout=0.5), halves, Precision("fp32", torch.device("cpu")), images_per_epoch=10, seed=3
    )
    calls = []

    def fail_once(module: torch.nn.Module, inputs: object) -> None:
        calls.append(torch.is_grad_enabled())
        # There it goes through twice a step's forward pass, and once more for each on the way back.
        if len(calls) == 3:
            raise MemoryError

    pipeline.generator_ab.get_submodule("blocks.0.branch.1").register_forward_pre_hook(fail_once)
    for _ in range(2):
        engine.take_step(Streams(settings, torch.float32, 16))
        expected.take_step(Streams(halves, torch.float32, 16))
    assert engine.micro_batches == 2
    assert_same_bits(engine.state().tensors, expected.state().tensors)


def test_a_resumed_run_may_begin_or_stop_doing_so(tmp_path: Path) -> None:
    path = make_recipe(tmp_path, tmp_path)
    before, after = load_recipe(path), load_recipe(path, ["training.activation_checkpointing=true"])
    assert changes_on_resume(before, after) == ["training.activation_checkpointing"]
