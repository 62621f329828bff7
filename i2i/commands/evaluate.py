"""`i2i evaluate`: scores of a trained model on test pictures with known counterparts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.errors import DataError, PartialFailureError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from i2i.data.dataset import DataSet
    from i2i.evaluation.paired import PairedScores, Pictures
    from i2i.evaluation.team import Team
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
    samples: int | None = None,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
    team: Team | None = None,
) -> None:
    """Score `model` on the folders ``testA`` and ``testB`` of `data`, aligned by name, at the pictures' own size.

    ``trainA`` and ``trainB``, where they are, give the mean-picture baseline. A table goes to standard output, or one
    JSON object with `json`; the figures with their passports go to `out` and to the model's run.

    Args:
        runner, trust: see `i2i.inference.load_model`.
        samples: score only the first pairs, as many as this.
        team: the processes that share the work.

    Raises:
        PartialFailureError: some test pictures cannot be read; the others are scored.
        DataError: folders are missing, names do not match, or no test picture can be read.
        ModelError, UsageError: the model or the direction cannot be used.
    """
    from i2i.commands.evaluation.results import console_of, tell_failures
    from i2i.evaluation.paired import mean_picture
    from i2i.evaluation.team import Team

    team = team or Team()
    console = console_of(team, quiet)
    data = Path(data)
    models = load_directions(model, device, direction, precision, runner, trust)
    names_a, names_b, alone = counterparts(data / "testA", data / "testB")
    if not names_a:
        raise DataError(f"{data / 'testA'} and {data / 'testB'}: no names in common - pairs are told by equal names")
    if alone:
        console.print(f"{alone} test pictures have no counterpart of the same name and are left out")
    pairs = len(names_a)
    names_a, names_b, damaged = _readable(data, names_a, names_b, max_pixels)
    tell_failures(damaged, team)
    if not names_a:
        raise DataError(f"{data}: none of {pairs} pairs can be read - see above")
    unread = pairs - len(names_a)
    names_a, names_b = names_a[:samples], names_b[:samples]
    console.print(f"{len(names_a)} pairs, {', '.join(models)}, on {next(iter(models.values())).device}")
    means: dict[str, np.ndarray] = {}
    for domain, folder in (("a", data / "trainA"), ("b", data / "trainB")):
        if folder.is_dir():
            means[domain] = mean_picture(_training_pictures(folder, max_pixels, console))
    test = {
        "a": _Pictures(data / "testA", names_a, max_pixels),
        "b": _Pictures(data / "testB", names_b, max_pixels),
    }
    about = {"data": str(data), "direction": direction and next(iter(models))}
    _score(models, test, means, about=about, failed=damaged, out=out, json=json, team=team)
    if damaged:
        raise PartialFailureError(f"{unread} of {pairs} pairs could not be read, see above")


def run_on_data_set(
    models: Mapping[str, ImageModel],
    data: DataSet,
    description: str,
    *,
    direction: str | None = None,
    samples: int | None = None,
    out: Path | None = None,
    json: bool = False,
    team: Team,
) -> None:
    """Score a translator on the aligned test pictures of an opened data set, at the size that training gives them.

    Args:
        direction: the one that was asked for; None for all of `models`.
        samples: score only the first pairs, as many as this.

    Raises:
        PartialFailureError: pictures of the set cannot be used; the others are scored.
    """
    from i2i.commands.evaluation.results import refuse_silence, tell_failures
    from i2i.evaluation.paired import mean_picture
    from i2i.evaluation.pictures.sources import data_source

    tell_failures(data.report, team)
    training = {domain: data_source(data, domain, "train", description) for domain in "ab"}
    means = {domain: mean_picture(iter(source.images)) for domain, source in training.items()}
    test = {
        domain: pictures if samples is None else [pictures[index] for index in range(min(samples, len(pictures)))]
        for domain, pictures in ((domain, data.test[domain]) for domain in "ab")
    }
    about = {"data": description, "direction": direction and next(iter(models))}
    _score(models, test, means, about=about, failed=data.report, out=out, json=json, team=team)
    refuse_silence(data.report)


def _score(
    models: Mapping[str, ImageModel],
    test: Mapping[str, Pictures],
    means: Mapping[str, np.ndarray],
    *,
    about: Mapping[str, str | None],
    failed: Sequence[str],
    out: Path | None,
    json: bool,
    team: Team,
) -> None:
    from i2i.evaluation.paired import paired_scores

    scores = paired_scores(
        lambda name, pictures: models[name](pictures),
        test["a"],
        test["b"],
        mean_pictures=means,
        directions=tuple(models),
        team=team,
    )
    if team.leads:
        _deliver(scores, models, test, means, about=about, failed=failed, out=out, json=json)


def _deliver(
    scores: PairedScores,
    models: Mapping[str, ImageModel],
    test: Mapping[str, Pictures],
    means: Mapping[str, np.ndarray],
    *,
    about: Mapping[str, str | None],
    failed: Sequence[str],
    out: Path | None,
    json: bool,
) -> None:
    """To standard output, and as figures with passports into files."""
    from i2i.commands.evaluation.results import deliver
    from i2i.evaluation.passports.score_figures import paired_figures
    from i2i.evaluation.pictures.sources import sha256_of_pictures

    domains = {domain: sha256_of_pictures(test[domain][i] for i in range(len(test[domain]))) for domain in "ab"}
    sources, truths = ({name: domains[name[end].lower()] for name in models} for end in (0, -1))
    figures = paired_figures(scores, truths, source_sha256=sources, mean_pictures=means)
    first = next(iter(models.values()))
    deliver(first, figures, scores.table(), about=about, scores=scores.to_json(), failed=failed, out=out, json=json)


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


def counterparts(folder_a: Path, folder_b: Path) -> tuple[list[str], list[str], int]:
    """Names in both folders of the pictures that have a counterpart, and the number of those that have none.

    Raises:
        DataError: a folder is missing or empty, or two of its pictures have one name.
    """
    from i2i.data.counterparts import common_names
    from i2i.data.folders import find_pictures

    names_a, names_b = find_pictures(folder_a), find_pictures(folder_b)
    both = common_names(names_a, names_b, folder_a, folder_b)
    return [a for a, _ in both], [b for _, b in both], len(names_a) + len(names_b) - 2 * len(both)


def load_directions(
    model: Path | str, device: str, direction: str | None, precision: Precision, runner: str, trust: bool
) -> dict[str, ImageModel]:
    """The translator's direction of this name, or all it has.

    Raises:
        ModelError, UsageError: the model cannot be used, or enlarges.
    """
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
