"""The layers of a network as operations on rows, in the order in which they run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from i2i.core.cells import FewOutputsConv2d
from i2i.core.layers import BlurDown, BlurUp, Dropout, InstanceNorm, ReflectionPad, Tanh
from i2i.core.pixel_shuffle import ShuffleStage
from i2i.inference.tiling.streaming.operations import (
    Convolution,
    Local,
    Normalize,
    Operation,
    Padding,
    Pointwise,
    Reflect,
    Shape,
    TransposedConvolution,
)


class UnknownLayerError(Exception):
    """A network has a layer for which no rule is known."""


@dataclass(frozen=True)
class Layer:
    """One operation of a network and where its inputs come from."""

    name: str
    operation: Operation | None
    """None: the picture."""
    inputs: tuple[int, ...] = ()
    """Numbers of the layers that it reads; smaller than its own."""
    then: tuple[Callable[[Tensor], Tensor], ...] = ()
    """What follows value by value."""


@dataclass(frozen=True)
class LayerGraph:
    """A network as layers in the order in which they run; the first is the picture, the last gives the result."""

    layers: tuple[Layer, ...]
    consumers: tuple[tuple[int, ...], ...] = field(init=False)
    """Who reads each layer's result."""

    def __post_init__(self) -> None:
        consumers: list[list[int]] = [[] for _ in self.layers]
        for number, layer in enumerate(self.layers):
            for source in dict.fromkeys(layer.inputs):
                consumers[source].append(number)
        object.__setattr__(self, "consumers", tuple(map(tuple, consumers)))

    @property
    def normalizes(self) -> bool:
        """Whether there are statistics over the whole picture in it."""
        return any(isinstance(layer.operation, Normalize) for layer in self.layers)

    def shapes(self, height: int, width: int, channels: int = 3) -> tuple[Shape, ...]:
        """Of every layer's whole result for a picture of this size."""
        shapes: list[Shape] = []
        for layer in self.layers:
            inputs = [shapes[source] for source in layer.inputs]
            shapes.append(Shape(channels, height, width) if layer.operation is None else layer.operation.shape(inputs))
        return tuple(shapes)

    def multiplications(self, shapes: Sequence[Shape]) -> tuple[int, ...]:
        """Of every layer's convolutions."""
        return tuple(
            0 if layer.operation is None else layer.operation.multiplications([shapes[one] for one in layer.inputs])
            for layer in self.layers
        )


def layer_graph(network: nn.Module) -> LayerGraph:
    """Read the layers of a network in evaluation mode, from (N, C, H, W) to (N, C, H', W').

    Raises:
        UnknownLayerError: the network does something for which no rule is known.
    """
    try:
        traced = _Tracer().trace(network)
    except (ValueError, TypeError, NameError) as error:
        raise UnknownLayerError(f"{type(network).__name__}: {error}") from error
    modules = dict(network.named_modules())
    layers: list[Layer] = []
    numbers: dict[fx.Node, int] = {}
    for node in traced.nodes:
        if node.op == "output":
            assert isinstance(node.args[0], fx.Node)
            return _without_spare(_fused(layers, numbers[node.args[0]]))
        if node.op == "placeholder":
            # Optional inputs, of which a picture network has none.
            if layers:
                raise UnknownLayerError(f"{type(network).__name__}: more than one input")
            operation, inputs = None, ()
        elif _is_constant(node):
            continue
        else:
            made = _operation_of(node, modules)
            inputs = tuple(numbers[source] for source in _tensor_inputs(node))
            if made is None:
                numbers[node] = inputs[0]
                continue
            operation = made
        numbers[node] = len(layers)
        layers.append(Layer(str(node.target), operation, inputs))
    raise UnknownLayerError(f"{type(network).__name__}: no result")


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


_LEAVES = (
    BlurDown, BlurUp, Dropout, FewOutputsConv2d, InstanceNorm, ReflectionPad, ShuffleStage, Tanh, nn.BatchNorm2d,
    nn.PReLU,
)  # fmt: skip
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Tanh, nn.Sigmoid)
_NOTHING = (nn.Identity, Dropout, nn.Dropout, nn.Dropout2d)


def _is_constant(node: fx.Node) -> bool:
    """Whether it asks a tensor for its number format: pictures are float32, whatever the network computes in."""
    return node.op == "call_function" and node.target is getattr and str(node.args[1]) == "dtype"


def _tensor_inputs(node: fx.Node) -> list[fx.Node]:
    return [source for source in node.all_input_nodes if not _is_constant(source)]


def _operation_of(node: fx.Node, modules: dict[str, nn.Module]) -> Operation | None:
    """None: it does nothing."""
    if node.op == "call_module":
        return _of_module(modules[str(node.target)])
    if node.op == "call_function":
        return _of_function(node)
    if node.op == "call_method":
        return _of_method(node)
    raise UnknownLayerError(f"{node.op} {node.target}")


def _of_module(module: nn.Module) -> Operation | None:
    if isinstance(module, _NOTHING):
        return None
    if isinstance(module, nn.Conv2d):
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            raise UnknownLayerError(f"convolution with padding {module.padding!r}, {module.padding_mode}")
        return Convolution(module)
    if isinstance(module, nn.ConvTranspose2d):
        return TransposedConvolution(module)
    if isinstance(module, InstanceNorm):
        return Normalize(module.epsilon)
    if isinstance(module, ReflectionPad):
        return Reflect(Padding(module.pixels))
    if isinstance(module, ShuffleStage):
        return _of_stage(module)
    if isinstance(module, nn.PixelShuffle):
        factor = module.upscale_factor
        return Local(module, lambda channels: channels // factor**2, up=factor)
    if isinstance(module, nn.Upsample) and module.mode == "nearest" and module.size is None:
        return Local(module, _same, up=_factor(module.scale_factor))
    if isinstance(module, BlurDown):
        return Local(module, _same, down=2, margin=1)
    if isinstance(module, BlurUp):
        return Local(module, _same, up=2, margin=2)
    if isinstance(module, nn.BatchNorm2d):
        return Pointwise(module, is_fresh=True)
    if isinstance(module, _ACTIVATIONS):
        return Pointwise(_activation(module))
    raise UnknownLayerError(type(module).__name__)


def _of_stage(stage: ShuffleStage) -> Operation:
    convolution, shuffle = stage[0], stage[1]
    assert isinstance(convolution, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle)
    factor, weights = shuffle.upscale_factor, convolution.weight[0].numel()
    channels = convolution.out_channels // factor**2
    return Local(stage, lambda _: channels, up=factor, margin=factor, multiplications_per_value=weights)


def _of_function(node: fx.Node) -> Operation:
    if node.target is torch.cat:
        if _argument(node, 1, "dim") != 1:
            raise UnknownLayerError(f"torch.cat along {_argument(node, 1, 'dim')}")
        return Pointwise(_joined, joins_channels=True, is_fresh=True)
    if node.target in (functional.pixel_shuffle, torch.pixel_shuffle):
        factor = _factor(_argument(node, 1, "upscale_factor"))
        shuffle = _bound(functional.pixel_shuffle, node)
        return Local(shuffle, lambda channels: channels // factor**2, up=factor)
    if node.target in (functional.pixel_unshuffle, torch.pixel_unshuffle):
        factor = _factor(_argument(node, 1, "downscale_factor"))
        unshuffle = _bound(functional.pixel_unshuffle, node)
        return Local(unshuffle, lambda channels: channels * factor**2, down=factor)
    if node.target is functional.interpolate and node.kwargs.get("mode", "nearest") in ("nearest", "bilinear"):
        if node.kwargs.get("align_corners") or node.kwargs.get("antialias"):
            raise UnknownLayerError(f"interpolate with {dict(node.kwargs)}")
        factor = _factor(node.kwargs.get("scale_factor"))
        enlarge = _bound(functional.interpolate, node)
        return Local(enlarge, _same, up=factor, margin=0 if node.kwargs.get("mode", "nearest") == "nearest" else factor)
    if node.target in (functional.relu, functional.leaky_relu, torch.relu, torch.tanh, torch.sigmoid):
        return Pointwise(_bound(node.target, node))
    if node.target in (operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul):
        return Pointwise(_bound(node.target, node), is_fresh=True)
    raise UnknownLayerError(f"function {getattr(node.target, '__name__', node.target)}")


_METHODS = ("add", "sub", "mul", "tanh", "to", "clamp", "float", "sigmoid", "relu")


def _of_method(node: fx.Node) -> Operation:
    # In place or not: what another layer still reads must stay as it is.
    name = str(node.target).removesuffix("_")
    if name not in _METHODS:
        raise UnknownLayerError(f"method {node.target}")
    return Pointwise(_bound(getattr(Tensor, name), node), is_fresh=name not in ("to", "float"))


def _bound(function: Any, node: fx.Node) -> Callable[..., Tensor]:
    """The function of the tensors among a node's arguments, with all other arguments as they are."""
    sources = _tensor_inputs(node)
    options = {key: value for key, value in node.kwargs.items() if key != "inplace"}

    def call(*tensors: Tensor) -> Tensor:
        values = dict(zip(sources, tensors, strict=True))

        def resolved(argument: Any) -> Any:
            if isinstance(argument, fx.Node):
                return values.get(argument, torch.float32)
            return argument

        return function(
            *(resolved(argument) for argument in node.args), **{key: resolved(value) for key, value in options.items()}
        )

    return call


def _joined(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors, dim=1)


def _activation(module: nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(module, nn.ReLU):
        return functional.relu
    if isinstance(module, nn.LeakyReLU):
        slope = module.negative_slope
        return lambda values: functional.leaky_relu(values, slope)
    return module


def _argument(node: fx.Node, position: int, name: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def _factor(factor: Any) -> int:
    if not isinstance(factor, int | float) or factor != int(factor):
        raise UnknownLayerError(f"a change of size by {factor}")
    return int(factor)


def _same(channels: int) -> int:
    return channels


# Layers put together


def _fused(layers: list[Layer], result: int) -> list[Layer]:
    """Paddings made part of the convolutions behind them, and what works value by value of the layer before it."""
    readers: list[list[int]] = [[] for _ in layers]
    for number, layer in enumerate(layers):
        for source in layer.inputs:
            readers[source].append(number)
    made = list(layers)
    became = list(range(len(layers)))
    for number, layer in enumerate(layers):
        layer = replace(layer, inputs=tuple(became[source] for source in layer.inputs))
        made[number] = layer
        if not layer.inputs:
            continue
        source = layer.inputs[0]
        before, only_reader = made[source], readers[layers[number].inputs[0]] == [number]
        if isinstance(layer.operation, Convolution) and isinstance(before.operation, Reflect) and not before.then:
            if only_reader and layer.operation.layer.padding == (0, 0):
                padded = replace(layer.operation, padding=before.operation.padding)
                made[number] = replace(layer, operation=padded, inputs=before.inputs)
        elif isinstance(layer.operation, Pointwise) and len(layer.inputs) == 1 and only_reader and before.inputs:
            made[source] = replace(before, then=(*before.then, _overwriting(layer.operation, before)))
            became[number] = source
    return [replace(layer) for layer in made[: became[result] + 1]]


def _overwriting(operation: Pointwise, before: Layer) -> Callable[[Tensor], Tensor]:
    """The function, in the memory of what it reads where nobody else does."""
    function = operation.function
    assert before.operation is not None
    if function is functional.relu and before.operation.is_fresh:
        return torch.relu_
    return lambda values: function(values)


def _without_spare(layers: list[Layer]) -> LayerGraph:
    """Without layers that nothing reads."""
    used = {len(layers) - 1, 0}
    for number in reversed(range(len(layers))):
        if number in used:
            used.update(layers[number].inputs)
    renumbered = {old: new for new, old in enumerate(sorted(used))}
    return LayerGraph(
        tuple(
            replace(layer, inputs=tuple(renumbered[source] for source in layer.inputs))
            for number, layer in enumerate(layers)
            if number in used
        )
    )
