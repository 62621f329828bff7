"""The frame of a report page: one HTML file with its style, scripts and data inside, that can load nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ASSETS = Path(__file__).with_name("assets")
# In the order in which they run.
_SCRIPTS = ("common.js", "before_after.js", "sheets.js", "axes.js", "curves.js")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading of its own."""

    key: str
    """Its id."""
    title: str
    content: str
    """HTML."""
    hidden: bool = False
    """Until a script has put something into it."""


def assemble(
    *, kind: str, title: str, subtitle: str, header: str, sections: Sequence[Section], data: Mapping[str, Any]
) -> str:
    """The page as text.

    Args:
        kind: what sort of page it is, over its title.
        title: plain text.
        subtitle: plain text.
        header: HTML below the title.
        sections: in order.
        data: what the scripts draw; JSON without NaN.
    """
    scripts = ["\n".join(_asset(name) for name in _SCRIPTS)]
    theme = _asset("theme.js")
    parts = {
        "KIND": html.escape(kind),
        "TITLE": html.escape(title),
        "SUBTITLE": html.escape(subtitle),
        # Nothing but the page's own scripts can run, whatever a name or a recipe contains, and nothing is loaded.
        "POLICY": _policy([theme, *scripts]),
        "STYLE": _asset("page.css"),
        "THEME": theme,
        "HEADER": header,
        "LINKS": "".join(_link(section) for section in sections),
        "SECTIONS": "\n".join(_section_html(section) for section in sections),
        # "<" must not appear inside a script element: a name holding "</script>" would end it.
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": scripts[0],
    }
    # One pass, so that a recipe that happens to contain a placeholder stays as it is.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def _link(section: Section) -> str:
    hidden = " hidden" if section.hidden else ""
    return f'<li{hidden}><a href="#{section.key}">{html.escape(section.title)}</a></li>'


def _section_html(section: Section) -> str:
    hidden = " hidden" if section.hidden else ""
    return (
        f'<section id="{section.key}" aria-labelledby="{section.key}-title"{hidden}>'
        f'<h2 id="{section.key}-title">{html.escape(section.title)}</h2>{section.content}</section>'
    )
