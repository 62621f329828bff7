"""Virtual batch normalization, and the reference batch that a network holds for it.

Source: Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 3.4. A network puts its reference batch in front
of every training batch and cuts it off the result, so each sample is judged beside the same fixed companions and never
beside its neighbours: the batch may be split at will.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class VirtualBatchNorm(nn.Module):
    """Normalizes each sample by the statistics of a fixed reference batch and of the sample itself.

    The first `reference_rows` rows of a training batch are the reference, normalized by their own statistics. In
    evaluation the batch has no such rows: the reference's statistics are those of the last training call, which are
    saved with the weights.
    """

    reference_mean: Tensor
    reference_variance: Tensor

    def __init__(self, channels: int, reference_rows: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        if reference_rows < 1:
            raise ValueError(f"reference_rows is {reference_rows}; needs at least 1")
        self.reference_rows = reference_rows
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("reference_mean", torch.zeros(channels))
        self.register_buffer("reference_variance", torch.ones(channels))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W); in training the first `reference_rows` of the N are the reference."""
        values = images if images.dtype == torch.float64 else images.float()
        own = values
        reference_mean, reference_variance = self.reference_mean, self.reference_variance
        if self.training:
            reference, own = values[: self.reference_rows], values[self.reference_rows :]
            reference_variance, reference_mean = torch.var_mean(reference, dim=(0, 2, 3), correction=0)
            self.reference_mean.copy_(reference_mean.detach())
            self.reference_variance.copy_(reference_variance.detach())
        # The reference and one sample more: statistics of the joined set from those of its parts.
        share = 1.0 / (self.reference_rows + 1)
        own_variance, own_mean = torch.var_mean(own, dim=(2, 3), correction=0)  # (n, C)
        mean = (1.0 - share) * reference_mean + share * own_mean
        variance = (1.0 - share) * (reference_variance + (reference_mean - mean).square()) + share * (
            own_variance + (own_mean - mean).square()
        )
        if self.training:
            mean = torch.cat([reference_mean.expand(self.reference_rows, -1), mean])
            variance = torch.cat([reference_variance.expand(self.reference_rows, -1), variance])
        scale = torch.rsqrt(variance + self.epsilon) * self.weight
        shift = self.bias - mean * scale
        return torch.addcmul(shift[..., None, None], values, scale[..., None, None]).to(images.dtype)

    def extra_repr(self) -> str:
        return f"reference_rows={self.reference_rows}"


class ReferenceBatch(nn.Module):
    """The fixed rows that a network puts in front of every training batch, saved with its weights."""

    inputs: Tensor
    chosen: Tensor

    def __init__(self, rows: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("inputs", torch.zeros(rows, *shape))
        self.register_buffer("chosen", torch.zeros((), dtype=torch.int64))

    @property
    def is_chosen(self) -> bool:
        # The buffer alone knows: an engine may put buffers back, or load them.
        return bool(self.chosen)

    @torch.no_grad()
    def choose(self, inputs: Tensor) -> None:
        """Take `inputs` for good; see `set_reference`."""
        if self.is_chosen:
            raise ValueError("the reference batch is chosen already; it stays the same for the whole training")
        rows = len(self.inputs)
        if inputs.shape != self.inputs.shape:
            message = f"the reference batch is {tuple(inputs.shape)}; needs {tuple(self.inputs.shape)}"
            if inputs.shape[1:] == self.inputs.shape[1:]:
                message += f" - make reference_rows {len(inputs)}, or the batch at least {rows}"
            raise ValueError(message)
        self.inputs.copy_(inputs)
        self.chosen.fill_(1)

    def rows(self) -> Tensor:
        """The reference inputs, (rows, ...).

        Raises:
            ValueError: they have not been chosen yet.
        """
        if not self.is_chosen:
            raise ValueError("virtual batch norm has no reference batch yet - choose one with set_reference")
        return self.inputs


class ReferenceLatents(ReferenceBatch):
    """A reference batch of latents, drawn together with the initial weights."""

    def initialize_weights(self, generator: torch.Generator) -> None:
        """Standard normal latents."""
        nn.init.normal_(self.inputs, generator=generator)
        self.chosen.fill_(1)


def reference_rows(network: nn.Module) -> int:
    """How many reference inputs the network's virtual batch norm needs; 0 when it has none."""
    return sum(len(batch.inputs) for batch in _reference_batches(network))


def has_reference(network: nn.Module) -> bool:
    """Whether the network needs no reference batch, or has it already."""
    return all(batch.is_chosen for batch in _reference_batches(network))


def set_reference(network: nn.Module, inputs: Tensor) -> None:
    """Choose the reference batch of a network once and for all.

    Args:
        network: one with virtual batch norm.
        inputs: (reference_rows, ...) of what the network takes; equal on all processes.

    Raises:
        ValueError: it is chosen already, or `inputs` has another shape, or the network holds no reference batch.
    """
    batches = _reference_batches(network)
    if not batches:
        raise ValueError("this network has no virtual batch norm and takes no reference batch")
    for batch in batches:
        batch.choose(inputs)


def _reference_batches(network: nn.Module) -> list[ReferenceBatch]:
    return [module for module in network.modules() if isinstance(module, ReferenceBatch)]
