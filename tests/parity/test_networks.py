"""Forward passes equal those of the reference implementations, in float32 and float64, in both memory layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import (
    DCGANDiscriminatorSettings,
    DiscriminatorOutput,
    PatchDiscriminatorSettings,
    PixelDiscriminatorSettings,
    R3GANDiscriminatorSettings,
)
from i2i.core.generators import (
    DCGANGeneratorSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.export.layouts import (
    brownvc_r3gan_discriminator,
    brownvc_r3gan_generator,
    junyanz_patch,
    junyanz_pixel,
    junyanz_resnet,
    junyanz_unet,
    pytorch_dcgan_discriminator,
    pytorch_dcgan_generator,
    rename,
)
from tests.parity.cases import Case, folders

CASES = folders(
    "01a_resnet9_instance",
    "01b_resnet6_instance",
    "01c_resnet6_batch_eval",
    "01e_unet128_batch_eval",
    "01f_patchgan_n3_instance",
    "01g_patchgan_n2_batch_eval",
    "01h_pixelgan_instance",
    "01i_pixelgan_batch_eval",
)


def build(case: Case) -> tuple[nn.Module, dict[str, str]]:
    about = case.about["hyper_parameters"]
    match about["network"]:
        case "ResnetGenerator":
            resnet = ResNetGeneratorSettings(
                base_channels=about["ngf"], blocks=about["n_blocks"], normalization=about["norm"]
            )
            return resnet.build(), junyanz_resnet(resnet)
        case "UnetGenerator":
            unet = UNetGeneratorSettings(
                base_channels=about["ngf"], levels=about["num_downs"], normalization=about["norm"]
            )
            return unet.build(), junyanz_unet(unet)
        case "NLayerDiscriminator":
            patch = PatchDiscriminatorSettings(
                base_channels=about["ndf"], layers=about["n_layers"], normalization=about["norm"]
            )
            return patch.build(), junyanz_patch(patch)
        case "PixelDiscriminator":
            pixel = PixelDiscriminatorSettings(base_channels=about["ndf"], normalization=about["norm"])
            return pixel.build(), junyanz_pixel(pixel)
    raise AssertionError(about["network"])


def values(result: Tensor | DiscriminatorOutput) -> Tensor:
    return result.logits[0] if isinstance(result, DiscriminatorOutput) else result


def test_all_cases_are_at_hand() -> None:
    assert len(CASES) == 8


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"])
@torch.no_grad()
def test_forward_equals_reference(folder: Path, layout: torch.memory_format) -> None:
    case = Case(folder)
    network, keys = build(case)
    prefix = "net/G" if "Generator" in case.about["hyper_parameters"]["network"] else "net/D"
    network.load_state_dict(rename(case.group(prefix), keys))
    network.eval().to(memory_format=layout)  # type: ignore[call-overload]
    compared = 0
    for dtype, group in ((torch.float32, "out"), (torch.float64, "out64")):
        network.to(dtype)
        for name, expected in case.group(group).items():
            images = case.tensors[f"in/{name.replace('y', 'x')}"].to(dtype).contiguous(memory_format=layout)
            tolerance = {key: case.about["tolerances"][group][key] for key in ("rtol", "atol")}
            torch.testing.assert_close(values(network(images)), expected, **tolerance, check_stride=False)
            compared += 1
    assert compared >= 2


LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"]
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.mark.parametrize("folder", folders("04_dcgan"), ids=lambda folder: folder.name)
@LAYOUTS
@DTYPES
@pytest.mark.parametrize("mode", ["train", "eval"])
@torch.no_grad()
def test_dcgan_equals_reference(folder: Path, layout: torch.memory_format, dtype: torch.dtype, mode: str) -> None:
    case, shape = Case(folder), ImageShape(3, 64)
    if mode == "eval" and not case.group("final/netG"):
        pytest.skip("the bundled case has no final weights; the training test arrives at them")
    tolerance = case.about["tolerances"]["out"]
    weights, outputs, noise = (
        ("init", "train_init", case.tensors["in/noise"][0])
        if mode == "train"
        else ("final", "eval_final", case.tensors["in/fixed_noise"])
    )
    generator_settings = DCGANGeneratorSettings(base_channels=case.about["hyper_parameters"]["ngf"])
    generator = generator_settings.build(shape)
    generator.load_state_dict(rename(case.group(f"{weights}/netG"), pytorch_dcgan_generator(generator_settings, shape)))
    discriminator_settings = DCGANDiscriminatorSettings(base_channels=case.about["hyper_parameters"]["ndf"])
    discriminator = discriminator_settings.build(shape)
    discriminator.load_state_dict(
        rename(case.group(f"{weights}/netD"), pytorch_dcgan_discriminator(discriminator_settings, shape))
    )
    for network in (generator, discriminator):
        network.to(dtype).to(memory_format=layout).train(mode == "train")  # type: ignore[call-overload]
    pictures = generator(noise.flatten(1).to(dtype))
    torch.testing.assert_close(
        pictures, case.tensors[f"out/G_{outputs}"], **tolerance, check_dtype=False, check_stride=False
    )
    real = case.tensors["in/real"][0].to(dtype).contiguous(memory_format=layout)
    probabilities = torch.sigmoid(discriminator(real).logits[0].flatten())
    torch.testing.assert_close(probabilities, case.tensors[f"out/D_{outputs}"], **tolerance, check_dtype=False)


def assert_r3gan_close(case: Case, actual: Tensor, expected: Tensor) -> None:
    if actual.dtype == expected.dtype == torch.float64:
        limits = case.about["tolerances"]["float64"]
        torch.testing.assert_close(actual, expected, rtol=limits["rtol"], atol=limits["atol"])
        return
    limits = case.about["tolerances"]["out"]
    # Relative to the largest value of the tensor.
    atol = limits["atol"] + limits["rtol"] * float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, check_dtype=False, check_stride=False)


def build_r3gan(case: Case, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    about = case.about["hyper_parameters"]
    generator_settings = R3GANGeneratorSettings(
        latent=about["generator"]["NoiseDimension"],
        widths=tuple(about["generator"]["WidthPerStage"]),
        cardinalities=tuple(about["generator"]["CardinalityPerStage"]),
        blocks=tuple(about["generator"]["BlocksPerStage"]),
        expansion=about["generator"]["ExpansionFactor"],
    )
    discriminator_settings = R3GANDiscriminatorSettings(
        widths=tuple(about["discriminator"]["WidthPerStage"]),
        cardinalities=tuple(about["discriminator"]["CardinalityPerStage"]),
        blocks=tuple(about["discriminator"]["BlocksPerStage"]),
        expansion=about["discriminator"]["ExpansionFactor"],
    )
    generator, discriminator = generator_settings.build(shape), discriminator_settings.build(shape)
    generator.load_state_dict(rename(case.group("net/G"), brownvc_r3gan_generator(generator_settings, shape)))
    discriminator.load_state_dict(
        rename(case.group("net/D"), brownvc_r3gan_discriminator(discriminator_settings, shape))
    )
    return generator, discriminator


@LAYOUTS
@DTYPES
@torch.no_grad()
def test_r3gan_equals_reference(layout: torch.memory_format, dtype: torch.dtype) -> None:
    case = Case(folders("05b_r3gan_networks")[0])
    generator, discriminator = build_r3gan(case, ImageShape(3, 16))
    for network in (generator, discriminator):
        network.to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    group = "out64" if dtype == torch.float64 else "out"
    real = case.tensors["in/real"].to(dtype).contiguous(memory_format=layout)
    fake = generator(case.tensors["in/noise"].to(dtype))
    assert_r3gan_close(case, fake, case.tensors["out/fake"])
    assert_r3gan_close(case, discriminator(real).logits[0].flatten(), case.tensors[f"{group}/logits_real"])
    # In float64 this is the strict comparison of the generator, too.
    assert_r3gan_close(case, discriminator(fake).logits[0].flatten(), case.tensors[f"{group}/logits_fake"])
