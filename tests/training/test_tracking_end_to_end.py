"""A training through the command line is followed whole by all sinks at once, and offline asks nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i.evaluation.passports.figures import read_sheets
from i2i.training.tracking import read_metrics
from i2i.training.tracking.wandb_sink import FIGURES_TABLE
from tests.browser import launched, opened
from tests.training.runs import i2i, make_generation_recipe, make_recipe
from tests.training.tensorboard_events import read_events, scalars

pytest.importorskip("wandb")
pytest.importorskip("tensorboard")

from tests.training.wandb_records import WandbRun, read_finished  # needs wandb

EVALUATION = "\nevaluate: {every_steps: 4, metrics: [parzen], samples: 8, best: parzen}\n"
AXES = {"train/step": "step", "train/images": "images", "train/epoch": "epoch"}


class Proxy:
    """Notes who wants to go out, and lets nobody."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        return {**dict.fromkeys(names, address), "NO_PROXY": "", "no_proxy": ""}

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection:
                self.asked.append(connection.recv(200))


def test_a_training_and_its_resume_are_followed_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_generation_recipe(tmp_path), tmp_path / "run"
    recipe.write_text(recipe.read_text().replace("wandb: disabled", "wandb: auto, tensorboard: true") + EVALUATION)
    proxy = Proxy()
    # Told by its environment that it is offline, wandb asks nobody anyway; here it learns that from us.
    for name in ("WANDB_MODE", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in proxy.environment.items():
        monkeypatch.setenv(name, value)
    for arguments in (["--out", run, "--set", "training.length.steps=6"], ["--set", "training.length.steps=9"]):
        goal = [recipe] if "--out" in arguments else ["--resume", run]
        finished = i2i("train", *goal, *arguments)
        assert finished.returncode == 0, finished.stderr
    assert proxy.asked == []
    recorded = read_metrics(run)
    assert recorded[-1]["step"] == 9
    followed = read_finished(run, count=2)
    assert [(one.info.job_type, one.info.run_group, one.exit_code) for one in followed] == [
        ("train", "run", 0),
        ("resume", "run", 0),
    ]
    for attempt, one in enumerate(followed, start=1):
        check_rows(one, [row for row in recorded if row["attempt"] == attempt])
        assert one.config["pipeline"]["generator"]["kind"] == "dcgan"
        assert one.config["environment"]["versions"]["torch"]
        git = one.config["environment"]["git"]
        assert one.info.git.commit == ((git["current_folder"] or git["i2i"] or {}).get("commit") or "")
        assert all(path.is_file() for _, path in one.pictures("samples/generate"))
    check_the_end(run, recorded, followed[-1])
    events = read_events(run)
    for name in {name for row in recorded for name in row["values"]}:
        values = [(row["step"], row["values"][name]) for row in recorded if name in row["values"]]
        assert scalars(events, name) == [(step, np.float32(value)) for step, value in values], name


def test_real_pictures_are_followed(tmp_path: Path, real_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    recipe, run = make_recipe(tmp_path, real_pictures / "apple2orange64"), tmp_path / "run"
    recipe.write_text(
        recipe.read_text().replace("wandb: disabled", "wandb: offline, tensorboard: true")
        + "\nevaluate: {every_steps: 2, metrics: [parzen], samples: 8}\n"
    )
    finished = i2i("train", recipe, "--out", run, "--set", "training.length.steps=3")
    assert finished.returncode == 0, finished.stderr
    recorded = read_metrics(run)
    (followed,) = read_finished(run)
    check_rows(followed, recorded)
    columns, rows = followed.table(FIGURES_TABLE)
    names = [(row[columns.index("step")], row[columns.index("name")]) for row in rows]
    assert names == [(step, f"parzen_{way}") for step in (2, 3) for way in ("AtoB", "BtoA")]
    assert followed.pictures("samples/AtoB") and followed.pictures("samples/BtoA")
    events = read_events(run)
    assert [step for step, _ in scalars(events, "evaluation/parzen_AtoB")] == [2, 3]
    assert {event.step for event in events.Images("samples/AtoB")} == {0, 3}
    check_the_page(run, "Parzen log-likelihood")


def check_the_page(run: Path, *words: str) -> None:
    """The report opens in a browser without a complaint or a request, and shows `words`."""
    with launched() as browser:
        found = opened(browser, run / "report.html")
        text = found.page.locator("body").inner_text()
        assert [word for word in words if word not in text] == []
        assert (found.messages, found.foreign_requests) == ([], [])


def check_rows(followed: WandbRun, recorded: list[dict[str, Any]]) -> None:
    """Every row of the record is a row of the history, value by value."""
    assert recorded
    wanted = [{**row["values"], **{axis: row[name] for axis, name in AXES.items()}} for row in recorded]
    assert followed.scalars == wanted


def check_the_end(run: Path, recorded: list[dict[str, Any]], last: WandbRun) -> None:
    """Best values, figures and models of the last attempt are those of the run's folder."""
    likelihoods = {
        row["step"]: row["values"]["evaluation/parzen"] for row in recorded if "evaluation/parzen" in row["values"]
    }
    assert len(likelihoods) >= 3
    best_step = max(likelihoods, key=lambda step: likelihoods[step])
    assert last.summary["best/evaluation/parzen"] == last.summary["best_score"] == likelihoods[best_step]
    assert last.summary["best_step/evaluation/parzen"] == best_step
    columns, rows = last.table(FIGURES_TABLE)
    figures = [dict(zip(columns, row, strict=True)) for row in rows]
    sheets = {sheet.subject.step: sheet.figures[0] for sheet in read_sheets(run)}
    assert {figure["step"] for figure in figures} == {step for step in sheets if step is not None and step > 6}
    for figure in figures:
        assert figure["value"] == sheets[figure["step"]].value == likelihoods[figure["step"]]
        assert figure["data_sha256"] == sheets[figure["step"]].passport.data_sha256
    latest = last.of_kind("model")[-1]
    assert json.loads(latest.metadata)["step"] == 9
    (entry,) = latest.manifest.contents
    assert Path(entry.local_path).read_bytes() == (run / "model.safetensors").read_bytes()


def test_the_proxy_sees_who_goes_out(tmp_path: Path) -> None:
    proxy = Proxy()
    call = "import urllib.request as u; u.urlopen('http://example.org')"
    subprocess.run([sys.executable, "-c", call], capture_output=True, env={**os.environ, **proxy.environment})
    assert proxy.asked
