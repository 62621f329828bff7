"""Augmentations do what other libraries do, twice differentiably, per sample, and as often as their steering says."""

from __future__ import annotations

import math
from collections.abc import Callable

import kornia
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv

from i2i.core.augmentation import (
    AdaptiveAugmentationSettings,
    Augmentation,
    DiffAugmentSettings,
    InstanceNoiseSettings,
    Policy,
    RampedAugmentationSettings,
    TransformGroup,
)
from i2i.core.augmentation import diffaugment as diff
from i2i.core.augmentation.adaptive import augment_with_probability
from i2i.core.augmentation.transforms import change_colors, color_matrices, geometric_sources, whole_pixel_sources
from i2i.core.augmentation.warp import warp
from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.losses.penalties import zero_centred_penalty
from i2i.core.ramp import CosineRamp
from i2i.core.randomness import SampleRandom
from i2i.core.step import Joined, Progress, SingleProcess, StepContext, running

GROUPS: tuple[TransformGroup, ...] = ("blit", "geometry", "color")
POLICIES: tuple[Policy, ...] = ("color", "translation", "cutout")
AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    **{policy: DiffAugmentSettings(policies=(policy,)).build for policy in POLICIES},
    "diffaugment": DiffAugmentSettings().build,
    **{group: RampedAugmentationSettings(groups=(group,), probability=0.9).build for group in GROUPS},
    "ramped": RampedAugmentationSettings(probability=0.6).build,
}


def after(images: int) -> Progress:
    return Progress(step=0, images=images, epoch=0.0)


def pictures(count: int = 4, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, channels, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def draws(count: int = 4, first: int = 0, seed: int = 3) -> SampleRandom:
    return SampleRandom(seed, range(first, first + count))


def inverse(x: float, y: float, angle: float = 0.0, factor: float = 1.0) -> Tensor:
    """(1, 2, 3): where pixels come from after turning clockwise by `angle`, scaling, and moving right x, down y."""
    cosine, sine = math.cos(angle) / factor, math.sin(angle) / factor
    return torch.tensor(
        [[[cosine, sine, -cosine * x - sine * y], [-sine, cosine, sine * x - cosine * y]]], dtype=torch.float64
    )


# --- warp ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (2, 2), (28, 28)])
def test_whole_pixels_come_back_as_they_are(height: int, width: int) -> None:
    images = pictures(2, 3, height, width)
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    assert torch.equal(warp(images, identity), images)
    mirrored = identity * torch.tensor([[-1.0], [1.0], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(warp(images, mirrored), images.flip(3), rtol=0, atol=1e-12)
    upside_down = identity * torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(warp(images, upside_down), images.flip(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, -2), (-3, 2)])
def test_shifts_bring_in_the_reflection(right: int, down: int) -> None:
    images = pictures(1, 3, 8, 8)
    padded = functional.pad(images, (4, 4, 4, 4), mode="reflect")
    expected = padded[:, :, 4 - down : 12 - down, 4 - right : 12 - right]
    torch.testing.assert_close(warp(images, inverse(right, down)), expected, rtol=0, atol=1e-12)


def test_quarter_turns() -> None:
    images = pictures(1, 3, 9, 9)
    # A positive angle turns x toward y, which is downward: clockwise to the eye.
    turned = warp(images, inverse(0, 0, math.pi / 2))
    torch.testing.assert_close(turned, images.rot90(-1, dims=(2, 3)), rtol=0, atol=1e-12)


def waves(across: Tensor, down: Tensor, side: int, finest: int) -> Tensor:
    """A smooth picture that goes on as its own reflection; `across` and `down` in pixels from the first one."""
    result = torch.zeros_like(across)
    for index, (k, l) in enumerate([(1, 2), (finest // 2, 1), (2, finest), (finest, finest // 3)]):  # noqa: E741
        result = result + (index + 1) * torch.cos(math.pi * k * across / (side - 1)) * torch.cos(
            math.pi * l * down / (side - 1)
        )
    return result / 10


@pytest.mark.parametrize(
    "source", [inverse(3.3, -0.8), inverse(-9.0, 4.5, 0.7), inverse(0.4, 1.2, -2.0, 1.3), inverse(2.0, 1.0, 1.0, 0.7)]
)
def test_any_movement_matches_the_continuous_picture_better_than_kornia_s(source: Tensor) -> None:
    side, half = 32, 15.5
    across = torch.arange(side, dtype=torch.float64).expand(side, side)
    image = waves(across, across.T, side, finest=12)[None, None]
    centred = torch.stack([across - half, across.T - half, torch.ones_like(across)])
    places = torch.einsum("ij,jhw->ihw", source[0], centred) + half
    truth = waves(places[0], places[1], side, finest=12)
    # kornia's matrices map places of the picture to places of the result, in pixels from the first one.
    to_centre = torch.tensor([[1.0, 0.0, -half], [0.0, 1.0, -half], [0.0, 0.0, 1.0]], dtype=torch.float64)
    forward = torch.linalg.inv(torch.cat([source[0], torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)]))
    matrix = torch.linalg.inv(to_centre) @ forward @ to_centre
    theirs = kornia.geometry.warp_affine(
        image, matrix[None, :2], (side, side), padding_mode="reflection", align_corners=True
    )
    error = (warp(image, source)[0, 0] - truth).abs().mean()
    their_error = (theirs[0, 0] - truth).abs().mean()
    assert error < 0.015, "amplitudes are up to 1"
    assert their_error < 0.1, "theirs shows the same picture, so the conventions agree"
    assert error < 0.4 * their_error


def test_each_picture_has_its_own_movement() -> None:
    images = pictures(3)
    sources = torch.cat([inverse(1, 0), inverse(0, 0, 0.5), inverse(0, 2)])
    together = warp(images, sources)
    for index in range(3):
        torch.testing.assert_close(together[index : index + 1], warp(images[index : index + 1], sources[index][None]))


def test_what_is_kept_between_calls_serves_training_after_inference() -> None:
    with torch.inference_mode():
        warp(pictures(1, 3, 5, 5), inverse(0.3, 0))
    images = pictures(1, 3, 5, 5).requires_grad_()
    warp(images, inverse(0.3, 0)).sum().backward()
    assert images.grad is not None


# --- transformations of adaptive augmentation ------------------------------------------------------------------------


def middle(*columns: float) -> Tensor:
    return torch.tensor([columns], dtype=torch.float64)


def of_normal(value: float) -> float:
    """The uniform draw that becomes this normal one."""
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


NO = 0.99  # a draw by which nothing happens at probability 0.5
YES = 0.0


def test_mirroring_turning_and_shifting_by_whole_pixels() -> None:
    images = pictures(1, 3, 16, 16)
    mirror = whole_pixel_sources(middle(YES, 0.2, NO, 0.5, NO, 0.5, 0.5), 0.5, 16, 16)
    torch.testing.assert_close(warp(images, mirror), images.flip(3), rtol=0, atol=1e-12)
    not_mirrored = whole_pixel_sources(middle(YES, 0.7, NO, 0.5, NO, 0.5, 0.5), 0.5, 16, 16)
    assert torch.equal(warp(images, not_mirrored), images)
    for quarters, draw in ((0, 0.1), (1, 0.3), (2, 0.6), (3, 0.9)):
        turn = whole_pixel_sources(middle(NO, 0.2, YES, draw, NO, 0.5, 0.5), 0.5, 16, 16)
        torch.testing.assert_close(warp(images, turn), images.rot90(-quarters, dims=(2, 3)), rtol=0, atol=1e-12)
    # The whole range of 1/8 of the side: 2 pixels to the left, 1 (0.5 * 2) down.
    shift = whole_pixel_sources(middle(NO, 0.2, NO, 0.5, YES, 0.0, 0.75), 0.5, 16, 16)
    expected = functional.pad(images, (0, 2, 1, 0), mode="reflect")[:, :, :16, 2:]
    torch.testing.assert_close(warp(images, shift), expected, rtol=0, atol=1e-12)


def test_geometry_is_composed_in_the_paper_s_order() -> None:
    """Scaling, turning, stretching, turning, shifting: each maps a place of the picture on from the one before."""
    scale, first, stretch, second = 0.7, 0.4, -1.1, -0.9
    right, down = 0.6, -1.4
    uniform = middle(
        *(YES, of_normal(scale), YES, 0.5 + first / (2 * math.pi), YES, of_normal(stretch)),
        *(YES, 0.5 + second / (2 * math.pi), YES, of_normal(right), of_normal(down)),
    )
    sources = geometric_sources(uniform, 1.0, 64, 32)[0]
    place = torch.tensor([3.0, -5.0], dtype=torch.float64)

    def turned(x: Tensor, angle: float) -> Tensor:
        rotation = kornia.geometry.angle_to_rotation_matrix(torch.tensor([-math.degrees(angle)], dtype=torch.float64))
        return rotation[0] @ x

    moved = turned(place * 2 ** (0.2 * scale), first)
    moved = turned(moved * moved.new_tensor([2 ** (0.2 * stretch), 2 ** (-0.2 * stretch)]), second)
    moved = moved + moved.new_tensor([right * 0.125 * 64, down * 0.125 * 32])
    back = sources @ torch.cat([moved, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(back[:2], place, rtol=1e-6, atol=1e-6)  # kornia has pi in float32


def test_colours_are_composed_in_the_paper_s_order() -> None:
    brightness, contrast, hue, saturation = 0.8, -1.2, 1.0, 0.5
    uniform = middle(
        *(YES, of_normal(brightness), YES, of_normal(contrast), YES, 0.2),
        *(YES, 0.5 + hue / (2 * math.pi), YES, of_normal(saturation)),
    )
    images = pictures(1)
    changed = change_colors(images, color_matrices(uniform, 1.0, 3))
    axis = torch.full((1, 3), 3**-0.5, dtype=torch.float64)
    expected = kornia.enhance.adjust_brightness(images, 0.2 * brightness, clip_output=False)
    expected = expected * 2 ** (0.5 * contrast)
    colors = expected.flatten(2)
    colors = colors - 2 * axis.T @ (axis @ colors)  # luma flipped: mirrored at the plane across the grey axis
    colors = kornia.geometry.axis_angle_to_rotation_matrix(axis * hue) @ colors
    grey = colors.mean(dim=1, keepdim=True)
    colors = grey + (colors - grey) * 2**saturation
    torch.testing.assert_close(changed, colors.unflatten(2, (8, 8)))


def test_grey_pictures_take_what_a_grey_colour_picture_takes() -> None:
    uniform = torch.rand(50, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grey = pictures(50, 1)
    alone = change_colors(grey, color_matrices(uniform, 0.7, 1))
    as_color = change_colors(grey.expand(-1, 3, -1, -1), color_matrices(uniform, 0.7, 3))
    torch.testing.assert_close(alone.expand(-1, 3, -1, -1), as_color, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_on_which_nothing_falls_are_not_touched(channels: int) -> None:
    images = pictures(6, channels)
    matrices = color_matrices(torch.full((6, 10), NO, dtype=torch.float64), 0.5, channels)
    assert torch.equal(change_colors(images, matrices), images)


def test_strengths_have_the_paper_s_spread() -> None:
    uniform = torch.rand(4000, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    uniform[:, [0, 2, 4, 6]] = NO  # only shifts
    shifts = geometric_sources(uniform, 0.95, 100, 100)[:, :2, 2]
    happened = uniform[:, 8] < 0.95
    assert torch.equal(shifts[~happened], torch.zeros_like(shifts[~happened]))
    assert shifts[happened].std(dim=0).tolist() == pytest.approx([12.5, 12.5], rel=0.05)


# --- DiffAugment against torchvision and kornia ----------------------------------------------------------------------


def test_brightness_and_contrast() -> None:
    images = pictures(1, 1) / 4 + 0.5  # torchvision clamps to [0, 1]
    uniform = middle(0.8, 0.5, 0.3)
    expected = kornia.enhance.adjust_brightness(images, 0.3, clip_output=False)
    expected = tv.adjust_contrast(expected, 0.8)
    torch.testing.assert_close(diff.change_colors(images, uniform), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("draw", [0.0, 0.3, 0.5, 0.9])
def test_saturation_scales_the_distance_from_grey(draw: float) -> None:
    images = pictures(1)
    grey = images.mean(dim=1, keepdim=True)
    changed = diff.change_colors(images, middle(0.5, draw, 0.5))
    torch.testing.assert_close(changed, grey + 2 * draw * (images - grey))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 28), (17, 24), (4, 4)])
def test_translation(height: int, width: int) -> None:
    images = pictures(1, 3, height, width)
    seen = set()
    for vertical in (0.0, 0.3, 0.5, 0.999):
        for horizontal in (0.0, 0.6, 0.999):
            down = int(vertical * (2 * (height // 8) + 1)) - height // 8
            right = int(horizontal * (2 * (width // 8) + 1)) - width // 8
            moved = diff.translate(images, middle(vertical, horizontal))
            expected = tv.affine(images, angle=0.0, translate=[right, down], scale=1.0, shear=[0.0, 0.0])
            torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)
            seen.add((right, down))
    assert {(-(width // 8), -(height // 8)), (width // 8, height // 8)} <= seen


@pytest.mark.parametrize("side", [16, 14, 9])
def test_cutout(side: int) -> None:
    images = pictures(1, 3, side, side)
    length = side // 2
    for vertical in (0.0, 0.4, 0.999):
        for horizontal in (0.0, 0.7, 0.999):
            places = [int(draw * (side + 1 - length % 2)) - length // 2 for draw in (vertical, horizontal)]
            (top, left), (bottom, right) = ([max(0, p) for p in places], [min(side, p + length) for p in places])
            expected = tv.erase(images, top, left, bottom - top, right - left, torch.zeros((), dtype=torch.float64))
            assert torch.equal(diff.cut_out(images, middle(vertical, horizontal)), expected)


# --- what holds for all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_of_both_orders_are_right(name: str) -> None:
    augmentation = AUGMENTATIONS[name]()
    images = pictures(2, 3, 5, 5).requires_grad_()

    def bent(x: Tensor) -> Tensor:
        # Augmentations are affine in the picture; the cube gives the second derivative something to find.
        return augmentation.augment(x**3, draws(2), "test")

    assert torch.autograd.gradcheck(bent, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(bent, (images,), fast_mode=True)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_penalty_on_slopes_reaches_through(name: str) -> None:
    """R1 is taken at pictures before augmentation: a derivative of a derivative, through the augmentation."""
    augmentation = AUGMENTATIONS[name]()
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)

    def judge(images: Tensor) -> DiscriminatorOutput:
        augmented = augmentation.augment(images, draws(), "real")
        return DiscriminatorOutput(((weight * augmented.tanh()).sum(dim=(1, 2, 3))[:, None],))

    penalty = zero_centred_penalty(judge, pictures())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * penalty.detach()[None])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_rows_do_not_depend_on_how_the_batch_is_split(name: str) -> None:
    augmentation = AUGMENTATIONS[name]()
    images = pictures(6)
    whole = augmentation.augment(images, draws(6, first=100), "real")
    # Two processes of three rows each, then two micro-batches.
    own = [slice(0, 3), slice(3, 6)]
    ranks = [augmentation.augment(images[o], SampleRandom(3, range(100, 106), o), "real") for o in own]
    torch.testing.assert_close(torch.cat(ranks), whole, rtol=0, atol=1e-13)
    micro = [augmentation.augment(images[o], draws(3, first=100 + o.start), "real") for o in own]
    assert all(torch.equal(rank, part) for rank, part in zip(ranks, micro, strict=True))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_are_those_of_seed_purpose_and_sample(name: str) -> None:
    augmentation = AUGMENTATIONS[name]()
    images = pictures(1).expand(8, -1, -1, -1)
    result = augmentation.augment(images, draws(8), "real")
    assert torch.equal(result, AUGMENTATIONS[name]().augment(images, draws(8), "real"))
    assert not torch.equal(result, augmentation.augment(images, draws(8), "fake"))
    assert not torch.equal(result, augmentation.augment(images, draws(8, seed=4), "real"))
    assert not torch.equal(result, augmentation.augment(images, draws(8, first=8), "real"))
    assert len({tuple(row.flatten().tolist()) for row in result}) > 4, "each picture has its own"


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_dtype_and_layout_stay(name: str, channels: int, layout: torch.memory_format) -> None:
    images = pictures(4, channels, 16, 16).float().contiguous(memory_format=layout)
    augmentation = AUGMENTATIONS[name]()
    result = augmentation.augment(images, draws(), "real")
    assert result.shape == images.shape and result.dtype == torch.float32
    assert result.is_contiguous(memory_format=layout)
    assert torch.isfinite(result).all() and not torch.equal(result, images)
    assert augmentation.augment(images.bfloat16(), draws(), "real").dtype == torch.bfloat16


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_narrow_formats_do_not_coarsen_it(name: str) -> None:
    images = pictures().float()
    plain = AUGMENTATIONS[name]().augment(images, draws(), "real")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(AUGMENTATIONS[name]().augment(images, draws(), "real"), plain)


def test_only_the_samples_of_this_process_can_be_augmented() -> None:
    for name in ("diffaugment", "ramped"):
        with pytest.raises((AssertionError, RuntimeError)):
            AUGMENTATIONS[name]().augment(pictures(5), draws(4), "real")


def test_channels_without_a_meaning_are_refused_for_colours_only() -> None:
    images = pictures(2, 4)
    with pytest.raises(ValueError, match="colours of 4 channels cannot be augmented; leave color out of groups"):
        augment_with_probability(images, 0.5, GROUPS, draws(2), "real")
    assert augment_with_probability(images, 0.5, ("blit",), draws(2), "real").shape == images.shape


# --- how often -------------------------------------------------------------------------------------------------------


def test_probability_zero_changes_nothing_at_all() -> None:
    images = pictures()
    assert augment_with_probability(images, 0.0, GROUPS, draws(), "real") is images
    assert AdaptiveAugmentationSettings().build().augment(images, draws(), "real") is images


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        # Mirroring changes half of those it meets, a quarter turn and a shift by up to one pixel three in four.
        ("blit", 1 - (1 - 0.3 / 2) * (1 - 0.3 * 3 / 4) * (1 - 0.3 * (1 - 0.5**2))),
        ("geometry", 1 - 0.7**4),
        ("color", 1 - 0.7**4 * (1 - 0.3 / 2)),
    ],
)
def test_pictures_are_changed_as_often_as_the_probability_says(group: TransformGroup, expected: float) -> None:
    count = 3000
    images = pictures(1).expand(count, -1, -1, -1)
    result = augment_with_probability(images, 0.3, (group,), draws(count), "real")
    changed = (result != images).flatten(1).any(dim=1)
    assert float(changed.double().mean()) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / count))
    # Untouched ones come back bit by bit, though others of their batch did not.
    assert torch.equal(result[~changed], images[~changed])


# --- steering --------------------------------------------------------------------------------------------------------


def logits_with_mean_sign(mean: float, count: int = 64) -> DiscriminatorOutput:
    positive = round(count * (1 + mean) / 2)
    return DiscriminatorOutput((torch.cat([torch.ones(positive, 1), -torch.ones(count - positive, 1)]) * 2.5,))


def test_probability_rises_while_the_discriminator_is_too_sure() -> None:
    adaptive = AdaptiveAugmentationSettings(adjust_every_images=256, images_to_full=6400).build()
    seen = []
    for step in range(120):
        adaptive.prepare(after(64 * step))
        seen.append(adaptive.probability)
        assert float(adaptive.observe(logits_with_mean_sign(1.0))) == 1.0
    # After each four batches of 64 by 256 / 6400; 25 of them reach 1, where it stays.
    expected = [min(1.0, (step // 4) * 256 / 6400) for step in range(120)]
    assert seen == pytest.approx(expected, abs=1e-5)
    assert seen[100] == 1.0 and max(seen) == 1.0


def test_probability_falls_again_and_never_below_zero() -> None:
    adaptive = AdaptiveAugmentationSettings(adjust_every_images=64, images_to_full=640).build()
    adaptive.probability = 0.35
    seen = []
    for _ in range(6):
        adaptive.observe(logits_with_mean_sign(0.5))
        adaptive.prepare(after(0))
        seen.append(adaptive.probability)
    assert seen == pytest.approx([0.25, 0.15, 0.05, 0.0, 0.0, 0.0], abs=1e-6)


def test_probability_settles_where_the_signal_meets_the_target() -> None:
    """A discriminator whose certainty falls with more augmentation, as they do; with noise of its own."""
    adaptive = AdaptiveAugmentationSettings(target=0.6, adjust_every_images=256, images_to_full=10_000).build()
    seen = []
    for step in range(700):
        adaptive.prepare(after(64 * step))
        chance = (1 + 1.0 - adaptive.probability) / 2  # mean sign 1 - p
        uniform = SampleRandom(0, range(64 * step, 64 * (step + 1))).uniform("sign", 1)
        adaptive.observe(DiscriminatorOutput(((chance - uniform).sign(),)))
        seen.append(adaptive.probability)
    settled = torch.tensor(seen[300:])
    assert float(settled.mean()) == pytest.approx(0.4, abs=0.04)
    assert float(settled.std()) < 0.1
    assert seen[0] == 0.0


def test_preparing_twice_is_preparing_once() -> None:
    adaptive = AdaptiveAugmentationSettings(adjust_every_images=64).build()
    adaptive.observe(logits_with_mean_sign(1.0))
    adaptive.prepare(after(64))
    once = adaptive.probability
    adaptive.prepare(after(64))
    assert adaptive.probability == once > 0


def test_the_boundary_of_doubt_and_several_scales() -> None:
    adaptive = AdaptiveAugmentationSettings().build()
    assert float(adaptive.observe(DiscriminatorOutput((torch.tensor([[0.2], [0.9]]),)))) == 1.0
    assert float(adaptive.observe(DiscriminatorOutput((torch.tensor([[0.2], [0.9]]),)), boundary=0.5)) == 0.0
    maps = DiscriminatorOutput((torch.ones(2, 1, 3, 3), -torch.ones(2, 1, 2, 2)))
    assert float(adaptive.observe(maps)) == 0.0


def test_logits_that_are_not_finite_do_not_poison_the_state() -> None:
    adaptive = AdaptiveAugmentationSettings(adjust_every_images=2).build()
    adaptive.observe(DiscriminatorOutput((torch.tensor([[math.nan], [math.inf]]),)))
    assert all(torch.isfinite(tensor).all() for tensor in adaptive.state().values())
    adaptive.prepare(after(2))
    assert math.isfinite(adaptive.probability)


class Two(SingleProcess):
    """`Joined` for one of two processes; the other one's value is known beforehand."""

    processes = 2

    def __init__(self, other: float) -> None:
        self.other = other

    def mean(self, value: Tensor) -> Tensor:
        return (value + self.other) / 2


def test_all_processes_hear_the_joined_batch() -> None:
    settings = AdaptiveAugmentationSettings(adjust_every_images=128, images_to_full=1280)
    first, second = settings.build(), settings.build()
    for adaptive, own, other in ((first, 1.0, 0.5), (second, 0.5, 1.0)):
        joined: Joined = Two(other)
        with running(StepContext(after(0), {}, draws(), joined=joined)):
            assert float(adaptive.observe(logits_with_mean_sign(own))) == 0.75
        adaptive.prepare(after(128))  # 2 x 64 pictures
    assert first.probability == second.probability == pytest.approx(0.1)


@pytest.mark.parametrize("cut", range(0, 13))
def test_a_resumed_training_goes_on_the_same(cut: int) -> None:
    settings = AdaptiveAugmentationSettings(adjust_every_images=40, images_to_full=700)

    def train(adaptive: Augmentation, first: int, last: int) -> list[tuple[float, Tensor]]:
        assert hasattr(adaptive, "observe")
        trace = []
        for step in range(first, last):
            adaptive.prepare(after(16 * step))
            augmented = adaptive.augment(pictures(4), draws(4, first=16 * step), "real")
            logits = augmented.mean(dim=(1, 2, 3))[:, None].repeat(4, 1) + 0.3 * math.sin(step)
            adaptive.observe(DiscriminatorOutput((logits + 0.4,)))  # type: ignore[attr-defined]
            trace.append((adaptive.probability, augmented))  # type: ignore[attr-defined]
        return trace

    uninterrupted = train(settings.build(), 0, 13)
    original = settings.build()
    train(original, 0, cut)
    resumed = settings.build()
    resumed.probability = 0.77  # of another life
    resumed.load_state({name: tensor.clone() for name, tensor in original.state().items()})
    rest = train(resumed, cut, 13)
    assert all(
        mine == theirs and torch.equal(a, b)
        for (mine, a), (theirs, b) in zip(rest, uninterrupted[cut:], strict=True)
    )  # fmt: skip
    assert len({probability for probability, _ in uninterrupted}) > 2


def test_a_state_is_not_changed_by_what_follows() -> None:
    adaptive = AdaptiveAugmentationSettings().build()
    adaptive.observe(logits_with_mean_sign(1.0))
    state = adaptive.state()
    adaptive.observe(logits_with_mean_sign(1.0))
    assert float(state["sign_sum"]) == 64 and int(state["count"]) == 64


def test_a_ramped_probability_is_a_function_of_progress() -> None:
    ramped = RampedAugmentationSettings(probability=CosineRamp(start=0.0, end=0.3, images=1000)).build()
    images = pictures()
    assert ramped.augment(images, draws(), "real") is images
    ramped.prepare(after(500))
    assert ramped.probability == pytest.approx(0.15)
    ramped.prepare(after(10**6))
    assert ramped.probability == 0.3


# --- instance noise --------------------------------------------------------------------------------------------------


def test_instance_noise_fades_to_nothing() -> None:
    settings = InstanceNoiseSettings(standard_deviation=0.2, images=1000)
    assert [settings.deviation_at(after(n)) for n in (0, 250, 1000, 5000)] == pytest.approx([0.2, 0.15, 0.0, 0.0])
    images = pictures(20, 3, 16, 16)
    noise = settings.add(images, after(250), draws(20), "noise") - images
    assert float(noise.std()) == pytest.approx(0.15, rel=0.03) and abs(float(noise.mean())) < 0.006
    assert settings.add(images, after(1000), draws(20), "noise") is images
    parts = [
        settings.add(images[o], after(0), SampleRandom(3, range(20), o), "noise") for o in (slice(7), slice(7, 20))
    ]
    assert torch.equal(torch.cat(parts), settings.add(images, after(0), draws(20), "noise"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: DiffAugmentSettings(policies=()), "policies is empty"),
        (lambda: DiffAugmentSettings(policies=("color", "color")), "policies is color, color; needs each one once"),
        (lambda: AdaptiveAugmentationSettings(target=1.0), "target is 1; needs more than 0 and less than 1"),
        (
            lambda: AdaptiveAugmentationSettings(groups=()),
            "groups is empty; needs one or more of blit, geometry, color",
        ),
        (lambda: AdaptiveAugmentationSettings(groups=("blit", "blit")), "groups is blit, blit; needs each one once"),
        (lambda: AdaptiveAugmentationSettings(adjust_every_images=0), "adjust_every_images is 0; needs at least 1"),
        (lambda: AdaptiveAugmentationSettings(images_to_full=0), "images_to_full is 0; needs at least 1"),
        (lambda: RampedAugmentationSettings(probability=1.5), "probability is 1.5; needs 0 to 1"),
        (lambda: RampedAugmentationSettings(probability=-0.1), "probability is -0.1; needs 0 to 1"),
        (lambda: InstanceNoiseSettings(standard_deviation=0.0), "standard_deviation is 0; needs more than 0"),
        (lambda: InstanceNoiseSettings(images=0), "images is 0; needs at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings()
