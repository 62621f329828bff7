"""A run gets the sinks that its recipe asks for and the machine has; Weights & Biases is online only with a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.training.tracking import TrackingSettings, open_sinks, wandb_mode


@pytest.mark.parametrize(
    ("wish", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ("online", {"WANDB_API_KEY": "k"}, "online"),
        ("online", {}, "offline"),
        ("offline", {"WANDB_API_KEY": "k"}, "offline"),
        ("disabled", {"WANDB_API_KEY": "k"}, "disabled"),
    ],
)
def test_wandb_is_online_only_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, environment: dict[str, str], mode: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wandb_mode(TrackingSettings(wandb=wish), environment) == mode  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
def test_a_key_in_netrc_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {host} login user password key\nmachine own.example.org:8080 login user password key\n")
    netrc.chmod(0o600)
    assert wandb_mode(TrackingSettings(), {"WANDB_BASE_URL": "https://own.example.org:8080"}) == "online"
    assert wandb_mode(TrackingSettings(), {}) == "online"
    assert wandb_mode(TrackingSettings(), {"WANDB_BASE_URL": "https://wandb.example.org"}) == "offline"


def test_recording_offline_unasked_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    assert len(open_sinks(TrackingSettings(), tmp_path, said.append)) == 1
    assert len(said) == 1
    assert "offline" in said[0]
    assert open_sinks(TrackingSettings(wandb="disabled"), tmp_path, said.append) == []
    assert len(open_sinks(TrackingSettings(), tmp_path, said.append)) == 1
    assert len(said) == 1, "once on a machine, not at every run"


def test_asked_to_be_online_without_a_key_it_says_so_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    for name in ("NETRC", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    for _ in range(2):
        open_sinks(TrackingSettings(wandb="online"), tmp_path / "run", said.append)
    assert len(said) == 2 and all("no key" in line and "wandb login" in line for line in said)


def test_missing_packages_are_said_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    assert open_sinks(TrackingSettings(wandb="offline", tensorboard=True), tmp_path, said.append) == []
    assert [line.split(" ")[0] for line in said] == ["wandb", "tensorboard"]


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_to_finish_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="finish_seconds is"):
        TrackingSettings(finish_seconds=seconds)
