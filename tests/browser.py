"""A real browser for pages that tests wrote: headless Chromium, and what a page complained about or asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PHONE, DESKTOP = 360, 1280
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What a browser does of its own accord must not be taken for the page's doing.
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Opened:
    """A page, its messages (errors among them) and the addresses it asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def foreign_requests(self) -> list[str]:
        """Those that go beyond the page's own file."""
        return [url for url in self.requests if url != self.page.url.partition("#")[0] and not url.startswith("data:")]


@contextmanager
def launched() -> Iterator[Any]:
    """The system's Chromium; skips the test where it or its driver is missing."""
    driving = pytest.importorskip("playwright.sync_api")
    executable = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("needs Chromium")
    with driving.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield browser
        browser.close()


def opened(browser: Any, path: Path, width: int = DESKTOP, **context: Any) -> Opened:
    """The page at `path` in a window of `width` pixels; `context` goes to the browser's new context."""
    page = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce", **context).new_page()
    found = Opened(page)
    page.on("console", lambda message: found.messages.append(message.text))
    page.on("pageerror", lambda error: found.messages.append(str(error)))
    page.on("dialog", lambda dialog: (found.messages.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    return found
