"""`i2i data`: what a person reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2i.commands import data
from i2i.data import fetch as fetching
from i2i.data.fetch import PublishedSet
from i2i.errors import DataError, UsageError
from tests.data.pictures import write_pictures


def test_check_prints_counts_and_remarks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 3, side=24)
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    data.check(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path}: 4 pictures, 3 usable, ")
    assert lines[1] == "sizes: 24x24 (3); sides 24 to 24 pixels"
    assert lines[2] == "unreadable, skipped in training: 1"
    assert lines[3].startswith("  bad.png: not a JPEG")


def test_check_shortens_long_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 13, side=4)
    with pytest.raises(DataError):
        data.check(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert "a side under 16 pixels, skipped in training: 13" in lines
    assert lines[-1] == "  ... and 3 more (--json lists all)"


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 2, side=24)
    data.check(tmp_path, json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["pictures"], report["usable"], report["sizes"]) == (2, 2, {"24x24": 2})


@pytest.mark.parametrize("as_json", [False, True])
def test_check_fails_when_nothing_is_usable(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="none of 1 pictures can be used") as caught:
        data.check(tmp_path, json=as_json)
    assert caught.value.exit_code == 4


def test_fetch_knows_its_sets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published set 'horse' - known: horse2zebra"):
        data.fetch("horse", to=tmp_path)


@pytest.mark.parametrize("quiet", [False, True])
def test_fetch_reports_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    entry = PublishedSet(name="tiny", url="http://127.0.0.1:9/", archive_bytes=1, sha256="", pictures={"trainA": 2})
    monkeypatch.setattr(data, "CATALOGUE", {"tiny": entry})
    assert fetching.CATALOGUE.keys() == {"horse2zebra"}
    write_pictures(tmp_path / "tiny" / "trainA", 2)
    data.fetch("tiny", to=tmp_path, quiet=quiet)
    assert capsys.readouterr().out == ("" if quiet else f"{tmp_path / 'tiny'}: 2 trainA\n")
