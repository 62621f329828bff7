"""A trained network made faster to run, in ways that change no result by more than rounding.

Batch norm disappears into the convolution before it. Weights take the number format of the computation once and not at
every call. On the CPU instance norm writes its result over its input, which spares the time that fresh memory costs,
and convolutions with few outputs compute several pixels at a time, for processors multiply in rows of sixteen.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from i2i.core.cells import FewOutputsConv2d, cell_weights, convolve_cells, gains_by_cells, whole_cells
from i2i.core.generators.resnet import ResidualBlock
from i2i.core.layers import BatchNorm, InstanceNorm, ReflectionPad, normalize_sample
from i2i.inference.runtime import Precision, autocast_type

# A padded map of 64 channels in bf16 at 1024 pixels has 136 MB.
_MOST_BYTES = 2**28


def prepared(network: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """A faster form of a `network` in evaluation mode that lies on `device`, whose own tensors are left as they are.

    Results in bf16 and fp16 are those that autocast gives.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    faster = copy.deepcopy(network, shared)
    uses = Counter(id(module) for _, module in faster.named_modules(remove_duplicate=False))
    for part in list(faster.modules()):
        if isinstance(part, nn.Sequential):
            _prepare_chain(part, uses, on_cpu=device.type == "cpu")
    if device.type == "cpu":
        compute_by_cells(faster)
        _reuse_memory(faster, uses)
    if precision != "fp32":
        _convert_weights(faster, autocast_type(precision))
    return faster.eval().requires_grad_(False)


def _prepare_chain(chain: nn.Sequential, uses: Counter[int], *, on_cpu: bool) -> None:
    """Replace modules that follow each other; what other parts of the network use too is left alone."""
    for index in range(len(chain)):
        layer = chain[index]
        if not _is_plain(layer) or uses[id(layer)] != 1:
            continue
        following = chain[index + 1] if index + 1 < len(chain) else None
        if following is not None and uses[id(following)] == 1:
            if _can_be_folded(following):
                chain[index] = layer = _folded(layer, following)
                chain[index + 1] = nn.Identity()
            elif on_cpu and type(following) is InstanceNorm and isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                chain[index + 1] = OverwritingInstanceNorm(layer.out_channels, following.epsilon)


def compute_by_cells(network: nn.Module) -> None:
    """Have convolutions with few outputs computed by cells, in place; those that other parts use too are left alone.

    Once more changes nothing.
    """
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    for part in [part for part in network.modules() if not isinstance(part, CellConvolution)]:
        for name, layer in part.named_children():
            if isinstance(layer, nn.Conv2d) and _is_plain(layer) and uses[id(layer)] == 1 and gains_by_cells(layer):
                setattr(part, name, CellConvolution(layer))


def _reuse_memory(network: nn.Module, uses: Counter[int]) -> None:
    """Put paddings that only a convolution reads into memory of their own, and sums of blocks in the branch's place."""
    workspace = Workspace()
    for part in list(network.modules()):
        if isinstance(part, nn.Sequential):
            for index in range(len(part) - 1):
                layer, following = part[index], part[index + 1]
                if type(layer) is ReflectionPad and isinstance(following, (nn.Conv2d, CellConvolution)):
                    part[index] = ReusingPad(layer.pixels, workspace)
        for name, child in part.named_children():
            if type(child) is ResidualBlock and uses[id(child)] == 1:
                setattr(part, name, OverwritingResidual(child))


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is its weights and nothing else: no parametrization, no hook, no class of its own."""
    return type(layer) in (nn.Conv2d, FewOutputsConv2d, nn.ConvTranspose2d, nn.Linear) and not (
        layer._forward_hooks or layer._forward_pre_hooks
    )


def _can_be_folded(norm: nn.Module) -> bool:
    plain = type(norm) in (BatchNorm, nn.BatchNorm2d, nn.BatchNorm1d)
    return plain and norm.running_mean is not None and not (norm._forward_hooks or norm._forward_pre_hooks)


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One layer that does what a linear one and a batch norm in evaluation mode do."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    norm = copy.deepcopy(norm)
    if not norm.affine:
        assert norm.running_mean is not None
        norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    fused = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _convert_weights(network: nn.Module, kind: torch.dtype) -> None:
    for layer in network.modules():
        if _is_plain(layer) or isinstance(layer, CellConvolution):
            for name, weight in list(layer.named_parameters(recurse=False)):
                # New parameters: the old ones may be those of the network that this is a copy of.
                setattr(layer, name, nn.Parameter(weight.detach().to(kind), requires_grad=False))


class Workspace(threading.local):
    """Memory that is used again at every call; each thread has its own."""

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], Tensor] = {}

    def __deepcopy__(self, memo: object) -> Workspace:
        return Workspace()

    def like(self, images: Tensor, height: int, width: int) -> Tensor:
        """(N, C, height, width) of the kind of `images` (N, C, H, W), with whatever was in it."""
        shape = (*images.shape[:2], height, width)
        key = (*shape, images.dtype)
        found = self._held.get(key)
        if found is None:
            found = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
            # What is held others lack; large pictures are not many, and fresh memory costs them little.
            if sum(tensor.nbytes for tensor in self._held.values()) + found.nbytes > _MOST_BYTES:
                self._held.clear()
            if found.nbytes <= _MOST_BYTES:
                self._held[key] = found
        return found


class ReusingPad(nn.Module):
    """`ReflectionPad` into memory that the next call overwrites."""

    def __init__(self, pixels: int, workspace: Workspace) -> None:
        super().__init__()
        self.pixels = pixels
        self.workspace = workspace

    def forward(self, images: Tensor) -> Tensor:
        """As `ReflectionPad`."""
        height, width = (side + 2 * self.pixels for side in images.shape[2:])
        padded = self.workspace.like(images, height, width)
        return torch.ops.aten.reflection_pad2d.out(images, [self.pixels] * 4, out=padded)


class OverwritingResidual(nn.Module):
    """`ResidualBlock` that adds its input to what its branch gave, in place."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.branch = block.branch

    def forward(self, features: Tensor) -> Tensor:
        """As `ResidualBlock`."""
        change = self.branch(features)
        return change.add_(features) if change.dtype == features.dtype else features + change


class OverwritingInstanceNorm(nn.Module):
    """`InstanceNorm` that puts its result in the place of its input, which nothing else may need."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.norm = InstanceNorm(epsilon)
        # In fp32 whatever the pictures are in: so the statistics are kept in it too.
        self.register_buffer("scale", torch.ones(channels), persistent=False)
        self.register_buffer("shift", torch.zeros(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W), as `InstanceNorm`."""
        if images.shape[2:].numel() == 1 or not images.is_contiguous(memory_format=torch.channels_last):
            return self.norm(images)
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        for image in images.split(1):
            normalize_sample(image, self.epsilon, (scale, shift), in_place=True)
        return images


class CellConvolution(nn.Module):
    """A convolution of stride 1 computed by cells, whose kernel is laid out once."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.plain = layer
        kernel, bias = cell_weights(layer)
        self.weight = nn.Parameter(kernel.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach())

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to what the convolution gives."""
        if not whole_cells(images, self.plain):
            return self.plain(images)
        return convolve_cells(images, self.weight, self.bias, self.plain)
