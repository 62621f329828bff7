"""Networks computed by PyTorch itself, operation by operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2i.inference.runners.preparation import prepared
from i2i.inference.runtime import Precision, numerics, resolve_device
from i2i.inference.sizes import AnySize
from i2i.pipelines.protocol import EntryPoint, PictureEntryPoint


class PyTorchRunner:
    """A network in PyTorch.

    Args:
        network: of the entry point; put into evaluation mode and moved to `device`.
        precision: fp32 is exact; bf16 and fp16 compute with fewer digits, which pays on some hardware.
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        entry_point: EntryPoint,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.device = resolve_device(device) if isinstance(device, str) else device
        # Channels last: the order in which convolutions and norms of this size run fastest on CPU and GPU alike.
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.precision: Precision = precision
        faster = prepared(self.network, self.device, precision)
        # Latents have one shape; generators promise the same bits every time.
        takes_pictures = isinstance(entry_point, PictureEntryPoint)
        self._computed = AnySize(faster, entry_point) if takes_pictures else faster
        self._deterministic = not takes_pictures

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor | None) -> Tensor:
        placed = [None if value is None else value.to(self.device) for value in inputs]
        with numerics(self.device, self.precision, deterministic=self._deterministic):
            return self._computed(*placed).float()
