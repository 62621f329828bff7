"""What the words of `i2i generate` mean, and which of them do not go together."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i.errors import ModelError, UsageError

if TYPE_CHECKING:
    from i2i.inference.generation.generate import Share
    from i2i.inference.generation.latents import SavedLatents
    from i2i.inference.latent_model import LatentModel
    from i2i.inference.pictures.image_files import OutputFormat

RUNS_FOLDER = Path("runs")
RESULTS_FOLDER = Path("generated")
DEFAULT_COUNT = 100
DEFAULT_FRAMES = 24
_FORMATS: dict[str, OutputFormat] = {
    "png": "png", "jpg": "jpg", "jpeg": "jpg", "webp": "webp", "tif": "tiff", "tiff": "tiff",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for, in the words of the command line; None: not said."""

    n: int | None = None
    out: Path | None = None
    seed: int | None = None
    truncation: float | None = None
    classes: str | None = None
    grid: Path | None = None
    labelled: bool = False
    latents: Path | None = None
    save_latents: Path | None = None
    interpolate: int | None = None
    frames: int | None = None
    arithmetic: str | None = None
    format: str = "png"
    batch: int = 64
    skip_existing: bool = False
    force: bool = False

    def check(self) -> None:
        """Refuse numbers out of range and wishes that contradict each other.

        Raises:
            UsageError: there are such.
        """
        for option, value, least in (
            ("--n", self.n, 1), ("--batch", self.batch, 1), ("--frames", self.frames, 1),
            ("--interpolate", self.interpolate, 2), ("--seed", self.seed, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise UsageError(f"{option} {value}: use {least} or more")
        if self.truncation is not None and not 0 < self.truncation < float("inf"):
            raise UsageError(f"--truncation {self.truncation:g}: use a number above 0, such as 0.7")
        if self.format.lower().removeprefix(".") not in _FORMATS:
            raise UsageError(f"--format {self.format}: unknown - use png, jpg, webp or tiff")
        if self.grid is not None and self.grid.suffix.lower().removeprefix(".") not in _FORMATS:
            raise UsageError(f"--grid {self.grid}: unknown kind of picture - use .png, .jpg, .webp or .tiff")
        if self.save_latents is not None and self.save_latents.suffix.lower() != ".safetensors":
            raise UsageError(
                f"--save-latents {self.save_latents}: latents are kept as safetensors"
                f" - name the file {self.save_latents.with_suffix('.safetensors')}"
            )
        if self.frames is not None and self.interpolate is None:
            raise UsageError("--frames belongs to --interpolate - add --interpolate 8, say")
        if self.arithmetic is not None and self.latents is None:
            raise UsageError("--arithmetic computes with saved latents - add --latents FILE (from --save-latents FILE)")
        for option, other in self._contradictions():
            raise UsageError(f"{option} and {other} do not go together - leave one out")

    @property
    def output_format(self) -> OutputFormat:
        """What `format` means."""
        return _FORMATS[self.format.lower().removeprefix(".")]

    @property
    def origin(self) -> dict[str, Any]:
        """Where the latents come from, as JSON can hold it."""
        if self.latents is not None:
            return {"latents": self.latents.name}
        return {"seed": self.seed or 0, "truncation": self.truncation}

    def _contradictions(self) -> list[tuple[str, str]]:
        given = {
            "--n": self.n is not None,
            "--seed": self.seed is not None,
            "--truncation": self.truncation is not None,
            "--grid": self.grid is not None,
            "--labelled": self.labelled,
            "--skip-existing": self.skip_existing,
            "--save-latents": self.save_latents is not None,
            "--force": self.force,
            "--format": self.output_format != "png",
            "--interpolate": self.interpolate is not None,
            "--arithmetic": self.arithmetic is not None,
            "--latents": self.latents is not None,
        }
        pictures_only = ("--n", "--grid", "--labelled", "--skip-existing", "--format")
        excluded = {
            "--skip-existing": ("--force",),
            "--interpolate": (*pictures_only, "--arithmetic"),
            "--arithmetic": (*pictures_only, "--save-latents"),
            # An arithmetic draws the neighbours of its result.
            "--latents": ("--truncation",) if self.arithmetic is not None else ("--truncation", "--seed"),
        }
        return [
            (option, other) for option, others in excluded.items() for other in others if given[option] & given[other]
        ]


def refuse_words(words: Sequence[str], model: Path | None) -> None:
    """Refuse words that belong to no option: what was meant is most often the model.

    Raises:
        UsageError: there are such.
    """
    if words and model is None:
        raise UsageError(f"{words[0]}: a model needs its option - write --model {shlex.quote(words[0])}")
    if words:
        raise UsageError(f"{words[0]}: belongs to no option - see i2i generate --help")


def newest_generator() -> Path:
    """The newest run below ``runs/``, by its model file, that makes pictures from noise; others are passed over.

    Raises:
        UsageError: there is no run, or none of that kind.
        ModelError: the model file of one that was looked at cannot be read.
    """
    from i2i.inference.model_files.loading import read_any_metadata
    from i2i.inference.model_files.model_file import resolve_model

    found: list[tuple[float, Path]] = []
    for folder in RUNS_FOLDER.iterdir() if RUNS_FOLDER.is_dir() else ():
        try:
            found.append((resolve_model(folder).stat().st_mtime, folder))
        except ModelError:
            continue  # A run that has not saved a model yet, or no run at all.
    if not found:
        raise UsageError(f"no run with a model under {RUNS_FOLDER.absolute()} - say which generator with --model")
    for _, folder in sorted(found, reverse=True):
        if read_any_metadata(folder).generates:
            return folder
    newest = max(found)[1]
    raise UsageError(
        f"{newest}: the newest run, and no other under {RUNS_FOLDER}, makes pictures from noise; its model translates"
        f" them ({read_any_metadata(newest).description}) - say which generator with --model, or use i2i translate"
    )


def parse_classes(text: str | None, model: LatentModel) -> tuple[int, ...]:
    """The labels that ``--classes`` means: names or numbers, separated by commas.

    Raises:
        UsageError: the model has no such class, or none at all; or a class is named twice.
    """
    if text is None:
        return ()
    if not model.classes:
        raise UsageError(f"--classes {text}: this model was trained without classes - leave --classes out")
    labels = tuple(_label(word.strip(), model) for word in text.split(","))
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"--classes {text}: class {model.class_names[label]} stands there twice - name it once")
    return labels


def _label(word: str, model: LatentModel) -> int:
    names = model.class_names
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < model.classes:
        return int(word)
    folded = [name.casefold() for name in names]
    if folded.count(word.casefold()) == 1:
        return folded.index(word.casefold())
    near = difflib.get_close_matches(word, names, 1)
    hint = f"did you mean {near[0]!r}?" if near and not word.isdecimal() else f"use {listed(names)}"
    raise UsageError(f"--classes: no class {word!r}, this model has 0 to {model.classes - 1} - {hint}")


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first names in one phrase."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def one_class(model: LatentModel, wishes: Wishes, rows: Sequence[int], saved: SavedLatents | None = None) -> int | None:
    """The label of a film or an arithmetic, which stay in one class: that of the command, else of the rows of a file,
    else 0.

    Raises:
        UsageError: several classes are named, or those of the rows differ or are missing.
    """
    from i2i.inference.generation.generate import labels_of

    classes = parse_classes(wishes.classes, model)
    if len(classes) > 1:
        # A class is a number to the generator: between two of them there is nothing to walk through.
        raise UsageError(
            f"--classes {wishes.classes}: a film or an arithmetic stays in one class, for the models know nothing"
            " between two - name one, and make a film of each"
        )
    if not model.classes or classes:
        return classes[0] if classes else None
    if saved is None:
        return 0
    found = sorted(set(labels_of(model, saved)[list(rows)].tolist()))
    if len(found) > 1:
        names = listed([model.class_names[label] for label in found])
        raise UsageError(f"the rows are of several classes ({names}) - name one with --classes")
    return found[0]


def share_of_this_process() -> Share:
    """This process's part of the work, as ``torchrun`` says it in the environment.

    Raises:
        UsageError: the environment makes no sense.
    """
    from i2i.inference.generation.generate import Share

    rank, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise UsageError(
            f"RANK={rank} and WORLD_SIZE={count} in the environment do not fit"
            " - start several processes with torchrun, or unset both"
        )
    return Share(int(rank), int(count))


def device_of_this_process(name: str) -> str:
    """The device that `name` means here: under ``torchrun`` each process takes the GPU of its own number."""
    import torch

    local = os.environ.get("LOCAL_RANK", "")
    if name in ("auto", "cuda") and local.isdecimal() and torch.cuda.is_available():
        return f"cuda:{int(local) % torch.cuda.device_count()}"
    return name


def results_folder(model: LatentModel, wishes: Wishes, suffix: str = "") -> Path:
    """Where the results go: as said, else below ``generated/`` under the name of the model or its run."""
    if wishes.out is not None:
        return wishes.out
    assert model.path is not None
    path = model.path.resolve()
    if path.name not in ("best.safetensors", "model.safetensors"):
        return RESULTS_FOLDER / f"{path.stem}{suffix}"
    run = path.parent
    # The name of a checkpoint's own folder says nothing but its step.
    name = f"{run.parent.parent.name}-{run.name}" if run.parent.name == "checkpoints" else run.name
    return RESULTS_FOLDER / f"{name or 'pictures'}{suffix}"


def saved_latents(model: LatentModel, wishes: Wishes) -> SavedLatents | None:
    """What the file of ``--latents`` holds.

    Raises:
        DataError: it is missing, damaged, or its latents do not fit the model.
    """
    from i2i.inference.generation.latents import read_latents

    return None if wishes.latents is None else read_latents(wishes.latents, model.latent_width)
