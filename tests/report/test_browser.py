"""The pages in a real browser: layout, slider, read-outs, scrubber, names, contrast, and no word to the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.evaluation.passports.figures import Figure, Interval, Passport, Subject, sheet_of
from i2i.report.comparison import write_comparison
from i2i.report.page import write_report
from i2i.training.tracking import Row, Tracker
from i2i.training.watchdog import Verdict
from tests.browser import DESKTOP, PHONE, launched, opened

HOSTILE = "</script><img src=x onerror=alert(1)>"
STEPS = range(10, 310, 10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened_browser:
        yield opened_browser


def gradient(level: float, count: int = 2, size: int = 96) -> torch.Tensor:
    return torch.linspace(-1, 1, size).expand(count, 3, size, size) * level


def make_translator(folder: Path, shift: float = 0.0, samples: int = 100) -> Path:
    tracker = Tracker(folder)
    for step in STEPS:
        losses = {
            "loss/generator/total": 1000.0 / step + shift,
            "loss/generator/cycle_a": 1.0,
            "weighted/generator/cycle_a": 10.0,
        }
        losses |= {"gradient_norm/generator": 10.0 / step, "output/discriminator_a/real": 0.8, "speed/images": 9.0}
        losses |= {"validation/psnr_AtoB": 21.5} if step == 150 else {}
        tracker.log(Row(step=step, images=4 * step, epoch=step / 100, values=losses))
    for step, level in ((0, 0.2), (150, 0.6), (300, 1.0)):
        for name in ("AtoB", "BtoA"):
            columns = [("input", gradient(-1)), ("translated", gradient(level)), ("reconstructed", gradient(0.8))]
            tracker.sheet(step, name, columns)
    tracker.alarm(
        Verdict(
            kind="growing", action="warn", step=200, images=800, began_step=190, title="Divergence",
            reason=f"loss {HOSTILE}", advice="lower it",
        )
    )  # fmt: skip
    tracker.finish()
    recipe = f"name: 'run {HOSTILE}'\ndescription: 'a {HOSTILE}'\npipeline: {{kind: cyclegan}}\nshift: {shift}\n"
    (folder / "recipe.yaml").write_text(recipe + f"long: {'word' * 60}\n")
    passport = Passport(metric="kid", extractor="inception", weights_sha256="67" * 32, fake_count=samples, seed=2020)
    interval = Interval(half_width=155.8, kind="standard deviation over 100 subsets of 1000")
    figure = Figure(
        name="kid", label=f"KID {HOSTILE}", value=1160.3 + shift, higher_is_better=False, interval=interval,
        passport=passport,
    )  # fmt: skip
    sheet_of(Subject(description=HOSTILE, step=300), [figure]).write(folder / "evaluations" / "step_300.json")
    return folder


def make_generator(folder: Path) -> Path:
    tracker = Tracker(folder)
    for step in (0, 40, 80):
        tracker.log(Row(step=step, images=step, epoch=0, values={"sample/diversity": step / 100, "x/y": math.nan}))
        tracker.grid(step, "generate", gradient(step / 80, 4, 32), 2)
    tracker.finish()
    (folder / "recipe.yaml").write_text("name: generator\npipeline: {kind: unconditional}\n")
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        make_translator(folder / "one"),
        make_translator(folder / "two", 0.01, 50),
        make_generator(folder / "three"),
    ]
    (folder / "empty").mkdir()
    return {
        "translator": write_report(runs[0]),
        "generator": write_report(runs[2]),
        "empty": write_report(folder / "empty"),
        "comparison": write_comparison(runs, folder / "comparison.html"),
    }


@pytest.mark.parametrize("name", ["translator", "generator", "empty", "comparison"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_cut_off_and_nothing_is_asked_for(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    found = opened(browser, pages[name], width, has_touch=width == PHONE)
    page = found.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    # Wide tables scroll inside their own frame; all else ends where the window does.
    outside = """() => [...document.querySelectorAll('main *')].filter((one) =>
        one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.sides, pre, .unseen')).length"""
    assert page.evaluate(outside) == 0
    assert found.messages == []
    assert found.requests and found.foreign_requests == []
    page.context.close()


@pytest.mark.parametrize("name", ["translator", "comparison"])
def test_what_names_contain_is_text_and_never_runs(browser: Any, pages: dict[str, Path], name: str) -> None:
    found = opened(browser, pages[name])
    assert found.page.locator("img[src='x']").count() == 0
    assert HOSTILE in found.page.locator("body").inner_text()
    # Even code that got into the page could not run: its policy knows only its own scripts.
    found.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    found.page.wait_for_timeout(50)
    assert found.page.evaluate("window.ran") is None
    found.page.context.close()


def share_shown(page: Any) -> float:
    """Per cent of the stage that the left picture covers."""
    return float(page.locator(".stage .before").evaluate("(one) => 100 - parseFloat(one.style.clipPath.split(' ')[1])"))


def test_the_slider_follows_mouse_keys_and_choices(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"]).page
    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert share_shown(page) == 50
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 60, steps=3)
    assert share_shown(page) == pytest.approx(20, abs=1)
    page.mouse.up()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60)
    assert share_shown(page) == pytest.approx(20, abs=1)
    slider = stage.locator("input")
    assert slider.evaluate("(one) => one === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert share_shown(page) == pytest.approx(21, abs=1)
    page.keyboard.press("End")
    assert share_shown(page) == 100
    assert slider.get_attribute("aria-valuetext") == "100 % Input, 0 % Translated"
    newest, other = stage.locator("img").first.get_attribute("src"), page.get_by_label("Right")
    other.select_option("Reconstructed")
    assert stage.locator("img").first.get_attribute("src") != newest
    page.get_by_role("radio", name="B → A").check(force=True)
    assert page.locator(".before-after .note").inner_text().startswith("B → A at step 300")
    page.get_by_role("button", name="Show picture 2").click()
    assert stage.locator("img").first.get_attribute("alt") == "B → A, picture 2: Translated"
    page.context.close()


def test_a_finger_moves_the_slider_and_reads_curves(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"], PHONE, has_touch=True, is_mobile=True).page
    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    assert share_shown(page) == pytest.approx(75, abs=1)
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Generator", exact=True)).first
    panel.scroll_into_view_if_needed()
    box = panel.locator("svg").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 14, box["y"] + 60)
    # What was pointed at stays when the finger is lifted.
    assert panel.locator(".status").inner_text() == "step 300"
    page.context.close()


def test_curves_tell_their_values_where_one_points(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"]).page
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Generator", exact=True)).first
    svg = panel.locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    total = panel.get_by_role("button", name="total").locator("b")
    assert total.inner_text() == "3.333"  # the newest
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    step = int(panel.locator(".status").inner_text().removeprefix("step "))
    assert step in STEPS and step < 100
    assert float(total.inner_text()) == pytest.approx(1000 / step, rel=1e-3)
    page.mouse.move(box["x"] + 60, box["y"] - 300)
    assert panel.locator(".status").inner_text() == ""
    svg.focus()
    page.keyboard.press("Home")
    assert panel.locator(".status").inner_text() == "step 10" and total.inner_text() == "100"
    page.get_by_role("radio", name="Images").check(force=True)
    svg.focus()
    page.keyboard.press("End")
    assert panel.locator(".status").inner_text() == "1,200 images"
    panel.get_by_role("button", name="total").click()
    assert panel.locator("polyline").count() == 1
    # A score that was measured once is a point with its value, not an empty frame.
    once = page.locator(".panel", has=page.get_by_role("heading", name="PSNR, A → B"))
    assert once.locator("text.value").text_content() == "21.5" and once.locator("circle").count() == 1
    page.context.close()


def test_the_scrubber_goes_through_time(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"]).page
    card = page.locator(".sheet").first
    scrubber, image = card.get_by_role("slider"), card.locator("img")
    newest = image.get_attribute("src")
    scrubber.focus()
    page.keyboard.press("Home")
    assert image.get_attribute("src") != newest
    assert image.get_attribute("alt") == "A → B, sample sheet at step 0"
    assert card.locator("output").inner_text() == "Step 0"
    page.keyboard.press("ArrowRight")
    assert card.locator("output").inner_text() == "Step 150"
    page.keyboard.press("End")
    assert image.get_attribute("src") == newest
    card.get_by_role("button", name="at full size").click()
    assert page.locator("dialog img").get_attribute("src") == newest
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    page.context.close()


def test_a_passport_opens(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"]).page
    passport = page.locator(".passport dl").first
    assert not passport.is_visible()
    page.locator(".passport summary").first.click()
    assert "67" * 32 in passport.inner_text() and "subsets of 1000" in passport.inner_text()
    page.context.close()


def test_runs_are_compared_over_each_other(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["comparison"]).page
    assert page.locator(".stage .tag").all_inner_texts() == ["one, step 300", "two, step 300"]
    assert "not comparable" in page.locator("#scores").inner_text()
    assert "Made pictures (100, 50)" in page.locator("#scores").inner_text()
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Generator, total")).first
    assert [text.split()[0] for text in panel.locator(".legend button").all_inner_texts()] == ["one", "two"]
    assert "shift" in page.locator("#recipes").inner_text()
    page.context.close()


CONTROLS = {"button", "slider", "combobox", "radio", "link", "image", "img", "textbox", "DisclosureTriangle"}


@pytest.mark.parametrize("name", ["translator", "generator", "comparison"])
def test_every_control_and_picture_has_a_name(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = opened(browser, pages[name]).page
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in tree if not node["ignored"] and node["role"]["value"] in CONTROLS]
    roles = {node["role"]["value"] for node in controls}
    assert {"button", "slider", "radio", "link", "image"} <= roles
    nameless = [node["role"]["value"] for node in controls if not node.get("name", {}).get("value", "").strip()]
    assert nameless == []
    page.context.close()


# Text against what is painted behind it; what lies on pictures is taken to lie on white, the worst case for it.
CONTRAST = """() => {
  const channels = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const over = (under, [red, green, blue, alpha]) =>
    [red, green, blue].map((value, index) => alpha * value + (1 - alpha) * under[index]);
  const behind = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) {
      const [red, green, blue, alpha = 1] = channels(getComputedStyle(one).backgroundColor);
      layers.push([red, green, blue, alpha]);
      if (alpha === 1 || one.matches(".stage")) break;
    }
    return layers.reverse().reduce(over, [255, 255, 255]);
  };
  const poor = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *:not(script, option)")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!text || !node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
    const style = getComputedStyle(node), pixels = parseFloat(style.fontSize);
    const ink = luminance(channels(node.closest("svg") ? style.fill : style.color)), paper = luminance(behind(node));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const wanted = pixels >= 24 || (pixels >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    seen += 1;
    if (contrast < wanted) poor.push(`${node.tagName}.${node.className} ${node.textContent.slice(0, 30)} ${contrast}`);
  }
  return { poor, seen };
}"""


@pytest.mark.parametrize("name", ["translator", "comparison"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_in_both_colour_schemes(
    browser: Any, pages: dict[str, Path], name: str, scheme: str
) -> None:
    page = opened(browser, pages[name], color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 50 and found["poor"] == []
    page.context.close()


def test_colours_follow_the_system_until_one_chooses(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["translator"], color_scheme="light").page

    def is_dark(dark: bool) -> None:
        level = math.nan
        for _ in range(100):
            level = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
            if level < 60 if dark else level > 200:
                return
            page.wait_for_timeout(50)  # the page hears of the system's change a moment later
        raise AssertionError(f"the page's background is {level}; {dark = }")

    is_dark(False)
    page.emulate_media(color_scheme="dark")
    is_dark(True)
    page.get_by_role("radio", name="Light").check(force=True)
    is_dark(False)
    page.emulate_media(color_scheme="light")
    page.get_by_role("radio", name="Dark").check(force=True)
    is_dark(True)
    page.get_by_role("radio", name="Auto").check(force=True)
    is_dark(False)
    page.context.close()
