"""Adversarial losses and their gradients equal the reference implementations', also on extreme logits."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from i2i.core.discriminators import DiscriminatorOutput
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss
from tests.parity.cases import Case, folders

(FOLDER,) = folders("10a_gan_losses")
CASE = Case(FOLDER)
# Reference name: our loss, side, factor between the two conventions.
LOSSES = {
    "lsgan_d_half": ("lsgan", "discriminator", 0.5),
    "lsgan_g": ("lsgan", "generator", 1.0),
    "hinge_d": ("hinge", "discriminator", 1.0),
    "hinge_g": ("hinge", "generator", 1.0),
    "wgan_d": ("wasserstein", "discriminator", 1.0),
    "wgan_g": ("wasserstein", "generator", 1.0),
    "minimax_d": ("nonsaturating", "discriminator", 1.0),
    "nonsaturating_g": ("nonsaturating", "generator", 1.0),
}


@pytest.mark.parametrize("logits", ["normal", "extreme"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name: str, logits: str) -> None:
    kind, side, factor = LOSSES[name]
    loss = adversarial_loss(cast(AdversarialKind, kind))
    real = CASE.tensors[f"in/real_{logits}"].clone().requires_grad_()
    fake = CASE.tensors[f"in/fake_{logits}"].clone().requires_grad_()
    outputs = DiscriminatorOutput((real,)), DiscriminatorOutput((fake,))
    if side == "generator":
        value = loss.generator(None, outputs[1])
    else:
        sides = loss.discriminator(*outputs)
        value = sides.real + sides.fake
    value = factor * value
    value.backward()
    tolerances = CASE.about["tolerances"]
    torch.testing.assert_close(
        value.detach(), CASE.tensors[f"value/{logits}/{name}"].reshape(()), **tolerances["value"]
    )
    compared = 0
    for which, leaf in (("real", real), ("fake", fake)):
        expected = CASE.tensors.get(f"grad/{logits}/{name}/{which}")
        if expected is not None:
            assert leaf.grad is not None
            torch.testing.assert_close(leaf.grad, expected, **tolerances["grad"])
            compared += 1
    assert compared == (1 if side == "generator" else 2)
