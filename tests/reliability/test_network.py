"""Nothing leaves the machine unasked, and nothing but downloads needs more than the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from i2i.data.fetch import CATALOGUE, PUBLISHED_WEIGHTS
from tests.reliability import network

_REPOSITORY = Path(__file__).resolve().parents[2]
# What would keep libraries quiet is not set on the machines of users.
_SWITCHES = (
    "NO_ALBUMENTATIONS_UPDATE", "HF_HUB_OFFLINE", "WANDB_MODE", "WANDB_SILENT", "ORT_DISABLE_TELEMETRY",
    "WANDB_ERROR_REPORTING", "DO_NOT_TRACK",
)  # fmt: skip


def _cut_off() -> list[str] | None:
    """What starts a program where there is no network; None where that is not allowed."""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return None


needs_cut_off = pytest.mark.skipif(_cut_off() is None, reason="no network namespace can be made here")


def _environment(folder: Path) -> dict[str, str]:
    watching = folder / "watching"
    watching.mkdir()
    (watching / "sitecustomize.py").write_text(network.SITECUSTOMIZE)
    kept = {name: value for name, value in os.environ.items() if name not in _SWITCHES}
    return {
        **kept,
        "PYTHONPATH": f"{watching}{os.pathsep}{_REPOSITORY}",
        "I2I_NETWORK_ATTEMPTS": str(folder / network.ATTEMPTS),
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands, once; without a network where the system lets us take it away."""
    folder = tmp_path_factory.mktemp("network")
    command = [*(_cut_off() or []), sys.executable, "-m", "tests.reliability.network", str(folder)]
    finished = subprocess.run(
        command, env=_environment(folder), cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return folder


@needs_cut_off
def test_every_command_works_without_a_network(done: Path) -> None:
    said = json.loads((done / network.SAID).read_text())["calls"]
    assert len(said) == len(network.commands(done))
    failed = [one for one in said if one["code"] != 0]
    assert not failed, failed
    assert (done / "run" / "model.safetensors").is_file() and (done / "out" / "0.png").is_file()


def test_nothing_looks_for_one(done: Path) -> None:
    attempts = done / network.ATTEMPTS
    assert not attempts.exists(), attempts.read_text()


@needs_cut_off
def test_nor_does_anything_that_is_no_python(done: Path) -> None:
    assert json.loads((done / network.SAID).read_text())["unrouted"] == 0


def test_the_watch_sees_what_looks_for_a_network(tmp_path: Path) -> None:
    program = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)"
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"]
    ended = subprocess.run(command, env=_environment(tmp_path), capture_output=True, text=True, check=False)
    assert "PermissionError" in ended.stderr
    assert "192.0.2.1" in (tmp_path / network.ATTEMPTS).read_text()


@needs_cut_off
def test_there_is_no_network_in_there_and_who_tries_is_counted() -> None:
    program = (
        "import socket; from tests.reliability.network import unrouted\n"
        "try: socket.create_connection(('192.0.2.1', 9), 1)\n"
        "except OSError as error: print(unrouted(), error)"
    )
    command = [*(_cut_off() or []), sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("1 ") and "unreachable" in ended.stdout


@pytest.mark.parametrize("name", [*CATALOGUE, *PUBLISHED_WEIGHTS])
def test_a_download_that_cannot_be_made_is_said_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2i.cli import main

    def unreachable(*arguments: object, **more: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    assert main(["data", "fetch", name, "--to", str(tmp_path), "--quiet"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "Network is unreachable" in line and " - run the same command again" in line


def test_all_that_is_published_is_known_by_its_hash() -> None:
    for entry in (*CATALOGUE.values(), *PUBLISHED_WEIGHTS.values()):
        assert len(entry.sha256) == 64 and int(entry.sha256, 16) and entry.archive_bytes > 0
        assert entry.url.startswith("https://")
