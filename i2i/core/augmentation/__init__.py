"""Augmentation of what a discriminator sees, so that it can learn from few pictures without knowing them by heart.

Real and generated pictures are changed alike, differentiably, on the device. Each picture's draws are keyed by its
sample, so that the result does not depend on how a batch is split.
"""

from i2i.core.augmentation.adaptive import (
    AdaptiveAugmentation,
    AdaptiveAugmentationSettings,
    RampedAugmentation,
    RampedAugmentationSettings,
    TransformGroup,
)
from i2i.core.augmentation.diffaugment import DiffAugment, DiffAugmentSettings, Policy
from i2i.core.augmentation.instance_noise import InstanceNoiseSettings
from i2i.core.augmentation.interface import Augmentation

AugmentationSettings = DiffAugmentSettings | AdaptiveAugmentationSettings | RampedAugmentationSettings

__all__ = [
    "AdaptiveAugmentation",
    "AdaptiveAugmentationSettings",
    "Augmentation",
    "AugmentationSettings",
    "DiffAugment",
    "DiffAugmentSettings",
    "InstanceNoiseSettings",
    "Policy",
    "RampedAugmentation",
    "RampedAugmentationSettings",
    "TransformGroup",
]
