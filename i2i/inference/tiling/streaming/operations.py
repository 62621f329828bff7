"""What a layer needs to compute some rows of its result: the rules by which networks run in bands of rows.

Tensors are (1, C, rows, W) in channels-last memory, where rows lie one after the other. Every operation knows the shape
of its result, which rows of its inputs given rows of the result depend on, and how to compute these from those. At the
edges of the picture it sees what the layer would see, padding included; between bands there are no edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Shape(NamedTuple):
    """Of a whole tensor."""

    channels: int
    height: int
    width: int

    @property
    def numbers(self) -> int:
        return self.channels * self.height * self.width


class Span(NamedTuple):
    """Rows from `first` up to, not including, `end`."""

    first: int
    end: int


class Rows(NamedTuple):
    """Consecutive rows of a tensor, in pieces from top to bottom."""

    first: int
    pieces: Sequence[Tensor]

    def joined(self) -> Tensor:
        """(1, C, rows, W); a view where there is one piece."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        like = self.pieces[0]
        # Copied by hand: torch.cat is several times slower in this memory layout.
        whole = _empty_rows(like, like.shape[1], sum(piece.shape[2] for piece in self.pieces), like.shape[3])
        self._copy_to(whole)
        return whole

    def _copy_to(self, target: Tensor) -> None:
        row = 0
        for piece in self.pieces:
            target[:, :, row : row + piece.shape[2]].copy_(piece)
            row += piece.shape[2]


class Operation(Protocol):
    """A layer, or a few that follow each other."""

    @property
    def is_fresh(self) -> bool:
        """Whether results are always new memory, which the next layer may overwrite."""
        ...

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        """Of the whole result."""
        ...

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        """Which rows of each input these rows of the result depend on; within the input."""
        ...

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        """These rows of the result from at least the rows that they need."""
        ...

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        """Of the convolutions in it, for the whole result."""
        ...


@dataclass(frozen=True)
class Pointwise:
    """Each value depends on the values at its place alone."""

    function: Callable[..., Tensor]
    joins_channels: bool = False
    is_fresh: bool = False

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels = sum(shape.channels for shape in inputs) if self.joins_channels else inputs[0].channels
        return inputs[0]._replace(channels=channels)

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        return [rows] * len(inputs)

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        return self.function(*(part.joined() for part in inputs))

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return 0


@dataclass(frozen=True)
class Normalize:
    """Instance norm, pointwise once mean and variance over the whole input are known.

    Source: Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022, equation 4.
    """

    epsilon: float
    is_fresh: bool = True

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        return [rows]

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        raise AssertionError("instance norm is computed with its statistics")

    def normalized(self, values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """(1, C, rows, W) with the statistics (C,), float32, of the whole tensor."""
        return functional.batch_norm(values, mean, variance, None, None, False, 0.0, self.epsilon)

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return 0


@dataclass(frozen=True)
class Padding:
    """How a picture goes on beyond its edges, as far as `pixels`."""

    pixels: int
    mode: Literal["reflect"] = "reflect"


@dataclass(frozen=True)
class Convolution:
    """A convolution, behind a reflection padding maybe."""

    layer: nn.Conv2d
    padding: Padding | None = None
    is_fresh: bool = True

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        height, width = (self._outputs(side, axis) for axis, side in enumerate(inputs[0][1:]))
        return Shape(self.layer.out_channels, height, width)

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        window, height = self._window(rows), inputs[0].height
        if self.padding is None:
            return [Span(min(max(window.first, 0), height), min(window.end, height))]
        first, end = max(window.first, 0), min(window.end, height)
        if window.end > height:
            first = min(first, 2 * height - 1 - window.end)
        if window.first < 0:
            end = max(end, 1 - window.first)
        return [Span(first, end)]

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        window, layer, height = self._window(rows), self.layer, shapes[0].height
        if self.padding is None:
            values = _take(inputs[0], *self.needs(rows, shapes)).joined()
            above, below = max(-window.first, 0), max(window.end - height, 0)
            if above or below:
                values = functional.pad(values, (0, 0, above, below))
        else:
            values = _reflected(inputs[0], window, height, self.padding.pixels)
        columns = _pair(layer.padding)[1]
        return functional.conv2d(
            values, layer.weight, layer.bias, layer.stride, (0, columns), layer.dilation, layer.groups
        )

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return self.shape(inputs).numbers * self.layer.weight[0].numel()

    def _outputs(self, side: int, axis: int) -> int:
        layer, extra = self.layer, 0 if self.padding is None else self.padding.pixels
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        return (side + 2 * (_pair(layer.padding)[axis] + extra) - reach) // layer.stride[axis] + 1

    def _window(self, rows: Span) -> Span:
        """Rows of the input under the kernel, those beyond its edges included."""
        layer = self.layer
        start = _pair(layer.padding)[0] + (0 if self.padding is None else self.padding.pixels)
        reach = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
        return Span(rows.first * layer.stride[0] - start, (rows.end - 1) * layer.stride[0] - start + reach)


@dataclass(frozen=True)
class TransposedConvolution:
    """A transposed convolution: input row i reaches as many rows as the kernel has, from i * stride - padding on."""

    layer: nn.ConvTranspose2d
    is_fresh: bool = True

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        layer = self.layer
        height, width = (
            (side - 1) * layer.stride[axis]
            - 2 * _pair(layer.padding)[axis]
            + layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            + layer.output_padding[axis]
            + 1
            for axis, side in enumerate(inputs[0][1:])
        )
        return Shape(layer.out_channels, height, width)

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        layer, height = self.layer, inputs[0].height
        stride, padding = layer.stride[0], _pair(layer.padding)[0]
        reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
        first = -(-(rows.first + padding - reach) // stride)
        end = min((rows.end - 1 + padding) // stride + 1, height)
        # A kernel shorter than the stride leaves rows that none reaches; they are made with the row above them.
        return [Span(min(max(first, 0), (rows.first + padding) // stride, height - 1), end)]

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        layer, span = self.layer, self.needs(rows, shapes)[0]
        columns, more_columns = _pair(layer.padding)[1], layer.output_padding[1]
        start = span.first * layer.stride[0] - _pair(layer.padding)[0]
        reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
        # Rows that only the output padding reaches.
        missing = max(rows.end - (start + (len_of(span) - 1) * layer.stride[0] + reach + 1), 0)
        spread = functional.conv_transpose2d(
            _take(inputs[0], span).joined(),
            layer.weight,
            layer.bias,
            layer.stride,
            (0, columns),
            (missing, more_columns),
            layer.groups,
            layer.dilation,
        )
        return spread[:, :, rows.first - start : rows.end - start]

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return inputs[0].numbers * self.layer.weight[0].numel()


@dataclass(frozen=True)
class Local:
    """A layer that changes the size by a factor, sees a little of its neighbourhood and pads by itself.

    It runs on `margin` more rows of the result on either side, which keep its own padding away from what is used.
    """

    layer: Callable[[Tensor], Tensor]
    channels: Callable[[int], int]
    """Of the result, from those of the input."""
    up: int = 1
    down: int = 1
    """The result's side is the input's times `up` over `down`."""
    margin: int = 0
    multiplications_per_value: int = 0
    """Of each value of the result."""
    is_fresh: bool = True

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        return Shape(self.channels(channels), *(-(-side * self.up // self.down) for side in (height, width)))

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        first = max(rows.first - self.margin, 0) // self.up * self.down
        return [Span(first, min(-(-(rows.end + self.margin) // self.up) * self.down, inputs[0].height))]

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        span = self.needs(rows, shapes)[0]
        start = span.first // self.down * self.up
        result = self.layer(_take(inputs[0], span).joined())
        return result[:, :, rows.first - start : rows.end - start]

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return self.shape(inputs).numbers * self.multiplications_per_value


@dataclass(frozen=True)
class Reflect:
    """Reflection padding on its own, where another layer than a convolution follows."""

    padding: Padding
    is_fresh: bool = True

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        return Shape(channels, height + 2 * self.padding.pixels, width + 2 * self.padding.pixels)

    def needs(self, rows: Span, inputs: Sequence[Shape]) -> Sequence[Span]:
        pixels, height = self.padding.pixels, inputs[0].height
        window = Span(rows.first - pixels, rows.end - pixels)
        first, end = min(max(window.first, 0), height - 1), max(min(window.end, height), 1)
        if window.end > height:
            first = min(first, 2 * height - 1 - window.end)
        if window.first < 0:
            end = max(end, 1 - window.first)
        return [Span(first, end)]

    def compute(self, rows: Span, inputs: Sequence[Rows], shapes: Sequence[Shape]) -> Tensor:
        pixels = self.padding.pixels
        return _reflected(inputs[0], Span(rows.first - pixels, rows.end - pixels), shapes[0].height, pixels)

    def multiplications(self, inputs: Sequence[Shape]) -> int:
        return 0


def len_of(span: Span) -> int:
    """Number of rows."""
    return span.end - span.first


def _take(rows: Rows, span: Span) -> Rows:
    """Those rows alone."""
    first, pieces = rows.first, []
    for piece in rows.pieces:
        end = first + piece.shape[2]
        if end > span.first and first < span.end:
            pieces.append(piece[:, :, max(span.first - first, 0) : span.end - first])
        first = end
    return Rows(span.first, pieces)


def _reflected(rows: Rows, window: Span, height: int, pixels: int) -> Tensor:
    """The rows of a window that may reach beyond the edges, with `pixels` mirrored columns on either side."""
    like = rows.pieces[0]
    width = like.shape[3]
    padded = _empty_rows(like, like.shape[1], len_of(window), width + 2 * pixels)
    inside = Span(max(window.first, 0), min(window.end, height))
    middle = padded[..., pixels : pixels + width]
    if len_of(inside) > 0:
        Rows._copy_to(_take(rows, inside), middle[:, :, inside.first - window.first : inside.end - window.first])
    for row in (*range(window.first, min(0, window.end)), *range(max(height, window.first), window.end)):
        source = -row if row < 0 else 2 * height - 2 - row
        middle[:, :, row - window.first].copy_(_take(rows, Span(source, source + 1)).pieces[0][:, :, 0])
    if pixels:
        padded[..., :pixels] = padded[..., pixels + 1 : 2 * pixels + 1].flip(-1)
        padded[..., pixels + width :] = padded[..., width - 1 : pixels + width - 1].flip(-1)
    return padded


def _empty_rows(like: Tensor, channels: int, rows: int, width: int) -> Tensor:
    shape = (1, channels, rows, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str), "paddings by name are resolved when the graph is made"
    return padding
