"""What every feature extractor promises, so that metrics need to know none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Features:
    """What a network saw in N pictures, a row a picture."""

    vectors: np.ndarray
    """(N, D), float32."""
    logits: np.ndarray | None
    """(N, K), float32, unnormalized, for the Inception Score; None where the network tells no classes apart."""

    def __len__(self) -> int:
        return len(self.vectors)


class FeatureExtractor(Protocol):
    """A network that turns pictures into feature vectors, and what makes its figures comparable with others'.

    Figures compare only where `name`, `weights_sha256` and `preprocessing` agree.
    """

    @property
    def name(self) -> str:
        """The network and the layer, e.g. "inception-2015-12-05"."""
        ...

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file, of the parameters' bytes where there is no file."""
        ...

    @property
    def preprocessing(self) -> str:
        """What is done to a picture before the network sees it, in words."""
        ...

    @property
    def width(self) -> int:
        """D, of the feature vectors."""
        ...

    @property
    def classes(self) -> int | None:
        """K, of the logits; None where there are none."""
        ...

    def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
        """Features of `pictures`, uint8 (H, W, C) with 1 or 3 channels, of any sizes and any number.

        A picture's row depends on that picture alone, to the last bit: not on its companions or their number.

        Raises:
            DataError: what is no such picture, by its position.
        """
        ...
