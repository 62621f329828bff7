"""A container's grant of processors is found, and no more threads compute than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from i2i.training import threads


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in threads._CHOSEN_OTHERWISE:
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


def grant(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let the control group's files lie in `folder`."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(threads, "_GROUPS", folder)


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], granted: int | None) -> None:
    grant(tmp_path, monkeypatch, files)
    assert threads.granted_processors() == granted


def test_threads_above_the_grant_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(tmp_path, monkeypatch, {"cpu.max": "200000 100000\n"})
    torch.set_num_threads(5)
    assert threads.fit_threads()
    assert torch.get_num_threads() == 2
    assert not threads.fit_threads()


def test_fewer_threads_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(tmp_path, monkeypatch, {"cpu.max": "800000 100000\n"})
    torch.set_num_threads(3)
    assert not threads.fit_threads()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", threads._CHOSEN_OTHERWISE)
def test_choices_of_the_environment_stand(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(tmp_path, monkeypatch, {"cpu.max": "100000 100000\n"})
    monkeypatch.setenv(name, "4")
    torch.set_num_threads(4)
    assert not threads.fit_threads()
    assert torch.get_num_threads() == 4
