"""Several processes that train as one, over plain ``torch.distributed`` (gloo on CPU, nccl on CUDA).

Gradients are averaged once an update, after its last backward. The usual wrapper for data-parallel training is
avoided: with GANs it trips over several discriminator forwards before a backward and over penalties that
differentiate twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from i2i.core.step import Joined, SingleProcess
from i2i.errors import I2IError, one_line

_Result = TypeVar("_Result")
Collect = Callable[[Any], list[Any]]
"""One value of each process to the values of all, in order of rank, on every process."""


class Processes:
    """This process's place among those that ``torchrun`` started; one process when it did not."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self.joined: Joined = SingleProcess() if count == 1 else _Group(rank, count)

    @classmethod
    def from_environment(cls, device: torch.device) -> Processes:
        """Join the group that ``torchrun`` describes in the environment."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            if device.type == "cuda":
                # Messages that name no device go over the current one; every process needs its own.
                torch.cuda.set_device(device)
            # The others wait while the leading process validates and saves.
            patience = timedelta(minutes=30)
            store, rank, count = next(rendezvous("env://", timeout=patience))
            # torchrun may serve the same store to processes that it starts again; the addresses of those that died
            # stand in it.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=dist.PrefixStore(f"attempt_{attempt}", store),  # pyright: ignore[reportPrivateImportUsage]
                rank=rank,
                world_size=count,
                timeout=patience,
                device_id=device if device.type == "cuda" else None,
            )
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace every gradient by its mean over the processes, in one message a dtype."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
            group = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.reshape(-1) for gradient in group])
            dist.all_reduce(flat)
            flat /= self.count
            for gradient, part in zip(group, flat.split([g.numel() for g in group]), strict=True):
                gradient.copy_(part.view(gradient.shape))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, for numbers to show; not differentiable."""
        if self.count > 1:
            dist.all_reduce(values)
            values = values / self.count
        return values

    def largest(self, numbers: Sequence[int], device: torch.device) -> list[int]:
        """The largest of the processes' numbers, place by place: how all come to the same decision at the same step."""
        if self.count == 1:
            return list(numbers)
        joined = torch.tensor(numbers, device=device)
        dist.all_reduce(joined, op=dist.ReduceOp.MAX)
        return joined.tolist()

    def any(self, flags: Tensor) -> Tensor:
        """Which of the flags is up on one process at least; they stay on the device."""
        if self.count == 1:
            return flags
        joined = flags.to(torch.uint8)
        dist.all_reduce(joined, op=dist.ReduceOp.MAX)
        return joined.bool()

    def share(self, value: Any) -> Any:
        """The leading process's value, on all processes; whatever pickle can carry."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """Every process's value, on all processes, in order of rank; whatever pickle can carry."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def together(self, work: Callable[[Collect], _Result]) -> _Result:
        """Do `work` on all processes at once, or on none: where it fails on one, none waits for that one in vain.

        Args:
            work: gets what stands for `collect`, and calls it equally often on every process.

        Raises:
            I2IError: it failed on another process; the message is that of the first.
            Exception: whatever `work` raised on this one.
        """
        if self.count == 1:
            return work(self.collect)
        agreed = False

        def collect(value: Any) -> list[Any]:
            nonlocal agreed
            answers = self.collect((value, None))
            if failed := next(((rank, reason) for rank, (_, reason) in enumerate(answers) if reason), None):
                agreed = True
                raise I2IError(f"process {failed[0]}: {failed[1]}")
            return [answer for answer, _ in answers]

        try:
            result = work(collect)
            collect(None)  # All have come this far, or all hear of the one that has not.
        except Exception as error:
            if not agreed:
                self.collect((None, one_line(error)))
            raise
        return result

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """Take down the group, so that the end of the program does not hang."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


class _Group:
    """`Joined` over a process group."""

    def __init__(self, rank: int, processes: int) -> None:
        self.processes = processes
        self._rank = rank

    def mean(self, value: Tensor) -> Tensor:
        return _AllReduceSum.apply(value) / self.processes  # type: ignore[operator]

    def gather(self, rows: Tensor) -> Tensor:
        return _AllGather.apply(rows, self._rank, self.processes)  # type: ignore[return-value]

    def local(self, rows: Tensor) -> Tensor:
        return rows.chunk(self.processes)[self._rank]


# The joined loss is the mean of the processes' losses, and gradients are averaged over the processes afterwards. What
# arrives here from one process is therefore the derivative of that process's loss alone: backward sums over all.
class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Applied, not called: a second derivative passes through here again.
        return _AllReduceSum.apply(gradients[0])  # type: ignore[return-value]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, processes: int) -> Tensor:
        ctx.rank, ctx.count = rank, len(rows)
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(processes)]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        summed = _AllReduceSum.apply(gradients[0].contiguous())
        return summed[ctx.rank * ctx.count : (ctx.rank + 1) * ctx.count], None, None  # type: ignore[index]
