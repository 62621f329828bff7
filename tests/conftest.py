"""What holds for every test: no network, no traces outside temporary folders, the same numbers every time."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported anywhere: with one thread the numbers don't depend on the machine's cores, and two test
# processes beside each other don't fight for them. Child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENCV_FOR_THREADS_NUM"] = "1"

# Started in the background of a script, this process ignores Ctrl-C, and so would every program that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import numpy as np  # after the lines above: it starts its threads on import

from tests.real import PICTURES

# The same examples each time, and no clock that fails a test on a busy machine.
hypothesis.settings.register_profile("i2i", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("i2i")

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(scope="session", autouse=True)
def _isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches, settings and tracking go to a temporary folder; nothing asks a server."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
        patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
        patch.setenv("XDG_DATA_HOME", str(home / ".local"))
        patch.setenv("TORCH_HOME", str(home / "torch"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
            patch.setenv(f"WANDB_{name}", str(home / "wandb"))
        (home / "wandb").mkdir()
        # What a person has set for their own runs must not decide on a test.
        for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        # Messages are compared as plain text of one width.
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "PY_COLORS"):
            patch.delenv(name, raising=False)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", "120")
        yield


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache and a key of its own for each test, so that no test finds what another one left."""
    monkeypatch.setenv("I2I_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached: processes of one test talk to each other over the loopback."""

    def guarded(connect: Any) -> Any:
        def guarded_connect(this: socket.socket, address: Any) -> Any:
            if this.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOOPBACK):
                raise PermissionError(f"tests must not use the network, and this one connects to {address}")
            return connect(this, address)

        return guarded_connect

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Seed the global generators, which no code of ours uses but libraries might."""
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The folder with published sets; tests that need it are skipped where it is absent."""
    if not PICTURES.is_dir():
        pytest.skip("no published sets here (tests/real.py)")
    return PICTURES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where torch finds no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
