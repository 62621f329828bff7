"""Perceptual losses: pictures are compared by what a frozen, trained network sees in them.

Source: Johnson et al. 2016, https://arxiv.org/abs/1603.08155; in super-resolution SRGAN (Ledig et al. 2017,
https://arxiv.org/abs/1609.04802, equation 5), ESRGAN (Wang et al. 2018, https://arxiv.org/abs/1809.00219, section 3.3).

The networks here are built empty. Nothing of the core opens files: whoever trains fills them with weights before the
first use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from i2i.core.losses.reconstruction import mean_absolute_error, mean_squared_error

FeatureDistance = Literal["l1", "mse"]
"""Mean absolute or mean squared difference over all values of a layer."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], over the pictures on which the published networks were trained."""

_VGG19_CONVOLUTIONS = (2, 2, 4, 4, 4)
_VGG19_CHANNELS = (64, 128, 256, 512, 512)
_SHA256 = re.compile("[0-9a-fA-F]{64}")


def _vgg19_layers() -> dict[str, int]:
    """Names of the layers, numbered as in torchvision's ``vgg19().features``."""
    names: list[str] = []
    for block, convolutions in enumerate(_VGG19_CONVOLUTIONS, start=1):
        for number in range(1, convolutions + 1):
            names += [f"conv{block}_{number}", f"relu{block}_{number}"]
        names.append(f"pool{block}")
    return {name: index for index, name in enumerate(names)}


_VGG19_LAYERS = _vgg19_layers()


@dataclass(frozen=True, kw_only=True)
class VGGFeaturesSettings:
    """Layers of VGG19 (Simonyan & Zisserman 2015) as trained on ImageNet.

    SRGAN's VGG54 is ``layers: {relu5_4: 1}``, ``distance: mse``, ``feature_scale: 0.0784`` (1 / 12.75); ESRGAN's is
    ``{conv5_4: 1}`` and ``l1``; Real-ESRGAN's ``{conv1_2: 0.1, conv2_2: 0.1, conv3_4: 1, conv4_4: 1, conv5_4: 1}`` and
    ``l1``.
    """

    kind: Literal["vgg19"] = "vgg19"
    layers: Mapping[str, float] = field(default_factory=lambda: {"relu5_4": 1.0})
    """Weight of each layer: convI_J is the J-th convolution of block I, before its ReLU, reluI_J after it. 0 leaves a
    layer out that another recipe has."""
    distance: FeatureDistance = "mse"
    feature_scale: float = 1.0
    """Factor on all features before they are compared."""
    weights: str | None = None
    """A file in torchvision's key layout; null is the one that torchvision publishes (`i2i data fetch vgg19`)."""

    path_keys: ClassVar[Sequence[str]] = ("weights",)

    def __post_init__(self) -> None:
        if not self.used_layers:
            raise ValueError("layers has none with a weight; needs at least one, such as relu5_4: 1")
        for name, weight in self.layers.items():
            if name not in _VGG19_LAYERS or name.startswith("pool"):
                raise ValueError(f"layers has {name!r}; needs names from conv1_1 to conv5_4 or relu1_1 to relu5_4")
            if weight != 0:
                _check_weight(f"layers.{name}", weight)
        _check_weight("feature_scale", self.feature_scale)

    @property
    def used_layers(self) -> Mapping[str, float]:
        """Those that count."""
        return {name: weight for name, weight in self.layers.items() if weight != 0}

    @property
    def minimum_pixels(self) -> int:
        """Shortest side of a picture of which the last layer still has something to see."""
        return 2 ** max(int(name[4]) - 1 for name in self.used_layers)

    def build(self) -> VGGFeatures:
        """The network, without trained weights and without the layers behind the last one asked for."""
        return VGGFeatures(self)

    def loss(self, features_of_fake: Sequence[Tensor], features_of_real: Sequence[Tensor]) -> Tensor:
        """Weighted sum of the layers' distances, a scalar; see :func:`feature_distance`."""
        weights = list(self.used_layers.values())
        return feature_distance(features_of_fake, features_of_real, weights, self.distance, self.feature_scale)


@dataclass(frozen=True, kw_only=True)
class ScriptedFeaturesSettings:
    """Any other network, as TorchScript that returns one feature map or several."""

    kind: Literal["torchscript"] = "torchscript"
    path: str
    """The file. TorchScript can carry code: only the file whose SHA-256 is given is ever opened."""
    sha256: str
    output_weights: tuple[float, ...] = (1.0,)
    """Weight of each feature map that the network returns."""
    distance: FeatureDistance = "l1"
    feature_scale: float = 1.0
    """Factor on all features before they are compared."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from RGB in [0, 1], before a division by `deviation`; (0.5, 0.5, 0.5) for both gives [-1, 1]."""
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    path_keys: ClassVar[Sequence[str]] = ("path",)
    minimum_pixels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 is {self.sha256[:80]!r}; needs the 64 hexadecimal digits that sha256sum prints")
        if not self.output_weights:
            raise ValueError("output_weights is empty; needs one number for each feature map")
        for weight in self.output_weights:
            _check_weight("output_weights", weight)
        for number in self.deviation:
            _check_weight("deviation", number)
        _check_weight("feature_scale", self.feature_scale)

    def build(self) -> ScriptedFeatures:
        """The network's place; the network itself comes out of the file."""
        return ScriptedFeatures(self)

    def loss(self, features_of_fake: Sequence[Tensor], features_of_real: Sequence[Tensor]) -> Tensor:
        """Weighted sum of the feature maps' distances, a scalar; see :func:`feature_distance`."""
        return feature_distance(
            features_of_fake, features_of_real, self.output_weights, self.distance, self.feature_scale
        )


PerceptualSettings = VGGFeaturesSettings | ScriptedFeaturesSettings
"""The networks by whose eyes pictures can be compared."""


class FrozenFeatures(nn.Module):
    """What every feature network has in common: it never learns, never changes its mode, and takes our pictures.

    Gradients pass through it to the pictures and stop nowhere, but none is kept for its own weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        # Not among the weights: these are settings.
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).reshape(1, 3, 1, 1), persistent=False)

    def freeze(self) -> None:
        """Call when the layers are there."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)

    def prepared(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] as the network was trained to see them."""
        return (images / 2 + 0.5 - self.mean) / self.deviation


class VGGFeatures(FrozenFeatures):
    """VGG19 up to the last layer asked for; its keys are those of torchvision, ``features.N.weight`` and ``.bias``."""

    def __init__(self, settings: VGGFeaturesSettings) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_DEVIATION)
        self.wanted = tuple(_VGG19_LAYERS[name] for name in settings.used_layers)
        channels = 3
        layers: list[nn.Module] = []
        for name, index in list(_VGG19_LAYERS.items())[: max(self.wanted) + 1]:
            if name.startswith("conv"):
                width = _VGG19_CHANNELS[int(name[4]) - 1]
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            elif name.startswith("relu"):
                # In place it would overwrite a convolution's output that is asked for.
                layers.append(nn.ReLU(inplace=index - 1 not in self.wanted))
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) in [-1, 1] to the feature maps (N, C, h, w), in the order of the settings' layers."""
        seen: dict[int, Tensor] = {}
        maps = self.prepared(images)
        for index, layer in enumerate(self.features):
            maps = layer(maps)
            if index in self.wanted:
                seen[index] = maps
        return tuple(seen[index] for index in self.wanted)


class ScriptedFeatures(FrozenFeatures):
    """A scripted network behind the same interface; `script` is empty until its file was read."""

    script: nn.Module | None

    def __init__(self, settings: ScriptedFeaturesSettings) -> None:
        super().__init__(settings.mean, settings.deviation)
        self.path, self.outputs = settings.path, len(settings.output_weights)
        self.script = None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) in [-1, 1] to the feature maps.

        Raises:
            ValueError: the network returns something else than the settings say.
        """
        assert self.script is not None, "the network's file was not read"
        found = self.script(self.prepared(images))
        maps = (found,) if isinstance(found, Tensor) else tuple(found)
        if len(maps) != self.outputs or not all(isinstance(entry, Tensor) for entry in maps):
            raise ValueError(f"{self.path}: returns {len(maps)} feature maps; output_weights has {self.outputs}")
        return maps


def feature_distance(
    features_of_fake: Sequence[Tensor],
    features_of_real: Sequence[Tensor],
    weights: Sequence[float],
    distance: FeatureDistance,
    feature_scale: float = 1.0,
) -> Tensor:
    """Weighted sum over feature maps of the mean distance of their values, times `feature_scale`, a scalar.

    The features of the real picture are what is to be reached: no gradient goes that way.
    """
    measure, factor = (
        (mean_absolute_error, feature_scale) if distance == "l1" else (mean_squared_error, feature_scale**2)
    )
    summands = [
        measure(fake, real.detach()) * (weight * factor)
        for fake, real, weight in zip(features_of_fake, features_of_real, weights, strict=True)
    ]
    return torch.stack(summands).sum()


def _check_weight(name: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {number:g}; needs a number above 0")
