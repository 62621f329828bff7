"""A PyTorch network as a feature extractor: what all of them have in common."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from i2i.errors import DataError
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.features.protocol import Features
from i2i.inference.runtime import exact_float32, out_of_memory_as_help

Prepare = Callable[[Tensor], Tensor]
"""Pictures (N, H, W, C) uint8, C 1 or 3, to what the network takes, (N, ...)."""
Compute = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""What the network takes to vectors (N, D) and logits (N, K), or None where it has none."""

_PREPARED_BYTES = 32 << 20
"""Of pictures that are prepared at once."""


@dataclass(frozen=True, kw_only=True)
class NetworkExtractor:
    """A feature extractor made of a preparation and a network, both on one device and in float32.

    The network always computes `PICTURES_PER_BLOCK` pictures at once, the last ones padded with zeros.
    """

    name: str
    weights_sha256: str
    preprocessing: str
    width: int
    classes: int | None
    device: torch.device
    prepare: Prepare = field(repr=False)
    compute: Compute = field(repr=False)

    def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
        """Features of `pictures`; see :class:`~i2i.evaluation.features.protocol.FeatureExtractor`.

        Raises:
            OutOfMemoryError: the device cannot hold pictures of this size.
        """
        for position, picture in enumerate(pictures):
            _check_picture(picture, position)
        vectors = np.empty((len(pictures), self.width), np.float32)
        logits = None if self.classes is None else np.empty((len(pictures), self.classes), np.float32)
        height, width = max((picture.shape[:2] for picture in pictures), key=math.prod, default=(0, 0))
        with (
            out_of_memory_as_help(len(pictures), height, width, f"shrink them or run {self.name} on the CPU"),
            torch.inference_mode(),
            exact_float32(self.device),
        ):
            for positions, prepared in self._prepared_blocks(pictures):
                found, scores = self._on_whole_block(prepared)
                vectors[positions] = found
                if logits is not None:
                    assert scores is not None, f"{self.name} gave no logits"
                    logits[positions] = scores
        return Features(vectors, logits)

    def _prepared_blocks(self, pictures: Sequence[np.ndarray]) -> Iterator[tuple[list[int], Tensor]]:
        """Positions of pictures and what the network takes of them, up to a block of one size at a time."""
        for start in range(0, len(pictures), PICTURES_PER_BLOCK):
            of_size: dict[tuple[int, ...], list[int]] = {}
            for position in range(start, min(start + PICTURES_PER_BLOCK, len(pictures))):
                of_size.setdefault(pictures[position].shape, []).append(position)
            ready: dict[torch.Size, list[tuple[list[int], Tensor]]] = {}
            for shape, positions in of_size.items():
                # Large pictures by few: in preparation they are floats, and many times what they were.
                few = max(1, _PREPARED_BYTES // math.prod(shape))
                for group in (positions[at : at + few] for at in range(0, len(positions), few)):
                    stacked = torch.from_numpy(np.stack([pictures[position] for position in group]))
                    prepared = self.prepare(stacked.to(self.device))
                    ready.setdefault(prepared.shape[1:], []).append((group, prepared))
            # Sizes that preparation made equal go through the network together.
            for parts in ready.values():
                yield [place for places, _ in parts for place in places], torch.cat([tensor for _, tensor in parts])

    def _on_whole_block(self, prepared: Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        count = len(prepared)
        missing = PICTURES_PER_BLOCK - count
        if missing:
            prepared = torch.cat([prepared, prepared.new_zeros(missing, *prepared.shape[1:])])
        found, scores = self.compute(prepared)
        if found.shape != (PICTURES_PER_BLOCK, self.width):
            raise DataError(
                f"features of {self.name} have the shape {tuple(found.shape)}, not {(PICTURES_PER_BLOCK, self.width)}"
                " - give a network that returns one vector a picture"
            )
        return found[:count].float().cpu().numpy(), None if scores is None else scores[:count].float().cpu().numpy()


def sha256_of_parameters(network: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a network's tensors, for one that came from no file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def as_colour(pictures: Tensor) -> Tensor:
    """(N, H, W, C) with three channels: grey is repeated."""
    return pictures.expand(*pictures.shape[:3], 3) if pictures.shape[3] == 1 else pictures


def _check_picture(picture: np.ndarray, position: int) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3) or 0 in picture.shape:
        raise DataError(
            f"picture {position} of a block is {picture.shape} {picture.dtype} - give uint8 (height, width, 1 or 3)"
        )
