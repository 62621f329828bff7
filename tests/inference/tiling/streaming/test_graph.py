from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import PictureGeneratorSettings
from i2i.inference.tiling.streaming import UnknownLayerError, layer_graph
from tests.inference.networks import NORMALIZING, PLAIN, network_of

EVERY = {**{f"{name}_instance": one for name, one in NORMALIZING.items()}, **PLAIN}


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY)
@torch.inference_mode()
def test_shapes_and_work_are_the_networks_own(settings: PictureGeneratorSettings) -> None:
    network = network_of(settings)
    graph = layer_graph(network)
    side = 2 * settings.size_multiple + 16 - 16 % settings.size_multiple
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        values = output if isinstance(module, nn.Conv2d) else inputs[0]
        counted += values.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    # In another memory layout, in which all convolutions run as modules.
    result = network(torch.rand(1, 3, side, side + settings.size_multiple))
    shapes = graph.shapes(side, side + settings.size_multiple)
    assert shapes[-1] == result.shape[1:]
    assert sum(graph.multiplications(shapes)) == counted
    assert graph.normalizes == (settings.normalization == "instance")


class Strange(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.mean() > 0 else -images


@pytest.mark.parametrize(
    "network",
    [
        Strange(nn.GroupNorm(1, 3)),
        Strange(nn.Conv2d(3, 3, 3, padding="same")),
        Strange(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
        Strange(nn.Upsample(scale_factor=1.5)),
        Strange(nn.AdaptiveAvgPool2d(1)),
        Branching(),
    ],
)
def test_says_what_it_cannot_run(network: nn.Module) -> None:
    with pytest.raises(UnknownLayerError):
        layer_graph(network.eval())


def test_layers_in_place_do_not_touch_what_others_read() -> None:
    class TwoReaders(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.rectify = nn.ReLU(inplace=True)

        def forward(self, images: Tensor) -> Tensor:
            features = self.first(images)
            return features.add(self.rectify(features.mul(1)))

    layers = layer_graph(TwoReaders().eval()).layers
    values = torch.tensor([[[[-1.0]]] * 3]).reshape(1, 3, 1, 1)
    for layer in layers:
        for function in layer.then:
            function(values.clone())
    assert len(layers) == 4 and len(layers[2].then) == 1
