"""`i2i data`: what a person reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main
from i2i.commands import data
from i2i.data import fetch as fetching
from i2i.data.fetch import PublishedSet
from i2i.errors import DataError, UsageError
from tests.data.pictures import write_pictures


def test_check_prints_counts_and_remarks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 3, side=24)
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    for name in ("notes.txt", "Thumbs.db", ".hidden"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "moved away.png")
    data.check(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path}: 4 pictures, 3 usable, ")
    assert lines[1] == "sizes: 24x24 (3); sides 24 to 24 pixels"
    assert lines[2] == "unreadable, skipped in training: 1"
    assert lines[3].startswith("  bad.png: not a JPEG")
    assert lines[4:] == ["ignored (no pictures, broken links, results of i2i): 2 (.png 1, .txt 1)"]


def test_names_that_are_no_text_stay_in_their_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 2)
    content = (tmp_path / "in" / "00.png").read_bytes()
    for name in (b"bad\xff.png", b"two\nlines.png"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(content)
    assert main(["data", "check", str(tmp_path / "in")]) == 0
    assert "  00.png = bad\\udcff.png = two\\nlines.png" in capsys.readouterr().out.splitlines()
    assert main(["data", "check", str(tmp_path / "in"), "--json"]) == 0
    assert main(["data", "prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "8"]) == 0
    listing = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert "bad\udcff.png" in json.dumps(listing, ensure_ascii=False)


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


def test_check_says_what_a_size_would_enlarge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 2, side=24)
    write_pictures(tmp_path, 1, side=40, prefix="large")
    assert main(["data", "check", str(tmp_path), "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["smaller than the size of the training, enlarged: 2", "  00.png", "  01.png"]
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "enlarged" not in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path), "--size", "0"]) == 2
    assert "the size is 0 pixels - give --size 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["check"], ["prepare", "--size", "16", "out"]])
def test_a_source_that_is_not_there_may_be_a_slip_of_the_pen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name, hint in {"phtos": "did you mean photos?", "elsewhere/x": "check the spelling"}.items():
        assert main(["data", words[0], name, *words[1:]]) == 4
        assert capsys.readouterr().err == f"i2i: error: {name}: no such file or folder - {hint}\n"


def test_fetch_knows_its_sets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no published set 'horse' - known: .*horse2zebra"):
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


def _prepare(tmp_path: Path, *words: str) -> int:
    write_pictures(tmp_path / "raw", 3, side=24)
    (tmp_path / "raw" / "twin.png").write_bytes((tmp_path / "raw" / "00.png").read_bytes())
    return main(["data", "prepare", str(tmp_path / "raw"), str(tmp_path / "out"), *words])


def test_prepare_says_what_it_made_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _prepare(tmp_path, "--size", "32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out'}: 3 pictures of 32 x 32, ")
    assert lines[0].endswith("; manifest.json lists all")
    assert lines[1] == "enlarged (--no-enlarge leaves them out): 3"
    assert lines[2] == "  00.png: from 24 x 24"
    assert lines[-2:] == ["left out, same file: 1", "  twin.png: as 00.png"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_prepare_says_what_it_changed_and_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    write_pictures(raw / "cats", 3, side=24)
    write_pictures(raw / "dogs" / "2019", 2, side=24, seed=1)
    Image.new("RGB", (30, 40), "red").save(raw / "dogs" / "tall.png")
    Image.new("RGBA", (24, 24), "blue").save(raw / "dogs" / "clear.png")
    Image.new("CMYK", (24, 24), (9, 99, 199, 0)).save(raw / "dogs" / "print.jpg")
    Image.fromarray(np.arange(0, 57600, 100, dtype=np.uint16).reshape(24, 24)).save(raw / "dogs" / "deep.png")
    for name in ("notes.txt", "list.txt", "cats/moving.gif", "cats/plain", ".hidden"):
        (raw / name).write_text("no picture")
    assert main(["data", "prepare", str(raw), str(tmp_path / "out"), "--size", "24"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "folders as in the source: cats 3, dogs 4, dogs/2019 2",
        "cut to the square in their middle (--crop none squeezes instead): 1",
        "16 bits, reduced to 8: 1",
        "  dogs/deep.png",
        "transparent, put on white: 1",
        "  dogs/clear.png",
        "CMYK, converted to RGB without their colour profile: 1",
        "  dogs/print.jpg",
        "ignored (no pictures, broken links, results of i2i): 4 (.txt 2, .gif 1, no ending 1)",
    ]
    assert main(["data", "prepare", str(raw), str(tmp_path / "other"), "--size", "24", "--crop", "none", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["changes"] == {
        "16 bits to 8": 1, "CMYK to RGB": 1, "squeezed": 1, "transparent parts to white": 1,
    }  # fmt: skip
    assert (result["counts"]["ignored"], len(result["ignored"])) == (4, 4)


def test_prepare_as_json_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "16", "--channels", "1", "--crop", "none", "--format", "jpg", "--min-side", "20"]
    assert _prepare(tmp_path, *words, "--json", "--quiet") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == ""
    assert result["folder"] == str(tmp_path / "out")
    assert result["counts"]["kept"] == 3 and result["counts"]["left_out_by_reason"] == {"same file": 1}
    assert result["settings"] == {
        "size_pixels": 16, "crop": "none", "channels": 1, "min_side_pixels": 20, "enlarge": True, "format": "jpg",
        "max_pixels": 200_000_000,
    }  # fmt: skip
    assert result["i2i"] == json.loads((tmp_path / "out" / "manifest.json").read_text())["i2i"]
    (tmp_path / "out").rename(tmp_path / "away")
    assert _prepare(tmp_path, "--size", "16", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--size", "2"], 2, "the size is 2 pixels - give --size 4 to 4096"),
        (["--size", "8", "--channels", "2"], 2, "there are no pictures of 2 channels - give --channels 1 (grey) or 3"),
        ([], 2, "Missing option '--size'"),
        (["--size", "8", "--min-side", "1000"], 4, "none of 4 pictures can be used; the first: 00.png: too small"),
        (["--size", "32", "--no-enlarge"], 4, "the first: 00.png: would be enlarged, 24 x 24, a side under 32"),
    ],
)
def test_prepare_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert _prepare(tmp_path, *words) == code
    error = capsys.readouterr().err
    assert message in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_prepare_keeps_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    assert _prepare(tmp_path, "--size", "16") == 2
    assert "out: is not empty - remove it or name another folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
