"""What the pages show can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from i2i.recipe import parse_recipe

_REPOSITORY = Path(__file__).resolve().parents[1]
_PAGES = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").glob("*.md"))]
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
BLOCKS = [
    pytest.param(found[1], id=f"{page.name}:{page.read_text(encoding='utf-8')[: found.start()].count(chr(10)) + 1}")
    for page in _PAGES
    for found in _YAML.finditer(page.read_text(encoding="utf-8"))
    if not found[1].startswith("command:")  # of a sweep of Weights & Biases
]


def test_there_are_recipes_on_the_pages() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_recipes_on_the_pages_are_recipes(block: str) -> None:
    parse_recipe(block if block.startswith("extends:") else f"extends: dcgan_demo\n{block}")


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_tests_and_tools_that_the_readme_names_are_there() -> None:
    named = set(
        re.findall(r"`((?:tests|tools|docs)/[\w./*-]+)", (_REPOSITORY / "README.md").read_text(encoding="utf-8"))
    )
    assert len(named) > 10
    assert [name for name in sorted(named) if not any(_REPOSITORY.glob(name.rstrip("/")))] == []
