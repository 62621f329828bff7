"""The core and the engine reproduce pix2pix training too, from a method that exists only in this file.

It joins a U-Net with batch norm, a discriminator that sees the input beside the picture, the non-saturating loss and
the order "discriminator first" - none of which CycleGAN has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import PatchDiscriminatorSettings
from i2i.core.generators import UNetGeneratorSettings
from i2i.core.losses.adversarial import adversarial_loss
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.losses.reconstruction import mean_absolute_error
from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.export.layouts import junyanz_patch, junyanz_unet, rename
from i2i.pipelines.protocol import EntryPoint, Sheet, Snapshot, Stateful
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import Precision
from i2i.training.settings import TrainingSettings
from tests.parity.cases import SPEEDS, Case, Tricks, digest, folders

(FOLDER,) = folders("02f_pix2pix_unet128")


class Pix2Pix:
    """Isola et al. 2017, just enough of it."""

    streams = ("a", "b")
    averaged: Sequence[str] = ()
    memories: Mapping[str, Stateful] = {}
    snapshots: Mapping[str, Snapshot] = {}
    pretrained: Mapping[str, PerceptualSettings] = {}
    entry_points: Mapping[str, EntryPoint] = {}

    def __init__(self, generator: UNetGeneratorSettings, discriminator: PatchDiscriminatorSettings) -> None:
        self.generator = generator.build()
        self.discriminator = discriminator.build(in_channels=6)
        self.adversarial = adversarial_loss("nonsaturating")
        self.networks: Mapping[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.players = {"generator": ("generator",), "discriminator": ("discriminator",)}

    def initialize(self, seed: int) -> None: ...

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        return (0,)

    def updates(self, progress: Progress) -> Sequence[Update]:
        return (
            Update(
                "discriminator",
                "discriminator",
                self.discriminator_losses,
                draws=("a", "b"),
                needs_graph_of=("generator",),
            ),
            Update("generator", "generator", self.generator_losses),
        )

    def discriminator_losses(self, context: StepContext) -> Losses:
        a, b = context.batch["a"], context.batch["b"]
        fake_b = self.generator(a)
        fake = self.discriminator(torch.cat([a, fake_b.detach()], dim=1))
        real = self.discriminator(torch.cat([a, b], dim=1))
        loss = self.adversarial.discriminator(real, fake)
        # Attached: the generator's update goes back through this very picture.
        context.carry.update(a=a, b=b, fake_b=fake_b)
        return Losses({side: Term(value, 0.5) for side, value in loss.items()})

    def generator_losses(self, context: StepContext) -> Losses:
        a, b, fake_b = (context.carry[name] for name in ("a", "b", "fake_b"))
        judged = self.discriminator(torch.cat([a, fake_b], dim=1))
        return Losses(
            {
                "adversarial": Term(self.adversarial.generator(None, judged)),
                "l1": Term(mean_absolute_error(fake_b, b), 100.0),
            }
        )

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet]:
        return {}

    def consistency(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Tensor:
        return torch.zeros(1)


@pytest.mark.parametrize("tricks", SPEEDS.values(), ids=SPEEDS)
def test_float64_run_equals_reference(tricks: Tricks) -> None:
    case = Case(FOLDER)
    options = case.about["hyper_parameters"]["options"]
    generator = UNetGeneratorSettings(base_channels=options["ngf"], levels=7, dropout=0.0)
    discriminator = PatchDiscriminatorSettings(base_channels=options["ndf"], normalization="batch")
    keys = {"G": junyanz_unet(generator), "D": junyanz_patch(discriminator)}
    pipeline = Pix2Pix(generator, discriminator)
    pipeline.generator.load_state_dict(rename(case.group("init/G"), keys["G"]))
    pipeline.discriminator.load_state_dict(rename(case.group("init/D"), keys["D"]))
    engine = Engine(
        pipeline,
        TrainingSettings(batch_size=1),
        Precision("fp64", torch.device("cpu")),
        images_per_epoch=1000,
        seed=0,
    )
    accelerate(engine, tricks, pytest.fail)
    tolerances = case.about["tolerances"]["float64_run"]
    names = {"D_real": ("discriminator", "real"), "D_fake": ("discriminator", "fake")}
    names |= {"G_GAN": ("generator", "adversarial"), "G_L1": ("generator", "l1")}
    for step, (a, b) in enumerate(zip(case.tensors["in/A"], case.tensors["in/B"], strict=True)):
        reports = engine.take_step(lambda streams, counters, a=a, b=b: [{"a": a.double(), "b": b.double()}])
        for theirs, (update, ours) in names.items():
            term = reports[update].losses[0].terms[ours]
            value = term.value * (term.weight if update == "generator" else 1.0)
            torch.testing.assert_close(
                value,
                case.tensors[f"loss64/{theirs}"][step],
                rtol=tolerances["loss_rtol"],
                atol=tolerances["loss_atol"],
            )
    for theirs, network in (("G", pipeline.generator), ("D", pipeline.discriminator)):
        state = network.state_dict()
        floating = [(ours, key) for ours, key in keys[theirs].items() if not key.endswith("num_batches_tracked")]
        rows = dict(zip(_state_order(case, theirs), case.tensors[f"final64_digest/{theirs}"], strict=True))
        torch.testing.assert_close(
            digest([state[ours] for ours, _ in floating]),
            torch.stack([rows[key] for _, key in floating]),
            rtol=tolerances["final_digest_rtol"],
            atol=tolerances["final_digest_atol"],
        )


def _state_order(case: Case, network: str) -> list[str]:
    """State-dict order of the reference: parameters in their order, each batch norm's buffers behind its bias."""
    held = case.group(f"init/{network}")
    names: list[str] = []
    for name in case.about["parameter_order"][network]:
        names.append(name)
        stem = name.rpartition(".")[0]
        if name.endswith(".bias") and f"{stem}.running_mean" in held:
            names += [f"{stem}.{buffer}" for buffer in ("running_mean", "running_var", "num_batches_tracked")]
    assert set(names) == set(held)
    return names
