"""Progress is a bar in a terminal, a few lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from i2i.training.progress_bar import TrainingProgress, _three_digits, describe, format_duration


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=120, soft_wrap=not terminal), written


def test_lines_come_rarely_and_the_last_one_always() -> None:
    screen, written = console(terminal=False)
    with TrainingProgress(console=screen, line_every_seconds=3600) as progress:
        for step in range(1, 101):
            progress.update(step, 100, 31.4, {"generator": 4.21}, None, 60.0)
    assert written.getvalue().splitlines() == [
        "step 1/100 · 1% · 1 min left · 31.4 images/s · generator 4.21",
        "step 100/100 · 100% · 1 min left · 31.4 images/s · generator 4.21",
    ]


def test_the_end_is_shown_as_the_end() -> None:
    """The last update lies some steps back, and a clock may have ended what counts no steps."""
    screen, written = console(terminal=False)
    with TrainingProgress(console=screen, line_every_seconds=3600) as progress:
        progress.update(95, 100, 31.4, {"generator": 4.21}, None, 60.0)
        progress.complete(98)
    assert written.getvalue().splitlines()[-1] == "step 98 · 100% · 31.4 images/s · generator 4.21"
    screen, written = console(terminal=True)
    with TrainingProgress(console=screen) as progress:
        progress.update(95, None, None, {}, 0.951)
        progress.complete(98)
    assert "100%\x1b[0m step 98" in written.getvalue()


def test_the_end_without_a_step_before_it() -> None:
    screen, written = console(terminal=False)
    with TrainingProgress(console=screen) as progress:
        progress.complete(7)
    assert written.getvalue() == "step 7 · 100%\n"


def test_messages_appear_as_they_are() -> None:
    screen, written = console(terminal=False)
    with TrainingProgress(console=screen) as progress:
        progress.message("saved to runs/[bold]x[/bold]")
    assert written.getvalue() == "saved to runs/[bold]x[/bold]\n"


def test_a_terminal_gets_a_bar_and_messages_above_it() -> None:
    screen, written = console(terminal=True)
    with TrainingProgress(console=screen) as progress:
        progress.update(50, 100, 31.4, {"generator": 4.21, "discriminator": 0.25}, 0.5, 61.0)
        progress.message("checkpoint saved")
    assert "checkpoint saved" in written.getvalue()
    summary = "step 50/100 · 1 min left · 31.4 images/s · generator 4.21 · discriminator 0.25"
    assert f"50%\x1b[0m {summary}" in written.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_writes_nothing(terminal: bool) -> None:
    screen, written = console(terminal)
    with TrainingProgress(quiet=True, console=screen) as progress:
        progress.update(1, 2)
        progress.message("hello")
    assert written.getvalue() == ""


def test_unknown_parts_are_left_out() -> None:
    assert describe(1234, None, None, {}, None) == "step 1,234"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "1 h"),
        (3660, "1 h 01 min"),
        (86400 * 2 + 3600 * 4, "2 d 4 h"),
    ],
)
def test_durations_are_said_as_a_person_would(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_many_pictures_a_second_have_no_exponent() -> None:
    assert [_three_digits(value) for value in (31.42, 999.4, 999.7, 1243.0, 12_345.0)] == [
        "31.4", "999", "1,000", "1,240", "12,340",
    ]  # fmt: skip
