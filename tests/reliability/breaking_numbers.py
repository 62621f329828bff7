"""The hook that breaks numbers in the process that trains, and notes what becomes of every update and file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from tests.reliability.small_trainings import nonfinite_in

if TYPE_CHECKING:
    from i2i.core.step import Losses, StepContext, Update
    from i2i.training.engine import Engine

_LARGE = 3e38
"""Finite in float32 and bfloat16; its square, or twice as much, is not."""


def notes_of(folder: Path, rank: int) -> Path:
    """Where one of the processes notes what it sees."""
    return folder / f"notes-{rank}.jsonl"


def spoil(
    *, network: str, player: str, value: str, place: str, steps: list[int], chosen: int, folder: str,
    only_rank: int | None, only_micro_batch: int | None,
) -> None:  # fmt: skip
    """Break numbers of `network` in the `steps`, if only in one process or one micro-batch, and watch."""
    rank = int(os.environ.get("RANK", "0"))
    watch = _Watch(
        notes_of(Path(folder), rank),
        {"nan": float("nan"), "inf": float("inf"), "overflow": _LARGE}[value],
        set(steps) if only_rank in (None, rank) else set(),
        only_micro_batch,
    )
    watch.follow_engine(
        {"an output": _output_of, "a gradient": _gradient_of, "a loss": _loss_of}[place], network, player, chosen
    )
    watch.follow_files()


class _Watch:
    """Counts steps, says when one is to be spoiled, and writes down what it sees."""

    def __init__(self, notes: Path, value: float, steps: set[int], only_micro_batch: int | None) -> None:
        self.notes, self.value, self.steps, self.only_micro_batch = notes, value, steps, only_micro_batch
        self.call = self.applied = self.micro_batch = 0
        self.stepping = False
        self.moved: list[str] = []
        self.still: list[str] = []

    @property
    def due(self) -> bool:
        """Whether what happens now is to be spoiled."""
        here = self.only_micro_batch in (None, self.micro_batch)
        return self.stepping and here and self.call in self.steps

    def spoiled(self, tensor: Tensor) -> Tensor:
        """`tensor` with one broken element."""
        self.applied += 1
        noise = torch.zeros_like(tensor)
        noise[(0,) * noise.dim()] = self.value
        return tensor + noise

    def note(self, kind: str, **facts: object) -> None:
        with self.notes.open("a") as file:
            file.write(json.dumps({"kind": kind, **facts}) + "\n")

    def follow_engine(
        self, install: Callable[[_Watch, Engine, str, str, int], None], network: str, player: str, chosen: int
    ) -> None:
        from i2i.training.engine import Engine

        take_step, apply, context = Engine.take_step, Engine.apply, Engine._context

        def watched_step(engine: Engine, draw: Any) -> Any:
            if self.call == 0:
                install(self, engine, network, player, chosen)
            self.call, self.applied, self.stepping, self.moved, self.still = self.call + 1, 0, True, [], []
            reports = take_step(engine, draw)
            self.stepping = False
            self._note_step(engine, finite=all(bool(report.finite) for report in reports.values()))
            return reports

        def watched_update(
            engine: Engine, update: Update, draw: Any, underway: Any, report: Any, *rest: Any, **named: Any
        ) -> None:
            before = _hashes(engine)
            apply(engine, update, draw, underway, report, *rest, **named)
            after = _hashes(engine)
            changed = [name for name in after if after[name] != before.get(name)]
            own = tuple(f"{each}." for each in engine.pipeline.players[update.player])
            if not bool(report.finite):
                self.moved += [f"{update.name}: {name}" for name in changed]
            elif not any(name.startswith(own) for name in changed):
                self.still.append(update.name)

        def watched_context(engine: Engine, update: Any, batch: Any, carry: Any, micro_batch: int, *rest: Any) -> Any:
            self.micro_batch = micro_batch
            return context(engine, update, batch, carry, micro_batch, *rest)

        Engine.take_step, Engine.apply = watched_step, watched_update  # type: ignore[method-assign, assignment]
        Engine._context = watched_context  # type: ignore[method-assign, assignment]

    def _note_step(self, engine: Engine, *, finite: bool) -> None:
        state = _state_of(engine)
        self.note(
            "step", call=self.call, step=engine.step, finite=finite,
            unapplied=self.call in self.steps and not self.applied,
            moved_although_broken=self.moved, stood_still=self.still,
            nonfinite=[name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())],
            state=hashlib.sha256("".join(map(_hash, state.values())).encode()).hexdigest(),
        )  # fmt: skip

    def follow_files(self) -> None:
        """Look into every checkpoint and model as soon as it is written."""
        from i2i.training import run as module

        save, write = module.save_checkpoint, module.write_model_file

        def watched_save(*given: Any, **named: Any) -> Path:
            folder = save(*given, **named)
            self.note("file", file=folder.name, nonfinite=nonfinite_in(folder / "state.safetensors"))
            return folder

        def watched_write(path: Path, *rest: Any, **named: Any) -> Any:
            result = write(path, *rest, **named)
            self.note("file", file=path.name, nonfinite=nonfinite_in(path))
            return result

        module.save_checkpoint, module.write_model_file = watched_save, watched_write


def _state_of(engine: Engine) -> dict[str, Tensor]:
    """Weights, buffers, optimizers, averages and memories by name."""
    state: dict[str, Tensor] = {}
    for name, network in engine.pipeline.networks.items():
        state |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
    for name, network in (engine.averages.networks if engine.averages else {}).items():
        state |= {f"average of {name}.{key}": tensor for key, tensor in network.state_dict().items()}
    for name, player in engine.players.items():
        state |= {f"optimizer of {name}.{key}": tensor for key, tensor in player.state().items()}
    for name, memory in engine.pipeline.memories.items():
        state |= {f"memory {name}.{key}": tensor for key, tensor in memory.state().items()}
    return {name: tensor.detach() for name, tensor in state.items()}


def _hashes(engine: Engine) -> dict[str, str]:
    """Of all that one update may change and must not when it is broken; memories keep what is whole of a picture.

    What an optimizer holds before its first step may be zeros or nothing.
    """
    return {
        name: _hash(tensor)
        for name, tensor in _state_of(engine).items()
        if not name.startswith("memory ") and not (name.startswith("optimizer ") and not bool(tensor.any()))
    }


def _hash(tensor: Tensor) -> str:
    # By bytes, for numpy knows no bfloat16.
    return hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


# Three places to break numbers at


def _output_of(watch: _Watch, engine: Engine, network: str, player: str, chosen: int) -> None:
    def after(module: object, inputs: object, output: Any) -> Any:
        if not watch.due:
            return None
        if isinstance(output, Tensor):
            return watch.spoiled(output)
        return dataclasses.replace(output, logits=(watch.spoiled(output.logits[0]), *output.logits[1:]))

    engine.pipeline.networks[network].register_forward_hook(after)


def _gradient_of(watch: _Watch, engine: Engine, network: str, player: str, chosen: int) -> None:
    weights = [*engine.pipeline.networks[network].parameters()]

    def spoil_gradient(weight: Tensor) -> None:
        if watch.due and weight.grad is not None:
            weight.grad = watch.spoiled(weight.grad)

    weights[chosen % len(weights)].register_post_accumulate_grad_hook(spoil_gradient)


def _loss_of(watch: _Watch, engine: Engine, network: str, player: str, chosen: int) -> None:
    updates = engine.pipeline.updates

    def spoiled_losses(update: Update, context: StepContext) -> Losses:
        losses = update.losses(context)
        if not watch.due or watch.applied:
            return losses
        name = sorted(losses.terms)[chosen % len(losses.terms)]
        # Twice: a finite large number becomes infinite.
        broken = watch.spoiled(watch.spoiled(losses.terms[name].value))
        return dataclasses.replace(
            losses, terms={**losses.terms, name: dataclasses.replace(losses.terms[name], value=broken)}
        )

    def spoiled_updates(progress: Any) -> list[Update]:
        return [
            dataclasses.replace(update, losses=partial(spoiled_losses, update)) if update.player == player else update
            for update in updates(progress)
        ]

    cast(Any, engine.pipeline).updates = spoiled_updates
