from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from i2i.errors import StorageError
from i2i.files import sha256_of_file
from i2i.inference.model_files import trust
from i2i.inference.model_files.trust import config_folder, report_path, seal


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("I2I_CONFIG", str(folder))
    return folder


def is_sealed(path: Path) -> bool:
    return trust.is_sealed(path, sha256_of_file(path) if path.exists() else "")


def exported(path: Path, content: bytes = b"a graph") -> Path:
    path.write_bytes(content)
    report_path(path).write_text(json.dumps({"seal": seal(sha256_of_file(path))}))
    return path


def test_what_was_sealed_is_trusted(tmp_path: Path, config: Path) -> None:
    file = exported(tmp_path / "m.pt2")
    assert report_path(file) == tmp_path / "m.pt2.json"
    assert is_sealed(file)
    assert [path.name for path in config.iterdir()] == ["export_key"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
def test_only_this_user_can_read_the_key(tmp_path: Path, config: Path) -> None:
    file = exported(tmp_path / "m.pt2")
    assert (config / "export_key").stat().st_mode & 0o777 == 0o600
    (config / "export_key").chmod(0o644)
    assert not is_sealed(file)
    with pytest.raises(StorageError, match="delete it"):
        seal("ab")


def test_a_file_that_was_changed_is_not_trusted(tmp_path: Path) -> None:
    file = exported(tmp_path / "m.pt2")
    file.write_bytes(b"a graph!")
    assert not is_sealed(file)


def test_a_seal_does_not_fit_another_file(tmp_path: Path) -> None:
    first, second = exported(tmp_path / "m.pt2"), exported(tmp_path / "n.pt2", b"another")
    assert is_sealed(first) and is_sealed(second)
    report_path(second).write_bytes(report_path(first).read_bytes())
    assert not is_sealed(second)


def test_a_seal_of_another_key_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = exported(tmp_path / "m.pt2")
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "somebody"))
    assert not is_sealed(file)
    seal("ab")  # now there is a key here too
    assert (tmp_path / "somebody" / "export_key").exists()
    assert not is_sealed(file)


@pytest.mark.parametrize("report", ["", "[]", "{}", '{"seal": null}', '{"seal": 7}', '{"seal": "é"}', "[" * 100_000])
def test_other_reports_are_no_seals(tmp_path: Path, report: str) -> None:
    file = exported(tmp_path / "m.pt2")
    report_path(file).write_text(report, encoding="utf-8")
    assert not is_sealed(file)


def test_without_report_or_file_there_is_no_trust(tmp_path: Path) -> None:
    file = exported(tmp_path / "m.pt2")
    report_path(file).unlink()
    assert not is_sealed(file)
    assert not is_sealed(tmp_path / "none.pt2")


def test_a_short_key_is_refused(tmp_path: Path, config: Path) -> None:
    file = exported(tmp_path / "m.pt2")
    (config / "export_key").write_bytes(b"")
    assert not is_sealed(file)
    with pytest.raises(StorageError):
        seal("ab")


def test_where_no_key_can_be_made_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="I2I_CONFIG"):
        seal("ab")


def test_processes_that_seal_at_once_have_one_key() -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seals = pool.map(seal, ["ab"] * 3, chunksize=1)
    assert len(set(seals)) == 1 and len(seals[0]) == 64


def test_the_key_outlives_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("I2I_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    cache = Path(os.environ["I2I_CACHE"])
    file = exported(tmp_path / "m.pt2")
    assert (tmp_path / "xdg" / "i2i" / "export_key").is_file()
    assert list(cache.iterdir()) == [] and is_sealed(file)


def test_where_the_key_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "own"))
    assert config_folder() == tmp_path / "own"
    monkeypatch.setenv("I2I_CONFIG", "")
    assert config_folder() == tmp_path / "xdg" / "i2i"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert config_folder() == Path("~/.config/i2i").expanduser()
