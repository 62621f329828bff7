"""Layers that the networks share: normalization, dropout and padding, exact and fast in channels-last memory."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from i2i.core.moments import moments_of
from i2i.core.step import current_context
from i2i.core.virtual_batch_norm import VirtualBatchNorm

Normalization = Literal["instance", "batch", "none"]
"""Of networks that translate or judge pictures on their own."""
LatentNormalization = Literal["batch", "virtual", "none"]
"""Of networks that can hold a reference batch for virtual batch norm."""
_SUMMED_AT_ONCE = 2**17
"""Pixels up to which the kernel's sums in float32 do; of 3 million they get the third digit of a variance wrong."""


def normalization_layer(
    kind: Normalization | LatentNormalization, channels: int, *, reference_rows: int = 0
) -> nn.Module:
    """The normalization that follows a convolution with `channels` outputs; `reference_rows` is for "virtual"."""
    if kind == "instance":
        return InstanceNorm()
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "virtual":
        return VirtualBatchNorm(channels, reference_rows)
    return nn.Identity()


def what_couples_batch(network: nn.Module) -> str | None:
    """What makes the samples of a batch influence each other in training, for messages; None when nothing does.

    Beside batch norm these are modules with an attribute ``couples_batch = True``; their `coupling` names them.
    """
    found = {}
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found["batch norm"] = True
        elif getattr(module, "couples_batch", False):
            found[getattr(module, "coupling", type(module).__name__)] = True
    return " and ".join(found) or None


def couples_batch(network: nn.Module) -> bool:
    """Whether a batch must not be split or joined, because its samples influence each other in training."""
    return what_couples_batch(network) is not None


def spectral_norm(layer: nn.Module) -> nn.Module:
    """Keep the largest singular value of the layer's weight at 1, in place; gives the layer back.

    Source: Miyato et al. 2018, https://arxiv.org/abs/1802.05957, algorithm 1, with one power iteration for each call
    in training mode. Calls are thereby counted: a batch in two halves is not the same as in one.
    """
    parametrizations.spectral_norm(layer, "weight")
    layer.couples_batch = True  # type: ignore[assignment]
    layer.coupling = "spectral norm"  # type: ignore[assignment]
    return layer


class Tanh(nn.Tanh):
    """Hyperbolic tangent, the end of a generator, in float32 at least; what it gives stays so.

    Its derivative is 1 minus the square of what came out. Near black and white bfloat16 knows for that only 0, 1/128,
    1/64 ..., so that pixels from 254.7 of 255 on would learn nothing more, and others up to twice what they should.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same."""
        return torch.tanh(input if input.dtype.itemsize >= 4 else input.float())


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
        if is_recorded():
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


def is_recorded() -> bool:
    """Whether an exporter or compiler is writing down the operations, which should then be the plain ones."""
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return tracing or torch.compiler.is_compiling()


def _differentiable_norm(images: Tensor, epsilon: float) -> Tensor:
    """Instance norm as group norm with a channel a group, whose gradients are right in every memory layout.

    Those of torch 2.15's own instance norm are wrong on a CPU when one picture meets a channels-last gradient.
    """
    return functional.group_norm(images, images.shape[1], eps=epsilon)


def normalize_sample(
    image: Tensor, epsilon: float, affine: tuple[Tensor, Tensor] | None = None, *, in_place: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize one channels-last picture (1, C, H, W) on a CPU by the kernels of batch norm.

    Args:
        affine: factors and summands (C,) for what is normalized; in float32 they keep the statistics of narrower
            formats in float32 too.
        in_place: put the result in the place of `image`.

    Returns:
        The normalized picture, and of each channel the mean and the inverse of the standard deviation.
    """
    weight, bias = affine or (None, None)
    mean, variance = None, None
    is_large = image.shape[2:].numel() > _SUMMED_AT_ONCE
    if is_large:
        moments = moments_of(image)
        mean, variance = moments.mean.float(), moments.variance.float()
        weight, bias = affine or (torch.ones_like(mean), torch.zeros_like(mean))
    arguments = (image, weight, bias, mean, variance, not is_large, 0.0, epsilon)
    if in_place:
        statistics = [torch.empty(image.shape[1], dtype=torch.float32) for _ in range(2)]
        normalized, *found = torch.native_batch_norm(*arguments, out=(image, *statistics))
    else:
        normalized, *found = torch.native_batch_norm(*arguments)
    if mean is not None and variance is not None:
        found = [mean, torch.rsqrt(variance + epsilon)]
    return normalized, found[0], found[1]


class _SamplewiseNorm(torch.autograd.Function):
    """Instance norm of channels-last CPU tensors through the batch-norm kernels, one sample at a time."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, epsilon: float) -> Tensor:
        result = torch.empty_like(images)
        statistics = []
        for source, target in zip(images.split(1), result.split(1), strict=True):
            normalized, mean, inverse_deviation = normalize_sample(source, epsilon)
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
        # A compiler, which is only let at networks of one process, does not know contexts.
        context = None if torch.compiler.is_compiling() else current_context()
        if not self.training or context is None or context.joined.processes == 1:
            return super().forward(input)
        values = input if input.dtype == torch.float64 else input.float()
        mean = context.joined.mean(values.mean(dim=(0, 2, 3)))
        variance = context.joined.mean((values - mean[:, None, None]).square().mean(dim=(0, 2, 3)))
        joined_count = context.joined.processes * values[:, 0].numel()
        self._update_running(mean.detach(), variance.detach(), joined_count)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = self.bias + shift
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(input.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


class ConditionalBatchNorm(BatchNorm):
    """Batch normalization with a scale and a shift for each class.

    Source: Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629, section 2.2, as in the conditional generator of
    Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637, section 4.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, affine=False)
        self.scales = nn.Parameter(torch.ones(classes, channels))
        self.shifts = nn.Parameter(torch.zeros(classes, channels))

    def initialize_weights(self, generator: torch.Generator) -> None:
        """Classes start alike."""
        nn.init.ones_(self.scales)
        nn.init.zeros_(self.shifts)

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, C, H, W) with labels (N,) to (N, C, H, W)."""
        assert labels is not None, "a class-conditional layer needs labels"
        normalized = super().forward(input)
        scale, shift = (functional.embedding(labels, table)[..., None, None] for table in (self.scales, self.shifts))
        return torch.addcmul(shift.to(normalized.dtype), normalized, scale.to(normalized.dtype))


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


class BlurDown(nn.Module):
    """Halves the size without aliasing: [1 2 1] / 4 along both sides, then every other pixel, edges mirrored.

    Source: Zhang 2019, https://arxiv.org/abs/1904.11486, section 3.3 ("triangle-3"). The filter is that of two
    averages over two pixels, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pad = ReflectionPad(1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H / 2, W / 2), halves rounded up; H and W above 1."""
        return functional.avg_pool2d(functional.avg_pool2d(self.pad(images), 2, stride=1), 2, stride=2)


class BlurUp(nn.Module):
    """Doubles the size without aliasing: [1 3 3 1] / 4 along both sides between the pixels, edges repeated.

    Source: as `BlurDown`. This filter at this factor is bilinear interpolation.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2 H, 2 W)."""
        return functional.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


class Dropout(nn.Module):
    """Dropout whose masks are keyed by seed and global sample index while an engine trains.

    Outside an engine it is ``nn.Dropout``.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, images: Tensor) -> Tensor:
        """(N, ...) to the same shape; zeros with `probability`, the rest scaled by 1 / (1 - probability)."""
        if not self.training or self.probability == 0.0:
            return images
        context = current_context()
        if context is None:
            return functional.dropout(images, self.probability)
        keep = 1.0 - self.probability
        mask = context.random.keep_mask(f"dropout/{context.number_call()}", len(images), images.shape[1:], keep)
        return images * mask.to(images.dtype) / keep

    def extra_repr(self) -> str:
        return f"probability={self.probability}"
