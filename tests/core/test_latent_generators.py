"""Generators from latents: shapes and range, conditioning, refusals, copies, memory layouts, narrow formats, slopes."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import (
    DCGANGeneratorSettings,
    LatentGeneratorSettings,
    MLPGeneratorSettings,
    R3GANGeneratorSettings,
    SNGANGeneratorSettings,
)
from i2i.core.generators import dcgan as dcgan_module
from i2i.core.generators import sngan as sngan_module
from i2i.core.generators.dcgan import PointToMaps
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.layers import BatchNorm, Tanh, couples_batch, what_couples_batch
from i2i.core.virtual_batch_norm import has_reference, reference_rows

SMALL = ImageShape(1, 16)


def sngan(pixels: int) -> SNGANGeneratorSettings:
    return SNGANGeneratorSettings(latent=5, widths=(4,) * (pixels.bit_length() - 2))


def r3gan(pixels: int) -> R3GANGeneratorSettings:
    return R3GANGeneratorSettings(latent=5, widths=(8,) * (pixels.bit_length() - 2))


FAMILIES: dict[str, LatentGeneratorSettings] = {
    "mlp": MLPGeneratorSettings(latent=5, hidden=(16, 12)),
    "dcgan": DCGANGeneratorSettings(latent=5, base_channels=2),
    "dcgan_virtual": DCGANGeneratorSettings(latent=5, base_channels=2, normalization="virtual", reference_rows=3),
    "dcgan_none": DCGANGeneratorSettings(latent=5, base_channels=2, normalization="none"),
    "sngan": sngan(16),
    "r3gan": r3gan(16),
}
EVERY = pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)


def made(
    settings: LatentGeneratorSettings, shape: ImageShape = SMALL, classes: int = 0, deviation: float = 0.3
) -> nn.Module:
    """Initialised wide enough that a latent shows in its picture."""
    network = settings.build(shape, classes)
    start = InitializationSettings(standard_deviation=deviation)
    initialize(network, start, torch.Generator().manual_seed(1))
    for name, weight in network.named_parameters():
        # R3GAN's blocks start as zeros: let them act.
        if name.endswith("branch.4.weight"):
            nn.init.normal_(weight, 0.0, 0.2, generator=torch.Generator().manual_seed(2))
    return network


def latents(rows: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("settings", "pixels"),
    [
        *((FAMILIES["mlp"], pixels) for pixels in (1, 17, 28)),
        *((FAMILIES["dcgan"], pixels) for pixels in (16, 28, 32, 64, 128, 256)),
        *((sngan(pixels), pixels) for pixels in (16, 32, 64, 128)),
        *((r3gan(pixels), pixels) for pixels in (8, 16, 32, 64, 128, 256)),
    ],
    ids=lambda value: value if isinstance(value, int) else value.kind,
)
@torch.no_grad()
def test_pictures_of_every_size(settings: LatentGeneratorSettings, pixels: int, channels: int) -> None:
    shape = ImageShape(channels, pixels)
    assert settings.size_problem(shape) is None
    pictures = made(settings, shape)(latents(2))
    assert pictures.shape == (2, channels, pixels, pixels)
    assert pictures.isfinite().all() and not torch.equal(pictures[0], pictures[1])
    if settings.kind != "r3gan":
        assert pictures.abs().max() <= 1


@pytest.mark.parametrize(
    ("settings", "pixels", "nearest"),
    [
        (FAMILIES["dcgan"], 8, "nearest: 16$"),
        (FAMILIES["dcgan"], 27, "nearest: 16 or 28$"),
        (FAMILIES["dcgan"], 100, "nearest: 64 or 128$"),
        (FAMILIES["dcgan"], 512, "nearest: 256$"),
        (sngan(32), 28, "nearest: 16 or 32$"),
        (sngan(32), 256, "nearest: 128$"),
        (r3gan(32), 28, "nearest: 16 or 32$"),
    ],
    ids=lambda value: value.kind if not isinstance(value, int | str) else None,
)
def test_other_sizes_are_refused_and_the_nearest_named(
    settings: LatentGeneratorSettings, pixels: int, nearest: str
) -> None:
    problem = settings.size_problem(ImageShape(3, pixels))
    assert problem is not None and f"{pixels} x {pixels}" in problem
    with pytest.raises(ValueError, match=nearest):
        settings.build(ImageShape(3, pixels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SNGANGeneratorSettings(widths=(4, 4)), "widths has 2 entries; 16 pixels need 3"),
        (R3GANGeneratorSettings(widths=(8, 8)), "widths has 2 entries; 16 pixels need 3, one for each size from 4 to"),
        (R3GANGeneratorSettings(blocks=(1,)), "blocks has 1 entries"),
        (R3GANGeneratorSettings(widths=(8,) * 3, cardinalities=(2, 3, 2)), "cardinalities has 3.*16 channels; .*: 2"),
    ],
)
def test_stages_that_do_not_fit_the_size_are_refused(settings: LatentGeneratorSettings, message: str) -> None:
    assert settings.size_problem(SMALL) is not None
    with pytest.raises(ValueError, match=message):
        settings.build(SMALL)


@pytest.mark.parametrize("family", [MLPGeneratorSettings, DCGANGeneratorSettings, SNGANGeneratorSettings])
def test_a_latent_without_width_is_refused(family: type) -> None:
    with pytest.raises(ValueError, match="latent is 0; needs at least 1"):
        family(latent=0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden is \[\]"):
        MLPGeneratorSettings(hidden=())
    with pytest.raises(ValueError, match="base_channels is 0"):
        DCGANGeneratorSettings(base_channels=0)
    with pytest.raises(ValueError, match="widths has 0"):
        SNGANGeneratorSettings(widths=(4, 0, 4))
    with pytest.raises(ValueError, match="blocks has -1"):
        R3GANGeneratorSettings(blocks=(1, -1))
    with pytest.raises(ValueError, match="expansion is 0"):
        R3GANGeneratorSettings(expansion=0)


# --- the papers' networks --------------------------------------------------------------------------------------------


def test_dcgan_is_the_papers_network() -> None:
    """The layers of Radford et al., figure 1, written down plainly."""
    shape, width = ImageShape(3, 64), 2
    network = DCGANGeneratorSettings(latent=100, base_channels=width).build(shape)
    layers: list[nn.Module] = []
    widths = [100, 8 * width, 4 * width, 2 * width, width, 3]
    for index, (before, after) in enumerate(pairwise(widths)):
        stride, padding = (1, 0) if index == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
        layers += [nn.Tanh()] if index == 4 else [nn.BatchNorm2d(after), nn.ReLU()]
    plain = nn.Sequential(*layers)
    ours = network.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in plain.state_dict().values()]
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.values(), strict=True)))
    points = torch.randn(4, 100)
    torch.testing.assert_close(network(points), plain(points[..., None, None]))
    torch.testing.assert_close(network.eval()(points), plain.eval()(points[..., None, None]))


@pytest.mark.parametrize(
    ("pixels", "widths"), [(16, [4, 2]), (28, [4, 2]), (64, [16, 8, 4, 2]), (128, [16, 16, 8, 4, 2])]
)
def test_dcgan_doubles_its_channels_up_to_eight_times(pixels: int, widths: list[int]) -> None:
    network = DCGANGeneratorSettings(base_channels=2).build(ImageShape(3, pixels))
    found = [module.out_channels for module in network.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert found == [*widths, 3]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"])
@pytest.mark.parametrize("bias", [False, True])
def test_first_layer_equals_the_stock_operation(layout: torch.memory_format, bias: bool) -> None:
    ours = PointToMaps(5, 6, 4, bias=bias).double().to(memory_format=layout)  # type: ignore[call-overload]
    stock = nn.ConvTranspose2d(5, 6, 4, bias=bias).double()
    stock.load_state_dict(ours.state_dict())
    points = latents(3, torch.float64)[..., None, None].requires_grad_()
    result, expected = ours(points), stock(points)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12, check_stride=False)
    assert result.is_contiguous(memory_format=layout)
    weights = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(result, [points, *ours.parameters()], weights),
        torch.autograd.grad(expected, [points, *stock.parameters()], weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12, check_stride=False)


def test_sngan_has_the_papers_widths() -> None:
    assert sngan_module.default_widths(3) == [256] * 4  # table 4: 32 pixels
    assert sngan_module.default_widths(5) == [1024, 1024, 512, 256, 128, 64]  # table 6: 128 pixels
    network = SNGANGeneratorSettings().build(ImageShape(3, 32))
    # A bias on every layer would make 4,276,739; those three in front of a normalization are left out.
    assert sum(weight.numel() for weight in network.parameters()) == 4_276_739 - 3 * 256


def test_r3gan_has_the_papers_widths() -> None:
    stages = R3GANGeneratorSettings().stages(ImageShape(3, 64))
    assert [stage.width for stage in stages] == [768, 768, 768, 768, 384]
    assert [stage.cardinality for stage in stages] == [96, 96, 96, 96, 48]
    assert [stage.blocks for stage in stages] == [2] * 5


def test_r3gan_starts_as_its_skips() -> None:
    """With the last layers at zero each block passes its input on: the picture is linear in the latent."""
    network = r3gan(16).build(SMALL).double()
    initialize(network, InitializationSettings(), torch.Generator().manual_seed(0))
    points = latents(2, torch.float64)
    both = network(points.sum(dim=0, keepdim=True))
    assert both.abs().max() > 0.1
    torch.testing.assert_close(network(points).sum(dim=0, keepdim=True), both)


# --- conditioning ----------------------------------------------------------------------------------------------------


@EVERY
def test_labels_choose_the_picture(settings: LatentGeneratorSettings) -> None:
    network = made(settings, classes=3)
    for name, weight in network.named_parameters():
        if name.endswith(("scales", "shifts")):  # classes start alike
            nn.init.normal_(weight, 1.0, 0.5, generator=torch.Generator().manual_seed(3))
    network.eval()
    points = latents(1).expand(3, -1)
    pictures = network(points, torch.arange(3))
    assert not torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[1], pictures[2])
    torch.testing.assert_close(network(points, torch.tensor([2, 1, 0])).flip(0), pictures)
    pictures.square().sum().backward()
    # The other families have no numbers of their own for a class: their first layer meets it as one input more.
    tables = [weight for name, weight in network.named_parameters() if name.endswith("scales")]
    assert bool(tables) == (settings.kind == "sngan")
    for table in tables:
        assert table.grad is not None and table.grad.abs().amax(dim=1).min() > 0


@EVERY
def test_wrong_inputs_are_refused_with_help(settings: LatentGeneratorSettings) -> None:
    bare, network, labels = made(settings), made(settings, classes=3), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="labels are missing: this network has 3 classes"):
        network(latents())
    with pytest.raises(ValueError, match="this network has no classes; leave them out"):
        bare(latents(), labels)
    with pytest.raises(ValueError, match="class 3 is out of range; this network has 0 to 2"):
        network(latents(), labels + 3)
    with pytest.raises(ValueError, match="class -1 is out of range"):
        network(latents(), labels - 1)
    with pytest.raises(ValueError, match=r"4 samples need \(4,\) torch.int64"):
        network(latents(), labels[:3])
    with pytest.raises(ValueError, match=r"torch.float32; 4 samples need"):
        network(latents(), labels.float())
    with pytest.raises(ValueError, match=r"latents are \(4, 5, 1, 1\); this network needs \(N, 5\)"):
        bare(latents()[..., None, None])
    with pytest.raises(ValueError, match=r"latents are \(4, 4\)"):
        bare(latents()[:, :4])


def test_classes_of_sngan_start_alike() -> None:
    network = made(FAMILIES["sngan"], classes=3).eval()
    pictures = network(latents(1).expand(3, -1), torch.arange(3))
    torch.testing.assert_close(pictures[0], pictures[1])


# --- virtual batch norm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [0, 2])
def test_pictures_with_virtual_batch_norm_do_not_depend_on_their_neighbours(classes: int) -> None:
    network = made(FAMILIES["dcgan_virtual"], classes=classes).double()
    labels = torch.arange(4) % classes if classes else None
    points = latents(4, torch.float64)
    together = network(points, labels)
    alone = [network(points[[row]], None if labels is None else labels[[row]]) for row in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
    # The statistics of the last call in training are those of evaluation, too.
    torch.testing.assert_close(network.eval()(points, labels), together)


def test_reference_latents_come_with_the_initial_weights() -> None:
    settings = FAMILIES["dcgan_virtual"]
    with pytest.raises(ValueError, match="no reference batch yet"):
        settings.build(SMALL)(latents())
    network, again = made(settings), made(settings)
    assert reference_rows(network) == 3 and has_reference(network)
    assert network.get_buffer("reference.inputs").std() > 0.3
    assert torch.equal(network.get_buffer("reference.inputs"), again.get_buffer("reference.inputs"))
    copied = settings.build(SMALL)
    copied.load_state_dict(network.state_dict())
    torch.testing.assert_close(copied(latents()), network(latents()))


@pytest.mark.parametrize(("family", "what"), [("dcgan", "batch norm"), ("sngan", "batch norm")])
def test_batch_norm_couples(family: str, what: str) -> None:
    assert what_couples_batch(made(FAMILIES[family])) == what
    assert any(isinstance(module, BatchNorm) for module in made(FAMILIES[family], classes=2).modules())


@pytest.mark.parametrize("family", ["mlp", "dcgan_virtual", "dcgan_none", "r3gan"])
def test_the_others_do_not_couple(family: str) -> None:
    network = made(FAMILIES[family]).double()
    assert not couples_batch(network)
    points = latents(4, torch.float64)
    torch.testing.assert_close(network(points)[:2], network(points[:2]))


# --- what an engine does with them -----------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("classes", [0, 3])
def test_copies_and_saved_weights_make_the_same_pictures(settings: LatentGeneratorSettings, classes: int) -> None:
    network = made(settings, classes=classes)
    labels = torch.arange(4) % 3 if classes else None
    network(latents(), labels)  # statistics move
    copied, loaded = copy.deepcopy(network), settings.build(SMALL, classes)
    loaded.load_state_dict(network.state_dict())
    expected = network.eval()(latents(), labels)
    assert torch.equal(copied.eval()(latents(), labels), expected)
    assert torch.equal(loaded.eval()(latents(), labels), expected)


@EVERY
def test_channels_last_makes_the_same_pictures(settings: LatentGeneratorSettings) -> None:
    network = made(settings).double()
    expected = network(latents(dtype=torch.float64))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = network(latents(dtype=torch.float64))
    torch.testing.assert_close(pictures, expected, check_stride=False)
    if settings.kind != "mlp":
        assert pictures.is_contiguous(memory_format=torch.channels_last)


@EVERY
@pytest.mark.parametrize("classes", [0, 3])
def test_bfloat16_stays_close(settings: LatentGeneratorSettings, classes: int) -> None:
    network = made(settings, classes=classes)
    labels = torch.arange(4) % 3 if classes else None
    network.eval()
    expected = network(latents(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        pictures = network(latents(), labels)
    ends_in_tanh = any(isinstance(module, Tanh) for module in network.modules())
    assert pictures.dtype == (torch.float32 if ends_in_tanh else torch.bfloat16)
    assert (pictures - expected).abs().mean() < 0.05 * expected.abs().mean()
    pictures.float().square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@EVERY
def test_every_weight_learns(settings: LatentGeneratorSettings) -> None:
    network = made(settings, classes=3)
    (network(latents(6), torch.arange(6) % 3) - 0.5).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name


@EVERY
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradients_are_right_twice(settings: LatentGeneratorSettings, mode: Literal["train", "eval"]) -> None:
    network = made(settings).double().train(mode == "train")
    points = latents(2, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(network, (points,), fast_mode=True)
    assert torch.autograd.gradgradcheck(network, (points,), fast_mode=True)


def test_sizes_in_messages_are_those_that_work() -> None:
    for size in dcgan_module.SIZES:
        assert FAMILIES["dcgan"].size_problem(ImageShape(3, size)) is None
    for size in sngan_module.SIZES:
        assert SNGANGeneratorSettings().size_problem(ImageShape(3, size)) is None
