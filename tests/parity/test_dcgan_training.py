"""The unconditional pipeline and the engine reproduce reference trainings of DCGAN."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import DCGANDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.step import StepContext
from i2i.export.layouts import pytorch_dcgan_discriminator, pytorch_dcgan_generator, rename
from i2i.pipelines import Unconditional, UnconditionalSettings
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import TrainingSettings
from tests.parity.cases import SPEEDS, Case, Tricks, digest, folders

(FOLDER,) = folders("04_dcgan")
NAMES = {
    "errD_real": ("discriminator", "real"),
    "errD_fake": ("discriminator", "fake"),
    "errG": ("generator", "adversarial"),
}


class FedWithNoise(Unconditional):
    """Takes its latents from the case."""

    noise: Tensor

    def draw_latents(self, context: StepContext) -> Tensor:
        return self.noise[context.progress.step].flatten(1)


def trained(case: Case, precision: ChosenPrecision, *, tricks: Tricks) -> tuple[FedWithNoise, dict[str, list[Tensor]]]:
    about = case.about["hyper_parameters"]
    settings = UnconditionalSettings(
        generator=DCGANGeneratorSettings(latent=about["nz"], base_channels=about["ngf"]),
        discriminator=DCGANDiscriminatorSettings(base_channels=about["ndf"]),
    )
    pipeline = FedWithNoise(settings, ImageShape(about["nc"], about["image_size"]))
    for network, keys, theirs in networks(pipeline):
        network.load_state_dict(rename(case.group(f"init/{theirs}"), keys))
    dtype = torch.float64 if precision == "fp64" else torch.float32
    pipeline.noise = case.tensors["in/noise"].to(dtype)
    engine = Engine(
        pipeline,
        TrainingSettings(batch_size=about["batch"]),
        Precision(precision, torch.device("cpu")),
        images_per_epoch=1000,
        seed=0,
    )
    accelerate(engine, tricks, pytest.fail)
    losses: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    for real in case.tensors["in/real"]:
        reports = engine.take_step(lambda streams, counters, real=real: [{"real": real.to(dtype)}])
        for name, (update, term) in NAMES.items():
            losses[name].append(reports[update].losses[0].terms[term].value)
    return pipeline, losses


def networks(pipeline: FedWithNoise) -> list[tuple[nn.Module, dict[str, str], str]]:
    """Each network with its layout and the reference's name for it."""
    generator, discriminator = pipeline.settings.generator, pipeline.settings.discriminator
    assert isinstance(generator, DCGANGeneratorSettings)
    assert isinstance(discriminator, DCGANDiscriminatorSettings)
    shape = pipeline.entry_points["generate"].shape
    return [
        (pipeline.generator, pytorch_dcgan_generator(generator, shape), "netG"),
        (pipeline.discriminator, pytorch_dcgan_discriminator(discriminator, shape), "netD"),
    ]


@pytest.mark.parametrize("tricks", SPEEDS.values(), ids=SPEEDS)
def test_float64_run_equals_reference(tricks: Tricks) -> None:
    case = Case(FOLDER)
    tolerances = case.about["tolerances"]["float64_run"]
    pipeline, losses = trained(case, "fp64", tricks=tricks)
    for name, values in losses.items():
        expected = case.tensors[f"loss64/{name}"]
        torch.testing.assert_close(
            torch.stack(values), expected, rtol=tolerances["loss_rtol"], atol=tolerances["loss_atol"]
        )
    for network, keys, theirs in networks(pipeline):
        state = network.state_dict()
        expected = case.tensors[f"final64_digest/{theirs}"]
        assert len(expected) == len(keys)
        keys = dict(sorted(keys.items(), key=lambda item: _place(item[1])))
        # A preview after the first step moved the buffers of the reference's generator, which nothing looks at later.
        compared = [i for i, key in enumerate(keys) if theirs == "netD" or key.endswith((".weight", ".bias"))]
        found = digest([state[ours] for ours in keys])
        torch.testing.assert_close(
            found[compared],
            expected[compared],
            rtol=tolerances["final_digest_rtol"],
            atol=tolerances["final_digest_atol"],
        )


def _place(key: str) -> tuple[int, int]:
    """Where a key of theirs stands in their state dict."""
    _, index, slot = key.split(".")
    return int(index), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked").index(slot)


def test_float32_run_stays_within_the_tolerances() -> None:
    case = Case(FOLDER)
    tolerances = case.about["tolerances"]
    pipeline, losses = trained(case, "fp32", tricks=SPEEDS["fast"])
    for name, values in losses.items():
        for step, value in enumerate(values):
            torch.testing.assert_close(
                value,
                case.tensors[f"loss/{name}"][step],
                rtol=tolerances["loss_rtol_per_step"][step],
                atol=tolerances["loss_atol"],
            )
    pictures = pipeline.generator.eval()(case.tensors["in/fixed_noise"].flatten(1))
    # What a user sees, from our own final weights: amplified rounding, so no tighter than a tenth of a grey level.
    torch.testing.assert_close(pictures, case.tensors["out/G_eval_final_nopreview"], rtol=0.0, atol=1e-3)
    network, keys, theirs = networks(pipeline)[0]
    state, buffers = network.state_dict(), case.group(f"final_nopreview/{theirs}")
    compared = {ours: key for ours, key in keys.items() if key in buffers}
    assert len(compared) == len(buffers)
    for ours, key in compared.items():
        torch.testing.assert_close(state[ours], buffers[key], rtol=0.0, atol=tolerances["buffers_atol"])
