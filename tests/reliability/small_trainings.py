"""Trainings of a second each, one for every sort of state that a training can have, and what they leave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.training.runs import ADAPTIVE, GENERATION, R3GAN, RECIPE, UPSCALING, make_pictures
from tests.warm import warm_program

PICTURES = "pictures"
LONGEST_SECONDS = 90.0
"""A training of this kind that takes longer hangs."""
_QUIET = (
    "training.validation.every_epochs=null",
    "training.samples.every_epochs=null",
)
"""Sheets and scores come at the end, which is soon enough for such short trainings."""


@dataclass(frozen=True, kw_only=True)
class SmallTraining:
    """A recipe and what is known of it."""

    recipe: str
    """Text, with ROOT for the folder of pictures."""
    overrides: Sequence[str] = ()
    players: Mapping[str, str]
    """Network to the player that trains it."""
    boundaries: Sequence[int] = ()
    """Steps at which one phase ends and the next begins, at a batch of 4."""
    splits: bool = False
    """Whether the batch may be accumulated: no layer couples its samples."""


TRAININGS: Mapping[str, SmallTraining] = {
    "cyclegan": SmallTraining(
        recipe=RECIPE,
        # The recipe's own rate is zero from the eighth step on, so that the same weights would come out of anything.
        overrides=("training.batch_size=4", "training.schedule.decay=40"),
        players={
            "generator_ab": "generator", "generator_ba": "generator",
            "discriminator_a": "discriminator", "discriminator_b": "discriminator",
        },
        splits=True,
    ),
    "dcgan": SmallTraining(  # batch norm in the generator, adaptive augmentation, a penalty in every second step
        recipe=GENERATION,
        overrides=(
            "pipeline.discriminator.normalization=none",
            "pipeline.penalties=[{kind: r1, weight: 0.1, every: 2}]",
            *ADAPTIVE,
        ),
        players={"generator": "generator", "discriminator": "discriminator"},
    ),
    "adaptive": SmallTraining(  # as dcgan, but nothing couples the samples
        recipe=GENERATION,
        overrides=(
            "pipeline.generator.normalization=none",
            "pipeline.discriminator.normalization=none",
            "pipeline.penalties=[{kind: r1, weight: 0.1, every: 2}]",
            *ADAPTIVE,
        ),
        players={"generator": "generator", "discriminator": "discriminator"},
        splits=True,
    ),
    "r3gan": SmallTraining(  # one penalty in every step and one in every second
        recipe=GENERATION,
        overrides=(*R3GAN, "pipeline.augmentation={kind: ramped, probability: {start: 0.0, end: 0.6, images: 60}}"),
        players={"generator": "generator", "discriminator": "discriminator"},
        splits=True,
    ),
    "srgan": SmallTraining(
        recipe=UPSCALING,
        overrides=("pipeline.discriminator.normalization=none",),
        players={"generator": "generator", "discriminator": "discriminator"},
        boundaries=(2,),
        splits=True,
    ),
}  # fmt: skip


def arguments_of(name: str, prepared: Path, folder: Path, overrides: Sequence[str] = ()) -> list[str]:
    """What `i2i` is called with to train `name` into `folder`/run; `prepared` holds the pictures."""
    training = TRAININGS[name]
    recipe = folder / f"{name}.yaml"
    recipe.write_text(training.recipe.replace("ROOT", str(prepared / PICTURES)))
    chosen = [*_QUIET, *training.overrides, *overrides]
    return ["train", str(recipe), "--out", str(folder / "run"), "--quiet", *settings(chosen)]


def settings(overrides: Sequence[str]) -> list[str]:
    """Overrides as words of the command line."""
    return [word for override in overrides for word in ("--set", override)]


def prepare_pictures(folder: Path) -> None:
    """Pictures for those trainings that draw none themselves."""
    make_pictures(folder / PICTURES)


def whole_run(name: str, prepared: Path, steps: int, overrides: Sequence[str] = ()) -> Path:
    """The run of a training that nobody disturbed, below `prepared`; made when it is first asked for."""
    own = prepared / name
    if not (own / "run" / "checkpoints" / f"step_{steps}").is_dir():
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        chosen = [f"training.length.steps={steps}", *up_to_the_last(steps), *overrides]
        ended = warm_program().run(arguments_of(name, prepared, own, chosen), own, LONGEST_SECONDS)
        assert ended.exit_code == 0, f"{name}: {ended.stderr}"
    assert not (still := standing_still(name, own / "run", steps)), f"{name}: {still} no longer move"
    return own / "run"


def up_to_the_last(steps: int) -> list[str]:
    """Overrides by which the state before the last step is kept, too: what `standing_still` looks at."""
    return [f"training.checkpoints.every_steps={steps - 1}"]


def standing_still(name: str, run: Path, step: int, before: int | None = None) -> list[str]:
    """What of a run does not move (any more) up to this step: equal ends would prove nothing of it.

    Networks whose weights are those of step `before` (by default the one before), and an augmentation that has not
    begun.
    """
    steps = (step - 1 if before is None else before, step)
    earlier, later = (load_file(run / "checkpoints" / f"step_{at}" / "state.safetensors") for at in steps)
    weights = {
        player: [key for key in later if key.startswith(f"network/{player}/")] for player in TRAININGS[name].players
    }
    still = [player for player, keys in weights.items() if all(torch.equal(earlier[key], later[key]) for key in keys)]
    probability = later.get("memory/augmentation/probability")
    return still if probability is None or float(probability) > 0 else [*still, "augmentation"]


def hash_of_run(run: Path, step: int) -> str:
    """One hash over all that decides how the training would go on, and over the model.

    Not in it: which model was the best so far. Where a training ends it is scored once more, so that a run which was
    cut often has been scored more often.
    """
    checkpoint = run / "checkpoints" / f"step_{step}"
    counters = json.loads((checkpoint / "state.json").read_text())
    for name in ("best_score", "best_step"):
        counters.pop(name)
    digest = hashlib.sha256(json.dumps(counters, sort_keys=True).encode())
    for file in (checkpoint / "state.safetensors", run / "model.safetensors"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def difference(run: Path, other: Path, step: int) -> str:
    """What differs between two runs at a step, in a few words; empty if nothing does."""
    parts = [_parts(folder / "checkpoints" / f"step_{step}") for folder in (run, other)]
    for part, folder in zip(parts, (run, other), strict=True):
        part["model.safetensors"] = (folder / "model.safetensors").read_bytes()
    return _differing(*parts)


def difference_of_checkpoints(checkpoint: Path, other: Path) -> str:
    """What differs between two checkpoints and their models, in a few words; empty if nothing does.

    The runs may have been given different lengths, of which their models tell.
    """
    parts = [_parts(folder) for folder in (checkpoint, other)]
    for part, folder in zip(parts, (checkpoint, other), strict=True):
        part |= {f"model/{name}": value for name, value in _bytes_of(folder / "model.safetensors").items()}
    return _differing(*parts)


def _differing(parts: Mapping[str, object], others: Mapping[str, object]) -> str:
    differing = sorted(name for name in parts.keys() | others.keys() if parts.get(name) != others.get(name))
    return f"{len(differing)} differ: {', '.join(differing[:4])}" if differing else ""


def _parts(checkpoint: Path) -> dict[str, object]:
    counters = json.loads((checkpoint / "state.json").read_text())
    for name in ("best_score", "best_step"):
        counters.pop(name)
    return _bytes_of(checkpoint / "state.safetensors") | counters


def _bytes_of(file: Path) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in load_file(file).items()}


def nonfinite_in(file: Path) -> list[str]:
    """Tensors of a safetensors file that hold what is not a finite number."""
    return [name for name, tensor in load_file(file).items() if not bool(torch.isfinite(tensor).all())]


def nonfinite_files(run: Path) -> list[str]:
    """Models and checkpoints of a run that hold what is not a finite number, each with the first such tensor."""
    found = [(file, nonfinite_in(file)) for file in sorted(run.rglob("*.safetensors"))]
    return [f"{file.relative_to(run)}: {names[0]}" for file, names in found if names]


# For the hooks, which run in the process that trains


def at_every_step(before: Callable[[int], object]) -> None:
    """Call `before` with 1, 2, ... at the beginning of every step, whatever the training counts after going back."""
    from i2i.training.engine import Engine

    take_step, calls = Engine.take_step, [0]

    def counted(engine: Engine, draw: object) -> object:
        calls[0] += 1
        before(calls[0])
        return take_step(engine, draw)  # type: ignore[arg-type]

    Engine.take_step = counted  # type: ignore[method-assign, assignment]


def read_notes(path: Path) -> list[dict]:
    """Lines of JSON that a hook wrote; without a last one that was cut off."""
    lines: list[dict] = []
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines
