"""Some spoiled files of every kind through the real command line; `tools/campaign` sends thousands."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import signal
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.reliability import spoiled_archives, spoiled_checkpoints, spoiled_models, spoiled_pictures, spoiled_recipes
from tests.reliability import spoiled_files as files
from tests.reliability import spoiled_picture_files as pictures
from tests.reliability.cases import Case, Scenario, few
from tests.reliability.spoiled_files import Answer, Bounds, Call, judged, reused_program, weighted
from tests.warm import AVAILABLE, Hook

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")
SCENARIOS = {
    scenario.name: scenario
    for module in (spoiled_pictures, spoiled_recipes, spoiled_archives, spoiled_models, spoiled_checkpoints)
    for scenario in module.SCENARIOS
}
OF_EACH = {"pictures": 3, "recipes": 2, "archives": 2, "models": 2, "checkpoints": 1}
# What the long form found, each of another sort: a message of several lines, a file waited for or unfolded without end.
FOUND = (
    Case("recipes", "extends", 8),
    Case("recipes", "odd text", 2),
    Case("archives", "zip names", 7),
    Case("archives", "zip names", 1),
    Case("archives", "zip header", 12),
    Case("archives", "cifar bomb", 6),
    Case("models", "onnx graph", 4),
    Case("models", "onnx graph", 3),
    Case("models", "onnx metadata", 13),
    Case("models", "safetensors header", 1),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each scenario, made ready."""
    found = {name: tmp_path_factory.mktemp(name) for name in SCENARIOS}
    for name, folder in found.items():
        SCENARIOS[name].make_ready(folder)
    return found


def _name(case: Case) -> str:
    return f"{case.scenario}-{case}"


CASES = [case for name, scenario in SCENARIOS.items() for case in few(scenario, of_each=OF_EACH[name])]


@pytest.mark.parametrize("case", [*CASES, *(case for case in FOUND if case not in CASES)], ids=_name)
def test_it_is_taken_or_refused_in_one_line(case: Case, places: dict[str, Path]) -> None:
    outcome = SCENARIOS[case.scenario].settle(case, places[case.scenario])
    assert outcome.ok, f"{outcome.what}: {outcome.detail}"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_cases_are_the_same_in_a_longer_list(scenario: Scenario) -> None:
    short, long = scenario.cases(200), scenario.cases(scenario.long_count)
    assert len(short) == 200 and len(long) == scenario.long_count == len(set(long))
    kinds = Counter(case.kind for case in short)
    assert {*short} <= {*long} and set(kinds) == {case.kind for case in long}
    assert all(case.seed < kinds[case.kind] for case in short)


def test_the_counts_are_those_promised() -> None:
    assert sum(scenario.long_count for scenario in SCENARIOS.values()) == 20_000
    counts = Counter(case.kind for case in weighted("x", {"often": 3, "seldom": 1}, 40))
    assert counts == {"often": 30, "seldom": 10}


# The files are spoiled as they say


def test_what_is_spoiled_was_whole(tmp_path: Path) -> None:
    from i2i.inference.pictures.image_files import read_picture

    whole = pictures.drawn_pictures()
    assert len(whole) >= 20 and {format for format, _ in whole.values()} == set(pictures.SUFFIXES)
    for name, (_, content) in whole.items():
        (tmp_path / name).write_bytes(content)
        assert {40, 56} == set(read_picture(tmp_path / name).rgb.shape[:2]), name


def test_bombs_are_whole_files_of_few_bytes() -> None:
    heavy = pictures.bombs()
    for name in ("png-colour", "png-bits", "tiff-deflate"):
        assert len(heavy[name][1]) < 3_000_000
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(heavy[name][1]))
    for count in (0, 1, 2**20, 3 * 2**20 + 5):
        assert zlib.decompress(pictures._packed_zeros(count)) == bytes(count)


def test_whole_archives_and_models_are_taken(tmp_path: Path) -> None:
    """What every mutation begins with; else refusing the mutation would prove nothing."""
    from tests.reliability import archives, models_graphs, models_spoiled

    for name, outcomes in (
        ("zip", spoiled_archives._zip_outcomes(archives.plain_zip(), _folder(tmp_path / "zip"))),
        ("cifar", spoiled_archives._cifar_outcomes(archives.plain_cifar(), _folder(tmp_path / "cifar"))),
        ("idx", spoiled_archives._idx_outcomes(archives.plain_idx(), _folder(tmp_path / "idx"))),
    ):
        assert [outcome.what for outcome in outcomes] in (["taken"], ["taken", "taken"]), name
    picture = files.good_picture(tmp_path)
    (tmp_path / "x.onnx").write_bytes(models_graphs.good_onnx().SerializeToString())
    translate = ["translate", "--model", "x.onnx", picture, "-o", "out", "--device", "cpu", "--quiet"]
    assert reused_program().run(Call(arguments=translate, cwd=tmp_path)).exit_code == 0
    if importlib.util.find_spec("openvino") is not None:
        for suffix, content in zip((".xml", ".bin"), models_graphs.good_openvino(), strict=True):
            (tmp_path / "x").with_suffix(suffix).write_bytes(content)
        translate = ["translate", "--model", "x.xml", picture, "-o", "out2", "--device", "cpu", "--quiet"]
        assert reused_program().run(Call(arguments=translate, cwd=tmp_path)).exit_code == 0
    import torch

    torch.save(models_spoiled.foreign_checkpoint(), tmp_path / "x.pth")
    convert = ["convert", "x.pth", "-o", "x.safetensors"]
    assert reused_program().run(Call(arguments=convert, cwd=tmp_path)).exit_code == 0


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


# What is not as it should be is seen


@contextlib.contextmanager
def crash() -> Iterator[None]:
    """As a decoder does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    yield


@contextlib.contextmanager
def hang() -> Iterator[None]:
    """As a decoder does that loses its way."""
    time.sleep(600)
    yield


@contextlib.contextmanager
def take_memory() -> Iterator[None]:
    """As a decoder that believes a header."""
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])
    yield


@contextlib.contextmanager
def crash_once(folder: str) -> Iterator[None]:
    """As what an earlier file has damaged: alone it goes well."""
    mark = Path(folder) / "been here"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    yield


def _answer(name: str, cwd: Path, **arguments: str) -> Answer:
    around = Hook(module=__name__, name=name, arguments=arguments)
    return reused_program().run(Call(arguments=["recipes"], cwd=cwd, around=around))


BOUNDS = Bounds(exit_codes={4}, names={"x.png"})


def test_crashes_and_hangs_are_seen_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = _answer("crash", tmp_path)
    assert (crashed.end, crashed.exit_code) == ("crashed", -signal.SIGSEGV)
    assert judged(crashed, BOUNDS).what == "crashed" and not judged(crashed, BOUNDS).ok
    assert reused_program().run(Call(arguments=["recipes"], cwd=tmp_path)).exit_code == 0
    once = _answer("crash_once", tmp_path, folder=str(tmp_path))
    assert judged(once, BOUNDS).what == "crashed after others" and not judged(once, BOUNDS).ok
    with monkeypatch.context() as patch:
        patch.setattr(files, "LONGEST_SECONDS", 1.0)
        hung = _answer("hang", tmp_path)
    assert judged(hung, BOUNDS).what == "hung" and not judged(hung, BOUNDS).ok
    assert reused_program().run(Call(arguments=["recipes"], cwd=tmp_path)).exit_code == 0


def test_memory_is_measured(tmp_path: Path) -> None:
    assert 390 < _answer("take_memory", tmp_path).peak_megabytes < 600
    assert reused_program().run(Call(arguments=["recipes"], cwd=tmp_path)).peak_megabytes < 100


@pytest.mark.parametrize(
    ("code", "stderr", "what"),
    [
        (0, "", None),
        (0, "something\n", "noise"),
        (4, "i2i: error: x.png: damaged - remove it\n", None),
        (1, "i2i: error: x.png: damaged - remove it\n", "wrong exit code"),
        (4, "i2i: error: x.png: damaged\n", "no remedy"),
        (4, "i2i: error: damaged - remove it\n", "unnamed file"),
        (4, "libpng: x.png\ni2i: error: x.png: damaged - remove it\n", "unclear message"),
        (4, "i2i: error: x.png: a\ni2i: error: x.png: b - c\n", "unclear message"),
        (4, f"i2i: error: x.png: {'a' * 2000} - remove it\n", "unclear message"),
        (4, "i2i: error: x.png: \x1b[31m - remove it\n", "control characters"),
        (4, "", "unclear message"),
        (1, "Traceback (most recent call last):\n", "traceback"),
    ],
)
def test_judgement(code: int, stderr: str, what: str | None) -> None:
    outcome = judged(Answer(end="ended", exit_code=code, stderr=stderr), BOUNDS)
    assert outcome.ok == (what is None) and (what is None or outcome.what == what)
    if what is None and code:
        remark = Answer(end="ended", exit_code=code, stderr=f"libpng error: bad\n{stderr}")
        warning = Answer(end="ended", exit_code=code, stderr=f"/x/PIL/y.py:3: UserWarning: bad\n  warn()\n{stderr}")
        lenient = replace(BOUNDS, remarks=True)
        assert judged(remark, lenient).ok and not judged(warning, lenient).ok and not judged(remark, BOUNDS).ok
    heavy = judged(Answer(end="ended", exit_code=code, stderr=stderr, peak_megabytes=201), BOUNDS)
    assert not heavy.ok
