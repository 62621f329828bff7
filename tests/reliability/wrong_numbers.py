"""Numbers that break while a network trains: what is broken is skipped and counted, and never reaches a file.

A case spoils one network of one training (its output, the gradient of one of its weights, or a loss of the player that
trains it) in chosen steps. Every update is watched: one that met such numbers must leave all weights, buffers and
optimizers exactly as they were. What the training does next is worked out here from the settings alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    TRAININGS,
    arguments_of,
    nonfinite_files,
    nonfinite_in,
    prepare_pictures,
    read_notes,
)
from tests.warm import Hook, warm_program

if TYPE_CHECKING:
    from i2i.core.step import Losses, StepContext, Update
    from i2i.training.engine import Engine

STEPS = 14
TOLERATED = 2
ROLLBACKS = 2
CHECKPOINT_EVERY = 3
_LONGEST_SECONDS = 60.0
_LARGE = 3e38
"""Finite in float32 and bfloat16; its square, or twice as much, is not."""

NETWORKS = [(training, network) for training, known in TRAININGS.items() for network in known.players]
KINDS = [
    f"{value} in {place}" for place in ("an output", "a gradient", "a loss") for value in ("nan", "inf", "overflow")
]
SPANS = ("one step", "now and then", "then stop", "then roll back", "again and again", "before any checkpoint")


# What to expect


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a training makes of steps with broken numbers."""

    steps: tuple[int, ...]
    """Where training stands after each step that it takes, before it goes back."""
    diverges: bool
    rollbacks: int


def expected(broken: Callable[[int], bool], span: str) -> Expected:
    """The rules of `training.nonfinite`, told anew; `broken(n)` says of the n-th step taken whether it is spoiled."""
    tolerated, every = (0, None) if span == "before any checkpoint" else (TOLERATED, CHECKPOINT_EVERY)
    rolls_back = span in ("then roll back", "again and again", "before any checkpoint")
    steps: list[int] = []
    step = streak = rollbacks = 0
    newest: int | None = None
    while step < STEPS:
        step += 1
        steps.append(step)
        streak = streak + 1 if broken(len(steps)) else 0
        if streak > tolerated:
            if not rolls_back or rollbacks == ROLLBACKS or newest is None:
                return Expected(tuple(steps), True, rollbacks)
            step, streak, rollbacks = newest, 0, rollbacks + 1
        elif every is not None and step % every == 0:
            newest = step
    return Expected(tuple(steps), False, rollbacks)


def spoiled_steps(span: str, rng: Any, first: int) -> list[int]:
    """Which of the steps taken are spoiled, from 1; none before `first`."""
    start = int(rng.integers(max(first, CHECKPOINT_EVERY + 1), STEPS - TOLERATED - 1))
    match span:
        case "one step":
            return [start]
        case "now and then":
            # Never more in a row than are tolerated.
            return [step for step in range(first, STEPS + 1) if step % (TOLERATED + 1) and rng.random() < 0.7] or [
                start
            ]
        case "then stop" | "then roll back":
            return [*range(start, start + TOLERATED + 1)]
        case "again and again":
            return [*range(start, 100)]
        case _:
            return [first]


# A case


def _run(case: Case, folder: Path) -> Outcome:
    number = KINDS.index(case.kind) + case.seed
    training, network = NETWORKS[number % len(NETWORKS)]
    span = SPANS[(case.seed // len(NETWORKS) + number) % len(SPANS)]
    value, place = case.kind.split(" in ")
    rng = case.rng
    first = max(TRAININGS[training].boundaries, default=0) + 1
    steps = spoiled_steps(span, rng, first)
    hook = Hook(
        module=__name__,
        name="spoil",
        arguments={
            "network": network,
            "player": TRAININGS[training].players[network],
            "value": value,
            "place": place,
            "steps": steps,
            "chosen": int(rng.integers(1 << 30)),
            "notes": str(folder / "notes.jsonl"),
        },
    )
    stays = span == "before any checkpoint"
    overrides = [
        f"precision={'bf16' if rng.random() < 0.3 else 'fp32'}",
        f"training.length.steps={STEPS}",
        f"training.checkpoints.every_steps={'null' if stays else CHECKPOINT_EVERY}",
        f"training.nonfinite.tolerated_steps={0 if stays else TOLERATED}",
        f"training.nonfinite.rollbacks={ROLLBACKS}",
        f"training.nonfinite.then={'stop' if span in ('one step', 'now and then', 'then stop') else 'rollback'}",
    ]
    ended = warm_program().run(
        arguments_of(training, prepared_of(folder), folder, overrides), folder, _LONGEST_SECONDS, hook=hook
    )
    notes = read_notes(folder / "notes.jsonl")
    where = f"{training} {network}, {span}, steps {steps[:6]}"
    problem = _problem_of(notes, steps, span, ended.exit_code, ended.stderr, folder, certain=_is_certain(value, place))
    if problem:
        return Outcome(False, "wrong", f"{where}: {problem}")
    skipped = sum(not note["finite"] for note in notes if note["kind"] == "step")
    what = (
        "stopped"
        if ended.exit_code == 8
        else "went back"
        if _went_back(notes)
        else "skipped"
        if skipped
        else "harmless"
    )
    return Outcome(True, what, figures={"skipped_steps": skipped})


def _is_certain(value: str, place: str) -> bool:
    """Whether the spoiled number must break the update: a saturated output can make a large one harmless."""
    return value == "nan" or place != "an output"


def _went_back(notes: Sequence[Mapping[str, Any]]) -> bool:
    steps = [note["step"] for note in notes if note["kind"] == "step"]
    return any(later <= earlier for earlier, later in pairwise(steps))


def _problem_of(
    notes: Sequence[Mapping[str, Any]],
    steps: Sequence[int],
    span: str,
    exit_code: int | None,
    said: str,
    folder: Path,
    *,
    certain: bool,
) -> str:
    """What is not as it should be; empty if all is well."""
    taken = [note for note in notes if note["kind"] == "step"]
    broken = {note["call"] for note in taken if not note["finite"]}
    if not taken:
        return f"no step: exit code {exit_code}: {said[-300:]}"
    if unapplied := [note["call"] for note in taken if note["call"] in steps and not note["applied"]]:
        return f"nothing was spoiled in steps {unapplied}"
    if broken - set(steps):
        return f"steps {sorted(broken - set(steps))} broke, but were not spoiled"
    if certain and (passed := {note["call"] for note in taken} & set(steps) - broken):
        return f"steps {sorted(passed)} were spoiled and not skipped"
    for note in taken:
        if note["moved_although_broken"]:
            return f"step {note['call']}: a broken update changed {note['moved_although_broken'][:3]}"
        if note["nonfinite"]:
            return f"step {note['call']}: {note['nonfinite'][:3]} are not finite afterwards"
    wanted = expected(lambda call: call in broken, span)
    if tuple(note["step"] for note in taken) != wanted.steps:
        return f"stood at {[note['step'] for note in taken]}, expected {list(wanted.steps)}: {exit_code}: {said[-300:]}"
    if exit_code != (8 if wanted.diverges else 0):
        return f"exit code {exit_code}, expected {8 if wanted.diverges else 0}: {said[-300:]}"
    if wanted.diverges and ("Traceback" in said or "not finite" not in said):
        return f"unclear message: {said[-300:]}"
    return _problem_in_files(notes, folder / "run", len(broken), wanted)


def _problem_in_files(notes: Sequence[Mapping[str, Any]], run: Path, broken: int, wanted: Expected) -> str:
    if spoiled := [note["file"] for note in notes if note["kind"] == "file" and note["nonfinite"]]:
        return f"written with numbers that are not finite: {spoiled[:3]}"
    if left := nonfinite_files(run):
        return f"left with numbers that are not finite: {left[:3]}"
    if wanted.diverges:
        return ""
    counters = json.loads((run / "checkpoints" / f"step_{STEPS}" / "state.json").read_text())
    counted = {"skipped_updates": broken, "rollbacks": wanted.rollbacks}
    if differing := {name: counters[name] for name, number in counted.items() if counters[name] != number}:
        return f"counted {differing}, expected {counted}"
    from i2i.training.tracking import read_metrics

    recorded = [row["values"]["updates/skipped"] for row in read_metrics(run) if "updates/skipped" in row["values"]]
    if recorded[-1] != broken:
        return f"metrics.jsonl counts {recorded[-1]} skipped updates, expected {broken}"
    return ""


# The hook: in the process that trains


def spoil(*, network: str, player: str, value: str, place: str, steps: list[int], chosen: int, notes: str) -> None:
    """Break numbers of `network` in the `steps`, and note what becomes of every update and file."""
    watch = _Watch(Path(notes), {"nan": float("nan"), "inf": float("inf"), "overflow": _LARGE}[value], set(steps))
    watch.follow_engine(
        {"an output": _output_of, "a gradient": _gradient_of, "a loss": _loss_of}[place], network, player, chosen
    )
    watch.follow_files()


class _Watch:
    """Counts steps, says when one is to be spoiled, and writes down what it sees."""

    def __init__(self, notes: Path, value: float, steps: set[int]) -> None:
        self.notes, self.value, self.steps = notes, value, steps
        self.call = self.applied = 0
        self.stepping = False
        self.moved: list[str] = []

    @property
    def due(self) -> bool:
        """Whether what happens now is to be spoiled."""
        return self.stepping and self.call in self.steps

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

        take_step, apply = Engine.take_step, Engine.apply

        def watched_step(engine: Engine, draw: Any) -> Any:
            if self.call == 0:
                install(self, engine, network, player, chosen)
            self.call, self.applied, self.stepping, self.moved = self.call + 1, 0, True, []
            reports = take_step(engine, draw)
            self.stepping = False
            state = _state_of(engine)
            self.note(
                "step", call=self.call, step=engine.step, applied=self.applied,
                finite=all(bool(report.finite) for report in reports.values()),
                moved_although_broken=self.moved,
                nonfinite=[name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())],
            )  # fmt: skip
            return reports

        def watched_update(
            engine: Engine, update: Update, draw: Any, underway: Any, report: Any, *rest: Any, **named: Any
        ):
            before = _hashes(engine)
            apply(engine, update, draw, underway, report, *rest, **named)
            if not bool(report.finite):
                after = _hashes(engine)
                self.moved += [f"{update.name}: {name}" for name in after if after[name] != before.get(name)]

        Engine.take_step, Engine.apply = watched_step, watched_update  # type: ignore[method-assign, assignment]

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
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in _state_of(engine).items()
        if not name.startswith("memory ") and not (name.startswith("optimizer ") and not bool(tensor.any()))
    }


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


SCENARIOS = (
    Scenario(
        name="numbers",
        title="NaN, infinity and overflow in every network",
        long_count=len(KINDS) * len(NETWORKS) * len(SPANS),
        cases=partial(spread, "numbers", KINDS),
        run=_run,
        prepare=prepare_pictures,
    ),
)
