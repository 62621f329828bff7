"""How much memory a machine has left, and how much a network takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from i2i.inference.tiling.streaming.graph import LayerGraph
from i2i.inference.tiling.streaming.operations import Convolution, Local, Shape

_UNKNOWN_BYTES = 4e9
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory(device: torch.device) -> float:
    """Bytes that a process can still take on this device, about."""
    if device.type == "cuda":
        # What PyTorch has set aside and does not use is there for us too.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_available_to_machine(), _available_to_container())


def _available_to_machine() -> float:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_BYTES


def _available_to_container() -> float:
    for limit, used in _CGROUP_FILES:
        try:
            return max(int(Path(limit).read_text("utf-8")) - int(Path(used).read_text("utf-8")), 0)
        except (OSError, ValueError):
            continue  # no such file, or the limit is called "max"
    return float("inf")


def numbers_at_once(graph: LayerGraph, shapes: Sequence[Shape]) -> int:
    """Most numbers that lie in memory at a time when the network runs on the whole picture."""
    last_reader = [max(consumers, default=len(graph.layers)) for consumers in graph.consumers]
    most = 0
    for number, layer in enumerate(graph.layers):
        held = sum(shapes[one].numbers for one in range(number) if last_reader[one] >= number)
        most = max(most, held + shapes[number].numbers + _on_the_way(layer.operation, layer.inputs, shapes, number))
    return most


def _on_the_way(operation: object, inputs: Sequence[int], shapes: Sequence[Shape], number: int) -> int:
    """Numbers of what lies between the input and the result of a layer."""
    if isinstance(operation, Convolution) and operation.padding is not None:
        return shapes[inputs[0]].numbers
    return shapes[number].numbers if isinstance(operation, Local) else 0
