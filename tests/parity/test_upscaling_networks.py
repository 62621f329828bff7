"""Networks of super-resolution equal the reference implementations, and public weights load and enlarge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.discriminators import UNetDiscriminatorSettings, VGGDiscriminatorSettings
from i2i.core.generators import CompactSettings, MSRResNetSettings, RRDBSettings, SRResNetSettings, UpscalerSettings
from i2i.core.image_shape import ImageShape
from i2i.export import layouts
from tests.parity.cases import Case, folders
from tests.real import WEIGHTS

GENERATORS = folders(
    "06a_msrresnet_x4",
    "06b_msrresnet_x2",
    "06c_rrdbnet_x4",
    "06d_rrdbnet_x2_unshuffle",
    "06g_srresnet_bn",
    "06h_leftthomas_pretrained_x4",
)
DISCRIMINATORS = folders("06e_vgg_discriminator_128", "06f_unet_discriminator_sn")
LEFTTHOMAS = SRResNetSettings(blocks=5, convolution_bias=True, trunk_end="prelu", output="tanh")
FAST_SRGAN = SRResNetSettings(blocks=8, normalization="instance", end_kernel=3, input_range="symmetric", output="tanh")

LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"]
)
DTYPES = pytest.mark.parametrize(
    ("dtype", "group"), [(torch.float32, "out"), (torch.float64, "out64")], ids=["float32", "float64"]
)


def build_generator(case: Case) -> tuple[nn.Module, dict[str, str]]:
    about = case.about["hyper_parameters"]
    args: Mapping[str, Any] = about["args"]
    match about["network"]:
        case "MSRResNet":
            plain = MSRResNetSettings(scale=args["upscale"], base_channels=args["num_feat"], blocks=args["num_block"])
            return plain.build(), layouts.basicsr_msrresnet(plain)
        case "RRDBNet":
            rrdb = RRDBSettings(
                scale=args["scale"],
                base_channels=args["num_feat"],
                growth_channels=args["num_grow_ch"],
                blocks=args["num_block"],
            )
            return rrdb.build(), layouts.basicsr_rrdb(rrdb)
        case "SRResNet":
            srresnet = SRResNetSettings(scale=args["upscale"], base_channels=args["channels"], blocks=args["num_rcb"])
            return srresnet.build(), layouts.lornatang_srresnet(srresnet)
        case "Generator":
            return LEFTTHOMAS.build(), layouts.leftthomas_srresnet(LEFTTHOMAS)
    raise AssertionError(about["network"])


def assert_close(case: Case, group: str, name: str, result: Tensor, expected: Tensor) -> None:
    limits = case.about["tolerances"]
    # A case without a float64 tolerance is held to the strictest that others have.
    found = limits.get(group) or limits.get(f"{group}/{name}") or {"rtol": 1e-10, "atol": 1e-11}
    torch.testing.assert_close(
        result, expected, rtol=found["rtol"], atol=found["atol"], check_dtype=group != "after", check_stride=False
    )


def test_cases_are_at_hand() -> None:
    assert {folder.name[:3] for folder in GENERATORS} >= {"06a", "06b", "06c", "06d", "06g"}
    assert "06f_unet_discriminator_sn" in {folder.name for folder in DISCRIMINATORS}


@pytest.mark.parametrize("folder", GENERATORS, ids=lambda folder: folder.name)
@LAYOUTS
@DTYPES
@torch.no_grad()
def test_generator_equals_reference(folder: Path, layout: torch.memory_format, dtype: torch.dtype, group: str) -> None:
    case = Case(folder)
    network, keys = build_generator(case)
    network.load_state_dict(layouts.rename(case.group("net/G"), keys))
    network.to(dtype).to(memory_format=layout).eval()  # type: ignore[call-overload]
    step = case.about.get("output_step", 1)
    outputs = {name: value for name, value in case.group(group).items() if value.is_floating_point()}
    assert outputs
    for name, expected in outputs.items():
        images = case.tensors[f"in/{name.replace('y', 'x')}"].to(dtype).contiguous(memory_format=layout)
        result = network(2 * images - 1)[..., ::step, ::step].add(1).div(2)
        if case.about["hyper_parameters"]["network"] == "SRResNet":
            result = result.clamp(0, 1)
        assert result.dtype == dtype
        assert_close(case, group, name, result, expected)


@pytest.mark.parametrize("folder", folders("06h_leftthomas_pretrained_x4"), ids=lambda folder: folder.name)
@torch.no_grad()
def test_pretrained_generator_makes_the_same_picture(folder: Path) -> None:
    case = Case(folder)
    network, keys = build_generator(case)
    network.load_state_dict(layouts.rename(case.group("net/G"), keys))
    result = network.eval()(2 * case.tensors["in/x0"] - 1).add(1).div(2).clamp(0, 1)
    picture = result[0].permute(1, 2, 0).mul(255).round().int()
    difference = (picture - case.tensors["out/sr_u8"].int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 1e-3


def build_discriminator(case: Case) -> tuple[nn.Module, dict[str, str]]:
    about = case.about["hyper_parameters"]
    args: Mapping[str, Any] = about["args"]
    if about["network"] == "VGGStyleDiscriminator":
        vgg, shape = VGGDiscriminatorSettings(base_channels=args["num_feat"]), ImageShape(3, args["input_size"])
        return vgg.build(shape), layouts.basicsr_vgg(vgg, shape)
    assert about["network"] == "UNetDiscriminatorSN"
    unet = UNetDiscriminatorSettings(base_channels=args["num_feat"], skip_connections=args["skip_connection"])
    return unet.build(ImageShape(3, 64)), layouts.basicsr_unet(unet)


@pytest.mark.parametrize("folder", DISCRIMINATORS, ids=lambda folder: folder.name)
@LAYOUTS
@DTYPES
@torch.no_grad()
def test_discriminator_equals_reference(
    folder: Path, layout: torch.memory_format, dtype: torch.dtype, group: str
) -> None:
    case = Case(folder)
    network, keys = build_discriminator(case)
    network.load_state_dict(layouts.rename(case.group("net/D"), keys))
    network.to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    compared = 0
    for mode in ("eval", "train"):
        network.train(mode == "train")
        for name in sorted(name for name in case.group(group) if name.startswith(mode)):
            images = case.tensors[f"in/x{name.removeprefix(mode)}"].to(dtype).contiguous(memory_format=layout)
            (logits,) = network(2 * images - 1).logits
            assert_close(case, group, name, logits, case.tensors[f"{group}/{name}"])
            compared += 1
    assert compared >= 2
    # What the training passes left behind: running statistics, singular vectors.
    after, state = case.group("after/D"), network.state_dict()
    moved = {ours: theirs for ours, theirs in keys.items() if theirs in after}
    assert len(moved) == len(after) > 0
    for ours, theirs in moved.items():
        assert_close(case, "after", theirs, state[ours], after[theirs])


# --- names -----------------------------------------------------------------------------------------------------------

RRDB = RRDBSettings(blocks=2)
NAMES = [
    (
        layouts.basicsr_msrresnet(MSRResNetSettings(scale=4)),
        {"conv_first.weight", "body.15.conv1.weight", "body.0.conv2.bias", "upconv1.bias", "upconv2.weight"}
        | {"conv_hr.weight", "conv_last.bias"},
        2 * (1 + 32 + 2 + 2),
    ),
    (layouts.basicsr_msrresnet(MSRResNetSettings(scale=3, blocks=1)), {"upconv1.weight"}, 2 * (1 + 2 + 1 + 2)),
    (
        layouts.basicsr_rrdb(RRDBSettings()),
        {"conv_first.weight", "body.22.rdb3.conv5.bias", "conv_body.weight", "conv_up1.bias", "conv_up2.weight"}
        | {"conv_hr.weight", "conv_last.bias"},
        702,
    ),
    (
        layouts.esrgan_rrdb(RRDB),
        {"conv_first.weight", "RRDB_trunk.1.RDB1.conv5.bias", "trunk_conv.weight", "upconv1.bias", "upconv2.bias"}
        | {"HRconv.weight", "conv_last.bias"},
        2 * (30 + 6),
    ),
    (
        layouts.old_esrgan_rrdb(RRDB),
        {"model.0.weight", "model.1.sub.0.RDB3.conv5.0.bias", "model.1.sub.2.weight", "model.3.bias"}
        | {"model.6.weight", "model.8.bias", "model.10.weight"},
        2 * (30 + 6),
    ),
    (
        layouts.old_esrgan_rrdb(RRDBSettings(blocks=2, scale=2, unshuffle=False)),
        {"model.0.weight", "model.3.bias", "model.5.bias", "model.7.weight"},
        2 * (30 + 5),
    ),
    (
        layouts.basicsr_compact(CompactSettings()),
        {"body.0.weight", "body.1.weight", "body.33.weight", "body.34.bias"},
        17 * 3 + 2,
    ),
    (
        layouts.leftthomas_srresnet(LEFTTHOMAS),
        {"block1.1.weight", "block2.bn1.running_var", "block6.prelu.weight", "block7.0.bias", "block7.1.weight"}
        | {"block8.1.conv.weight", "block8.0.prelu.weight", "block8.2.bias"},
        79,
    ),
    (
        layouts.hasnainraz_srresnet(FAST_SRGAN),
        {"neck.1.weight", "stem.7.conv2.weight", "stem.0.relu1.weight", "bottleneck.0.weight", "head.0.bias"}
        | {"upsampling.1.conv.bias", "upsampling.0.relu.weight"},
        3 + 24 + 1 + 6 + 2,
    ),
    (
        layouts.basicsr_vgg(VGGDiscriminatorSettings(), ImageShape(3, 256)),
        {"conv0_0.bias", "conv0_1.weight", "bn0_1.bias", "conv5_1.weight", "bn5_0.running_mean", "linear2.bias"},
        2 + 11 * 6 + 4,
    ),
    (
        layouts.basicsr_unet(UNetDiscriminatorSettings()),
        {"conv0.bias", "conv3.weight_orig", "conv4.weight_u", "conv8.weight_v", "conv9.weight"},
        4 + 8 * 3,
    ),
]


@pytest.mark.parametrize(("layout", "some", "count"), NAMES)
def test_layouts_give_the_published_names(layout: dict[str, str], some: set[str], count: int) -> None:
    assert some <= set(layout.values())
    assert len(set(layout.values())) == len(layout) == count


def test_published_files_are_unwrapped() -> None:
    weight = torch.ones(1)
    assert layouts.unwrapped({"a.weight": weight}) == {"a.weight": weight}
    both = {"params": {"a.weight": torch.zeros(1)}, "params_ema": {"module.a.weight": weight}}
    assert layouts.unwrapped(both) == {"a.weight": weight}
    assert layouts.unwrapped({"module._orig_mod.a": weight, "module._orig_mod.b": weight}).keys() == {"a", "b"}
    # Only what stands before every key is a prefix.
    assert layouts.unwrapped({"module.a": weight, "b": weight}).keys() == {"module.a", "b"}


# --- public weights --------------------------------------------------------------------------------------------------


def waves(pixels: int, offset: float) -> Tensor:
    """A smooth picture of `pixels` a side, sampled at (index + offset) / pixels."""
    at = 2 * torch.pi * (torch.arange(pixels) + offset) / pixels
    return torch.stack([torch.sin(2 * at)[:, None] * torch.cos(at), torch.cos(3 * at).expand(pixels, -1)] * 2)[:3] / 2


@torch.no_grad()
def test_public_compact_weights_compute_what_they_say() -> None:
    file = WEIGHTS / "realesrgan/realesr-animevideov3.pth"
    if not file.is_file():
        pytest.skip(f"{file.name} is not at hand")
    settings = CompactSettings()
    state = layouts.unwrapped(torch.load(file, map_location="cpu", weights_only=True))
    keys = layouts.basicsr_compact(settings)
    assert set(state) == set(keys.values())
    network = settings.build().double()
    network.load_state_dict(layouts.rename(state, keys))
    images = waves(16, 0.5)[None].double().add(1).div(2)
    features = images
    for index in range(0, 35, 2):
        weight, bias = (state[f"body.{index}.{name}"].double() for name in ("weight", "bias"))
        features = functional.conv2d(features, weight, bias, padding=1)
        if index < 34:
            features = functional.prelu(features, state[f"body.{index + 1}.weight"].double())
    repeated = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    expected = functional.pixel_shuffle(features, 4) + repeated
    torch.testing.assert_close(network(2 * images - 1), 2 * expected - 1, rtol=1e-10, atol=1e-10)
    # Trained weights change a picture, but they do not make another one of it.
    assert 0.01 < (expected - repeated).square().mean().sqrt() < 0.2


@pytest.mark.parametrize(
    ("file", "settings", "layout"),
    [
        ("fast_srgan/model.pt", FAST_SRGAN, layouts.hasnainraz_srresnet),
        ("srgan_leftthomas/netG_epoch_4_100.pth", LEFTTHOMAS, layouts.leftthomas_srresnet),
    ],
)
@torch.no_grad()
def test_public_weights_enlarge(file: str, settings: UpscalerSettings, layout: Any) -> None:
    if not (WEIGHTS / file).is_file():
        pytest.skip(f"{file} is not at hand")
    state = layouts.unwrapped(torch.load(WEIGHTS / file, map_location="cpu", weights_only=True))
    keys = layout(settings)
    assert set(state) == set(keys.values())
    network = settings.build().eval()
    network.load_state_dict(layouts.rename(state, keys))
    # Between samples of the small picture lie four of the large one.
    result = network(waves(32, 0.5)[None])[0]
    inner = (slice(None), slice(16, -16), slice(16, -16))
    error = (result - waves(128, 0.5))[inner].square().mean().sqrt()
    repeated = (waves(32, 0.5).repeat_interleave(4, 1).repeat_interleave(4, 2) - waves(128, 0.5))[inner]
    assert error < repeated.square().mean().sqrt()
