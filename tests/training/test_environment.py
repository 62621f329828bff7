"""What a run was made with is recorded, and nothing secret is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from i2i.training.environment import command_line, describe_environment, git_state

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_description_is_plain_json_with_versions() -> None:
    description = describe_environment(device="cpu")
    assert json.loads(json.dumps(description, allow_nan=False)) == description
    assert description["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert description["versions"]["torch"]
    assert description["versions"]["numpy"]
    assert description["cpu"]["cores"] >= 1
    assert description["device"] == "cpu"
    assert {"platform", "memory_gib", "gpus", "git", "command"} <= set(description)


def test_environment_variables_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "very-secret-value")
    monkeypatch.setattr(sys, "argv", ["i2i", "train", "--set", "tracking.api_key=very-secret-value", "x.yaml"])
    assert "very-secret-value" not in json.dumps(describe_environment())


def test_secrets_in_the_command_are_masked() -> None:
    arguments = ["/usr/bin/i2i", "train", "--api-key", "s1", "token=s2", "--set=a.password=s3", "https://me:s4@host/x"]
    assert command_line(arguments) == (
        "i2i train --api-key HIDDEN token=HIDDEN --set=a.password=HIDDEN https://HIDDEN@host/x"
    )
    assert command_line(["i2i", "train", "a b.yaml", "--set", "seed=1"]) == "i2i train 'a b.yaml' --set seed=1"


@needs_git
def test_git_state_tells_commit_and_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("one\n")
    assert git_state(tmp_path) is None
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("two\n")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}


@needs_git
def test_an_ignored_folder_is_not_part_of_the_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text(".venv/\n")
    package = tmp_path / ".venv" / "i2i"
    package.mkdir(parents=True)
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    assert git_state(tmp_path) is not None
    assert git_state(package) is None


def test_without_git_nothing_is_said_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(__file__).parent) is None
    assert describe_environment()["gpus"] == []


def test_no_heavy_library_is_imported() -> None:
    code = (
        "import sys; from i2i.training.environment import describe_environment; describe_environment();"
        "print([name for name in ('torch', 'cv2', 'wandb', 'torchvision') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
