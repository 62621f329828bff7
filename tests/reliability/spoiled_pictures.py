"""Spoiled pictures, given to translation and to the check of a training set."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from i2i.data.headers import read_header
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of
from tests.reliability.spoiled_files import (
    MOST_MEGABYTES,
    PLAINLY,
    Answer,
    Bounds,
    Call,
    first_wrong,
    good_model,
    good_picture,
    judged,
    reused_program,
    weighted,
)
from tests.reliability.spoiled_picture_files import MUTATIONS, SUFFIXES, bombs, drawn_pictures

_NAME = "pictures"
_BOMB, _AMONG_GOOD = "bomb", "among good ones"
_MIXED_BAD, _MIXED_GOOD = 12, 4
_WEIGHTS = {**dict.fromkeys(MUTATIONS, 8), _BOMB: 1, _AMONG_GOOD: 1}
_BYTES_A_PIXEL = 160
"""Of work on a picture as a whole: its numbers in float32 before, between and after."""
_drawn, _bombs = functools.cache(drawn_pictures), functools.cache(bombs)


def _cases(count: int) -> Sequence[Case]:
    return weighted(_NAME, _WEIGHTS, count)


def _run(case: Case, folder: Path) -> Outcome:
    if case.kind == _AMONG_GOOD:
        return _among_good_ones(case, folder)
    path = _spoiled(case, case.kind, folder / "pictures", "spoiled")
    return first_wrong(_judgements(path, prepared_of(folder) / "good.safetensors", folder))


def _judgements(path: Path, model: Path, folder: Path) -> Iterator[Outcome]:
    """What both ways of reading pictures make of one."""
    checked = reused_program().run(Call(arguments=["data", "check", path.parent], cwd=folder))
    outcome = judged(checked, Bounds(exit_codes={4}, names={str(path.parent)}, remarks=True))
    if outcome.ok and checked.exit_code and path.name not in checked.stdout:
        outcome = Outcome(False, "unnamed file", checked.stdout)
    yield outcome
    yield _judged_translation(_translate([path], model, folder), [path])


def _among_good_ones(case: Case, folder: Path) -> Outcome:
    """Many at once: whatever the others are like, the good ones must be done."""
    model, good = prepared_of(folder) / "good.safetensors", prepared_of(folder) / "good.png"
    rng, kinds = case.rng, list(MUTATIONS)
    paths = [
        _spoiled(Case(_NAME, kind, 1_000_000 + _MIXED_BAD * case.seed + index), kind, folder, f"{index:02d}")
        for index, kind in enumerate(kinds[int(rng.integers(len(kinds)))] for _ in range(_MIXED_BAD))
    ]
    copies = [folder / f"good-{index}.png" for index in range(_MIXED_GOOD)]
    for copy in copies:
        copy.write_bytes(good.read_bytes())
    given = [*paths, *copies]
    rng.shuffle(given)  # pyright: ignore[reportArgumentType] - a list is a sequence that can be shuffled
    outcome = _judged_translation(_translate(given, model, folder), given)
    undone = [copy.name for copy in copies if not (folder / "out" / copy.name).is_file()]
    if outcome.ok and undone:
        return Outcome(False, "good ones lost", f"{', '.join(undone)}; {outcome.detail}", outcome.figures)
    return outcome


def _translate(given: Sequence[Path], model: Path, folder: Path) -> Answer:
    arguments = ["translate", "--model", model, "-o", folder / "out", "--format", "png", "--json", *PLAINLY, *given]
    return reused_program().run(Call(arguments=arguments, cwd=folder))


def _judged_translation(answer: Answer, given: Sequence[Path]) -> Outcome:
    """Every picture must be there, or refused in one line that names it; one line more says how many were not."""
    failures = [line for line in answer.stderr.splitlines() if line.startswith("failed: ")]
    bounds = Bounds(exit_codes={7}, names={"see above", "failed"}, notes=("failed: ",), remarks=True, remedy=False)
    # A changed header can make a whole picture of millions of pixels: that one may take what its pixels take.
    allowed = MOST_MEGABYTES + _BYTES_A_PIXEL * _most_pixels_written(answer) / 1e6
    outcome = judged(answer, replace(bounds, megabytes=allowed))
    if not outcome.ok:
        return outcome
    if answer.exit_code not in (0, 7):
        return Outcome(False, "wrong exit code", f"{answer.exit_code}: {answer.stderr}", outcome.figures)
    told = {picture["source"]: picture for picture in json.loads(answer.stdout)["pictures"]}
    for path in given:
        picture = told.get(str(path), {"status": "not mentioned"})
        written = picture["status"] == "written" and Path(picture["destination"]).is_file()
        refused = any(str(path) in line and " - " in line for line in failures)
        if written == refused or (refused and picture["status"] != "failed"):
            return Outcome(False, "silent", f"{path}: {picture['status']}; {answer.stderr}", outcome.figures)
    return outcome


def _most_pixels_written(answer: Answer) -> int:
    """Of the largest picture that came out."""
    with contextlib.suppress(ValueError):
        pictures = json.loads(answer.stdout)["pictures"]
        written = [Path(picture["destination"]) for picture in pictures if picture["status"] == "written"]
        return max((read_header(path).pixels for path in written), default=0)
    return 0


def _spoiled(case: Case, kind: str, folder: Path, stem: str) -> Path:
    rng = case.rng
    if kind == _BOMB:
        format, content = _bombs()[sorted(_bombs())[case.seed % len(_bombs())]]
        named = format
    else:
        format, content = _drawn()[sorted(_drawn())[int(rng.integers(len(_drawn())))]]
        content = MUTATIONS[kind](format, content, rng)
        # Names tell nothing: one in ten has that of another format.
        named = format if rng.random() < 0.9 else sorted(SUFFIXES)[int(rng.integers(len(SUFFIXES)))]
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}{SUFFIXES[named]}"
    path.write_bytes(content)
    return path


def _prepare(folder: Path) -> None:
    good_model(folder)
    good_picture(folder)


SCENARIOS = (
    Scenario(name=_NAME, title="Spoiled pictures", long_count=9_000, cases=_cases, run=_run, prepare=_prepare),
)
