"""One self-contained HTML page about a run, made from nothing but the files of its run folder.

The page needs no network and no other file: pictures and numbers lie inside it. Layout, style and the small script
that draws the curves are in `report_template.html` beside this module.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from i2i.files import write_atomically
from i2i.training.checkpoint import checkpoint_folder, checkpoint_steps
from i2i.training.progress_bar import format_duration
from i2i.training.report_curves import Score, curve_panels, newest_value, theory_of, validation_scores, words
from i2i.training.report_pictures import grids_over_time, sample_sheets
from i2i.training.tracking import METRICS_FILE, read_alarms, read_metrics

REPORT_FILE = "report.html"


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder from what lies there; missing parts are left out.

    Raises:
        StorageError: the page cannot be written.
    """
    run_folder = Path(run_folder)
    path = run_folder / REPORT_FILE
    write_atomically(path, render_report(run_folder))
    return path


def render_report(run_folder: Path) -> str:
    """The page as text; see `write_report`."""
    run_folder = Path(run_folder)
    rows = read_metrics(run_folder / METRICS_FILE)
    environment = _read_environment(run_folder / "environment.json")
    recipe_text = _read_text(run_folder / "recipe.yaml")
    recipe = _parse_recipe(recipe_text)
    name = str(recipe.get("name") or run_folder.resolve().name)
    scores = validation_scores(rows)
    alarms = read_alarms(run_folder)
    pipeline = recipe.get("pipeline")
    pipeline = pipeline if isinstance(pipeline, dict) else {}
    data = {
        "panels": curve_panels(rows, theory_of(pipeline)),
        "sheets": sample_sheets(run_folder / "samples"),
        "overTime": grids_over_time(run_folder / "samples"),
        "alarms": [{"step": alarm["step"], "title": alarm["title"]} for alarm in alarms],
    }
    parts = {
        "TITLE": html.escape(name),
        "SUBTITLE": html.escape(_subtitle(recipe, run_folder, name)),
        "FACTS": _facts_html(rows, run_end(run_folder, rows), scores, environment),
        "ALARMS": _alarms_html(alarms),
        "NOTICE": _notice_html(rows),
        "SCORES": _scores_html(scores),
        "REPRODUCE": _reproduce_html(run_folder, environment, str(pipeline.get("kind"))),
        "RECIPE": html.escape(recipe_text or "This folder holds no recipe.yaml."),
        "ENVIRONMENT": _environment_html(environment),
        # "<" must not appear inside a script element: a name holding "</script>" would end it.
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = Path(__file__).with_name("report_template.html").read_text(encoding="utf-8")
    # One pass, so that a recipe that happens to contain a placeholder stays as it is.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def run_end(run_folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """How far the run has come: step, images, epoch and wall_seconds; None when nothing tells.

    Rows are written every so many steps only, so the newest checkpoint may be ahead of the last one.
    """
    last = dict(rows[-1]) if rows else None
    counters = _newest_counters(run_folder)
    if last is not None:
        last["wall_seconds"] = max(row["wall_seconds"] for row in rows)
    if counters is None or (last is not None and last["step"] >= counters["step"]):
        return last
    # What an older checkpoint does not say follows from the rows, or is not known.
    per_image = last["epoch"] / last["images"] if last is not None and last["images"] else 0.0
    counters.setdefault("epoch", counters["images"] * per_image)
    counters["wall_seconds"] = max(counters.get("wall_seconds", 0.0), last["wall_seconds"] if last is not None else 0.0)
    return counters


def _newest_counters(run_folder: Path) -> dict[str, float] | None:
    for step in reversed(checkpoint_steps(run_folder)):
        try:
            content = json.loads((checkpoint_folder(run_folder, step) / "state.json").read_text())
            known = ("step", "images", "epoch", "wall_seconds")
            counters = {name: float(content[name]) for name in known if content.get(name) is not None}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if "step" in counters and "images" in counters:
            return counters
    return None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path) or "{}")
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _parse_recipe(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    return content if isinstance(content, dict) else {}


def _subtitle(recipe: Mapping[str, Any], run_folder: Path, name: str) -> str:
    if isinstance(recipe.get("description"), str):
        return " ".join(recipe["description"].split())
    folder = run_folder.resolve().name
    return f"Run {folder}" if folder != name else "A training run of i2i"


def _facts_html(
    rows: Sequence[Mapping[str, Any]],
    end: Mapping[str, float] | None,
    scores: Sequence[Score],
    environment: Mapping[str, Any],
) -> str:
    facts: list[tuple[str, str, str]] = []
    if scores:
        score = scores[0]
        facts.append((f"Best {_score_label(score.name)}", format_number(score.best), f"at step {score.best_step:,}"))
    diversity = newest_value(rows, "sample/diversity")
    if diversity is not None:
        facts.append(("Diversity", f"{diversity:.2f}", "real pictures: 1"))
    if end is not None:
        facts.append(("Steps", f"{round(end['step']):,}", f"epoch {end['epoch']:,.4g}"))
        facts.append(("Images seen", f"{round(end['images']):,}", "per stream"))
        attempts = len({row["attempt"] for row in rows})
        resumed = "in one go" if attempts <= 1 else f"in {attempts} attempts"
        facts.append(("Wall time", format_duration(end["wall_seconds"]), resumed))
    device, detail = _device_words(environment)
    if device:
        facts.append(("Device", device, detail))
    return "".join(
        f'<div class="fact"><dt>{html.escape(label)}</dt><dd>{html.escape(value)}'
        f"<small>{html.escape(note)}</small></dd></div>"
        for label, value, note in facts
    )


def _device_words(environment: Mapping[str, Any]) -> tuple[str, str]:
    device, gpus, cpu = environment.get("device"), environment.get("gpus"), environment.get("cpu")
    if isinstance(gpus, list) and gpus and isinstance(gpus[0], dict) and device != "cpu":
        return str(gpus[0].get("name", "GPU")).removeprefix("NVIDIA "), str(device or "GPU")
    if isinstance(cpu, dict):
        return str(cpu.get("name") or "CPU"), f"{cpu.get('usable_cores') or cpu.get('cores') or '?'} cores"
    return (str(device), "") if device else ("", "")


_WHAT_FOLLOWED = {
    "warn": "training went on",
    "stop": "training was stopped",
    "rollback": "training went back to an earlier checkpoint",
}


def _alarms_html(alarms: Sequence[Mapping[str, Any]]) -> str:
    if not alarms:
        return ""
    items = "".join(
        f"<li><strong>{html.escape(alarm['title'])}</strong>"
        f"<span>at step {alarm['step']:,}; {html.escape(_WHAT_FOLLOWED.get(alarm['action'], ''))}</span>"
        f"<p>{html.escape(_sentence(alarm['reason']))}</p>"
        f"<p>What helps: {html.escape(alarm['advice'])}.</p></li>"
        for alarm in alarms
    )
    return f'<section class="alarms" aria-labelledby="alarms"><h2 id="alarms">Alarms</h2><ul>{items}</ul></section>'


def _sentence(phrase: str) -> str:
    # Names of recorded values keep their case.
    start = phrase if "/" in phrase.split(" ")[0] else phrase[:1].upper() + phrase[1:]
    return f"{start.rstrip('.')}."


def _notice_html(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return '<p class="notice">Nothing has been measured in this run yet.</p>'
    bad = sorted({name for row in rows for name, value in row["values"].items() if not math.isfinite(value)})
    # Not every system tells how much memory was used; that is no fault of the training.
    bad = [name for name in bad if not name.startswith("memory/")]
    if not bad:
        return ""
    names = ", ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
    return f'<p class="notice warning">Not all values were finite: {html.escape(names)}.</p>'


def _scores_html(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    body = "".join(
        f'<tr><th scope="row">{html.escape(_score_label(score.name))}'
        f"<small>{'higher' if score.higher_is_better else 'lower'} is better</small></th>"
        f"<td>{format_number(score.newest)}</td><td>{format_number(score.best)}</td><td>{score.best_step:,}</td></tr>"
        for score in scores
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Score", "Newest", "Best", "At step"))
    return (
        '<section aria-labelledby="scores"><h2 id="scores">Validation scores</h2><div class="card scroll scores">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _score_label(name: str) -> str:
    stem, _, rest = name.partition("_")
    stem = stem.upper() if len(stem) <= 5 else stem.capitalize()
    return f"{stem} {rest.replace('AtoB', 'A → B').replace('BtoA', 'B → A').replace('_', ' ')}".strip()


def format_number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not write one."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.2f}" if 10 <= abs(value) < 1e6 else f"{value:.4g}"


def _reproduce_html(run_folder: Path, environment: Mapping[str, Any], kind: str) -> str:
    folder = str(run_folder)
    quoted = f"'{folder}'" if re.search(r"[^\w./~+-]", folder) else folder
    steps = [
        ("Train again from the same resolved recipe", f"i2i train {quoted}/recipe.yaml"),
        ("Go on where this run stopped", f"i2i train --resume {quoted}"),
        ("Make 100 pictures with its model", f"i2i generate --model {quoted} --n 100")
        if kind == "unconditional"
        else ("Translate pictures with its model", f"i2i translate --model {quoted} PICTURES"),
        ("Write this page anew", f"i2i report {quoted}"),
    ]
    git = environment.get("git")
    state = git.get("i2i") if isinstance(git, dict) else None
    if isinstance(state, dict) and state.get("commit"):
        changes = " (there were uncommitted changes)" if state.get("dirty") else ""
        steps.insert(0, (f"The code of this run{changes}", f"git checkout {state['commit']}"))
    return "".join(
        f"<li><span>{html.escape(what)}</span><code>{html.escape(command)}</code></li>" for what, command in steps
    )


def _environment_html(environment: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in _flatten(environment, "")
    )
    return f"<table><tbody>{rows}</tbody></table>" if rows else "<p>This folder holds no environment.json.</p>"


def _flatten(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        pairs = [_flatten(inner, f"{name}: {key}" if name else words(str(key))) for key, inner in value.items()]
        return [pair for inner in pairs for pair in inner]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [pair for index, item in enumerate(value) for pair in _flatten(item, f"{name} {index}")]
    if isinstance(value, list):
        return [(name, ", ".join(str(item) for item in value) or "none")]
    if value is None or value == "":
        return [(name, "unknown")]
    return [(name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))]
