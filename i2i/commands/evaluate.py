"""`i2i evaluate`: scores of a trained model on test pictures with known counterparts."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from i2i.errors import DataError, PartialFailureError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from i2i.inference.image_model import ImageModel, Precision


def run(
    model: Path | str,
    data: Path,
    *,
    direction: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    runner: str = "auto",
    trust: bool = False,
    max_pixels: int = 200_000_000,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Score `model` on the folders ``testA`` and ``testB`` of `data`, aligned by name, at the pictures' own size.

    ``trainA`` and ``trainB``, where they are, give the mean-picture baseline. A table goes to standard output, or one
    JSON object with `json`.

    Args:
        runner, trust: see `i2i.inference.load_model`.

    Raises:
        PartialFailureError: some test pictures cannot be read; the others are scored.
        DataError: folders are missing, names do not match, or no test picture can be read.
        ModelError, UsageError: the model or the direction cannot be used.
    """
    from i2i.evaluation.paired import mean_picture, paired_scores

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False, quiet=quiet)
    data = Path(data)
    models = _load_directions(model, device, direction, precision, runner, trust)
    names_a, names_b, alone = _counterparts(data / "testA", data / "testB")
    if alone:
        console.print(f"{alone} test pictures have no counterpart of the same name and are left out")
    pairs = len(names_a)
    names_a, names_b, damaged = _readable(data, names_a, names_b, max_pixels)
    for reason in damaged:
        typer.echo(f"failed: {reason}", err=True)
    if not names_a:
        raise DataError(f"{data}: none of {pairs} pairs can be read - see above")
    console.print(f"{len(names_a)} pairs, {', '.join(models)}, on {next(iter(models.values())).device}")
    means: dict[str, np.ndarray] = {}
    for domain, folder in (("a", data / "trainA"), ("b", data / "trainB")):
        if folder.is_dir():
            means[domain] = mean_picture(_training_pictures(folder, max_pixels, console))
    scores = paired_scores(
        lambda name, pictures: models[name](pictures),
        _Pictures(data / "testA", names_a, max_pixels),
        _Pictures(data / "testB", names_b, max_pixels),
        mean_pictures=means,
        directions=tuple(models),
    )
    if json:
        about = {"model": str(next(iter(models.values())).path), "data": str(data), "precision": precision}
        about |= {"runner": next(iter(models.values())).runner.name}
        typer.echo(json_module.dumps(about | scores.to_json() | {"failed": damaged}))
    else:
        typer.echo(scores.table())
    if damaged:
        raise PartialFailureError(f"{pairs - len(names_a)} of {pairs} pairs could not be read, see above")


class _Pictures:
    """Pictures of a folder, decoded when asked for, so that a test set need not fit into memory."""

    def __init__(self, folder: Path, names: Sequence[str], max_pixels: int) -> None:
        self._folder, self._names, self._max_pixels = folder, names, max_pixels

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> np.ndarray:
        from i2i.data.decoding import decode_rgb8

        return decode_rgb8(self._folder / self._names[index], self._max_pixels)


def _training_pictures(folder: Path, max_pixels: int, console: Console) -> Iterator[np.ndarray]:
    """Those that can be read: training leaves out the others too."""
    from i2i.data.decoding import decode_rgb8
    from i2i.data.folders import find_pictures

    for name in find_pictures(folder):
        try:
            yield decode_rgb8(folder / name, max_pixels)
        except DataError as error:
            console.print(f"left out of the mean picture: {error}")


def _readable(
    data: Path, names_a: Sequence[str], names_b: Sequence[str], max_pixels: int
) -> tuple[list[str], list[str], list[str]]:
    """The names of pairs of which both pictures can be read, and a line for each picture that cannot.

    Found out beforehand, so that both directions are scored on the same pairs.
    """
    from i2i.data.decoding import decode_rgb8

    whole: list[tuple[str, str]] = []
    damaged: list[str] = []
    for name_a, name_b in zip(names_a, names_b, strict=True):
        known = len(damaged)
        for path in (data / "testA" / name_a, data / "testB" / name_b):
            try:
                decode_rgb8(path, max_pixels)
            except DataError as error:
                damaged.append(str(error))
        if len(damaged) == known:
            whole.append((name_a, name_b))
    return [a for a, _ in whole], [b for _, b in whole], damaged


def _counterparts(folder_a: Path, folder_b: Path) -> tuple[list[str], list[str], int]:
    """Names in both folders of the pictures that have a counterpart, and the number of those that have none."""
    by_stem_a, by_stem_b = _by_stem(folder_a), _by_stem(folder_b)
    both = sorted(by_stem_a.keys() & by_stem_b.keys())
    if not both:
        raise DataError(f"{folder_a} and {folder_b}: no names in common - pairs are told by equal names")
    return (
        [by_stem_a[stem] for stem in both],
        [by_stem_b[stem] for stem in both],
        len(by_stem_a.keys() ^ by_stem_b.keys()),
    )


def _by_stem(folder: Path) -> Mapping[str, str]:
    from i2i.data.folders import find_pictures

    found: dict[str, str] = {}
    for name in find_pictures(folder):
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in found:
            raise DataError(f"{folder}: {found[stem]} and {name} have one name - remove one, pairs are told by names")
        found[stem] = name
    return found


def _load_directions(
    model: Path | str, device: str, direction: str | None, precision: Precision, runner: str, trust: bool
) -> dict[str, ImageModel]:
    from i2i.inference import load_model

    def load(name: str | None) -> ImageModel:
        return load_model(model, device, name, precision, runner=runner, trust=trust)

    first = load(direction)
    if first.entry_point.scale != 1:
        raise UsageError(
            f"{model}: --data is for models that keep the size, and this one enlarges x{first.entry_point.scale}"
            " - use --hr PICTURES"
        )
    if direction is not None:
        return {first.name: first}
    others = {name: load(name) for name in first.names if name != first.name}
    return {first.name: first} | others
