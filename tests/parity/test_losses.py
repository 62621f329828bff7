"""Adversarial losses, gradient penalties and their gradients equal the reference implementations'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss
from i2i.core.losses.penalties import (
    Judge,
    R1Settings,
    R2Settings,
    WGANGPSettings,
    gradient_penalty,
    mixed,
    zero_centred_penalty,
)
from i2i.core.step import Progress
from tests.parity.cases import Case, folders

START = Progress(step=0, images=0, epoch=0.0)
(FOLDER,) = folders("10a_gan_losses")
CASE = Case(FOLDER)
# Reference name: our loss, label of real pictures, side, factor between the two conventions.
LOSSES: dict[str, tuple[str, float, str, float]] = {
    "minimax_d": ("minimax", 1.0, "discriminator", 1.0),
    "minimax_d_one_sided_smooth_0.9": ("nonsaturating", 0.9, "discriminator", 1.0),
    "minimax_g_saturating": ("minimax", 1.0, "generator", 1.0),
    "nonsaturating_g": ("nonsaturating", 1.0, "generator", 1.0),
    "nonsaturating_g_eps1e-8": ("nonsaturating", 1.0, "generator", 1.0),
    "softplus_d": ("maximum_likelihood", 1.0, "discriminator", 1.0),
    "maximum_likelihood_g": ("maximum_likelihood", 1.0, "generator", 1.0),
    "maximum_likelihood_g_half": ("maximum_likelihood", 1.0, "generator", 0.5),
    "lsgan_d_half": ("lsgan", 1.0, "discriminator", 0.5),
    "lsgan_g_half": ("lsgan", 1.0, "generator", 0.5),
    "lsgan_g": ("lsgan", 1.0, "generator", 1.0),
    "hinge_d": ("hinge", 1.0, "discriminator", 1.0),
    "hinge_g": ("hinge", 1.0, "generator", 1.0),
    "wgan_d": ("wasserstein", 1.0, "discriminator", 1.0),
    "wgan_g": ("wasserstein", 1.0, "generator", 1.0),
}
# Their softplus turns into a straight line at 20; their epsilon of 1e-8 is no part of the published loss.
INEXACT: dict[str, dict[str, Any]] = {
    "softplus_d": {"rtol": 1e-9, "atol": 3e-9},
    "nonsaturating_g_eps1e-8": {"rtol": 1e-6, "atol": 1e-6},
}


def test_every_value_of_the_case_is_compared() -> None:
    assert {name.split("/")[2] for name in CASE.tensors if name.startswith("value/")} == set(LOSSES)


@pytest.mark.parametrize("bits", ["", "64"], ids=["float32", "float64"])
@pytest.mark.parametrize("logits", ["normal", "extreme"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name: str, logits: str, bits: str) -> None:
    kind, real_label, side, factor = LOSSES[name]
    loss = adversarial_loss(cast(AdversarialKind, kind), real_label)
    dtype = torch.float64 if bits else torch.float32
    real = CASE.tensors[f"in/real_{logits}"].clone().to(dtype).requires_grad_()
    fake = CASE.tensors[f"in/fake_{logits}"].clone().to(dtype).requires_grad_()
    outputs = DiscriminatorOutput((real,)), DiscriminatorOutput((fake,))
    if side == "generator":
        value = factor * loss.generator(None, outputs[1])
    else:
        value = factor * torch.stack([*loss.discriminator(*outputs).values()]).sum()
    value.backward()
    tolerances = CASE.about["tolerances"]
    if name == "nonsaturating_g_eps1e-8" and logits == "extreme":
        # There their epsilon shows, and a stable loss should agree with the one without; the case says so.
        name = "nonsaturating_g"
    loose = INEXACT.get(name) if bits or name.startswith("nonsaturating_g_eps") else None
    expected = CASE.tensors[f"value{bits}/{logits}/{name}"].reshape(())
    torch.testing.assert_close(value.detach(), expected, **(loose or tolerances[f"value{bits}"]))
    compared = 0
    for which, leaf in (("real", real), ("fake", fake)):
        expected = CASE.tensors.get(f"grad{bits}/{logits}/{name}/{which}")
        if expected is not None:
            assert leaf.grad is not None
            torch.testing.assert_close(leaf.grad, expected, **(loose or tolerances[f"grad{bits}"]))
            compared += 1
    assert compared == (1 if side == "generator" else 2)


# --- networks of the cases, as their descriptions say ---------------------------------------------------------------


def penalty_judge(weights: Mapping[str, Tensor]) -> Judge:
    """Two strided convolutions, then a linear layer or one more convolution."""

    def judge(images: Tensor) -> DiscriminatorOutput:
        for name in ("c0", "c1"):
            images = functional.conv2d(images, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1)
            images = functional.leaky_relu(images, 0.2)
        last, bias = weights["last.weight"], weights["last.bias"]
        if last.ndim == 2:
            return DiscriminatorOutput((functional.linear(images.flatten(1), last, bias),))
        return DiscriminatorOutput((functional.conv2d(images, last, bias, padding=1),))

    return judge


def plain_judge(weights: Mapping[str, Tensor]) -> Judge:
    def judge(images: Tensor) -> DiscriminatorOutput:
        for name, stride in (("c0", 1), ("c1", 2), ("c2", 2)):
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            images = functional.leaky_relu(functional.conv2d(images, weight, bias, stride=stride, padding=1), 0.2)
        return DiscriminatorOutput((functional.linear(images.flatten(1), weights["fc.weight"], weights["fc.bias"]),))

    return judge


def plain_generator(weights: Mapping[str, Tensor], noise: Tensor) -> Tensor:
    maps = functional.linear(noise, weights["fc.weight"], weights["fc.bias"]).reshape(len(noise), 16, 4, 4)
    for name in ("c1", "c2"):
        maps = functional.interpolate(maps, scale_factor=2, mode="nearest")
        maps = functional.conv2d(maps, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        maps = functional.leaky_relu(maps, 0.2)
    return functional.conv2d(maps, weights["out.weight"], weights["out.bias"], padding=1)


def trainable(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: weight.clone().to(dtype).requires_grad_() for name, weight in weights.items()}


def gradients(value: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, [*weights.values()], allow_unused=True)
    # The last bias has no influence on a slope.
    return {
        name: torch.zeros_like(weight) if gradient is None else gradient
        for (name, weight), gradient in zip(weights.items(), found, strict=True)
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["10b_gradient_penalties", "10c_gradient_penalties_patch"])
def test_gradient_penalties(name: str, dtype: torch.dtype) -> None:
    (folder,) = folders(name)
    case = Case(folder)
    bits = "64" if dtype == torch.float64 else ""
    tolerances: dict[str, Any] = case.about["tolerances"]
    out, grad = (tolerances["float64" if bits else group] for group in ("out", "grad"))
    weights = trainable(case.group("net/D"), dtype)
    judge = penalty_judge(weights)
    real, fake, share = (case.tensors[f"in/{which}"].to(dtype) for which in ("real", "fake", "eps"))
    between = mixed(real, fake, share)
    found: dict[str, Tensor] = {
        "D_real": judge(real).logits[0],
        "D_fake": judge(fake).logits[0],
        "interpolates": between,
        "wgan_gp": WGANGPSettings().weight_at(START) * gradient_penalty(judge, between),
        "r1_gamma_half": R1Settings(weight=10.0).weight_at(START) * zero_centred_penalty(judge, real),
        "r1_mean_squared_norm": zero_centred_penalty(judge, real),
        "r2_mean_squared_norm": zero_centred_penalty(judge, fake),
    }
    for key, value in found.items():
        expected = case.tensors[f"out{bits}/{key}"]
        torch.testing.assert_close(value.detach(), expected, rtol=out["rtol"], atol=out["atol"], msg=key)
    for key in ("wgan_gp", "r1_gamma_half"):
        for weight, gradient in gradients(found[key], weights).items():
            expected = case.tensors[f"grad{bits}/{key}/{weight}"]
            limit = grad["atol"] + grad["rtol"] * float(expected.abs().max())
            torch.testing.assert_close(gradient, expected, rtol=0.0, atol=limit, msg=f"{key} {weight}")


@pytest.fixture(scope="module")
def r3gan() -> Case:
    (folder,) = folders("05a_r3gan_trainer_plain_nets")
    return Case(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_r3gan_losses_penalties_and_gradients(r3gan: Case, dtype: torch.dtype) -> None:
    bits = "64" if dtype == torch.float64 else ""
    tolerances: dict[str, Any] = r3gan.about["tolerances"]
    loss = adversarial_loss("relativistic")
    gamma = r3gan.about["hyper_parameters"]["gamma"]
    painter, critic = (trainable(r3gan.group(f"net/{side}"), dtype) for side in ("G", "D"))
    judge = plain_judge(critic)
    real = r3gan.tensors["in/real"].to(dtype)
    fake = plain_generator(painter, r3gan.tensors["in/noise"].to(dtype))
    generator = loss.generator(judge(real), judge(fake))
    (pair,) = loss.discriminator(judge(real), judge(fake.detach())).values()
    r1, r2 = zero_centred_penalty(judge, real), zero_centred_penalty(judge, fake)
    first, second = (kind(weight=gamma).weight_at(START) for kind in (R1Settings, R2Settings))
    total = pair + first * r1 + second * r2
    out = tolerances["float64" if bits else "out"]
    for value, expected in (
        (generator, r3gan.tensors[f"out{bits}/G_total"]),
        (generator, r3gan.tensors[f"out{bits}/G_adversarial"].mean()),
        (pair, r3gan.tensors[f"out{bits}/D_adversarial"].mean()),
        (r1, r3gan.tensors[f"out{bits}/R1"].mean()),
        (r2, r3gan.tensors[f"out{bits}/R2"].mean()),
        (total, r3gan.tensors[f"out{bits}/D_total"]),
    ):
        torch.testing.assert_close(value.detach(), expected, rtol=out["rtol"], atol=out["atol"])
    norms = tolerances["float64" if bits else "gradnorm"]
    for side, value, weights in (("G", generator, painter), ("D", total, critic)):
        found = gradients(value, weights)
        if not bits:
            for name, gradient in found.items():
                expected = r3gan.tensors[f"grad/{side}/{name}"]
                limit = tolerances["grad"]["atol"] + tolerances["grad"]["rtol"] * float(expected.abs().max())
                torch.testing.assert_close(gradient, expected, rtol=0.0, atol=limit, msg=name)
        order = r3gan.about["parameter_order"][side]
        torch.testing.assert_close(
            torch.stack([found[name].norm() for name in order]).double(),
            r3gan.tensors[f"gradnorm{bits}/{side}"],
            rtol=norms["rtol"],
            atol=norms.get("atol", 1e-7),
        )
