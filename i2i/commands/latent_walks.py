"""Ways through a generator's latents: from one to the next, and arithmetic with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from i2i.commands.generation import DEFAULT_FRAMES, Wishes, one_class, results_folder, saved_latents
from i2i.errors import UsageError
from i2i.files import atomic_path
from i2i.inference.generation.arithmetic import Term, combined, mean_of, neighbours
from i2i.inference.generation.film import enlarged, write_gif, write_mp4
from i2i.inference.generation.generate import refuse_files, write_picture
from i2i.inference.generation.latents import save_latents, spherical_path
from i2i.inference.latent_model import LatentModel
from i2i.inference.translation.conveyor import Plan, prepare_folders
from i2i.training.sheets import grid, sheet

_STRIP_COLUMNS = 9
_NEIGHBOURS = 8


def interpolate(model: LatentModel, wishes: Wishes, console: Console) -> dict[str, Any]:
    """Write a film strip, a GIF and an MP4 of the way through some latents and back to the first.

    Returns:
        What was done, for ``--json``.
    """
    assert wishes.interpolate is not None
    places, saved = wishes.interpolate, saved_latents(model, wishes)
    if saved is not None and len(saved.latents) < places:
        raise UsageError(f"--interpolate {places}: the file has {len(saved.latents)} latents - use so many or fewer")
    label = one_class(model, wishes, range(places), saved)
    folder = _prepared_folder(model, wishes, "-interpolation")
    drawn = model.latents(range(places), wishes.seed or 0, wishes.truncation)
    stations, frames = drawn if saved is None else saved.latents[:places], wishes.frames or DEFAULT_FRAMES
    pictures = _of_class(model, spherical_path(stations, frames), label, wishes.batch)
    files = [folder / "interpolation.png", folder / "interpolation.gif", folder / "interpolation.mp4"]
    save_drawing(files[0], _film_strip(pictures, frames))
    write_gif(files[1], enlarged(pictures))
    if not write_mp4(files[2], enlarged(pictures)):
        console.print("no MP4: OpenCV has no encoder for it on this machine; the GIF shows the same")
        files.pop()
    if wishes.save_latents is not None:
        labels = None if label is None else torch.full((places,), label)
        save_latents(wishes.save_latents, stations, labels, wishes.origin)
    if label is not None:
        console.print(f"all of class {model.class_names[label]}")
    console.print(f"{len(pictures)} frames through {places} latents and back: {', '.join(map(str, files))}")
    if wishes.save_latents is not None:
        console.print(f"latents: {wishes.save_latents}")
    return {"folder": str(folder), "files": [path.name for path in files], "frames": len(pictures), **wishes.origin}


def arithmetic(model: LatentModel, wishes: Wishes, terms: tuple[Term, ...], console: Console) -> dict[str, Any]:
    """Write the picture of an expression over saved latents, and a sheet with its operands and its neighbours.

    Returns:
        What was done, for ``--json``.
    """
    saved = saved_latents(model, wishes)
    assert saved is not None
    rows = [row for term in terms for row in term.rows]
    result = combined(terms, saved.latents)
    label = one_class(model, wishes, rows, saved)
    folder = _prepared_folder(model, wishes, "-arithmetic")
    means = torch.stack([mean_of(term, saved.latents) for term in terms])
    around = neighbours(result, _NEIGHBOURS, wishes.seed or 0)
    pictures = _of_class(model, torch.cat([result[None], around, means, saved.latents[rows]]), label, wishes.batch)
    files = [folder / "result.png", folder / "arithmetic.png"]
    write_picture(files[0], pictures[0], "png")
    save_drawing(files[1], _operands_and_result(terms, pictures))
    console.print(f"{wishes.arithmetic}: {', '.join(map(str, files))}")
    console.print(_legend(terms))
    return {"folder": str(folder), "files": [path.name for path in files], "arithmetic": wishes.arithmetic}


def as_floats(pictures: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """Pictures (N, H, W, C) uint8 as the drawing of sheets takes them: (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def save_drawing(path: Path, drawing: np.ndarray) -> None:
    """Write a sheet (H, W, 3) uint8 in the format that the file's name says, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(drawing).save(temporary)


def _of_class(model: LatentModel, latents: Tensor, label: int | None, batch: int) -> np.ndarray:
    return model(latents, None if label is None else torch.full((len(latents),), label), batch=batch)


def _film_strip(pictures: np.ndarray, frames: int) -> np.ndarray:
    """One row for each leg of `frames` pictures, both its ends included."""
    columns = min(_STRIP_COLUMNS, frames + 1)
    legs = len(pictures) // frames
    # The end of a leg is the start of the next, that of the last the first picture of all.
    chosen = [
        (leg * frames + round(column * frames / (columns - 1))) % len(pictures)
        for leg in range(legs)
        for column in range(columns)
    ]
    labels = [f"{leg} to {(leg + 1) % legs}" for leg in range(legs)]
    return grid(as_floats(pictures[chosen]), columns, labels)


def _operands_and_result(terms: tuple[Term, ...], pictures: np.ndarray) -> np.ndarray:
    """A column for each operand, its mean under its members, then the result in the middle of its neighbours.

    The operands are called a, b, c, ... on it; see `_legend`.
    """
    result, around = pictures[0], pictures[1 : 1 + _NEIGHBOURS]
    means = pictures[1 + _NEIGHBOURS : 1 + _NEIGHBOURS + len(terms)]
    members = list(pictures[1 + _NEIGHBOURS + len(terms) :])
    columns: list[tuple[str, Tensor]] = []
    for label, term, mean in zip(_labels(terms), terms, means, strict=True):
        own = [members.pop(0) for _ in term.rows]
        # A single row is its own mean.
        columns.append((label, as_floats([*own, mean] if len(own) > 1 else own)))
    square = [*around[:4], result, *around[4:]]
    columns += [("" if index != 1 else "= result", as_floats(square[index::3])) for index in range(3)]
    return sheet(columns)


def _labels(terms: Sequence[Term]) -> list[str]:
    """``a``, ``- b``, ``+ c``: what stands over the columns of the operands."""
    signs = ["+ " if term.sign > 0 else "- " for term in terms]
    signs[0] = signs[0].removeprefix("+ ")
    return [f"{sign}{_letter(index)}" for index, sign in enumerate(signs)]


def _letter(index: int) -> str:
    """a to z, then a1, b1, ..."""
    round_number, place = divmod(index, len(ascii_lowercase))
    return f"{ascii_lowercase[place]}{round_number or ''}"


def _legend(terms: Sequence[Term]) -> str:
    """Which rows the letters on the sheet stand for, and what lies where."""
    means = [
        f"{_letter(index)} is row {term.rows[0]}"
        if len(term.rows) == 1
        else f"{_letter(index)} is the mean of rows {', '.join(map(str, term.rows))}"
        for index, term in enumerate(terms)
    ]
    below = "; a mean stands below its rows" if any(len(term.rows) > 1 for term in terms) else ""
    return f"on the sheet {', '.join(means)}{below}; the result is in the middle of its neighbours"


def _prepared_folder(model: LatentModel, wishes: Wishes, suffix: str) -> Path:
    folder = results_folder(model, wishes, suffix)
    if not wishes.force:
        refuse_files(folder, "choose another folder with -o or overwrite with --force")
    prepare_folders(Plan((), (), (folder,)))
    return folder
