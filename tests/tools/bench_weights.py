"""Makes a plain network of the benches the same function as ours."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def in_order_of_use(network: nn.Module, given: Tensor) -> list[nn.Module]:
    """The modules with weights of their own, as a forward pass comes to them."""
    # In the ordinary memory layout every module is called by itself.
    stand_in = copy.deepcopy(network).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    used: list[str] = []

    def note(name: str, module: nn.Module) -> None:
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(lambda module, inputs: used.append(name))

    for name, module in stand_in.named_modules():
        note(name, module)
    with torch.no_grad():
        stand_in(given)
    return [network.get_submodule(name) for name in used]


@torch.no_grad()
def copy_weights(ours: nn.Module, plain: nn.Module, ours_in: Tensor, plain_in: Tensor) -> None:
    """Copy weight by weight in the order of use; biases that ours leaves out, for they have no effect, become 0."""
    mine, theirs = in_order_of_use(ours, ours_in), in_order_of_use(plain, plain_in)
    assert len(mine) == len(theirs)
    for source, target in zip(mine, theirs, strict=True):
        values = list(source.parameters(recurse=False))
        slots = dict(target.named_parameters(recurse=False))
        for slot, value in zip(slots.values(), values, strict=False):
            assert slot.shape == value.shape
            slot.copy_(value)
        for name in list(slots)[len(values) :]:
            assert name == "bias"
            slots[name].zero_()
    # Nothing was passed over, on either side.
    for network, found in ((ours, mine), (plain, theirs)):
        reached = sum(parameter.numel() for module in found for parameter in module.parameters(recurse=False))
        assert reached == sum(parameter.numel() for parameter in network.parameters())
