"""Networks that people mistake for a generator: they lie in the same folders and make no pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from i2i.export.inferred_settings import Weights


@dataclass(frozen=True)
class OtherNetwork:
    """A well-known network without pictures at its end."""

    what: str
    """A phrase with an article."""
    names: str
    """Pattern that every name matches."""
    has: tuple[str, ...]
    """Names that are there."""
    judges: bool = False
    """Whether it is a discriminator, which has one output."""


_JUNYANZ_FILE = "; its generators are in *_net_G*.pth"
_PLACE = r"\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked|filt)"

OTHER_NETWORKS = (
    OtherNetwork(
        "the discriminator of a DCGAN; its generator is in netG*.pth", rf"main{_PLACE}", ("main.0.weight",), judges=True
    ),
    OtherNetwork(f"a PatchGAN discriminator{_JUNYANZ_FILE}", rf"model{_PLACE}", ("model.0.weight",), judges=True),
    OtherNetwork(
        f"a pixel discriminator{_JUNYANZ_FILE}", rf"net{_PLACE}", ("net.0.weight", "net.2.weight", "net.5.weight"), True
    ),
    OtherNetwork("the discriminator of a plain GAN", r"\d+\.(weight|bias)", ("0.weight",), judges=True),
    OtherNetwork(
        "the VGG-style discriminator of BasicSR", r"(conv|bn|linear)\d.*", ("conv0_0.weight", "linear2.weight")
    ),
    OtherNetwork("the U-Net discriminator of Real-ESRGAN", r"conv\d\..*", ("conv0.weight", "conv9.weight")),
    OtherNetwork(
        "the weights of LPIPS, a distance between pictures", r"lin\d\.model\.1\.weight", ("lin0.model.1.weight",)
    ),
    OtherNetwork("an Inception classifier", r".*", ("Conv2d_1a_3x3.conv.weight", "fc.weight")),
    OtherNetwork("a VGG classifier or its features", r"(features|classifier)\..*", ("features.0.weight",)),
    OtherNetwork("a LeNet classifier", r"(convnet|fc)\..*", ("convnet.c1.weight", "fc.f6.weight")),
)


def other_network(weights: Weights) -> str | None:
    """What a set of weights is of, a phrase, when it is known and makes no pictures."""
    for network in OTHER_NETWORKS:
        complete = all(name in weights for name in network.has)
        named = complete and all(re.fullmatch(network.names, name) for name in weights)
        if named and (not network.judges or _outputs(weights) == 1):
            return network.what
    return None


def _outputs(weights: Weights) -> int:
    """Of the last convolution or fully connected layer; of transposed convolutions, which judge nothing, the inputs."""
    layers = {name: weight for name, weight in weights.items() if weight.ndim in (2, 4)}
    if not layers:
        return 0
    return len(layers[max(layers, key=_place)])


def _place(name: str) -> int:
    """The number that says where in the network a layer stands."""
    return int(re.findall(r"\d+", name)[0])
