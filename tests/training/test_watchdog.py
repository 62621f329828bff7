"""The watchdog stays silent on trainings as they usually go, and barks at those that have failed."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from i2i.core.losses.adversarial import equilibrium
from i2i.training.watchdog import Action, Verdict, Watchdog, WatchdogSettings

BATCH = 64
STEPS_A_LOOK = 50
DOUBT = equilibrium("nonsaturating")["discriminator"]
Look = tuple[int, int, Mapping[str, float]]


def dcgan(look: int, seed: int = 0, **changes: float) -> Look:
    """A DCGAN as it usually goes: the discriminator wins at first, then the generator catches up."""
    draw = random.Random(seed * 100_003 + look)
    grown = 1 - math.exp(-look / 60)
    fake = min(0.45, 0.02 + 0.4 * grown) * draw.uniform(0.6, 1.6)
    real = 1 - min(0.45, 0.02 + 0.4 * grown) * draw.uniform(0.6, 1.6)
    spike = 30.0 if look % 37 == 36 else 1.0
    values = {
        "loss/discriminator/real": -math.log(real),
        "loss/discriminator/fake": -math.log(1 - fake),
        "loss/discriminator/total": -math.log(real) - math.log(1 - fake),
        "loss/generator/adversarial": -math.log(fake) * spike,
        "loss/generator/total": -math.log(fake) * spike,
        "output/discriminator/real_probability": real,
        "output/discriminator/fake_probability": fake,
        # From next to nothing to hundreds: the discriminator learns again once it is in doubt.
        "gradient_norm/discriminator": (25 if look == 0 else 0.3 + 250 * grown**4) * draw.uniform(0.3, 3),
        "gradient_norm/generator": 12 * draw.uniform(0.5, 2) * spike,
        "learning_rate/generator": 2e-4,
        "memory/peak_gib": math.nan,
    }
    if look % 2 == 0:
        values["sample/diversity"] = 0.97 * (1 - math.exp(-look / 15)) * draw.uniform(0.98, 1.02)
        values["sample/repeated"] = 1.0 if look < 5 else 0.02
        values["sample/midtones"] = 6 - 5 * grown
    return 1 + look * STEPS_A_LOOK, BATCH * (1 + look * STEPS_A_LOOK), {**values, **changes}


def cyclegan(look: int) -> Look:
    """A CycleGAN with least squares, batch 1: noisy, and without probabilities or grids."""
    draw = random.Random(look)
    values = {}
    for domain in "ab":
        start = 4.0 if look < 3 else 1.0
        values[f"loss/discriminator/real_{domain}"] = start * 0.25 * draw.expovariate(1.0)
        values[f"loss/discriminator/fake_{domain}"] = start * 0.25 * draw.expovariate(1.0)
        values[f"output/discriminator_{domain}/real"] = draw.uniform(0.2, 0.9)
    values["loss/discriminator/total"] = sum(values[name] for name in list(values) if name.startswith("loss")) / 2
    values["loss/generator/total"] = 18 * math.exp(-look / 30) + draw.uniform(2, 6)
    values["gradient_norm/generator"] = draw.uniform(5, 120)
    values["gradient_norm/discriminator"] = draw.uniform(1, 50)
    return 1 + look * STEPS_A_LOOK, 1 + look * STEPS_A_LOOK, values


def wgan_gp(look: int) -> Look:
    """A critic: its outputs drift far from 0, its loss is negative, and what its sigmoid says is no probability."""
    draw = random.Random(look)
    fake = -25 + draw.uniform(-5, 5) - look / 20
    values = {
        "loss/discriminator/real": -20.0 - look / 20,
        "loss/discriminator/fake": fake,
        "loss/discriminator/total": -40 * math.exp(-look / 40) * draw.uniform(0.5, 1.5),
        "loss/generator/total": -fake,
        "output/discriminator/real_probability": 1.0,
        "output/discriminator/fake_probability": 1e-11,
        "gradient_norm/discriminator": draw.uniform(1, 60),
        "gradient_norm/generator": 80 * math.exp(-look / 20) + 0.2,
    }
    return 1 + look * STEPS_A_LOOK, BATCH * (1 + look * STEPS_A_LOOK), values


def watch(looks: Iterable[Look], watchdog: Watchdog | None = None) -> list[Verdict]:
    watchdog = watchdog or Watchdog(WatchdogSettings(), DOUBT)
    return [verdict for look in looks if (verdict := watchdog.look(*look)) is not None]


def failing(first: int, change: Callable[[int], Mapping[str, float]], looks: int = 200) -> list[Look]:
    """A usual DCGAN until the look `first`; from there on `change` says what is different."""
    return [dcgan(look, 0, **(change(look) if look >= first else {})) for look in range(looks)]


def measured(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "curves" / f"{name}.json").read_text())


def rows_of(series: Mapping[str, Any]) -> list[Look]:
    names = series["names"]
    return [
        (step, step * series["batch_size"], {name: float(value) for name, value in zip(names, values, strict=True)})
        for step, *values in series["rows"]
    ]


# ---- trainings as they usually go ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_dcgan_is_no_alarm(seed: int) -> None:
    assert watch(dcgan(look, seed) for look in range(1000)) == []


def test_a_cyclegan_is_no_alarm() -> None:
    for doubt in (None, equilibrium("lsgan")["discriminator"]):
        assert watch((cyclegan(look) for look in range(2000)), Watchdog(WatchdogSettings(), doubt)) == []


def test_a_critic_is_no_alarm() -> None:
    doubt = equilibrium("wasserstein")["discriminator"]
    assert watch((wgan_gp(look) for look in range(600)), Watchdog(WatchdogSettings(), doubt)) == []


def test_a_discriminator_that_is_certain_while_the_generator_learns_is_no_alarm() -> None:
    sure = {"output/discriminator/real_probability": 0.999, "output/discriminator/fake_probability": 0.001}
    assert watch(failing(0, lambda _: sure)) == []


def test_a_single_odd_look_is_no_alarm() -> None:
    odd = {
        "sample/diversity": 0.01,
        "sample/repeated": 1.0,
        "sample/midtones": 0.0,
        "loss/generator/total": 1e9,
        "gradient_norm/generator": math.inf,
    }
    assert watch(failing(20, lambda look: odd if look % 24 == 0 else {})) == []


def test_an_untrained_generator_is_no_alarm() -> None:
    blank = {"sample/diversity": 0.01, "sample/repeated": 1.0}
    settings = WatchdogSettings()
    patient = [look for look in failing(0, lambda _: blank) if look[1] < settings.grace_images]
    assert len(patient) > 3
    assert watch(patient) == []
    # Of a large batch, so many images are few steps.
    large = [(step, 100 * images, values) for step, images, values in failing(0, lambda _: blank) if step < 500]
    assert large[-1][1] > settings.grace_images
    assert watch(large) == []


@pytest.mark.parametrize("name", ["dcgan_mnist", "dcgan_faces"])
def test_a_measured_dcgan_is_no_alarm(name: str) -> None:
    series = measured(name)
    looks = rows_of(series)
    assert len(looks) > 20
    assert watch(looks) == []


# ---- trainings that have failed --------------------------------------------------------------------------------


def only(verdicts: list[Verdict]) -> Verdict:
    assert len(verdicts) == 1, verdicts
    return verdicts[0]


def test_a_collapse_to_one_picture_is_named_with_numbers_and_what_to_do() -> None:
    verdict = only(watch(failing(80, lambda look: {"sample/diversity": 0.04} if look % 2 == 0 else {})))
    assert verdict.kind == "collapsed"
    assert verdict.began_step == 80 * STEPS_A_LOOK + 1
    assert verdict.step == 84 * STEPS_A_LOOK + 1  # the third look that had the measure
    assert "0.04" in verdict.reason and "learning rate" in verdict.advice
    assert verdict.line.startswith("Mode collapse: ") and "\n" not in verdict.line


def test_a_generator_that_was_diverse_once_has_no_grace() -> None:
    looks = [dcgan(look) for look in range(6)]
    early = [(10 * n, 640 * n, {"sample/diversity": 0.9 if n < 3 else 0.1}) for n in range(1, 9)]
    assert looks[0][2]["sample/diversity"] < 0.3
    verdict = only(watch(early))
    assert verdict.kind == "collapsed" and verdict.images < WatchdogSettings().grace_images


def test_a_generator_that_never_becomes_diverse_is_named_after_its_grace() -> None:
    verdict = only(watch(failing(0, lambda _: {"sample/diversity": 0.05, "sample/repeated": 0.5})))
    settings = WatchdogSettings()
    assert verdict.kind == "collapsed"
    assert verdict.images >= 2 * settings.grace_images and verdict.step >= 2 * settings.grace_steps


def test_a_generator_that_becomes_diverse_slowly_is_no_alarm() -> None:
    slow = failing(0, lambda look: {"sample/diversity": 0.05 + 0.002 * look, "sample/repeated": 0.5})
    assert watch(slow) == []


def test_a_collapse_to_a_few_pictures_is_named() -> None:
    assert only(watch(failing(80, lambda _: {"sample/diversity": 0.75, "sample/repeated": 1.0}))).kind == "repeating"


def test_saturated_pictures_are_named() -> None:
    assert only(watch(failing(80, lambda _: {"sample/midtones": 0.001}))).kind == "constant"


@pytest.mark.parametrize("name", ["loss/generator/total", "gradient_norm/discriminator"])
def test_growth_without_bound_is_named(name: str) -> None:
    verdict = only(watch(failing(80, lambda look: {name: 10.0 * 1.5 ** (look - 80)}, looks=130)))
    assert verdict.kind == "growing"
    assert name in verdict.reason


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named_when_they_stay(broken: float) -> None:
    verdict = only(watch(failing(1, lambda _: {"loss/generator/total": broken, "gradient_norm/generator": math.nan})))
    assert verdict.kind == "not_finite"
    assert "loss/generator/total" in verdict.reason
    assert verdict.step == 3 * STEPS_A_LOOK + 1


@pytest.mark.parametrize(
    "lost",
    [
        {"output/discriminator/fake_probability": 1e-4, "gradient_norm/generator": 0.01},
        {"output/discriminator/fake_probability": 1e-9},
    ],
)
def test_a_discriminator_that_wins_outright_is_named(lost: Mapping[str, float]) -> None:
    sure = {"output/discriminator/real_probability": 0.9999, **lost}
    verdict = only(watch(failing(60, lambda _: sure)))
    assert verdict.kind == "discriminator_won"
    assert verdict.images - 60 * STEPS_A_LOOK * BATCH >= WatchdogSettings().certain_images


def test_a_discriminator_worse_than_a_constant_answer_is_named() -> None:
    """With logits that are wrong by chance, its loss exceeds the log 4 that the answer 1/2 costs."""

    def outrun(look: int) -> dict[str, float]:
        right = look % 2 == 0
        return {"loss/discriminator/real": 0.2 if right else 2.6, "loss/discriminator/fake": 2.2 if right else 0.1}

    verdict = only(watch(failing(0, outrun)))
    assert verdict.kind == "discriminator_lost"
    assert "1.39" in verdict.reason
    assert watch(failing(0, outrun), Watchdog()) == []  # no bound is known


def test_pictures_that_jump_about_are_named() -> None:
    jumping = failing(0, lambda look: {"sample/diversity": (0.9, 0.4, 0.7, 0.35)[look % 4], "sample/repeated": 0.2})
    assert only(watch(jumping)).kind == "unstable"


def test_a_measured_training_at_fifty_times_the_learning_rate_is_named() -> None:
    verdicts = watch(rows_of(measured("dcgan_faces_learning_rate_x50")))
    assert verdicts
    assert all("lower" in verdict.advice or "regularise" in verdict.advice for verdict in verdicts)
    assert {verdict.kind for verdict in verdicts} <= {"collapsed", "repeating", "unstable", "discriminator_lost"}


# ---- how it speaks, remembers and forgets ----------------------------------------------------------------------


def collapse(first: int, last: int) -> Callable[[int], Mapping[str, float]]:
    return lambda look: {"sample/diversity": 0.02} if first <= look < last and look % 2 == 0 else {}


def test_a_failure_is_news_once_and_again_when_it_comes_back() -> None:
    looks = failing(0, lambda look: {**collapse(80, 100)(look), **(collapse(140, 160)(look) if look >= 100 else {})})
    assert [verdict.began_step // STEPS_A_LOOK for verdict in watch(looks)] == [80, 140]


def test_the_gravest_of_several_comes_first_and_the_others_follow() -> None:
    both = {"sample/diversity": 0.02, "gradient_norm/generator": math.nan, "sample/repeated": 0.1}
    assert [verdict.kind for verdict in watch(failing(80, lambda _: both))] == ["not_finite", "collapsed"]


def test_the_action_is_what_the_settings_say() -> None:
    looks = failing(0, collapse(80, 200))
    actions: tuple[Action, ...] = ("warn", "stop", "rollback")
    for action in actions:
        assert only(watch(looks, Watchdog(WatchdogSettings(action=action)))).action == action
    assert watch(looks, Watchdog(WatchdogSettings(action="off"))) == []


@pytest.mark.parametrize("cut", [30, 81, 83, 84, 90])
def test_a_resumed_training_is_watched_as_if_it_had_never_stopped(cut: int) -> None:
    looks = failing(0, collapse(80, 200))
    (expected,) = watch(looks)
    rows = [{"step": step, "images": images, "values": values} for step, images, values in looks]
    first, second = Watchdog(WatchdogSettings(), DOUBT), Watchdog(WatchdogSettings(), DOUBT)
    early = watch(looks[:cut], first)
    second.replay(rows, to_step=looks[cut - 1][0])
    assert early + watch(looks[cut:], second) == [expected]


def test_who_resumes_a_stopped_training_gets_a_chance() -> None:
    looks = failing(0, collapse(80, 200))
    watchdog = Watchdog(WatchdogSettings(action="stop"))
    rows = [{"step": step, "images": images, "values": values} for step, images, values in looks[:90]]
    watchdog.replay(rows, to_step=looks[89][0])
    verdict = only(watch(looks[90:], watchdog))
    assert verdict.began_step == looks[90][0]


def test_after_a_step_back_the_failure_must_show_anew() -> None:
    watchdog = Watchdog(WatchdogSettings(action="rollback"))
    looks = failing(0, collapse(80, 200))
    only(watch(looks[:86], watchdog))
    watchdog.go_back()
    assert watch(failing(0, collapse(500, 600))[75:120], watchdog) == []
    assert only(watch(looks[80:90], watchdog)).kind == "collapsed"


def test_looks_close_to_each_other_must_last_all_the_same() -> None:
    close = [(2000 + n, BATCH * (2000 + n), {"sample/diversity": 0.01}) for n in range(100)]
    verdict = only(watch(close))
    assert verdict.images - close[0][1] >= WatchdogSettings().lasting_images


def test_unknown_numbers_are_passed_over() -> None:
    assert watch([(n, 1000 * n, {"speed/images_per_second": math.nan, "odd": 1e9}) for n in range(100)]) == []
    assert watch([(n, 1000 * n, {}) for n in range(100)]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("looks", 0),
        ("grace_images", -1),
        ("most_growth_factor", 0.5),
        ("most_loss_factor", 0.9),
        ("certain_probability", 0.4),
        ("least_diversity", 1.5),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        dataclasses.replace(WatchdogSettings(), **{name: value})
