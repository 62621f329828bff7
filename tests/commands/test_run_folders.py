"""Two trainings never share a folder: the one that comes second gets another one, or a line that names the first."""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.commands import run_folders
from i2i.commands.run_folders import LOCK_FILE, claimed, held
from i2i.errors import StorageError, UsageError
from i2i.training.checkpoint import checkpoint_steps
from tests.training.runs import make_pictures, make_recipe
from tests.warm import AVAILABLE, Running, warm_program


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folders, "_PATIENCE_SECONDS", 0.0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return make_recipe(tmp_path, make_pictures(tmp_path / "pictures"))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


class TestNewFolders:
    def test_two_that_begin_in_the_same_second_get_a_folder_each(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime(2030, 1, 2, 3, 4, 5)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(run_folders, "datetime", Clock)
        # When either of them looks, the other has not got as far as making it.
        monkeypatch.setattr(Path, "exists", lambda path, **others: False)
        with claimed("cats", None) as first, claimed("cats", None) as second:
            assert [str(first), str(second)] == ["runs/cats-20300102-030405", "runs/cats-20300102-030405-2"]
        assert not [*tmp_path.rglob(LOCK_FILE)]

    def test_what_cannot_begin_leaves_no_folder(
        self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["train", str(recipe), "--set", "data.root=nowhere"]) == 4
        assert main(["train", str(recipe), "--set", "training.batch_size=3", "--set", "training.accumulate=2"]) == 3
        assert not (tmp_path / "runs").exists()

    def test_one_that_cannot_be_made_is_told_in_a_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("runs").write_text("mine")
        with pytest.raises(StorageError, match=r"^runs: cannot be made: .* - choose another"), claimed("a", None):
            pass

    def test_a_run_that_came_into_being_meanwhile_is_not_written_over(self, tmp_path: Path) -> None:
        """Both looked at the empty folder; the other one has trained there while this one opened its data."""
        (tmp_path / "checkpoints" / "step_3").mkdir(parents=True)
        with pytest.raises(UsageError, match="holds a run already"), claimed("cats", tmp_path):
            pass


class TestHeldFolders:
    def test_who_comes_second_is_told_who_was_first_and_touches_nothing(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        begin = ["train", str(recipe), "--out", str(out), "--set", "training.length.steps=3", "--device", "cpu"]
        assert main([*begin, "--quiet"]) == 0
        assert not (out / LOCK_FILE).exists(), "a finished run holds none"
        being_written = out / "checkpoints" / ".writing-4-77"
        being_written.mkdir()
        capsys.readouterr()
        with held(out):
            assert main(["train", "--resume", str(out), "--set", "training.length.steps=5"]) == 2
            assert complaint(capsys) == (
                f"i2i: error: {out}: process {os.getpid()} on {platform.node()} trains in this folder - let it finish"
                f" or stop it (Ctrl-C saves first), then go on with --resume {out}"
            )
            assert main(begin) == 2
            assert "trains in this folder" in complaint(capsys)
            assert being_written.is_dir() and (out / LOCK_FILE).exists()
        assert not (out / LOCK_FILE).exists()
        assert main(["train", "--resume", str(out), "--set", "training.length.steps=5", "--quiet"]) == 0
        assert not being_written.exists()

    def test_one_that_has_no_checkpoint_yet_is_held_as_well(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with claimed("cats", tmp_path / "run") as out:
            assert main(["train", str(recipe), "--out", str(out)]) == 2
            assert "trains in this folder" in complaint(capsys)

    @pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")
    def test_a_killed_training_holds_nothing(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        sets = ["--set", "training.length.steps=100000", "--set", "training.checkpoints.every_steps=1"]
        living = warm_program().start(["train", recipe, "--out", out, "--device", "cpu", "--quiet", *sets], tmp_path)
        try:
            wait_for_checkpoint(out, living)
            resume = ["train", "--resume", str(out), "--device", "cpu", "--quiet"]
            assert main([*resume, "--set", "training.length.steps=1"]) == 2
            assert f"process {living.pid} on " in complaint(capsys)
        finally:
            living.kill()
        assert living.exit_code == -signal.SIGKILL
        assert (out / LOCK_FILE).exists()
        last = checkpoint_steps(out)[-1]
        assert main([*resume, "--set", f"training.length.steps={last + 1}"]) == 0
        assert checkpoint_steps(out)[-1] == last + 1
        assert not (out / LOCK_FILE).exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="locks by other means")
    @pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EROFS])
    def test_where_nothing_can_be_locked_the_training_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
    ) -> None:
        def refused(*arguments: object) -> None:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr("fcntl.flock", refused)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with held(tmp_path), held(tmp_path):
                pass

    def test_a_folder_that_takes_no_more_files_can_be_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = os.open

        def refused(path: object, *others: object, **named: object) -> int:
            if str(path).endswith(LOCK_FILE):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return whole(path, *others, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", refused)
        with held(tmp_path):
            assert not [*tmp_path.iterdir()]


def wait_for_checkpoint(out: Path, living: Running) -> None:
    deadline = time.monotonic() + 60
    while not checkpoint_steps(out):
        assert living.wait(0.05) is None, living.stderr
        assert time.monotonic() < deadline
