"""What every discriminator returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
