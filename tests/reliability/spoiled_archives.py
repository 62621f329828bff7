"""Spoiled archives and binary sets, given to what unpacks and reads them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.reliability.archives import CIFARS, IDX_FILES, SET_FOLDERS, SET_NAME, ZIPS
from tests.reliability.cases import Case, Outcome, Scenario
from tests.reliability.spoiled_files import Bounds, Call, first_wrong, judged, reused_program, weighted
from tests.warm import Hook

_NAME = "archives"
_WEIGHTS = {kind: 1 if kind.endswith("bomb") else 6 for kind in (*ZIPS, *CIFARS, *IDX_FILES)}
_RECIPE = "extends: {base}\nname: x\nprecision: fp32\nevaluate: null\ndata: {{root: '{root}'}}\n"
_MOST_BYTES_LEFT = 100_000_000


def _cases(count: int) -> Sequence[Case]:
    return weighted(_NAME, _WEIGHTS, count)


def _run(case: Case, folder: Path) -> Outcome:
    """In a folder of its own, beside one that nothing may touch."""
    outside, work = folder / "outside", folder / "work"
    outside.mkdir()
    work.mkdir()
    (outside / "decoy").write_text("untouched")
    rng = case.rng
    if case.kind in ZIPS:
        outcomes = _zip_outcomes(ZIPS[case.kind](rng, folder), work)
    elif case.kind in CIFARS:
        outcomes = _cifar_outcomes(CIFARS[case.kind](rng, folder), work)
    else:
        outcomes = _idx_outcomes(IDX_FILES[case.kind](rng), work)
    outcome = first_wrong(outcomes)
    touched = _touched(folder)
    if outcome.ok and touched:
        return Outcome(False, "escaped", f"{', '.join(touched)}; {outcome.detail}", outcome.figures)
    return outcome


def _touched(folder: Path) -> list[str]:
    """What is there outside the folder to work in, or is a link within."""
    strange = [path for path in folder.iterdir() if path.name not in ("outside", "work")]
    strange += [path for path in (folder / "outside").iterdir() if path.name != "decoy"]
    strange += [path for path in (folder / "work").rglob("*") if path.is_symlink()]
    intact = (folder / "outside" / "decoy").read_text() == "untouched"
    return [str(path) for path in strange] + ([] if intact else ["the decoy"])


def _zip_outcomes(content: bytes, work: Path) -> Iterator[Outcome]:
    given = work / "given.zip"
    given.write_bytes(content)
    yield _settled(["data", "prepare", given, work / "made", "--size", "16"], work, given, left={given})
    shutil.rmtree(work / "made", ignore_errors=True)
    archive = work / "sets" / f"{SET_NAME}.zip"
    archive.parent.mkdir()
    given.rename(archive)
    around = Hook(
        module=__name__,
        name="published",
        arguments={"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)},
    )
    yield _settled(["data", "fetch", SET_NAME, "--to", archive.parent], work, archive, left={archive}, around=around)


def _cifar_outcomes(content: bytes, work: Path) -> Iterator[Outcome]:
    archive = work / "cifar-10-python.tar.gz"
    archive.write_bytes(content)
    recipe = work / "recipe.yaml"
    recipe.write_text(_RECIPE.format(base="dcgan_cifar10", root=archive))
    yield _opened(recipe, archive, work, left={archive, recipe})


def _idx_outcomes(files: tuple[bytes, bytes], work: Path) -> Iterator[Outcome]:
    folder = work / "set"
    folder.mkdir()
    recipe = work / "recipe.yaml"
    recipe.write_text(_RECIPE.format(base="cdcgan_mnist", root=folder) + "pipeline: {classes: 3}\n")
    paths = [folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    yield _opened(recipe, folder, work, left={*paths, recipe})
    yield _settled(["data", "prepare", folder, work / "made", "--size", "16"], work, folder, left={*paths, recipe})


def _opened(recipe: Path, source: Path, work: Path, left: set[Path]) -> Outcome:
    around = Hook(module=__name__, name="until_the_data_are_open")
    return _settled(["train", recipe, "--dry-run", "--device", "cpu"], work, source, left=left, around=around)


def _settled(
    arguments: Sequence[str | Path], work: Path, source: Path, *, left: set[Path], around: Hook | None = None
) -> Outcome:
    """One call; if it refuses, nothing but what was there before may be left."""
    answer = reused_program().run(Call(arguments=arguments, cwd=work, around=around))
    outcome = judged(answer, Bounds(exit_codes={4}, names={str(source)}))
    there = {path for path in work.rglob("*") if not path.is_dir()}
    if outcome.ok and answer.exit_code and there != left:
        return Outcome(False, "left behind", f"{sorted(map(str, there - left))}; {answer.stderr}", outcome.figures)
    if sum(path.lstat().st_size for path in there - left) > _MOST_BYTES_LEFT:
        return Outcome(False, "filled the disk", answer.stderr, outcome.figures)
    return outcome


@contextlib.contextmanager
def published(sha256: str, size: int) -> Iterator[None]:
    """The spoiled archive is the very one that its authors publish."""
    from i2i.commands import data
    from i2i.data.fetch import PublishedSet

    entry = PublishedSet(
        name=SET_NAME,
        url=f"https://published.invalid/{SET_NAME}.zip",
        archive_bytes=size,
        sha256=sha256,
        pictures=SET_FOLDERS,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CATALOGUE", {SET_NAME: entry})
        yield


@contextlib.contextmanager
def until_the_data_are_open() -> Iterator[None]:
    """Ends the dry run where the data can be used: networks are for other tests."""
    from i2i.commands import dry_run

    def open_and_stop(*arguments: Any) -> Any:
        open_data(*arguments)
        raise typer.Exit(0)

    open_data = dry_run.open_data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "open_data", open_and_stop)
        yield


SCENARIOS = (Scenario(name=_NAME, title="Spoiled archives", long_count=3_000, cases=_cases, run=_run),)
