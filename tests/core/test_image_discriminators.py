"""Discriminators of whole pictures: shapes, conditioning, refusals, copies, memory layouts, slopes and their slopes."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from i2i.core.discriminators import (
    Conditioning,
    DCGANDiscriminatorSettings,
    DiscriminatorOutput,
    ImageDiscriminatorSettings,
    MaxoutDiscriminatorSettings,
    MLPDiscriminatorSettings,
    R3GANDiscriminatorSettings,
    SNGANDiscriminatorSettings,
)
from i2i.core.discriminators import sngan as sngan_module
from i2i.core.discriminators.dcgan import MapsToPoint
from i2i.core.discriminators.mlp import Maxout
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.layers import couples_batch, what_couples_batch
from i2i.core.losses.adversarial import judgement
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress, StepContext, running
from i2i.core.virtual_batch_norm import has_reference, reference_rows, set_reference

SMALL = ImageShape(1, 16)


def sngan(pixels: int, spectral_norm: bool = True) -> SNGANDiscriminatorSettings:
    blocks = {16: 4, 32: 4, 64: 5, 128: 6}[pixels]
    return SNGANDiscriminatorSettings(widths=(4,) * blocks, spectral_norm=spectral_norm)


def r3gan(pixels: int) -> R3GANDiscriminatorSettings:
    return R3GANDiscriminatorSettings(widths=(8,) * (pixels.bit_length() - 2))


FAMILIES: dict[str, ImageDiscriminatorSettings] = {
    "mlp": MLPDiscriminatorSettings(hidden=(12, 8)),
    "maxout": MaxoutDiscriminatorSettings(units=6, pieces=3, input_dropout=0.0, dropout=0.0),
    "dcgan": DCGANDiscriminatorSettings(base_channels=2),
    "dcgan_virtual": DCGANDiscriminatorSettings(base_channels=2, normalization="virtual", reference_rows=3),
    "dcgan_none": DCGANDiscriminatorSettings(base_channels=2, normalization="none"),
    "dcgan_spectral": DCGANDiscriminatorSettings(base_channels=2, normalization="none", spectral_norm=True),
    "sngan": sngan(16),
    "sngan_bare": sngan(16, spectral_norm=False),
    "r3gan": r3gan(16),
}
EVERY = pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
BOTH = pytest.mark.parametrize("conditioning", ["projection", "auxiliary"])


def made(
    settings: ImageDiscriminatorSettings,
    shape: ImageShape = SMALL,
    classes: int = 0,
    conditioning: Conditioning = "projection",
) -> nn.Module:
    """Initialised wide enough that a picture shows in its logit."""
    network = settings.build(shape, classes, conditioning)
    initialize(network, InitializationSettings(standard_deviation=0.2), torch.Generator().manual_seed(1))
    for name, weight in network.named_parameters():
        # R3GAN's blocks start as zeros, and biases too: let them act.
        if name.endswith(("branch.4.weight", "bias")):
            nn.init.normal_(weight, 0.0, 0.2, generator=torch.Generator().manual_seed(2))
    if not has_reference(network):
        set_reference(network, images(reference_rows(network), seed=5, shape=shape))
    return network


def images(rows: int = 4, dtype: torch.dtype = torch.float32, seed: int = 0, shape: ImageShape = SMALL) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, shape.channels, shape.pixels, shape.pixels, generator=generator, dtype=dtype) - 1


def logits(network: nn.Module, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
    output = network(pictures, labels)
    assert isinstance(output, DiscriminatorOutput)
    return output.logits[0]


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("settings", "pixels"),
    [
        *((FAMILIES[name], pixels) for name in ("mlp", "maxout") for pixels in (1, 17, 28)),
        *((FAMILIES["dcgan"], pixels) for pixels in (16, 28, 32, 64, 128, 256)),
        *((sngan(pixels), pixels) for pixels in (16, 32, 64, 128)),
        *((r3gan(pixels), pixels) for pixels in (8, 16, 32, 64, 128, 256)),
    ],
    ids=lambda value: value if isinstance(value, int) else value.kind,
)
@torch.no_grad()
def test_one_logit_a_picture_of_every_size(settings: ImageDiscriminatorSettings, pixels: int, channels: int) -> None:
    shape = ImageShape(channels, pixels)
    assert settings.size_problem(shape) is None
    output = made(settings, shape)(images(2, shape=shape))
    assert [scale.shape for scale in output.logits] == [(2, 1)]
    assert output.logits[0].isfinite().all() and output.logits[0].std() > 0
    assert output.class_logits is None
    assert len(output.features) == 1 and len(output.features[0]) == 2


@pytest.mark.parametrize(
    ("settings", "pixels", "nearest"),
    [
        (FAMILIES["dcgan"], 48, "48 x 48 pixels; nearest: 32 or 64$"),
        (FAMILIES["dcgan"], 1024, "nearest: 256$"),
        (sngan(32), 256, "nearest: 128$"),
        (r3gan(32), 4, "nearest: 8$"),
    ],
    ids=lambda value: value.kind if not isinstance(value, int | str) else None,
)
def test_other_sizes_are_refused_and_the_nearest_named(
    settings: ImageDiscriminatorSettings, pixels: int, nearest: str
) -> None:
    assert settings.size_problem(ImageShape(3, pixels)) is not None
    with pytest.raises(ValueError, match=nearest):
        settings.build(ImageShape(3, pixels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SNGANDiscriminatorSettings(widths=(4, 4)), "widths has 2 entries; 16 pixels need 4"),
        (R3GANDiscriminatorSettings(widths=(8, 8)), "widths has 2 entries; 16 pixels need 3, .* from 16 to 4"),
        (R3GANDiscriminatorSettings(cardinalities=(96, 96, 7)), "cardinalities has 7.*1536 channels; nearest: 6"),
    ],
)
def test_stages_that_do_not_fit_the_size_are_refused(settings: ImageDiscriminatorSettings, message: str) -> None:
    assert settings.size_problem(SMALL) is not None
    with pytest.raises(ValueError, match=message):
        settings.build(SMALL)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="pieces is 0"):
        MaxoutDiscriminatorSettings(pieces=0)
    with pytest.raises(ValueError, match=r"input_dropout is 1\.0"):
        MaxoutDiscriminatorSettings(input_dropout=1.0)
    with pytest.raises(ValueError, match=r"hidden is \[3, 0\]"):
        MLPDiscriminatorSettings(hidden=(3, 0))
    with pytest.raises(ValueError, match=r"dropout is -0\.1"):
        MLPDiscriminatorSettings(dropout=-0.1)
    with pytest.raises(ValueError, match="reference_rows is 0"):
        DCGANDiscriminatorSettings(reference_rows=0)
    with pytest.raises(ValueError, match="widths has 0"):
        SNGANDiscriminatorSettings(widths=(0,))
    with pytest.raises(ValueError, match="cardinalities has 0"):
        R3GANDiscriminatorSettings(cardinalities=(0,))


# --- the papers' networks --------------------------------------------------------------------------------------------


def test_dcgan_is_the_papers_network() -> None:
    """Radford et al., section 3, written down plainly."""
    width, layers = 2, list[nn.Module]()
    widths = [3, width, 2 * width, 4 * width, 8 * width, 1]
    for index, (before, after) in enumerate(pairwise(widths)):
        stride, padding = (1, 0) if index == 4 else (2, 1)
        layers.append(nn.Conv2d(before, after, 4, stride, padding, bias=False))
        layers += [nn.BatchNorm2d(after)] if index in (1, 2, 3) else []
        layers += [nn.LeakyReLU(0.2)] if index < 4 else []
    plain = nn.Sequential(*layers)
    network = DCGANDiscriminatorSettings(base_channels=width).build(ImageShape(3, 64))
    ours = network.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in plain.state_dict().values()]
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.values(), strict=True)))
    pictures = images(4, shape=ImageShape(3, 64))
    torch.testing.assert_close(logits(network, pictures), plain(pictures).flatten(1))
    torch.testing.assert_close(logits(network.eval(), pictures), plain.eval()(pictures).flatten(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"])
@pytest.mark.parametrize("bias", [False, True])
def test_last_layer_equals_the_stock_operation(layout: torch.memory_format, bias: bool) -> None:
    ours = MapsToPoint(5, 2, 4, bias=bias).double().to(memory_format=layout)  # type: ignore[call-overload]
    stock = nn.Conv2d(5, 2, 4, bias=bias).double()
    stock.load_state_dict(ours.state_dict())
    maps = torch.randn(3, 5, 4, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    result, expected = ours(maps), stock(maps)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12, check_stride=False)
    weights = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(result, [maps, *ours.parameters()], weights),
        torch.autograd.grad(expected, [maps, *stock.parameters()], weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12, check_stride=False)


def test_maxout_takes_the_largest_of_its_pieces() -> None:
    layer = Maxout(2, 3, 2)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.copy_(torch.tensor([1.0, 2.0, 4.0, 3.0, -5.0, -6.0]))
    assert layer(torch.randn(1, 2)).tolist() == [[2.0, 4.0, -5.0]]


def test_dropout_of_maxout_is_keyed_by_sample() -> None:
    network = MaxoutDiscriminatorSettings(units=6, pieces=2).build(SMALL)

    def judged(rows: range, pictures: Tensor) -> Tensor:
        with running(StepContext(Progress(0, 0, 0.0), {}, SampleRandom(0, rows))):
            return logits(network, pictures)

    together = judged(range(4), images())
    alone = [judged(range(row, row + 1), images()[[row]]) for row in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together, judged(range(4, 8), images()))
    assert not torch.allclose(together, logits(network.eval(), images()))


def test_sngan_has_the_papers_widths() -> None:
    assert sngan_module.default_widths(32) == [128] * 4  # table 4
    assert sngan_module.default_widths(128) == [64, 128, 256, 512, 1024, 1024]  # table 6
    network = SNGANDiscriminatorSettings().build(ImageShape(3, 32))
    convolutions = [3 * 128, *[128 * 128] * 7]  # 3x3, two in each of four blocks
    shortcuts = [3 * 128, 128 * 128]  # 1x1, where the size is halved
    expected = 9 * sum(convolutions) + sum(shortcuts) + 10 * 128 + 128 + 1
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize(("pixels", "side"), [(16, 8), (32, 8), (64, 4), (128, 4)])
@torch.no_grad()
def test_sngan_pools_maps_of_the_papers_size(pixels: int, side: int) -> None:
    shape = ImageShape(3, pixels)
    assert made(sngan(pixels), shape)(images(1, shape=shape)).features[0].shape[2:] == (side, side)


@pytest.mark.parametrize(("family", "layers"), [("dcgan_spectral", 4), ("sngan", 11)])
@BOTH
def test_spectral_norm_holds_every_weight(family: str, layers: int, conditioning: Conditioning) -> None:
    network = made(FAMILIES[family], classes=3, conditioning=conditioning)
    for _ in range(100):  # one power iteration a call
        logits(network, images(2), torch.tensor([0, 1]))
    normed = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(normed) == layers and all(parametrize.is_parametrized(module, "weight") for module in normed)
    for module in network.eval().modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            largest = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
            torch.testing.assert_close(largest, torch.tensor(1.0), rtol=0, atol=1e-3)


# --- conditioning ----------------------------------------------------------------------------------------------------


@EVERY
def test_projection_adds_the_inner_product(settings: ImageDiscriminatorSettings) -> None:
    network = made(settings, classes=3).double().eval()
    pictures = images(2, torch.float64)
    first, second = (network(pictures, torch.full((2,), label)) for label in (0, 2))
    pooled = first.features[0]
    if settings.kind == "r3gan":
        pooled = network.get_submodule("basis")(pooled)
    elif pooled.ndim == 4:
        pooled = pooled.sum(dim=(2, 3))
    head = network.get_submodule("head.projection")
    vectors = head.weight
    assert isinstance(vectors, Tensor)
    difference = first.logits[0] - second.logits[0]
    assert difference.abs().min() > 1e-3
    torch.testing.assert_close(difference[:, 0], pooled @ (vectors[0] - vectors[2]))
    assert first.class_logits is None


@EVERY
def test_auxiliary_classifier_names_the_class_without_looking_at_the_label(
    settings: ImageDiscriminatorSettings,
) -> None:
    network = made(settings, classes=3, conditioning="auxiliary").eval()
    without, with_labels = network(images()), network(images(), torch.tensor([0, 1, 2, 0]))
    assert without.class_logits.shape == (4, 3) and without.class_logits.std() > 0
    assert torch.equal(without.class_logits, with_labels.class_logits)
    assert torch.equal(without.logits[0], with_labels.logits[0])


@EVERY
def test_wrong_labels_are_refused_with_help(settings: ImageDiscriminatorSettings) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="labels are missing: this network has 3 classes"):
        made(settings, classes=3)(images())
    with pytest.raises(ValueError, match="this network has no classes; leave them out"):
        made(settings)(images(), labels)
    with pytest.raises(ValueError, match="class 3 is out of range; this network has 0 to 2"):
        made(settings, classes=3, conditioning="auxiliary")(images(), labels + 3)
    with pytest.raises(ValueError, match=r"4 samples need \(4,\)"):
        made(settings, classes=3)(images(), labels[:, None])


# --- virtual batch norm and couplings --------------------------------------------------------------------------------


def test_judgement_with_virtual_batch_norm_does_not_depend_on_neighbours() -> None:
    network = made(FAMILIES["dcgan_virtual"]).double()
    pictures = images(4, torch.float64)
    together = logits(network, pictures)
    torch.testing.assert_close(together, torch.cat([logits(network, pictures[[row]]) for row in range(4)]))
    torch.testing.assert_close(logits(network.eval(), pictures), together)
    # The reference matters: another one gives another judgement.
    other = FAMILIES["dcgan_virtual"].build(SMALL).double()
    set_reference(other, images(3, torch.float64, seed=8))
    other.load_state_dict({**network.state_dict(), "reference.inputs": other.state_dict()["reference.inputs"]})
    assert not torch.allclose(logits(other, pictures), together)


def test_reference_pictures_are_chosen_once_and_saved() -> None:
    settings = FAMILIES["dcgan_virtual"]
    network = settings.build(SMALL)
    assert reference_rows(network) == 3 and not has_reference(network)
    with pytest.raises(ValueError, match="no reference batch yet"):
        network(images())
    with pytest.raises(ValueError, match=r"\(2, 1, 16, 16\); needs \(3, 1, 16, 16\) - make reference_rows 2"):
        set_reference(network, images(2))
    set_reference(network, images(3))
    assert has_reference(network)
    with pytest.raises(ValueError, match="chosen already"):
        set_reference(network, images(3))
    loaded = settings.build(SMALL)
    loaded.load_state_dict(network.state_dict())
    assert has_reference(loaded)
    assert torch.equal(logits(loaded, images()), logits(network, images()))


def test_networks_without_virtual_batch_norm_need_no_reference() -> None:
    network = made(FAMILIES["dcgan"])
    assert reference_rows(network) == 0 and has_reference(network)
    with pytest.raises(ValueError, match="takes no reference batch"):
        set_reference(network, images(3))


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("mlp", None),
        ("maxout", None),
        ("dcgan", "batch norm"),
        ("dcgan_virtual", None),
        ("dcgan_none", None),
        ("dcgan_spectral", "spectral norm"),
        ("sngan", "spectral norm"),
        ("sngan_bare", None),
        ("r3gan", None),
    ],
)
def test_what_couples_the_batch(family: str, what: str | None) -> None:
    network = made(FAMILIES[family]).double()
    assert what_couples_batch(network) == what
    assert couples_batch(network) == (what is not None)
    if what is None:
        pictures = images(4, torch.float64)
        torch.testing.assert_close(logits(network, pictures)[:2], logits(network, pictures[:2]))


def test_everything_that_couples_is_named() -> None:
    network = DCGANDiscriminatorSettings(base_channels=2, spectral_norm=True).build(SMALL)
    assert what_couples_batch(network) == "spectral norm and batch norm"
    assert what_couples_batch(copy.deepcopy(network)) == "spectral norm and batch norm"


# --- what an engine does with them -----------------------------------------------------------------------------------


@EVERY
@BOTH
def test_copies_and_saved_weights_judge_the_same(
    settings: ImageDiscriminatorSettings, conditioning: Conditioning
) -> None:
    network = made(settings, classes=3, conditioning=conditioning)
    labels = torch.tensor([0, 1, 2, 0])
    logits(network, images(), labels)  # statistics and singular vectors move
    copied, loaded = copy.deepcopy(network), settings.build(SMALL, 3, conditioning)
    loaded.load_state_dict(network.state_dict())
    # In training, too: a copy goes on where the original was.
    expected = logits(network, images(), labels)
    assert torch.equal(logits(copied, images(), labels), expected)
    assert torch.equal(logits(loaded, images(), labels), expected)
    assert torch.equal(logits(copied.eval(), images(), labels), logits(network.eval(), images(), labels))


@EVERY
def test_channels_last_judges_the_same(settings: ImageDiscriminatorSettings) -> None:
    network, shape = made(settings, ImageShape(3, 16)).double(), ImageShape(3, 16)
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = images(4, torch.float64, shape=shape)
    expected = logits(network, pictures)
    torch.testing.assert_close(logits(moved, pictures.contiguous(memory_format=torch.channels_last)), expected)


@EVERY
@BOTH
def test_bfloat16_stays_close(settings: ImageDiscriminatorSettings, conditioning: Conditioning) -> None:
    network, labels = made(settings, classes=3, conditioning=conditioning), torch.tensor([0, 1, 2, 0])
    expected = logits(copy.deepcopy(network), images(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images(), labels)
    assert (output.logits[0] - expected).abs().max() < 0.05 * expected.abs().max()
    loss = output.logits[0].float().square().mean()
    if output.class_logits is not None:
        loss = loss + output.class_logits.float().square().mean()
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@EVERY
@BOTH
def test_every_weight_learns(settings: ImageDiscriminatorSettings, conditioning: Conditioning) -> None:
    network = made(settings, classes=3, conditioning=conditioning)
    output = network(images(6), torch.arange(6) % 3)
    loss = nn.functional.softplus(output.logits[0]).mean()
    if output.class_logits is not None:
        loss = loss + nn.functional.cross_entropy(output.class_logits, torch.arange(6) % 3)
    loss.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name


@EVERY
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_slopes_and_their_slopes_are_right(
    settings: ImageDiscriminatorSettings, mode: Literal["train", "eval"]
) -> None:
    """With respect to pictures, and, for penalties, of the slope's norm with respect to all weights."""
    network = made(settings, classes=2).double().train(mode == "train")
    if what_couples_batch(network) == "spectral norm":
        network.eval()  # in training each look moves the weights
    labels = torch.tensor([0, 1])
    pictures = images(2, torch.float64).requires_grad_()
    weights = dict(network.named_parameters())

    def judge(pictures: Tensor) -> Tensor:
        return logits(network, pictures, labels).tanh()  # bent, so that second derivatives are not zero

    def penalty(*values: Tensor) -> Tensor:
        output = functional_call(network, dict(zip(weights, values, strict=True)), (pictures, labels))
        (slope,) = torch.autograd.grad(output.logits[0].sum(), pictures, create_graph=True)
        return slope.square().sum()

    assert torch.autograd.gradcheck(judge, (pictures,), fast_mode=True)
    assert torch.autograd.gradgradcheck(judge, (pictures,), fast_mode=True)
    assert penalty(*weights.values()) > 1e-6
    assert torch.autograd.gradcheck(penalty, tuple(weights.values()), fast_mode=True)


def test_probability_of_being_real_is_that_of_the_logits() -> None:
    weight = torch.ones((), requires_grad=True)
    output = DiscriminatorOutput((weight * torch.tensor([[0.0], [0.0]]), weight * torch.tensor([[100.0], [-100.0]])))
    assert judgement("nonsaturating", output).item() == 0.5
    assert not judgement("nonsaturating", output).requires_grad
    sure = DiscriminatorOutput((torch.full((1, 1), 3.0),))
    assert judgement("nonsaturating", sure).item() == pytest.approx(0.9526, abs=1e-4)
