"""The stage that enlarges is the three stock layers, whatever way it takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core import pixel_shuffle
from i2i.core.generators.upscaling import PReLU
from i2i.core.pixel_shuffle import ShuffleStage, _place_by_place, _RectifiedPixels

ACTIVATIONS = {"leaky": lambda: nn.LeakyReLU(0.1, inplace=True), "relu": nn.ReLU, "prelu": PReLU}


def stock(stage: ShuffleStage) -> nn.Sequential:
    return nn.Sequential(*copy.deepcopy(stage))


def channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every call that takes the fast way."""
    calls: list[int] = []
    taken = pixel_shuffle._place_by_place

    def counting(values: Tensor, factor: int) -> Tensor:
        calls.append(factor)
        return taken(values, factor)

    monkeypatch.setattr(pixel_shuffle, "_place_by_place", counting)
    return calls


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_stage_equals_the_stock_layers(activation: str, factor: int, counted: list[int]) -> None:
    torch.manual_seed(0)
    stage = ShuffleStage(16, factor, ACTIVATIONS[activation]()).to(memory_format=torch.channels_last)
    plain = stock(stage)
    features = channels_last(random(2, 16, 5, 7))
    sent = random(2, 16, 5 * factor, 7 * factor)
    results, gradients = [], []
    for network in (stage, plain):
        given = features.clone(memory_format=torch.preserve_format).requires_grad_()
        result = network(given)
        result.backward(sent)
        results.append(result.detach())
        gradients.append([given.grad, *(parameter.grad for parameter in network.parameters())])
    assert counted == [factor, factor]
    assert results[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", [2, 3])
def test_moving_and_rectifying_gives_the_same_bits(factor: int, dtype: torch.dtype) -> None:
    cells = channels_last(random(2, 5 * factor**2, 4, 3).to(dtype))
    sent = random(2, 5, 4 * factor, 3 * factor).to(dtype)
    expected_from, made_from = (cells.clone().requires_grad_() for _ in range(2))
    expected = functional.leaky_relu(functional.pixel_shuffle(expected_from, factor), 0.1)
    # Reordering is a matter of where, so the same function serves channels.
    ordered = channels_last(_place_by_place(made_from.transpose(0, 1), factor).transpose(0, 1))
    made: Any = _RectifiedPixels.apply(ordered, factor, 0.1)
    assert torch.equal(made, expected)
    expected.backward(sent)
    made.backward(sent)
    assert made_from.grad is not None and expected_from.grad is not None
    assert torch.equal(made_from.grad, expected_from.grad)


def test_bf16_gives_what_the_stock_layers_give(counted: list[int]) -> None:
    torch.manual_seed(0)
    stage = ShuffleStage(16, 2, nn.LeakyReLU(0.1, inplace=True)).to(memory_format=torch.channels_last)
    plain = stock(stage)
    features = channels_last(random(2, 16, 6, 6))
    with torch.autocast("cpu", torch.bfloat16):
        made, expected = stage(features), plain(features)
    assert counted
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made, expected, rtol=2**-7, atol=1e-4)
    assert (made == expected).float().mean() > 0.99


def test_other_layouts_take_the_stock_layers(counted: list[int]) -> None:
    stage = ShuffleStage(4, 2, nn.LeakyReLU(0.1))
    features = random(2, 4, 5, 6)
    assert torch.equal(stage(features), stock(stage)(features))
    assert not counted


def test_the_plain_layers_are_recorded(counted: list[int]) -> None:
    stage = ShuffleStage(4, 2, nn.LeakyReLU(0.1)).eval()
    features = channels_last(random(1, 4, 5, 6))
    recorded: Any = torch.jit.trace(stage, features)
    assert "pixel_shuffle" in str(recorded.inlined_graph)
    counted.clear()
    torch.testing.assert_close(recorded(features), stage(features), rtol=1e-6, atol=1e-6)
    assert counted


def test_names_of_weights_are_those_of_the_stock_layers() -> None:
    stage = ShuffleStage(4, 2, PReLU())
    assert list(stage.state_dict()) == ["0.weight", "0.bias", "2.weight"]
    assert list(stock(stage).state_dict()) == list(stage.state_dict())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_and_second_derivatives(activation: str, counted: list[int]) -> None:
    torch.manual_seed(0)
    stage = ShuffleStage(2, 2, ACTIVATIONS[activation]()).double().to(memory_format=torch.channels_last)
    features = channels_last(random(2, 2, 3, 2).double()).requires_grad_()
    inputs = (features, *stage.parameters())
    assert torch.autograd.gradcheck(lambda given, *_: stage(given), inputs)
    assert torch.autograd.gradgradcheck(lambda given, *_: stage(given), inputs)
    assert counted


def test_gradient_of_any_layout(counted: list[int]) -> None:
    stage = ShuffleStage(4, 2, nn.LeakyReLU(0.1))
    features = channels_last(random(2, 4, 3, 3)).requires_grad_()
    sent = random(2, 4, 6, 6)
    given = [torch.autograd.grad(stage(features), features, form)[0] for form in (sent, channels_last(sent))]
    assert counted
    torch.testing.assert_close(*given)
    everywhere = torch.autograd.grad(stage(features).sum(), features)[0]
    torch.testing.assert_close(everywhere, torch.autograd.grad(stock(stage)(features).sum(), features)[0])
