"""Forward passes equal those of the reference implementations, in float32 and float64, in both memory layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import DiscriminatorOutput, PatchDiscriminatorSettings, PixelDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.export.layouts import junyanz_patch, junyanz_pixel, junyanz_resnet, junyanz_unet, rename
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
