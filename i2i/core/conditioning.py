"""What networks do with class labels, and how they refuse wrong inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import is_recorded


def check_labels(labels: Tensor | None, classes: int, rows: int, *, optional: bool = False) -> None:
    """Refuse labels that do not fit a network of so many classes; `optional` allows to leave them out.

    Raises:
        ValueError: labels missing, unasked for, of a wrong shape or type, or (looked at on the CPU only) out of range.
    """
    if labels is None:
        if classes and not optional:
            raise ValueError(f"labels are missing: this network has {classes} classes; give (N,) int64 from 0 on")
        return
    if not classes:
        raise ValueError("labels were given, but this network has no classes; leave them out or build it with classes")
    if labels.shape != (rows,) or labels.dtype != torch.int64:
        raise ValueError(f"labels are {tuple(labels.shape)} {labels.dtype}; {rows} samples need ({rows},) torch.int64")
    if labels.device.type == "cpu" and rows and not is_recorded():
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= classes:
            wrong = least if least < 0 else most
            raise ValueError(f"class {wrong} is out of range; this network has 0 to {classes - 1}")


def check_latents(latents: Tensor, width: int) -> None:
    """Refuse latents of another shape than (N, width).

    Raises:
        ValueError: naming both shapes.
    """
    if latents.ndim != 2 or latents.shape[1] != width:
        raise ValueError(f"latents are {tuple(latents.shape)}; this network needs (N, {width})")


class LatentInput(nn.Module):
    """What a generator starts from: the latent and, where there are classes, the one-hot label beside it.

    Source: Mirza & Osindero 2014, https://arxiv.org/abs/1411.1784, section 3.2. One number that is not 0 is quiet
    beside a latent of a hundred, on purpose: a learned vector as wide as the latent drowned it, and each class
    collapsed to a single picture.
    """

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        self.latent = latent
        self.classes = classes
        self.features = latent + classes

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent) and labels (N,) to (N, features).

        Raises:
            ValueError: latents or labels that do not fit.
        """
        check_latents(latents, self.latent)
        check_labels(labels, self.classes, latents.shape[0])
        if labels is None:
            return latents
        return torch.cat([latents, functional.one_hot(labels, self.classes).to(latents.dtype)], dim=1)
