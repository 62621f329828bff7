"""Networks run through torch.compile, one by one and in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from i2i.core.layers import Dropout, couples_batch
from i2i.errors import one_line
from i2i.training.engine import Engine

BACKEND = "inductor"
"""Who writes the kernels; tests take one that needs no compiler."""
_MOST_VARIANTS = 64
"""Kinds of call for which one network is compiled; torch's 8 would run out: weights fixed or not, each batch size."""


def compile_networks(engine: Engine, report: Callable[[str], None]) -> Callable[[], None]:
    """Compile every network that can be, at its first call; gives what takes it back.

    Networks stay the modules that they are, with the names of their weights; copies of them (averages, what samples are
    made with) are not compiled. A network is left as it is when its dropout draws by sample, which no kernel can, when
    its batch is coupled over several processes, which talk to each other within it, and with activation checkpointing.

    Where compiling fails the network runs as it is, with one line to `report`.

    Raises:
        RuntimeError: this torch compiles wrongly.
    """
    if not notices_thawed_weights():
        raise RuntimeError(f"torch {torch.__version__} gives no gradients to weights that were frozen for a while")
    import torch._dynamo.config as tracing
    import torch._functorch.config as differentiating

    before = (
        tracing.recompile_limit,
        differentiating.donated_buffer,
        differentiating.force_non_lazy_backward_lowering,
    )
    tracing.recompile_limit = _MOST_VARIANTS
    # The audit of the loss terms goes back through a graph more than once.
    differentiating.donated_buffer = False
    # What is wrong with the kernels of the backward pass must come out in the forward pass, where there is a way out.
    differentiating.force_non_lazy_backward_lowering = True
    chosen = [network for network in engine.pipeline.networks.values() if _can_be_compiled(network, engine)]
    for name, network in engine.pipeline.networks.items():
        if network in chosen:
            network._compiled_call_impl = _CompiledCall(name, network, report)

    def take_back() -> None:
        for network in chosen:
            network._compiled_call_impl = None
        (
            tracing.recompile_limit,
            differentiating.donated_buffer,
            differentiating.force_non_lazy_backward_lowering,
        ) = before

    return take_back


def _can_be_compiled(network: nn.Module, engine: Engine) -> bool:
    draws = any(isinstance(module, Dropout) and module.probability > 0 for module in network.modules())
    # A compiler decides itself what it keeps, and knows nothing of the numbers of draws and of buffers.
    if engine.settings.activation_checkpointing:
        return False
    return not draws and not (engine.processes.count > 1 and couples_batch(network))


class _CompiledCall:
    """Calls a network's compiled form, or the network itself from the moment on where that fails."""

    def __init__(self, name: str, network: nn.Module, report: Callable[[str], None]) -> None:
        self._name = name
        self._network = network
        self._report = report
        # Sizes do not change while training goes on; kernels for all sizes are slower. A network in several pieces
        # would gain little.
        network.compile(backend=BACKEND, dynamic=False, fullgraph=True)
        self._compiled: Callable[..., Any] = network._compiled_call_impl  # type: ignore[assignment]

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self._compiled(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail with exceptions of every kind
            # The network may be to blame itself: then it says so here.
            result = self._network._call_impl(*inputs)
            self._network._compiled_call_impl = None
            why = one_line(error)
            self._report(f"speed: compiled_networks does not work here for {self._name} ({why}); on without it")
            return result


@cache
def notices_thawed_weights() -> bool:
    """Whether torch.compile sees that weights which were frozen when it met them are trained now.

    That of torch 2.11 does not always, and they would get no gradients without a word. Takes a second, once.
    """
    layer = nn.Linear(2, 2)
    forward = torch.compile(layer.forward, backend="aot_eager", dynamic=False, fullgraph=True)
    row = torch.ones(1, 2)
    for needs_gradient in (False, True):
        inputs = row.clone().requires_grad_(needs_gradient)
        layer.requires_grad_(False)
        forward(inputs)
        layer.requires_grad_(True)
        made = forward(inputs)
        if not made.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(made.sum(), layer.weight, allow_unused=True)
        if gradient is None or not bool(gradient.any()):
            return False
    return True
