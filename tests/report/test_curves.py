"""Curves of a report: which share a panel, how long ones are thinned, and where theory expects them to end."""

from __future__ import annotations

import math
from typing import Any

from i2i.report.curves import curve_panels, theory_of, thin, time_axes


def test_curves_are_grouped_by_what_shares_an_axis() -> None:
    names = ["speed/images_per_second", "loss/discriminator_a/total", "loss/generator/cycle_a", "loss/generator/total"]
    names += ["validation/psnr_AtoB", "validation/psnr_BtoA", "validation/ssim_AtoB", "learning_rate/generator", "odd"]
    panels = curve_panels([{"step": 1, "values": {name: float(index) for index, name in enumerate(names)}}])
    assert [(panel["section"], panel["title"], [series["name"] for series in panel["series"]]) for panel in panels] == [
        ("validation", "PSNR", ["A → B", "B → A"]),
        ("validation", "SSIM", ["A → B"]),
        ("loss", "Generator", ["total", "cycle A"]),
        ("loss", "Discriminator A", ["total"]),
        ("learning_rate", "Learning rate", ["generator"]),
        ("speed", "Images per second", ["images per second"]),
        ("other", "Odd", ["odd"]),
    ]


def test_values_that_are_not_finite_are_marked_not_drawn() -> None:
    rows = [{"step": step, "values": {"a/b": value}} for step, value in enumerate([1.0, math.nan, math.inf, 2.0])]
    (panel,) = curve_panels(rows)
    assert panel["series"] == [{"name": "b", "steps": [0, 3], "values": [1.0, 2.0], "broken": [1, 2]}]
    assert panel["lines"] == [] and panel["logarithmic"] is False


def test_long_curves_are_thinned_without_losing_spikes() -> None:
    points = [(step, float(step % 7)) for step in range(100_000)]
    points[54_321] = (54_321, 1e6)
    points[65_432] = (65_432, -1e6)
    kept = thin(points, 1000)
    assert 500 < len(kept) <= 1000
    assert {points[54_321], points[65_432], points[0], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    assert thin(points[:1000], 1000) == points[:1000]


def test_what_a_step_means_in_pictures_and_in_time() -> None:
    rows = [{"step": step, "images": 4 * step, "wall_seconds": 36.0 * step} for step in range(1001)]
    axes = time_axes(rows)
    assert len(axes["steps"]) == len(axes["images"]) == len(axes["hours"]) == 200
    assert (axes["steps"][0], axes["steps"][-1]) == (0, 1000)
    assert axes["images"] == [4 * step for step in axes["steps"]]
    assert axes["hours"][-1] == 10.0
    # A clock that fell (rows of two attempts) must not make the axis fold over.
    back = time_axes([{"step": 1, "images": 1, "wall_seconds": 9.0}, {"step": 2, "images": 2, "wall_seconds": 3.0}])
    assert back["hours"] == [0.0025, 0.0025]


def gan_rows() -> list[dict[str, Any]]:
    values = {
        "loss/discriminator/real": 0.25,
        "loss/discriminator/fake": 0.75,
        "loss/discriminator/total": 1.0,
        "weighted/discriminator/real": 0.25,
        "loss/generator/adversarial": 0.9,
        "loss/generator/total": 0.9,
        "output/discriminator/real": 1.5,
        "output/discriminator/fake": -1.5,
        "output/discriminator/real_probability": 0.8,
        "output/discriminator/fake_probability": 0.3,
        "sample/diversity": 0.9,
        "sample/repeated": 0.1,
        "sample/midtones": 1.1,
    }
    norms = (100.0, 1.0, 0.1)
    return [
        {"step": step, "values": {**values, "gradient_norm/generator": norm, "gradient_norm/discriminator": 1.0}}
        for step, norm in enumerate(norms)
    ]


def panels_of(pipeline: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(panel["section"], panel["title"]): panel for panel in curve_panels(gan_rows(), theory_of(pipeline))}


def test_theory_says_where_the_curves_should_end() -> None:
    panels = panels_of({"kind": "unconditional", "adversarial": "nonsaturating", "real_label": 1.0})
    probabilities = panels["balance", "Discriminator: D(real) and D(fake)"]
    assert [series["name"] for series in probabilities["series"]] == ["D(fake)", "D(real)"]
    assert probabilities["lines"] == [{"value": 0.5, "label": "equilibrium"}]
    value = panels["balance", "Value function V(D, G)"]
    assert value["series"][0]["values"] == [-1.0, -1.0, -1.0]
    assert value["lines"] == [{"value": -1.3863, "label": "equilibrium -log 4 ="}]
    assert panels["loss", "Generator"]["lines"] == [{"value": 0.69315, "label": "equilibrium"}]
    assert panels["sample", "Diversity"]["lines"] == [{"value": 1.0, "label": "real pictures"}]
    assert {series["name"] for series in panels["sample", "Diversity"]["series"]} == {"diversity", "repeated"}
    assert panels["output", "Discriminator"]["lines"] == []


def test_smoothed_labels_move_the_equilibrium() -> None:
    panels = panels_of({"adversarial": "nonsaturating", "real_label": 0.9})
    assert panels["balance", "Discriminator: D(real) and D(fake)"]["lines"][0]["value"] == 0.45
    assert panels["balance", "Value function V(D, G)"]["lines"][0]["label"] == "equilibrium"


def test_of_other_losses_no_probability_is_shown() -> None:
    least_squares = panels_of({"adversarial": "lsgan"})
    assert least_squares["output", "Discriminator"]["lines"] == [{"value": 0.5, "label": "equilibrium"}]
    assert least_squares["balance", "Real + fake"]["lines"][0]["value"] == 0.5
    critic = panels_of({"adversarial": "wasserstein"})
    assert critic["balance", "Wasserstein distance, estimated"]["series"][0]["values"][0] == -1.0
    unknown = panels_of({"adversarial": "of my own", "real_label": "high"})
    for panels in (least_squares, critic, unknown):
        assert ("balance", "Discriminator: D(real) and D(fake)") not in panels
    assert not [key for key in unknown if key[0] == "balance"]


def test_a_pair_loss_has_its_line() -> None:
    rows = [{"step": 1, "values": {"loss/discriminator/pair": 0.7, "loss/discriminator/r1": 0.1}}]
    (panel,) = curve_panels(rows, theory_of({"adversarial": "relativistic"}))
    assert panel["lines"] == [{"value": 0.69315, "label": "equilibrium"}]


def test_the_total_of_a_single_term_is_shown_once() -> None:
    values = {"loss/g/adversarial": 0.5, "loss/g/total": 0.5, "loss/d/pair": 1.0, "loss/d/r1": 0.0, "loss/d/total": 1.0}
    panels = curve_panels([{"step": 1, "values": values}])
    shown = {panel["title"]: [series["name"] for series in panel["series"]] for panel in panels}
    assert shown == {"G": ["adversarial"], "D": ["total", "pair", "r1"]}
    weighted = {"loss/g/adversarial": 0.5, "loss/g/total": 5.0}
    (panel,) = curve_panels([{"step": 1, "values": weighted}])
    assert [series["name"] for series in panel["series"]] == ["total", "adversarial"]


def test_what_is_not_common_knowledge_is_explained() -> None:
    panels = panels_of({"kind": "unconditional", "adversarial": "nonsaturating"})
    diversity = panels["sample", "Diversity"]["note"]
    assert "1 is as varied as real pictures" in diversity and "Repeated: the share" in diversity
    assert "between the darkest and the brightest" in panels["sample", "Midtones"]["note"]
    assert "cannot tell them apart" in panels["balance", "Discriminator: D(real) and D(fake)"]["note"]
    assert panels["loss", "Generator"]["note"] == ""


def test_weighted_losses_that_repeat_the_losses_are_left_out_and_norms_are_logarithmic() -> None:
    panels = panels_of({})
    assert not [key for key in panels if key[0] == "weighted"]
    assert panels["gradient_norm", "Gradient norm"]["logarithmic"] is True
    rows = [{"step": 1, "values": {"loss/g/cycle": 0.5, "weighted/g/cycle": 5.0}}]
    assert [panel["section"] for panel in curve_panels(rows)] == ["loss", "weighted"]
