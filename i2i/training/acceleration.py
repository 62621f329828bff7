"""What makes a step faster without changing its mathematics: a table of tricks, each switched on by its name.

A recipe says ``speed: auto``, ``speed: plain`` or the names themselves. "auto" is settled once, at the start of a run:
tricks that are never worse are taken unmeasured, the others where a short trial finds that they pay
(`i2i.training.acceleration_trial`). With every trick the losses of a step are those of the plain way to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from i2i.errors import one_line
from i2i.training.compiled_networks import compile_networks
from i2i.training.engine import Engine
from i2i.training.freed_memory import keep_freed_memory
from i2i.training.player import Player
from i2i.training.settings import TrickName
from i2i.training.threads import fit_threads

TakeBack = Callable[[], None]
"""Undoes what a trick did."""
Report = Callable[[str], None]
"""Takes one line for the user."""


def say_nothing(line: str) -> None:
    """The report of those who want none."""


@dataclass(frozen=True, kw_only=True)
class Trick:
    """One way to make a step faster."""

    does: str
    """In one line, for people."""
    devices: Collection[str]
    """Kinds of device on which "auto" considers it; by its name it is tried on any."""
    unmeasured_because: str | None = None
    """Why "auto" takes it without a trial; None: only where a trial finds it worth having."""
    apply: Callable[[Engine, Report], TakeBack]
    """Switches it on for an engine, or for the whole process, that has taken any number of steps.

    Raises: RuntimeError and others: it does not work here; nothing is changed then."""


def accelerate(engine: Engine, names: Collection[TrickName], report: Report) -> TakeBack:
    """Switch the named tricks on; one that does not work here is left out, with one line to `report`.

    Give it a fresh engine, or all processes of a training at the same step. What it gives takes all tricks back.
    """
    undo: list[TakeBack] = []
    for name, trick in TRICKS.items():
        if name not in names:
            continue
        try:
            undo.append(trick.apply(engine, report))
        except Exception as error:  # a trick fails in as many ways as there are machines, and none may end a training
            report(gave_up(name, error))

    def take_back() -> None:
        for step in reversed(undo):
            step()

    return take_back


def gave_up(name: TrickName, error: Exception) -> str:
    """What to tell of a trick that fails."""
    return f"speed: {name} does not work here ({one_line(error)}); on without it"


def unmeasured_tricks(device: torch.device) -> tuple[TrickName, ...]:
    """Those that "auto" takes on such a device without a trial."""
    return tuple(
        name for name, trick in TRICKS.items() if trick.unmeasured_because is not None and device.type in trick.devices
    )


def tricks_before_trials(device: torch.device) -> tuple[TrickName, ...]:
    """What "auto" meant in runs that were begun when it was not yet settled at their start."""
    return tuple(name for name in _BEFORE_TRIALS if device.type in TRICKS[name].devices)


def measured_tricks(device: torch.device) -> tuple[TrickName, ...]:
    """Those that "auto" tries on such a device."""
    return tuple(
        name for name, trick in TRICKS.items() if trick.unmeasured_because is None and device.type in trick.devices
    )


def _use_channels_last(engine: Engine, report: Report) -> TakeBack:
    def lay_out(memory_format: torch.memory_format) -> None:
        averaged = engine.averages.networks if engine.averages else {}
        for network in [*engine.pipeline.networks.values(), *averaged.values()]:
            network.to(memory_format=memory_format)  # type: ignore[call-overload]
        for player in engine.players.values():
            # The optimizer's slots must lie in memory as the weights do.
            player.load_state(player.state())

    lay_out(torch.channels_last)
    return lambda: lay_out(torch.contiguous_format)


def _use_fused_optimizers(engine: Engine, report: Report) -> TakeBack:
    plain = dict(engine.players)
    fused = {name: _player_like(player, name, engine, fused=True) for name, player in plain.items()}
    engine.players.update(fused)
    return lambda: engine.players.update(
        {name: _player_like(player, name, engine, fused=False) for name, player in fused.items()}
    )


def _player_like(player: Player, name: str, engine: Engine, *, fused: bool) -> Player:
    """The same player with another kind of optimizer, which goes on where the one there is stands."""
    networks = {network: engine.pipeline.networks[network] for network in engine.pipeline.players[name]}
    other = Player(networks, player.settings, engine.precision, fused=fused)
    other.load_state(player.state())
    other.scaler.load_state_dict(player.scaler.state_dict())
    return other


def _keep_memory(engine: Engine, report: Report) -> TakeBack:
    keep_freed_memory()
    # The C library has no way to ask what its thresholds were; those of this process stay.
    return _nothing


def _fit_threads(engine: Engine, report: Report) -> TakeBack:
    before = torch.get_num_threads()
    fit_threads()
    return lambda: torch.set_num_threads(before)


def _race_convolutions(engine: Engine, report: Report) -> TakeBack:
    if not torch.backends.cudnn.is_available():
        raise RuntimeError("this torch has no cuDNN")
    if torch.are_deterministic_algorithms_enabled():
        raise RuntimeError("which algorithm wins is chance, and the recipe says deterministic: true")
    torch.backends.cudnn.benchmark = True
    return _stop_racing


def _stop_racing() -> None:
    torch.backends.cudnn.benchmark = False


def _nothing() -> None:
    pass


TRICKS: Mapping[TrickName, Trick] = {
    "channels_last": Trick(
        does="lays pictures and weights out in memory pixel by pixel, colours together",
        devices=("cpu", "cuda", "mps"),
        unmeasured_because="with every method here it is as fast or faster, by too little for a short trial to tell",
        apply=_use_channels_last,
    ),
    "fused_optimizers": Trick(
        does="moves all weights of a network in one call instead of some for each weight",
        devices=("cpu", "cuda"),
        unmeasured_because="it is the same arithmetic in fewer passes over the weights",
        apply=_use_fused_optimizers,
    ),
    "kept_memory": Trick(
        does="keeps memory that a step has freed for the next one, which asks for the same again",
        devices=("cpu",),
        unmeasured_because="no arithmetic changes; the process only stays as large as it has been at its largest",
        apply=_keep_memory,
    ),
    "fitting_threads": Trick(
        does="computes in no more threads than a container or job scheduler grants processors",
        devices=("cpu",),
        unmeasured_because="threads above the grant only wait for each other; without a grant nothing changes",
        apply=_fit_threads,
    ),
    "raced_convolutions": Trick(
        does="lets cuDNN try all its algorithms on the first convolution of each shape",
        devices=("cuda",),
        apply=_race_convolutions,
    ),
    "compiled_networks": Trick(
        does="has torch.compile write kernels for each network; where a penalty differentiates twice, it runs as it is",
        # On a CPU it takes minutes to build and then gains nothing over the kernels that are there.
        devices=("cuda",),
        apply=compile_networks,
    ),
}
"""In the order in which they are tried and switched on."""

_BEFORE_TRIALS: tuple[TrickName, ...] = ("channels_last", "fused_optimizers", "kept_memory")
