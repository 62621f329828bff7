"""Layers that the networks share: normalization, dropout and padding, exact and fast in channels-last memory."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.step import current_context

Normalization = Literal["instance", "batch", "none"]


def normalization_layer(kind: Normalization, channels: int) -> nn.Module:
    """The normalization that follows a convolution with `channels` outputs."""
    if kind == "instance":
        return InstanceNorm()
    if kind == "batch":
        return BatchNorm(channels)
    return nn.Identity()


def couples_batch(network: nn.Module) -> bool:
    """Whether the samples of a batch influence each other in training, so that it must not be split or joined."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class InstanceNorm(nn.Module):
    """Instance normalization without affine weights or running statistics.

    Source: Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022, equation 4. Equal to ``nn.InstanceNorm2d``; in
    channels-last memory on a CPU it takes the batch-norm kernels sample by sample, which read each value once instead
    of copying the picture into another layout and back. Differentiable twice.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W), each channel of each sample with mean 0 and variance 1.

        Raises:
            ValueError: the pictures have a single pixel, whose variance means nothing.
        """
        if _is_recorded():
            return functional.instance_norm(images, eps=self.epsilon)
        if images.shape[2:].numel() == 1:
            raise ValueError(f"instance norm needs more than 1 spatial element, got {tuple(images.shape)}")
        if _takes_fast_path(images):
            return _SamplewiseNorm.apply(images, self.epsilon)  # type: ignore[return-value]
        return _differentiable_norm(images, self.epsilon)

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


def _takes_fast_path(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.is_contiguous(memory_format=torch.channels_last)


def _is_recorded() -> bool:
    """Whether an exporter or compiler is writing down the operations, which should then be the plain ones."""
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return tracing or torch.compiler.is_compiling()


def _differentiable_norm(images: Tensor, epsilon: float) -> Tensor:
    """Instance norm as group norm with a channel a group, whose gradients are right in every memory layout.

    Those of torch 2.15's own instance norm are wrong on a CPU when one picture meets a channels-last gradient.
    """
    return functional.group_norm(images, images.shape[1], eps=epsilon)


class _SamplewiseNorm(torch.autograd.Function):
    """Instance norm of channels-last CPU tensors through the batch-norm kernels, one sample at a time."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, epsilon: float) -> Tensor:
        result = torch.empty_like(images)
        statistics = []
        for source, target in zip(images.split(1), result.split(1), strict=True):
            normalized, mean, inverse_deviation = torch.native_batch_norm(
                source, None, None, None, None, True, 0.0, epsilon
            )
            if len(images) == 1:
                result = normalized
            else:
                target.copy_(normalized)
            statistics.append((mean, inverse_deviation))
        ctx.epsilon, ctx.statistics = epsilon, statistics
        ctx.save_for_backward(images)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,), gradient = ctx.saved_tensors, gradients[0]
        if torch.is_grad_enabled():
            # A second derivative is wanted: differentiate an operation whose graph is complete.
            with torch.enable_grad():
                again = _differentiable_norm(images, ctx.epsilon)
                return torch.autograd.grad(again, images, gradient, create_graph=True)[0], None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                part, source, None, None, None, mean, inverse_deviation, True, ctx.epsilon, [True, False, False]
            )[0]
            for part, source, (mean, inverse_deviation) in zip(
                gradient.split(1), images.split(1), ctx.statistics, strict=True
            )
        ]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), None


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization whose training statistics are those of the joined batch of all processes.

    Source: Ioffe & Szegedy 2015, algorithm 1. On one process it is ``nn.BatchNorm2d``; on several, mean and mean
    square are averaged differentiably (``nn.SyncBatchNorm`` refuses CPU tensors).
    """

    def forward(self, input: Tensor) -> Tensor:
        context = current_context()
        if not self.training or context is None or context.joined.processes == 1:
            return super().forward(input)
        values = input if input.dtype == torch.float64 else input.float()
        mean = context.joined.mean(values.mean(dim=(0, 2, 3)))
        variance = context.joined.mean((values - mean[:, None, None]).square().mean(dim=(0, 2, 3)))
        joined_count = context.joined.processes * values[:, 0].numel()
        self._update_running(mean.detach(), variance.detach(), joined_count)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(input.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


class ReflectionPad(nn.Module):
    """Reflection padding by `pixels` on every side, reproducible where that is asked for.

    The backward of the stock operation adds in an unpredictable order on CUDA; under
    ``torch.use_deterministic_algorithms`` the padding is put together from flipped strips instead.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H + 2 pixels, W + 2 pixels); H and W above `pixels`."""
        if images.is_cuda and torch.are_deterministic_algorithms_enabled():
            return pad_with_flipped_strips(images, self.pixels)
        return functional.pad(images, (self.pixels,) * 4, mode="reflect")

    def extra_repr(self) -> str:
        return f"pixels={self.pixels}"


def pad_with_flipped_strips(images: Tensor, pixels: int) -> Tensor:
    """Reflection padding whose backward adds in a fixed order."""
    for dimension in (2, 3):
        length = images.shape[dimension]
        before = images.narrow(dimension, 1, pixels).flip(dimension)
        after = images.narrow(dimension, length - 1 - pixels, pixels).flip(dimension)
        images = torch.cat([before, images, after], dim=dimension)
    return images


class Dropout(nn.Module):
    """Dropout whose masks are keyed by seed and global sample index while an engine trains.

    Outside an engine it is ``nn.Dropout``.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; zeros with `probability`, the rest scaled by 1 / (1 - probability)."""
        context = current_context()
        if not self.training or self.probability == 0.0:
            return images
        if context is None:
            return functional.dropout(images, self.probability)
        keep = 1.0 - self.probability
        mask = context.random.keep_mask(f"dropout/{context.number_call()}", len(images), images.shape[1:], keep)
        return images * mask.to(images.dtype) / keep

    def extra_repr(self) -> str:
        return f"probability={self.probability}"
