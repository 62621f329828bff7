"""Convolutions computed by cells are the stock ones: values, gradients, second gradients, any size, any format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradgradcheck
from torch.nn import functional

from i2i.core import cells
from i2i.core.cells import FewOutputsConv2d, cell_kernel, gains_by_cells


def layers(kernel: int, padding: int, **options: object) -> tuple[FewOutputsConv2d, nn.Conv2d]:
    """One layer of each kind with the same weights, in float64."""
    torch.manual_seed(0)
    ours = FewOutputsConv2d(16, 3, kernel, padding=padding, **options).double()  # type: ignore[arg-type]
    stock = nn.Conv2d(16, 3, kernel, padding=padding, **options).double()  # type: ignore[arg-type]
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def images(height: int, width: int) -> Tensor:
    pictures = torch.rand(2, 16, height, width, dtype=torch.float64)
    return pictures.contiguous(memory_format=torch.channels_last).requires_grad_(True)


@pytest.fixture
def by_cells(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each convolution that is computed by cells."""
    calls: list[int] = []
    real = cells.cell_kernel
    monkeypatch.setattr(cells, "cell_kernel", lambda weight: calls.append(1) or real(weight))
    return calls


@pytest.mark.parametrize(("kernel", "padding"), [(7, 0), (9, 4), (5, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_stock_layer(
    by_cells: list[int], kernel: int, padding: int, bias: bool
) -> None:
    ours, stock = layers(kernel, padding, bias=bias)
    for height, width in ((12, 16), (13, 16), (12, 15)):
        found = []
        before, pictures = len(by_cells), images(height, width)
        for layer in (ours, stock):
            given = pictures.detach().requires_grad_(True)
            made = layer(given)
            made.square().sum().backward()
            gradients = [parameter.grad for parameter in layer.parameters()]
            layer.zero_grad(set_to_none=True)
            found.append((made.detach(), given.grad, *gradients))
        whole = (height - kernel + 1 + 2 * padding) % 2 == 0 and (width - kernel + 1 + 2 * padding) % 2 == 0
        assert len(by_cells) - before == whole, "odd sides are computed as they are"
        for mine, theirs in zip(*found, strict=True):
            assert mine is not None and theirs is not None
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_second_gradients(by_cells: list[int]) -> None:
    weight = torch.rand(2, 16, 5, 5, dtype=torch.float64, requires_grad=True)
    layer, _ = layers(5, 2)

    def convolve(given: Tensor, weight: Tensor) -> Tensor:
        laid_out = given.contiguous(memory_format=torch.channels_last)
        return torch.func.functional_call(layer, {"weight": weight, "bias": weight[:, 0, 0, 0]}, (laid_out,)).sin()

    given = torch.rand(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(convolve, (given, weight), atol=1e-6, nondet_tol=0.0)
    assert by_cells


def test_only_where_it_pays(by_cells: list[int]) -> None:
    ours, _ = layers(7, 3)
    ours(images(8, 8).contiguous())
    layers(3, 1)[0](images(8, 8))
    torch.jit.trace(ours, images(8, 8).detach(), check_trace=False)
    assert not by_cells, "another layout, a small kernel, a recording"
    for few in (nn.Conv2d(16, 5, 7), nn.Conv2d(8, 3, 7), nn.Conv2d(16, 3, 7, stride=2), nn.Conv2d(16, 3, 1)):
        assert not gains_by_cells(few)


def test_the_kernel_of_a_cell() -> None:
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    kernel = cell_kernel(weight)
    assert kernel.shape == (4, 1, 4, 4)
    for place, (down, across) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        expected = torch.zeros(4, 4)
        expected[down : down + 3, across : across + 3] = weight[0, 0]
        assert torch.equal(kernel[place, 0], expected)
    assert functional.pixel_shuffle(kernel.sum((1, 2, 3)).view(1, 4, 1, 1), 2).shape == (1, 1, 2, 2)
