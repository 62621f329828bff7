"""The campaign spoils files as it says, and a small one passes."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / "tools" / "campaigns"


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("campaign_pictures")


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("campaign")


def test_what_is_spoiled_was_whole(pictures: Any, tmp_path: Path) -> None:
    from i2i.inference.pictures.image_files import read_picture

    whole = pictures.drawn_pictures()
    assert len(whole) >= 20 and {format for format, _ in whole.values()} == set(pictures._SUFFIXES)
    for name, (_, content) in whole.items():
        (tmp_path / name).write_bytes(content)
        assert {40, 56} == set(read_picture(tmp_path / name).rgb.shape[:2]), name


def test_bombs_are_whole_files_of_few_bytes(pictures: Any) -> None:
    heavy = pictures.bombs()
    for name in ("png-colour", "png-bits", "tiff-deflate"):
        assert len(heavy[name][1]) < 3_000_000
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(heavy[name][1]))
    for count in (0, 1, 2**20, 3 * 2**20 + 5):
        assert zlib.decompress(pictures._packed_zeros(count)) == bytes(count)


def test_equal_seeds_give_equal_files_and_each_kind_comes(pictures: Any) -> None:
    first, again = ([*pictures.mutated_files(count, 3)] for count in (120, 60))
    assert first[:60] == again
    assert {file.kind for file in first} == {*pictures.MUTATIONS, "bomb"}
    assert [*pictures.mutated_files(12, 4)] != first[:12]
    whole = {content for _, content in pictures.drawn_pictures().values()}
    assert sum(file.content in whole for file in first) < 12


def test_a_batch_that_crashes_is_gone_through_one_by_one(
    campaign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprits = {"1.png": "crashed", "3.png": "hung"}

    def settled(files: list[Path], model: Path, good: Path) -> dict:
        found = [culprits[path.name] for path in files if path.name in culprits]
        if found:
            return {"ended": found[0]}
        outcomes = {path.name: "refused" for path in files if path.name != "2.png"}
        return {"outcomes": outcomes, "problems": {}, "idle": 100.0, "peak": 7.0 + len(files)}

    monkeypatch.setattr(campaign, "_in_a_child", settled)
    batch = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        path.write_bytes(b"x")
        batch.append((path, campaign.Mutated("truncated", ".png", b"x")))
    tally = campaign.Tally()
    campaign._settle_batch(batch, tmp_path, tmp_path, tally)
    assert tally.outcomes == {
        ("truncated", "refused"): 2, ("truncated", "crashed"): 1, ("truncated", "hung"): 1, ("truncated", "silent"): 1,
    }  # fmt: skip
    assert len(tally.problems) == 3 and tally.files == 5 and tally.peak_megabytes == 8.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "2.png", "3.png"], "culprits stay"
    assert "crashed" in campaign.table(tally)[0] and "5" in campaign.table(tally)[-2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_two_hundred_spoiled_pictures(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOLS / "campaign.py"), "pictures", "--count", "200", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert sum(said["outcomes"].values()) == 200 and said["problems"] == []
    assert {key.rpartition(": ")[2] for key in said["outcomes"]} == {"translated", "refused"}
    assert 0 <= said["peak_megabytes"] <= 200
