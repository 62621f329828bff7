"""CycleGAN takes any adversarial loss, also those that its paper does not use."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from i2i.core.discriminators import PatchDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings
from i2i.core.losses.adversarial import AdversarialKind
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress, StepContext
from i2i.pipelines.cyclegan import CycleGANSettings

START = Progress(step=0, images=0, epoch=0.0)


@pytest.mark.parametrize("kind", get_args(AdversarialKind))
def test_every_adversarial_loss_trains_both_sides(kind: AdversarialKind) -> None:
    method = CycleGANSettings(
        adversarial=kind,
        generator=ResNetGeneratorSettings(base_channels=4, blocks=1),
        discriminator=PatchDiscriminatorSettings(base_channels=4, layers=1),
        cycle_weight=0.0,
    ).build()
    method.initialize(0)
    assert method.phase_starts(2) == (0,)
    pictures = {name: torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(7)) for name in ("a", "b")}
    context = StepContext(START, pictures, SampleRandom(0, range(2)))
    for update in method.updates(START):
        losses = update.losses(context)
        assert losses.terms and all(torch.isfinite(term.value) for term in losses.terms.values())
        networks = [method.networks[name] for name in method.players[update.player]]
        gradients = torch.autograd.grad(losses.total(), [weight for net in networks for weight in net.parameters()])
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
        assert bool(update.couples_batch) == kind.startswith("relativistic_average")
