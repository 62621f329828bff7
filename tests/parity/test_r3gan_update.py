"""One update of each R3GAN player, networks, loss and penalties together, equals the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import R3GANDiscriminatorSettings
from i2i.core.generators import R3GANGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import R1Settings, R2Settings
from i2i.core.randomness import SampleRandom
from i2i.core.step import Losses, Progress, StepContext
from i2i.export.layouts import brownvc_r3gan_discriminator, brownvc_r3gan_generator, rename
from i2i.pipelines import Unconditional, UnconditionalSettings
from tests.parity.cases import Case, folders

(FOLDER,) = folders("05b_r3gan_networks")


class FedWithNoise(Unconditional):
    """Takes its latents from the case."""

    noise: Tensor

    def draw_latents(self, context: StepContext) -> Tensor:
        return self.noise


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(FOLDER)


@pytest.fixture(scope="module")
def pipeline(case: Case) -> FedWithNoise:
    about = case.about["hyper_parameters"]
    generator, discriminator = about["generator"], about["discriminator"]
    settings = UnconditionalSettings(
        generator=R3GANGeneratorSettings(
            latent=generator["NoiseDimension"],
            widths=tuple(generator["WidthPerStage"]),
            cardinalities=tuple(generator["CardinalityPerStage"]),
            blocks=tuple(generator["BlocksPerStage"]),
            expansion=generator["ExpansionFactor"],
        ),
        discriminator=R3GANDiscriminatorSettings(
            widths=tuple(discriminator["WidthPerStage"]),
            cardinalities=tuple(discriminator["CardinalityPerStage"]),
            blocks=tuple(discriminator["BlocksPerStage"]),
            expansion=discriminator["ExpansionFactor"],
        ),
        adversarial="relativistic",
        penalties=(R1Settings(weight=about["gamma"]), R2Settings(weight=about["gamma"])),
        fakes="separate",
    )
    real = case.tensors["in/real"]
    shape = ImageShape(real.shape[1], real.shape[2])
    made = FedWithNoise(settings, shape)
    assert isinstance(settings.generator, R3GANGeneratorSettings)
    assert isinstance(settings.discriminator, R3GANDiscriminatorSettings)
    made.generator.load_state_dict(rename(case.group("net/G"), brownvc_r3gan_generator(settings.generator, shape)))
    made.discriminator.load_state_dict(
        rename(case.group("net/D"), brownvc_r3gan_discriminator(settings.discriminator, shape))
    )
    for network in made.networks.values():
        network.double()
    made.noise = case.tensors["in/noise"].double()
    return made


def context(case: Case) -> StepContext:
    real = case.tensors["in/real"].double()
    return StepContext(Progress(0, 0, 0.0), {"real": real}, SampleRandom(seed=0, rows=range(len(real))))


def gradient_norms(network: nn.Module, losses: Losses) -> list[float]:
    gradients = torch.autograd.grad(losses.total(), list(network.parameters()))
    return sorted(float(gradient.norm()) for gradient in gradients)


@pytest.mark.parametrize("player", ["D", "G"])
def test_loss_and_gradients_in_float64(case: Case, pipeline: FedWithNoise, player: str) -> None:
    tolerances = case.about["tolerances"]["float64"]
    if player == "D":
        losses, network = pipeline.discriminator_losses(context(case)), pipeline.discriminator
    else:
        losses, network = pipeline.generator_losses(context(case)), pipeline.generator
    expected = case.tensors[f"out64/{player}_total"]
    torch.testing.assert_close(
        losses.total().reshape(expected.shape), expected, rtol=tolerances["rtol"], atol=tolerances["atol"]
    )
    # Norms of all parameters, whatever either side calls them.
    expected_norms = sorted(case.tensors[f"gradnorm64/{player}"].tolist())
    assert gradient_norms(network, losses) == pytest.approx(expected_norms, rel=1e-8)
