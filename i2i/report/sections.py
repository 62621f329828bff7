"""The written parts of a run's page: facts, alarms, how to reproduce it, and the environment; all as HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i.report.curves import newest_value
from i2i.report.names import processor_name, words
from i2i.report.run_files import RunFiles
from i2i.report.scores import Score
from i2i.training.progress_bar import format_duration


def facts_of(run: RunFiles, scores: Sequence[Score]) -> list[tuple[str, str, str]]:
    """What to know of a run at first sight, each as label, value and a note; the best of `scores` first."""
    facts: list[tuple[str, str, str]] = []
    # Of some, D's opinion for one, neither more nor less is better: there is no best.
    first = next((score for score in scores if score.name.higher_is_better is not None), None)
    if first is not None:
        value = f"{first.name.write(first.best)} {first.name.unit if first.name.unit == 'dB' else ''}".strip()
        baseline = "".join(f", {name} {first.name.write(reached)}" for name, reached in first.baselines.items())
        facts.append((f"Best {first.name.label}", value, f"at step {first.best_step:,}{baseline}"))
    diversity = newest_value(run.rows, "sample/diversity")
    if diversity is not None:
        facts.append(("Diversity", f"{diversity:.2f}", "real pictures: 1"))
    if run.end is not None:
        facts.append(("Steps", f"{round(run.end['step']):,}", f"epoch {run.end['epoch']:,.4g}"))
        facts.append(("Images seen", f"{round(run.end['images']):,}", "per stream"))
        attempts = len({row["attempt"] for row in run.rows})
        resumed = "in one go" if attempts <= 1 else f"in {attempts} attempts"
        facts.append(("Wall time", format_duration(run.end["wall_seconds"]), resumed))
    device, detail = _device_words(run.environment)
    if device:
        facts.append(("Device", device, detail))
    return facts


def facts_html(facts: Sequence[tuple[str, str, str]]) -> str:
    """The facts as a list of definitions."""
    items = "".join(
        f'<div class="fact"><dt>{html.escape(label)}</dt><dd>{html.escape(value)}'
        f"<small>{html.escape(note)}</small></dd></div>"
        for label, value, note in facts
    )
    return f'<dl class="facts">{items}</dl>'


def subtitle(run: RunFiles) -> str:
    """The recipe's description, or which run this is."""
    if isinstance(run.recipe.get("description"), str):
        return " ".join(run.recipe["description"].split())
    folder = run.folder.resolve().name
    return f"Run {folder}" if folder != run.name else "A training run of i2i"


def _device_words(environment: Mapping[str, Any]) -> tuple[str, str]:
    device, gpus, cpu = environment.get("device"), environment.get("gpus"), environment.get("cpu")
    if isinstance(gpus, list) and gpus and isinstance(gpus[0], dict) and device != "cpu":
        return str(gpus[0].get("name", "GPU")).removeprefix("NVIDIA "), str(device or "GPU")
    if isinstance(cpu, dict):
        cores = f"{cpu.get('usable_cores') or cpu.get('cores') or '?'} cores"
        name = processor_name(cpu.get("name"))
        return "CPU", cores if name == "CPU" else f"{name}, {cores}"
    return (str(device), "") if device else ("", "")


_WHAT_FOLLOWED = {
    "warn": "training went on",
    "stop": "training was stopped",
    "rollback": "training went back to an earlier checkpoint",
}


def alarms_html(alarms: Sequence[Mapping[str, Any]]) -> str:
    """The watchdog's alarms with reason and advice; "" without any."""
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


def notice_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """That nothing was measured yet, or which values were not finite; "" where all is well."""
    if not rows:
        return '<p class="notice">Nothing has been measured in this run yet.</p>'
    bad = sorted({name for row in rows for name, value in row["values"].items() if not math.isfinite(value)})
    # Not every system tells how much memory was used; that is no fault of the training.
    bad = [name for name in bad if not name.startswith("memory/")]
    if not bad:
        return ""
    names = ", ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
    return f'<p class="notice warning">Not all values were finite: {html.escape(names)}.</p>'


def reproduce_html(run: RunFiles) -> str:
    """The commands that lead to this run again and on from it."""
    folder = quoted(run.folder)
    steps = [
        ("Train again from the same resolved recipe", f"i2i train {folder}/recipe.yaml"),
        ("Go on where this run stopped", f"i2i train --resume {folder}"),
        ("Make 100 pictures with its model", f"i2i generate --model {folder} --n 100")
        if run.pipeline.get("kind") == "unconditional"
        else ("Enlarge pictures with its model", f"i2i translate --model {folder} PICTURES")
        if run.scale
        else ("Translate pictures with its model", f"i2i translate --model {folder} PICTURES"),
        ("Write this page anew", f"i2i report {folder}"),
    ]
    git = run.environment.get("git")
    state = git.get("i2i") if isinstance(git, dict) else None
    if isinstance(state, dict) and state.get("commit"):
        changes = " (there were uncommitted changes)" if state.get("dirty") else ""
        steps.insert(0, (f"The code of this run{changes}", f"git checkout {state['commit']}"))
    items = "".join(
        f'<li><span>{html.escape(what)}</span><code tabindex="0">{html.escape(command)}</code></li>'
        for what, command in steps
    )
    return f'<div class="card"><ul class="commands">{items}</ul></div>'


def quoted(path: Path) -> str:
    """A path as one types it into a shell."""
    text = str(path)
    return "'" + text.replace("'", "'\\''") + "'" if re.search(r"[^\w./~+-]", text) else text


def details_html(run: RunFiles) -> str:
    """The resolved recipe and the environment, folded up."""
    recipe = html.escape(run.recipe_text or "This folder holds no recipe.yaml.")
    return (
        '<details class="card"><summary>Resolved recipe</summary>'
        f'<pre tabindex="0" aria-label="Resolved recipe">{recipe}</pre></details>'
        '<details class="card environment"><summary>Environment</summary>'
        f"<div>{_environment_html(run.environment)}</div></details>"
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
