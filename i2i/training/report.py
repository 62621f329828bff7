"""One self-contained HTML page about a run, made from nothing but the files of its run folder.

The page needs no network and no other file: pictures and numbers lie inside it. Layout, style and the small script
that draws the curves are in `report_template.html` beside this module.
"""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from i2i.files import write_atomically
from i2i.training.progress_bar import format_duration
from i2i.training.tracking import METRICS_FILE, read_metrics

REPORT_FILE = "report.html"
MOST_POINTS_PER_CURVE = 1000
MOST_POINTS = 80_000
MOST_SHEETS = 60
MOST_SHEETS_PER_NAME = 24
SHEETS_BYTES = 2_800_000

_SHEET_FILE = re.compile(r"step_(\d+)_(.+)\.(?:png|jpg)")
_LOWER_IS_BETTER = re.compile(r"(?i)fid|kid|lpips|loss|error|mae|mse|l1|l2|distance|consistency|seconds")
# Tried in turn until a sheet fits its share of the page: longest side in pixels, JPEG quality.
_SHEET_SIZES = ((1600, 88), (1400, 82), (1200, 80), (1000, 78), (800, 72), (640, 66), (480, 60), (320, 50))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one validation score went: its newest value, its best one and the step of that."""

    name: str
    newest: float
    best: float
    best_step: int
    higher_is_better: bool


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
    data = {"panels": curve_panels(rows), "sheets": sample_sheets(run_folder / "samples")}
    parts = {
        "TITLE": html.escape(name),
        "SUBTITLE": html.escape(_subtitle(recipe, run_folder, name)),
        "FACTS": _facts_html(rows, scores, environment),
        "NOTICE": _notice_html(rows),
        "SCORES": _scores_html(scores),
        "REPRODUCE": _reproduce_html(run_folder, environment),
        "RECIPE": html.escape(recipe_text or "This folder holds no recipe.yaml."),
        "ENVIRONMENT": _environment_html(environment),
        # "<" must not appear inside a script element: a name holding "</script>" would end it.
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = Path(__file__).with_name("report_template.html").read_text(encoding="utf-8")
    # One pass, so that a recipe that happens to contain a placeholder stays as it is.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


# ---- numbers -------------------------------------------------------------------------------------------------


def curve_panels(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sort the rows' values into panels, each with the curves that share an axis.

    Returns:
        Panels with section, title and series; a series has name, steps, values, and `broken`: the steps at which
        its value was not finite.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        for name, value in row["values"].items():
            steps, values = curves.setdefault(name, ([], []))
            steps.append(row["step"])
            values.append(value)
    limit = max(100, min(MOST_POINTS_PER_CURVE, MOST_POINTS // max(1, len(curves))))
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    for name, (steps, values) in curves.items():
        section, title, series_name = _place(name)
        if section == "updates" and not any(values):
            continue  # no update was skipped: a line of zeros says nothing
        panel = panels.setdefault((section, title), {"section": section, "title": title, "series": []})
        broken = [step for step, value in zip(steps, values, strict=True) if not math.isfinite(value)]
        finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        kept = thin(finite, limit)
        panel["series"].append(
            {
                "name": series_name,
                "steps": [step for step, _ in kept],
                "values": [float(f"{value:.5g}") for _, value in kept],
                "broken": broken[:: max(1, len(broken) // 100)],
            }
        )
    for panel in panels.values():
        panel["series"].sort(key=lambda series: (series["name"] != "total", series["name"]))
    return sorted(panels.values(), key=_panel_order)


def thin(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Keep at most `most` points: the lowest and highest of equal stretches, so that no spike is lost; ends stay."""
    if len(points) <= most:
        return list(points)
    inner, buckets = points[1:-1], max(1, (most - 2) // 2)
    kept = [points[0]]
    for bucket in range(buckets):
        part = inner[bucket * len(inner) // buckets : (bucket + 1) * len(inner) // buckets]
        if part:
            kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def higher_is_better(name: str) -> bool:
    """Whether a larger value of this validation score is the better one (PSNR, SSIM), judged by its name."""
    return _LOWER_IS_BETTER.search(name) is None


def validation_scores(rows: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Newest and best value of every `validation/...` score, in order of first appearance."""
    history: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row["values"].items():
            if name.startswith("validation/"):
                history.setdefault(name.removeprefix("validation/"), []).append((row["step"], value))
    scores = []
    for name, points in history.items():
        higher = higher_is_better(name)
        finite = [(step, value) for step, value in points if math.isfinite(value)] or points[-1:]
        best_step, best = (max if higher else min)(finite, key=lambda point: point[1])
        scores.append(Score(name=name, newest=points[-1][1], best=best, best_step=best_step, higher_is_better=higher))
    return scores


def _place(name: str) -> tuple[str, str, str]:
    """Section, panel and curve of a value: `loss/generator/cycle_a` is curve cycle_a of panel "generator"."""
    first, *rest = name.split("/")
    if not rest:
        return "other", _words(first), _words(first)
    if first == "validation":
        # psnr_AtoB and psnr_BtoA share an axis; psnr and ssim do not.
        stem, _, entry_point = "/".join(rest).partition("_")
        return first, stem, entry_point or stem
    if len(rest) >= 2:
        return first, _words(rest[0]), "/".join(rest[1:])
    if first in ("speed", "memory"):
        return first, _words(rest[0]), _words(rest[0])
    return first, _words(first), rest[0]


_SECTIONS = ("validation", "loss", "output", "weighted", "gradient_norm", "learning_rate", "updates", "speed", "memory")


def _panel_order(panel: Mapping[str, Any]) -> tuple[int, str, bool]:
    section = panel["section"]
    rank = _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS)
    return rank, section, not panel["title"].startswith("generator")


def _words(name: str) -> str:
    return name.replace("_", " ")


# ---- pictures ------------------------------------------------------------------------------------------------


def sample_sheets(folder: Path, total_bytes: int = SHEETS_BYTES) -> list[dict[str, Any]]:
    """Read the sample sheets, by name and in order of steps, as data URLs that together stay below `total_bytes`.

    At most `MOST_SHEETS_PER_NAME` of each name are taken (fewer when there are many names), evenly spread and the
    newest always; unreadable files are left out, and so are those that are too large even when small and coarse.
    """
    by_name: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("step_*")):
        if match := _SHEET_FILE.fullmatch(path.name):
            by_name.setdefault(match[2], {})[int(match[1])] = path
    most = min(MOST_SHEETS_PER_NAME, max(3, MOST_SHEETS // max(1, len(by_name))))
    chosen = {name: _spread(sorted(paths.items()), most) for name, paths in sorted(by_name.items())}
    # Base64 makes four characters of three bytes. The newest sheet of each name counts three times: it is looked
    # at longest.
    shares = sum(len(sheets) + 2 for sheets in chosen.values())
    share = int(total_bytes * 0.75) // max(1, shares)
    groups = []
    for name, sheets in chosen.items():
        frames = []
        for index, (step, path) in enumerate(sheets):
            encoded = _encode_sheet(path, 3 * share if index == len(sheets) - 1 else share)
            if encoded is not None:
                frames.append({"step": step, **encoded})
        if frames:
            groups.append({"name": name, "frames": frames})
    return groups


def _spread(items: Sequence[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _encode_sheet(path: Path, most_bytes: int) -> dict[str, Any] | None:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        _log.warning("%s: left out of the report: %s", path, error)
        return None
    data = b""
    for longest, quality in _SHEET_SIZES:
        smaller = picture.copy()
        smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        data = buffer.getvalue()
        if len(data) <= most_bytes:
            break
    else:
        _log.warning("%s: left out of the report: too many sheets for one page", path)
        return None
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return {"url": url, "width": picture.width, "height": picture.height}


# ---- text ----------------------------------------------------------------------------------------------------


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


def _facts_html(rows: Sequence[Mapping[str, Any]], scores: Sequence[Score], environment: Mapping[str, Any]) -> str:
    facts: list[tuple[str, str, str]] = []
    if scores:
        score = scores[0]
        facts.append((f"Best {_score_label(score.name)}", format_number(score.best), f"at step {score.best_step:,}"))
    if rows:
        last = rows[-1]
        facts.append(("Steps", f"{last['step']:,}", f"epoch {last['epoch']:,.4g}"))
        facts.append(("Images seen", f"{last['images']:,}", "per stream"))
        attempts = len({row["attempt"] for row in rows})
        resumed = "in one go" if attempts == 1 else f"in {attempts} attempts"
        facts.append(("Wall time", format_duration(max(row["wall_seconds"] for row in rows)), resumed))
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


def _reproduce_html(run_folder: Path, environment: Mapping[str, Any]) -> str:
    folder = str(run_folder)
    quoted = f"'{folder}'" if re.search(r"[^\w./~+-]", folder) else folder
    steps = [
        ("Train again from the same resolved recipe", f"i2i train {quoted}/recipe.yaml"),
        ("Go on where this run stopped", f"i2i train --resume {quoted}"),
        ("Translate pictures with its model", f"i2i translate --model {quoted} PICTURES"),
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
        pairs = [_flatten(inner, f"{name}: {key}" if name else _words(str(key))) for key, inner in value.items()]
        return [pair for inner in pairs for pair in inner]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [pair for index, item in enumerate(value) for pair in _flatten(item, f"{name} {index}")]
    if isinstance(value, list):
        return [(name, ", ".join(str(item) for item in value) or "none")]
    if value is None or value == "":
        return [(name, "unknown")]
    return [(name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))]
