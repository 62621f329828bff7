"""Which updates the settings of super-resolution stand for, what each computes, and what the phases leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import PatchDiscriminatorSettings, VGGDiscriminatorSettings
from i2i.core.generators import MSRResNetSettings, RRDBSettings, SRResNetSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.perceptual import VGGFeaturesSettings
from i2i.core.randomness import generator_of
from i2i.core.step import Losses, Progress, StepContext, Term
from i2i.errors import DeadLossError
from i2i.pipelines import SRGAN, SRGANSettings
from i2i.training.engine import Engine
from i2i.training.precision import Precision
from i2i.training.settings import TrainingSettings

SHAPE = ImageShape(3, 32)
BATCH = 2
TINY = MSRResNetSettings(scale=4, base_channels=4, blocks=1)
JUDGE = PatchDiscriminatorSettings(base_channels=2, layers=1)


def made(**settings: Any) -> SRGAN:
    settings = {"generator": TINY, "discriminator": JUDGE, **settings}
    pipeline = SRGANSettings(**settings).build(SHAPE)
    pipeline.initialize(0)
    for name in pipeline.pretrained:
        for parameter in pipeline.networks[name].parameters():
            nn.init.normal_(parameter, 0.0, 0.1, generator=generator_of("features", parameter.numel()))
    return pipeline


def at(images: int) -> Progress:
    return Progress(images // BATCH, images, 0.0)


def pictures(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "low": torch.rand(BATCH, 3, 8, 8, generator=random) * 2 - 1,
        "high": torch.rand(BATCH, 3, 32, 32, generator=random) * 2 - 1,
    }


def engine_of(pipeline: SRGAN, **settings: Any) -> Engine:
    training = TrainingSettings(batch_size=BATCH, **settings)
    return Engine(pipeline, training, Precision("fp32", torch.device("cpu")), images_per_epoch=10, seed=1)


def draw(streams: Any, counters: Mapping[str, int]) -> list[dict[str, Tensor]]:
    assert tuple(streams) == ("low", "high")
    return [pictures(counters["low"])]


def weights(network: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in network.state_dict().values()])


def names(pipeline: SRGAN, images: int) -> list[str]:
    return [update.name for update in pipeline.updates(at(images))]


class TestPhases:
    def test_pixels_first_then_both_players(self) -> None:
        pipeline = made(pixel_images=10)
        assert names(pipeline, 0) == names(pipeline, 9) == ["pixels"]
        assert names(pipeline, 10) == ["generator", "discriminator"]

    @pytest.mark.parametrize(("pixel_images", "starts"), [(0, (0,)), (3, (0, 2)), (4, (0, 2)), (5, (0, 3))])
    def test_the_first_step_of_each_phase_is_known(self, pixel_images: int, starts: tuple[int, ...]) -> None:
        pipeline = made(pixel_images=pixel_images)
        assert pipeline.phase_starts(BATCH) == starts
        changes = [step for step in range(1, 9) if names(pipeline, step * BATCH) != names(pipeline, (step - 1) * BATCH)]
        assert (0, *changes) == starts
        assert made(pixel_images=pixel_images, discriminator=None).phase_starts(BATCH) == (0,)

    def test_without_a_discriminator_pixels_are_all(self) -> None:
        pipeline = made(discriminator=None)
        assert names(pipeline, 10**9) == ["pixels"]
        assert set(pipeline.networks) == {"generator"}
        assert pipeline.entry_points["upscale"].pixel_network is None

    def test_without_a_pixel_phase_the_game_begins_at_once(self) -> None:
        assert names(made(), 0) == ["generator", "discriminator"]

    def test_every_generator_term_is_audited(self) -> None:
        pipeline = made(pixel_images=10)
        for images in (0, 10):
            assert [update.audited for update in pipeline.updates(at(images)) if update.player == "generator"] == [True]


class TestThePixelTwin:
    def test_it_keeps_the_generator_at_the_end_of_the_pixel_phase(self) -> None:
        pipeline = made(pixel_images=4)
        engine = engine_of(pipeline)
        for _ in range(2):
            engine.take_step(draw)
        at_the_end = weights(pipeline.generator)
        for _ in range(2):
            engine.take_step(draw)
        assert torch.equal(weights(pipeline.networks["pixel_generator"]), at_the_end)
        assert not torch.equal(weights(pipeline.generator), at_the_end)

    def test_it_keeps_the_average_where_there_is_one(self) -> None:
        pipeline = made(pixel_images=4)
        engine = engine_of(pipeline, ema_half_life_images=100.0)
        for _ in range(2):
            engine.take_step(draw)
        averaged = weights(engine.inference_networks()["generator"])
        engine.take_step(draw)
        assert torch.equal(weights(engine.inference_networks()["pixel_generator"]), averaged)

    def test_until_then_a_model_file_has_the_generator_in_its_place(self) -> None:
        engine = engine_of(made(pixel_images=4))
        for images in (0, 2, 4):
            assert engine.images == images
            networks = engine.inference_networks()
            assert torch.equal(weights(networks["pixel_generator"]), weights(networks["generator"]))
            engine.take_step(draw)
        networks = engine.inference_networks()
        assert not torch.equal(weights(networks["pixel_generator"]), weights(networks["generator"]))

    def test_a_resumed_run_has_it(self) -> None:
        engine = engine_of(made(pixel_images=4))
        for _ in range(4):
            engine.take_step(draw)
        other = engine_of(made(pixel_images=4))
        other.load_state(engine.state())
        for moved in (engine, other):
            moved.take_step(draw)
        assert torch.equal(
            weights(other.pipeline.networks["pixel_generator"]), weights(engine.pipeline.networks["pixel_generator"])
        )

    def test_a_batch_that_does_not_divide_the_phase_does_not_miss_its_end(self) -> None:
        engine = engine_of(made(pixel_images=3))
        for _ in range(2):
            engine.take_step(draw)
        at_the_end = weights(engine.pipeline.networks["generator"])
        assert torch.equal(weights(engine.inference_networks()["pixel_generator"]), at_the_end)
        engine.take_step(draw)
        assert torch.equal(weights(engine.inference_networks()["pixel_generator"]), at_the_end)


ALL_TERMS = {
    "perceptual": VGGFeaturesSettings(layers={"conv1_1": 1.0}),
    "perceptual_weight": 2.0,
    "pixel_weight": 0.5,
    "adversarial_weight": 0.25,
    "total_variation_weight": 0.125,
}


class TestLosses:
    def test_the_terms_and_their_weights(self) -> None:
        pipeline = made(**ALL_TERMS)
        terms = pipeline.generator_losses(context()).terms
        assert {name: term.weight for name, term in terms.items()} == {
            "pixel": 0.5, "perceptual": 2.0, "adversarial": 0.25, "total_variation": 0.125,
        }  # fmt: skip

    def test_a_weight_of_zero_leaves_the_term_out(self) -> None:
        pipeline = made(**{**ALL_TERMS, "perceptual_weight": 0.0, "pixel_weight": 0.0, "total_variation_weight": 0.0})
        assert set(pipeline.generator_losses(context()).terms) == {"adversarial"}

    @pytest.mark.parametrize(("distance", "expected"), [("l1", 0.25), ("mse", 0.0625)])
    def test_pixels_are_compared_on_the_scale_of_zero_to_one(self, distance: Any, expected: float) -> None:
        pipeline = made(pixel_distance=distance)
        pipeline.generator.forward = lambda low: torch.zeros(BATCH, 3, 32, 32)  # type: ignore[method-assign]
        batch = {"low": pictures()["low"], "high": torch.full((BATCH, 3, 32, 32), 0.5)}
        term = pipeline.pixel_losses(context(batch)).terms["pixel"]
        assert float(term.value) == pytest.approx(expected)

    def test_the_discriminator_learns_from_the_pictures_and_not_through_them(self) -> None:
        pipeline = made()
        there = context()
        pipeline.generator_losses(there)
        pipeline.discriminator_losses(there).total().backward()
        assert all(parameter.grad is None for parameter in pipeline.generator.parameters())
        assert all(parameter.grad is not None for parameter in pipeline.discriminator.parameters())

    def test_features_get_no_gradient_and_are_in_no_checkpoint(self) -> None:
        engine = engine_of(made(**ALL_TERMS))
        before = weights(engine.pipeline.networks["features"])
        engine.take_step(draw)
        assert torch.equal(weights(engine.pipeline.networks["features"]), before)
        kept = {key.split("/")[1] for key in engine.state().tensors if key.startswith("network/")}
        assert kept == {"generator", "discriminator", "pixel_generator"}

    @pytest.mark.parametrize("name", ["pixel", "perceptual", "adversarial", "total_variation"])
    def test_a_term_whose_gradient_is_switched_off_ends_the_training(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline = made(**ALL_TERMS)
        whole = pipeline.generator_losses

        def without(context: StepContext) -> Losses:
            terms = dict(whole(context).terms)
            terms[name] = Term(terms[name].value.detach(), terms[name].weight)
            return Losses(terms)

        monkeypatch.setattr(pipeline, "generator_losses", without)
        with pytest.raises(DeadLossError, match=f"loss term {name} of update generator"):
            engine_of(pipeline).take_step(draw)

    def test_the_pixel_phase_is_audited_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pipeline = made(pixel_images=10)
        whole = pipeline.pixel_losses
        dead = lambda context: Losses({"pixel": Term(whole(context).terms["pixel"].value.detach())})  # noqa: E731
        monkeypatch.setattr(pipeline, "pixel_losses", dead)
        with pytest.raises(DeadLossError, match="loss term pixel of update pixels"):
            engine_of(pipeline).take_step(draw)


def context(batch: dict[str, Tensor] | None = None) -> StepContext:
    from i2i.core.randomness import SampleRandom

    return StepContext(at(0), batch or pictures(), SampleRandom(seed=1, rows=range(BATCH)))


def test_the_sheet_has_equal_sides() -> None:
    pipeline = made()
    (sheet,) = pipeline.show({"generator": pipeline.generator}, pictures()).values()
    assert [label for label, _ in sheet] == ["bicubic", "upscaled", "truth"]
    assert {tuple(images.shape) for _, images in sheet} == {(BATCH, 3, 32, 32)}


def test_the_sheet_is_cut_to_what_the_network_can_take() -> None:
    pipeline = made(generator=RRDBSettings(scale=2, base_channels=4, growth_channels=2, blocks=1))
    odd = {"low": torch.zeros(BATCH, 3, 7, 9), "high": torch.zeros(BATCH, 3, 14, 18)}
    (sheet,) = pipeline.show({"generator": pipeline.generator}, odd).values()
    assert {tuple(images.shape) for _, images in sheet} == {(BATCH, 3, 12, 16)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixel_weight": -1.0}, "pixel_weight is -1"),
        ({"pixel_images": -1}, "pixel_images is -1"),
        ({"adversarial_weight": 0.0}, "adversarial_weight is 0; set discriminator to null"),
        ({"discriminator": None, "total_variation_weight": 1.0}, "discriminator is null"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SRGANSettings(**settings)


def test_sizes_that_the_networks_cannot_take_are_named() -> None:
    settings = SRGANSettings(generator=TINY, discriminator=VGGDiscriminatorSettings())
    assert "multiple of 4 - try 96 or 100" in (settings.size_problem(ImageShape(3, 98)) or "")
    assert settings.size_problem(ImageShape(1, 96)) == "super-resolution needs colour pictures"
    assert settings.size_problem(ImageShape(3, 128)) is None


def test_crops_too_small_for_the_features_are_refused() -> None:
    settings = SRGANSettings(
        generator=TINY, discriminator=JUDGE, perceptual=VGGFeaturesSettings(layers={"relu5_4": 1.0})
    )
    assert settings.size_problem(ImageShape(3, 12)) == "the perceptual loss needs at least 16"
    assert settings.size_problem(ImageShape(3, 16)) is None


def test_crops_too_small_for_the_networks_are_refused_before_either_phase() -> None:
    patches = SRGANSettings(generator=TINY, discriminator=PatchDiscriminatorSettings(layers=3))
    assert patches.size_problem(ImageShape(3, 20)) == "this discriminator needs at least 24"
    assert patches.size_problem(ImageShape(3, 24)) is None
    normalized = SRGANSettings(generator=SRResNetSettings(normalization="instance"), discriminator=None)
    assert normalized.size_problem(ImageShape(3, 4)) == "this generator needs at least 8"
    assert normalized.size_problem(ImageShape(3, 8)) is None
