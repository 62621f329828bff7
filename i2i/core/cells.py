"""Convolutions with few outputs, computed for cells of 2 x 2 pixels at a time.

Processors multiply in rows of sixteen, so three outputs leave thirteen places of each row empty. The same convolution
at the four pixels of a cell is one convolution of stride 2 with four times as many outputs, whose kernel holds the
first one's at four places with zeros around: the sums are the same, of 100 products in place of 81 at a kernel of 9,
but four times as many are made at once. What the shuffle at the end of Shi et al. 2016
(https://arxiv.org/abs/1609.05158, equation 4) does to enlarge, undoes the stride here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import is_recorded

CELL = 2
_FEW_OUTPUTS, _LEAST_INPUTS = 4, 16
_LEAST_KERNEL_IN_TRAINING = 5
"""With a smaller one, what gradients of the larger kernel cost eats up what is won."""


class FewOutputsConv2d(nn.Conv2d):
    """A convolution of stride 1 from many channels to few, such as the last one of a generator.

    Equal to the stock layer, whose weights it holds under their usual names; in channels-last memory on a CPU it is
    computed by cells where that pays. Differentiable twice.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H', W'), as the stock layer."""
        on_cpu = input.device.type == "cpu" and input.is_contiguous(memory_format=torch.channels_last)
        pays = min(self.kernel_size) >= _LEAST_KERNEL_IN_TRAINING and gains_by_cells(self)
        if is_recorded() or not on_cpu or not pays or not whole_cells(input, self):
            return super().forward(input)
        return convolve_cells(input, *cell_weights(self), self)


def gains_by_cells(layer: nn.Conv2d) -> bool:
    """Whether its few outputs come from many inputs: at 2 outputs of 2 inputs there is nothing to fill."""
    return (
        layer.out_channels <= _FEW_OUTPUTS
        and layer.in_channels >= _LEAST_INPUTS
        and layer.stride == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and min(layer.kernel_size) >= 3
    )


def whole_cells(images: Tensor, layer: nn.Conv2d) -> bool:
    """Whether what comes out of `layer` for these images has even sides."""
    sides = [
        side + 2 * int(padding) - kernel + 1
        for side, padding, kernel in zip(images.shape[2:], layer.padding, layer.kernel_size, strict=True)
    ]
    return all(side > 0 and side % CELL == 0 for side in sides)


def convolve_cells(images: Tensor, kernel: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """What `layer` gives for images with `whole_cells`, from its `cell_weights`."""
    cells = functional.conv2d(images, kernel, bias, stride=CELL, padding=layer.padding)
    return functional.pixel_shuffle(cells, CELL)


def cell_weights(layer: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """Kernel and bias of the convolution that makes whole cells."""
    kernel = cell_kernel(layer.weight).contiguous(memory_format=torch.channels_last)
    return kernel, None if layer.bias is None else layer.bias.repeat_interleave(CELL**2)


def cell_kernel(weight: Tensor) -> Tensor:
    """(O, C, h, w) to (4 O, C, h + 1, w + 1): each output at the places of a cell, from left to right, then down."""
    placed = [
        functional.pad(weight, (across, CELL - 1 - across, down, CELL - 1 - down))
        for down in range(CELL)
        for across in range(CELL)
    ]
    return torch.stack(placed, dim=1).flatten(0, 1)
