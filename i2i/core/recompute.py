"""Activation checkpointing: what a block of a network computed is not kept for the backward pass but computed again.

Only what goes into a block is kept. A network then holds the inputs of all its blocks and, while it goes back, what one
of them computes within; its forward pass is computed twice. The gradients are the same bits where the same kernels run.

Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174, section 3.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from i2i.core.step import current_context, running


def recompute_activations(network: nn.Module) -> int:
    """Have the blocks of `network` computed again in the backward pass, in place; returns how many there are.

    Blocks are what stands in rows (``nn.Sequential``, ``nn.ModuleList``), as a whole if it holds a convolution and more
    than that; a long row of single layers is cut into about as many pieces as each has convolutions. Names of weights
    and buffers stay. What a block draws by `StepContext.number_call` is the same again; running statistics and
    singular vectors move once.
    """
    blocks = list(_blocks(network))
    for block in blocks:
        assert "forward" not in vars(block), "a network is prepared once"
        # On the instance: the names of its weights, its class and its hooks stay what they are.
        block.forward = _Again(block, _pieces(block))
    return len(blocks)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _in_row(child)
        elif _is_worth_it(child):
            yield child


def _in_row(row: nn.Sequential | nn.ModuleList) -> Iterator[nn.Module]:
    members = list(row)
    if isinstance(row, nn.Sequential) and any(_is_layer(member) for member in members):
        # They belong together: a convolution, what normalizes it, an activation. Where the first one writes over what
        # goes in, there is nothing to begin again with.
        if _is_worth_it(row) and not getattr(members[0], "inplace", False):
            yield row
        return
    for member in members:
        if isinstance(member, nn.Sequential | nn.ModuleList):
            yield from _in_row(member)
        elif _is_worth_it(member):
            yield member


def _is_layer(module: nn.Module) -> bool:
    """Whether it is made of nothing else; what norms its weight does not count."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def _is_worth_it(module: nn.Module) -> bool:
    """Whether more is kept within than at its entrance: one convolution keeps nothing but its input."""
    layers = [part for part in module.modules() if part is not module and _is_layer(part)]
    kept = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    return not _is_layer(module) and len(kept) > 1 and any(map(_is_convolution, kept))


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)


def _pieces(block: nn.Module) -> list[Callable[..., Any]]:
    """Forward passes which one after another are that of `block`: the block's own, unless it is a long row."""
    convolutions = [place for place, member in enumerate(block.children()) if _is_convolution(member)]
    most = max(2, math.ceil(math.sqrt(len(convolutions))))
    if type(block) is not nn.Sequential or len(convolutions) <= most:
        return [block.forward]
    # A piece begins with a convolution: what is kept between two pieces is what that would keep anyway.
    starts = [0, *convolutions[most::most]]
    return [block[start:end] for start, end in zip(starts, [*starts[1:], len(block)], strict=True)]


class _Again:
    """A forward pass whose activations are computed again."""

    def __init__(self, block: nn.Module, pieces: Sequence[Callable[..., Any]]) -> None:
        self._block, self._pieces = block, pieces

    def __call__(self, *inputs: Any) -> Any:
        first, *others = (self._run(piece) for piece in self._pieces)
        result = first(*inputs)
        for piece in others:
            result = piece(result)
        return result

    def _run(self, piece: Callable[..., Any]) -> Callable[..., Any]:
        if not torch.is_grad_enabled():
            return piece

        def contexts() -> tuple[contextlib.AbstractContextManager[object], contextlib.AbstractContextManager[object]]:
            return contextlib.nullcontext(), _AsItWas(self._block)

        # Nothing here draws from torch's own generators, whose states would be saved at every call.
        return partial(checkpoint, piece, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


class _AsItWas:
    """Within it a block finds everything as it is now, as often as it is entered: numbers of calls, buffers."""

    def __init__(self, block: nn.Module) -> None:
        context = current_context()
        self._context = None if context is None else context.from_here()
        self._buffers = [
            (module, name, buffer.clone())
            for module in block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        self._open: list[contextlib.ExitStack] = []

    def __enter__(self) -> None:
        stack = contextlib.ExitStack()
        if self._context is not None:
            # A backward pass runs outside the update's context, on CUDA in another thread.
            stack.enter_context(running(self._context.from_here()))
        for module, name, kept in self._buffers:
            # Copies: the buffers themselves have moved on, and moved once is enough.
            stack.callback(module.__setattr__, name, module.get_buffer(name))
            setattr(module, name, kept.clone())
        self._open.append(stack)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.pop().close()
