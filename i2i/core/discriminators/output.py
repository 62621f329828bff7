"""What every discriminator returns, and the head that those with classes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.conditioning import check_labels

Conditioning = Literal["projection", "auxiliary"]
"""How a discriminator takes class labels; see `ClassHead`."""


@dataclass(frozen=True)
class DiscriminatorOutput:
    """Judgement of a batch of pictures.

    Attributes:
        logits: one tensor a scale, (N, 1, h, w) or (N, 1); higher means more real.
        features: intermediate activations (feature matching), empty when the network keeps none.
        class_logits: (N, classes) of an auxiliary classifier.
    """

    logits: tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()
    class_logits: Tensor | None = None

    def mean_logit(self) -> Tensor:
        """Mean over scales, positions and samples, detached: worth watching during training."""
        scales = [logits.detach() if logits.dtype.itemsize >= 4 else logits.detach().float() for logits in self.logits]
        return torch.stack([logits.mean() for logits in scales]).mean()

    def split(self, *sizes: int) -> tuple[DiscriminatorOutput, ...]:
        """Undo joining several batches into one call."""
        logits = [torch.split(scale, list(sizes)) for scale in self.logits]
        features = [torch.split(feature, list(sizes)) for feature in self.features]
        classes = None if self.class_logits is None else torch.split(self.class_logits, list(sizes))
        return tuple(
            DiscriminatorOutput(
                logits=tuple(scale[index] for scale in logits),
                features=tuple(feature[index] for feature in features),
                class_logits=None if classes is None else classes[index],
            )
            for index in range(len(sizes))
        )


class ClassHead(nn.Module):
    """Turns logits and pooled features into a judgement that knows of classes.

    "projection": the inner product of the features with a vector of the label's class is added to the logit (Miyato &
    Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3). "auxiliary": the features are also classified (Odena et
    al. 2017, https://arxiv.org/abs/1610.09585, section 3); such a discriminator takes labels but does not need them.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        conditioning: Conditioning,
        *,
        linear: Callable[[int, int, bool], nn.Module] = nn.Linear,
    ) -> None:
        """`linear` makes the layers from (in_features, out_features, bias)."""
        super().__init__()
        self.classes = classes
        self.conditioning: Conditioning = conditioning
        self.projection = linear(features, classes, False) if classes and conditioning == "projection" else None
        self.classifier = linear(features, classes, True) if classes and conditioning == "auxiliary" else None

    def check(self, images: Tensor, labels: Tensor | None) -> None:
        """Refuse labels that do not fit, before the network does any work.

        Raises:
            ValueError: labels missing, unasked for, or wrong.
        """
        check_labels(labels, self.classes, len(images), optional=self.conditioning == "auxiliary")

    def forward(
        self, logits: Tensor, pooled: Tensor, labels: Tensor | None, features: tuple[Tensor, ...] = ()
    ) -> DiscriminatorOutput:
        """Logits (N, 1), pooled features (N, F) and labels (N,) to a judgement that carries `features` along."""
        class_logits = None
        if self.projection is not None:
            assert labels is not None, "check comes first"
            assert isinstance(self.projection.weight, Tensor)
            chosen = functional.embedding(labels, self.projection.weight)
            logits = logits + (chosen * pooled).sum(dim=1, keepdim=True)
        if self.classifier is not None:
            class_logits = self.classifier(pooled)
        return DiscriminatorOutput(logits=(logits,), features=features, class_logits=class_logits)
