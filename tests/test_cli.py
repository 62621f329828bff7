"""The command line itself: help, errors, exit codes. What the verbs do is tested with their commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import i2i
from i2i import errors
from i2i.cli import main
from i2i.commands import recipes as recipes_command

CHECKOUT = Path(i2i.__file__).parents[1]
# typer itself brings pydantic, which is quick enough.
HEAVY = ("torch", "cv2", "albumentations", "torchvision", "wandb", "rich", "numpy", "PIL")
ERRORS = [
    (errors.UsageError("wrong"), 2),
    (errors.RecipeError("wrong"), 3),
    (errors.DataError("wrong"), 4),
    (errors.ModelError("wrong"), 5),
    (errors.OutOfMemoryError("wrong"), 6),
    (errors.PartialFailureError("wrong"), 7),
    (errors.DivergedError("wrong"), 8),
    (errors.StorageError("wrong"), 1),
    (errors.InterruptedBySignal(15, "wrong"), 143),
]


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the verb `recipes` end in `error`."""

    def run(name: str | None, json: bool) -> None:
        raise error

    monkeypatch.setattr(recipes_command, "run", run)


class TestHelp:
    def test_lists_the_verbs_and_exit_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        text = capsys.readouterr().out
        for verb in ("train", "translate", "evaluate", "report", "recipes", "doctor", "demo", "data"):
            assert f"\n  {verb} " in text
        assert "3 recipe, 4 data" in text

    @pytest.mark.parametrize("words", [[], ["data"]])
    def test_what_a_verb_does_fits_into_its_line(
        self, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        assert main([*words, "--help"]) == 0
        verbs = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        assert len(verbs) >= 3
        assert all(re.fullmatch(r"  \w+ +\S.*[^.]\.", verb) for verb in verbs)

    def test_bare_call_shows_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 0
        assert "Commands:" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words",
        [
            ["train"],
            ["translate"],
            ["evaluate"],
            ["report"],
            ["recipes"],
            ["doctor"],
            ["demo"],
            ["data"],
            ["data", "check"],
            ["data", "fetch"],
        ],
    )
    def test_every_verb_explains_itself(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*words, "--help"]) == 0
        assert "Usage: i2i " + " ".join(words) in capsys.readouterr().out

    def test_version_is_that_of_the_package(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"i2i {i2i.__version__}\n"
        project = CHECKOUT / "pyproject.toml"
        if project.exists():
            assert tomllib.loads(project.read_text())["project"]["version"] == i2i.__version__

    @pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["recipes"]])
    def test_answers_without_loading_anything_heavy(self, words: list[str]) -> None:
        code = (
            "import sys\nfrom i2i.cli import main\n"
            f"code = main({words!r})\n"
            f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\nsys.exit(code)"
        )
        result = run_python(code)
        assert result.returncode == 0
        assert result.stdout.rstrip().endswith("LOADED []")


class TestErrors:
    @pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
    def test_one_line_and_the_code_of_the_error(
        self, error: errors.I2IError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(error, monkeypatch)
        assert main(["recipes"]) == code
        # To be stopped is no error.
        orderly = isinstance(error, errors.InterruptedBySignal)
        assert capsys.readouterr().err == ("i2i: wrong\n" if orderly else "i2i: error: wrong\n")

    def test_several_mistakes_stand_one_a_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(errors.RecipeError("a.yaml:1: x\na.yaml:2: y"), monkeypatch)
        assert main(["recipes"]) == 3
        assert capsys.readouterr().err == "i2i: error: 2 mistakes\na.yaml:1: x\na.yaml:2: y\n"

    def test_internal_error_is_one_line_and_points_to_debug(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(KeyError("lost\nkey"), monkeypatch)
        assert main(["recipes"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("i2i: error: internal error: KeyError: ")
        assert "--debug" in line

    @pytest.mark.parametrize("words", [["--debug", "recipes"], ["recipes", "--debug"]])
    def test_debug_shows_the_traceback_wherever_it_stands(
        self, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(errors.DataError("wrong"), monkeypatch)
        assert main(words) == 4
        text = capsys.readouterr().err
        assert "Traceback (most recent call last)" in text
        assert text.endswith("i2i: error: wrong\n")

    def test_words_after_a_double_dash_are_left_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["recipes", "--", "--debug"]) == 3
        assert "--debug: no built-in recipe has this name" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried"
            ),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_lack_of_memory_has_its_code_and_advice(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(error, monkeypatch)
        assert main(["recipes"]) == 6
        (line,) = capsys.readouterr().err.splitlines()
        assert "out of memory" in line
        assert "--batch 1" in line

    def test_other_runtime_errors_are_no_lack_of_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fail_with(RuntimeError("shapes do not match"), monkeypatch)
        assert main(["recipes"]) == 1

    def test_interrupt(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        fail_with(KeyboardInterrupt(), monkeypatch)
        assert main(["recipes"]) == 130
        assert capsys.readouterr().err == "i2i: interrupted\n"

    def test_file_errors_name_the_file(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(PermissionError(13, "Permission denied", "/data/x"), monkeypatch)
        assert main(["recipes"]) == 1
        assert "/data/x: Permission denied" in capsys.readouterr().err

    def test_a_reader_that_leaves_is_no_error(self) -> None:
        code = "import sys\nfrom i2i.cli import main\nsys.exit(main(['recipes', 'cyclegan_horse2zebra']))"
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141
        process.stderr.close()


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["trian"], "No such command 'trian'. Did you mean 'train'?"),
            (["train", "--resum", "x"], "--resume"),
            (["translate"], "Missing argument"),
            (["translate", "in", "--model", "m", "--batch", "many"], "--batch"),
        ],
    )
    def test_wrong_words_are_named(self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("i2i: error: ")
        assert message in line
        assert line.endswith("--help")


class TestRecipes:
    def test_lists_all_with_their_first_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["recipes", "--json"]) == 0
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        assert len(rows) >= 4
        assert main(["recipes"]) == 0
        text = capsys.readouterr().out
        for row in rows:
            assert row["name"] in text
            assert row["summary"] in text

    def test_prints_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["recipes", "cyclegan_demo"]) == 0
        assert "kind: drawn_animals" in capsys.readouterr().out

    def test_unknown_name_is_a_recipe_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["recipes", "cyclegan_dmo"]) == 3
        assert "did you mean 'cyclegan_demo'" in capsys.readouterr().err


class TestPackage:
    def test_import_is_light(self) -> None:
        result = run_python(
            f"import sys, i2i\nprint([name for name in {HEAVY!r} + ('typer', 'pydantic') if name in sys.modules])"
        )
        assert result.stdout.strip() == "[]"

    def test_public_names_exist(self) -> None:
        assert {name for name in i2i.__all__ if hasattr(i2i, name)} == set(i2i.__all__)

    def test_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'lode'"):
            getattr(i2i, "lode")  # noqa: B009 - pyright knows it is not there


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )
