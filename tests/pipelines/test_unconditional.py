"""Which updates the settings of unconditional generation stand for, and what each of them draws and computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.core.augmentation import AdaptiveAugmentationSettings, DiffAugmentSettings, InstanceNoiseSettings
from i2i.core.discriminators import DCGANDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import R1Settings, R2Settings, WGANGPSettings
from i2i.core.randomness import SampleRandom
from i2i.core.step import Losses, Progress, StepContext, running
from i2i.errors import RecipeError
from i2i.pipelines import Unconditional, UnconditionalSettings

SHAPE = ImageShape(1, 16)
BATCH = 4
PLAIN = DCGANDiscriminatorSettings(base_channels=2, normalization="none")


def made(**settings: Any) -> Unconditional:
    settings.setdefault("discriminator", DCGANDiscriminatorSettings(base_channels=2))
    generator = settings.pop("generator", DCGANGeneratorSettings(latent=5, base_channels=2))
    pipeline = UnconditionalSettings(generator=generator, **settings).build(SHAPE)
    pipeline.initialize(0)
    return pipeline


def at(step: int, images: int = 0) -> Progress:
    return Progress(step, images, 0.0)


def context(carry: dict[str, Tensor] | None = None, *, labels: bool = False, step: int = 0) -> StepContext:
    random = torch.Generator().manual_seed(1)
    batch: dict[str, Tensor] = {"real": torch.rand(BATCH, 1, 16, 16, generator=random) * 2 - 1}
    if labels:
        batch["label"] = torch.tensor([0, 1, 2, 1])
    return StepContext(at(step), batch, SampleRandom(seed=7, rows=range(BATCH)), carry={} if carry is None else carry)


def names(pipeline: Unconditional, step: int = 0) -> list[str]:
    return [update.name for update in pipeline.updates(at(step))]


def values(losses: Losses) -> Mapping[str, float]:
    return {name: float(term.value.detach()) for name, term in losses.terms.items()}


def test_dcgan_shares_its_pictures_with_their_graph() -> None:
    pipeline = made()
    discriminator, generator = pipeline.updates(at(0))
    assert (discriminator.name, generator.name) == ("discriminator", "generator")
    assert discriminator.needs_graph_of == ("generator",)
    assert generator.draws == ()
    carry: dict[str, Tensor] = {}
    pipeline.discriminator_losses(context(carry)).total().backward()
    assert carry["fake"].requires_grad
    # The discriminator learned from the pictures, not through them.
    assert all(parameter.grad is None for parameter in pipeline.generator.parameters())
    pipeline.generator_losses(context(carry)).total().backward()
    assert all(parameter.grad is not None for parameter in pipeline.generator.parameters())


def test_separate_pictures_are_drawn_anew_and_real_ones_only_where_the_loss_wants_them() -> None:
    wasserstein = made(adversarial="wasserstein", fakes="separate", discriminator=PLAIN)
    assert [update.draws for update in wasserstein.updates(at(0))] == [("real",), ()]
    paired = made(adversarial="relativistic", fakes="separate", discriminator=PLAIN)
    assert [update.draws for update in paired.updates(at(0))] == [("real",), ("real",)]
    labelled = made(adversarial="relativistic", fakes="separate", discriminator=PLAIN, classes=3)
    assert [update.draws for update in labelled.updates(at(0))] == [("real", "label")] * 2


def test_discriminator_steps_and_pretraining() -> None:
    pipeline = made(discriminator_steps=3, discriminator_pretraining_steps=2)
    assert [names(pipeline, step) for step in (0, 1, 2)] == [["discriminator"]] * 2 + [["discriminator", "generator"]]
    assert pipeline.updates(at(0))[0].repeats == 3
    assert pipeline.phase_starts(BATCH) == (0, 2)
    assert made().phase_starts(BATCH) == (0,)


def test_a_penalty_in_every_step_is_a_term_and_a_lazy_one_an_update() -> None:
    pipeline = made(
        discriminator=PLAIN, penalties=(R1Settings(weight=4.0), R2Settings(weight=4.0, every=8)), fakes="separate"
    )
    assert names(pipeline) == ["discriminator", "penalty_r2", "generator"]
    lazy = pipeline.updates(at(0))[1]
    assert (lazy.player, lazy.every, lazy.draws) == ("discriminator", 8, ("real",))
    terms = pipeline.discriminator_losses(context()).terms
    assert terms["r1"].weight == 2.0
    assert "r2" not in terms
    (term,) = lazy.losses(context()).terms.values()
    # Half of gamma, eight times as heavy because it comes so rarely.
    assert term.weight == 16.0
    assert float(term.value.detach()) > 0


def test_a_penalty_is_taken_before_noise_and_augmentation_but_looks_through_them() -> None:
    plain = made(discriminator=PLAIN, penalties=(R1Settings(),))
    noisy = made(discriminator=PLAIN, penalties=(R1Settings(),), augmentation=DiffAugmentSettings())
    assert values(plain.discriminator_losses(context()))["r1"] != values(noisy.discriminator_losses(context()))["r1"]


def test_the_same_sample_is_augmented_alike_by_loss_and_penalty() -> None:
    """Draws are keyed by the side, so both terms look at the same picture."""
    pipeline = made(discriminator=PLAIN, augmentation=DiffAugmentSettings())
    here = context()
    assert pipeline.augmentation is not None
    first = pipeline.augmentation.augment(here.batch["real"], here.random, "augmentation/real")
    again = pipeline.augmentation.augment(here.batch["real"], here.random, "augmentation/real")
    other = pipeline.augmentation.augment(here.batch["real"], here.random, "augmentation/fake")
    assert first.equal(again)
    assert not first.equal(other)


def test_penalties_refuse_batch_norm() -> None:
    with pytest.raises(ValueError, match=r"discriminator\.normalization"):
        made(penalties=(WGANGPSettings(),))


def test_adaptive_augmentation_refuses_logits_without_a_sign() -> None:
    with pytest.raises(ValueError, match="relativistic"):
        made(adversarial="relativistic", augmentation=AdaptiveAugmentationSettings())


def test_label_smoothing_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="real_label"):
        made(adversarial="hinge", real_label=0.9)


def test_relativistic_average_couples_the_batch_and_the_paired_form_does_not() -> None:
    coupled = made(adversarial="relativistic_average").updates(at(0))
    assert all("relativistic average" in update.couples_batch for update in coupled)
    assert not any(update.couples_batch for update in made(adversarial="relativistic").updates(at(0)))


def test_fresh_labels_are_drawn_uniformly_and_keyed_by_sample() -> None:
    pipeline = made(classes=3, fakes="shared")
    carry: dict[str, Tensor] = {}
    pipeline.discriminator_losses(context(carry, labels=True))
    drawn = carry["fake_label"]
    assert drawn.dtype == torch.int64
    rows = SampleRandom(seed=7, rows=range(400)).own_uniform("label", 1)[:, 0]
    assert (rows[:BATCH] * 3).long().equal(drawn)
    assert torch.bincount((rows * 3).long(), minlength=3).min() > 100


def test_an_auxiliary_classifier_teaches_both_players() -> None:
    pipeline = made(classes=3, conditioning="auxiliary", classification_weight=0.5)
    carry: dict[str, Tensor] = {}
    for losses in (
        pipeline.discriminator_losses(context(carry, labels=True)),
        pipeline.generator_losses(context(carry, labels=True)),
    ):
        assert losses.terms["classification"].weight == 0.5
        assert float(losses.terms["classification"].value) > 0


def test_instance_noise_fades() -> None:
    pipeline = made(instance_noise=InstanceNoiseSettings(standard_deviation=0.5, images=100))
    plain = made()
    for images, equal in ((0, False), (100, True)):
        here = context()
        later = StepContext(Progress(1, images, 0.0), here.batch, here.random)
        noisy, clean = (values(method.discriminator_losses(later))["real"] for method in (pipeline, plain))
        assert (noisy == clean) is equal


def test_virtual_batch_norm_takes_the_first_real_pictures_as_its_reference() -> None:
    discriminator = DCGANDiscriminatorSettings(base_channels=2, normalization="virtual", reference_rows=3)
    generator = DCGANGeneratorSettings(latent=5, base_channels=2, normalization="virtual", reference_rows=3)
    pipeline = made(discriminator=discriminator, generator=generator)
    pipeline.discriminator_losses(context())
    kept = pipeline.discriminator.state_dict()["reference.inputs"]
    assert kept.equal(context().batch["real"][:3])
    other = StepContext(at(1), {"real": torch.zeros(BATCH, 1, 16, 16)}, SampleRandom(seed=8, rows=range(BATCH)))
    pipeline.discriminator_losses(other)
    assert pipeline.discriminator.state_dict()["reference.inputs"].equal(kept)


@pytest.mark.parametrize(("rows", "enough"), [(BATCH, True), (BATCH + 1, False)])
def test_too_few_pictures_for_a_reference_are_a_mistake_of_the_recipe(rows: int, enough: bool) -> None:
    """The user reads what to set, and no internal error, where the recipe alone could not tell."""
    settings = DCGANDiscriminatorSettings(base_channels=2, normalization="virtual", reference_rows=rows)
    pipeline = made(discriminator=settings)
    if enough:
        assert pipeline.discriminator_losses(context()).terms
        return
    with pytest.raises(RecipeError, match=r"training\.batch_size: .* its 5 reference pictures .* which has 4 - set"):
        pipeline.discriminator_losses(context())


def test_adaptive_augmentation_is_a_memory_and_listens() -> None:
    pipeline = made(augmentation=AdaptiveAugmentationSettings(adjust_every_images=BATCH, images_to_full=BATCH))
    assert set(pipeline.memories) == {"augmentation"}
    here = context()
    with running(here):
        watched = pipeline.discriminator_losses(here).watched
    assert float(watched["augmentation/probability"]) == 0.0
    assert -1 <= float(watched["augmentation/overfitting"]) <= 1


def test_the_shown_grid_is_the_same_every_time_and_has_its_classes_in_rows() -> None:
    pipeline = made(classes=3)
    networks = {"generator": pipeline.generator.eval()}
    first, again = (pipeline.show(networks, {})["generate"] for _ in range(2))
    assert first.pictures.equal(again.pictures)
    assert first.pictures.shape == (64, 1, 16, 16)
    assert first.columns == 8


def test_sizes_that_cannot_be_made_are_named_with_the_nearest() -> None:
    problem = UnconditionalSettings().size_problem(ImageShape(3, 60))
    assert problem is not None
    assert "64" in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [("discriminator_steps", 0), ("discriminator_pretraining_steps", -1), ("classes", -1), ("classes", 1)],
)
def test_numbers_out_of_range_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        UnconditionalSettings(**{name: value})  # type: ignore[arg-type]
