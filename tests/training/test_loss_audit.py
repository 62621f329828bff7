"""A loss term that moves nothing is found, whichever way it lost its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from i2i.core.step import Losses, StepContext, Term, Update
from i2i.errors import DeadLossError
from i2i.training.checkpoint import TrainingState
from i2i.training.loss_audit import LossAuditSettings
from i2i.training.settings import TrainingSettings
from tests.training.toys import PLAIN_DESCENT, Toy, assert_same_bits, copies, mean, tiny_cyclegan, train

EVERY_STEP = TrainingSettings(optimizers=PLAIN_DESCENT, loss_audit=LossAuditSettings(every_steps=1))


def painting(*, dead: str = "", audited: bool = True) -> Toy:
    """A painter with three terms, of which `dead` is computed in a way that loses the gradient."""

    def losses(toy: Toy, context: StepContext) -> Losses:
        painted = toy.painter(context.batch["a"])
        terms = {
            "adversarial": Term(-mean(toy.judge(painted)), 0.5),
            "pixels": Term((painted - context.batch["a"]).abs().mean(), 10.0),
            "size": Term(painted.square().mean()),
        }
        if dead == "rebuilt":
            terms["pixels"] = Term(torch.tensor(float(terms["pixels"].value)))
        elif dead == "no_grad":
            with torch.no_grad():
                terms["pixels"] = Term((toy.painter(context.batch["a"]) - context.batch["a"]).abs().mean())
        elif dead == "elsewhere":
            terms["pixels"] = Term((context.batch["a"].clone().requires_grad_()).square().mean())
        elif dead == "multiplied":
            terms["pixels"] = Term(terms["pixels"].value * 0.0)
        return Losses(terms)

    def script(toy: Toy) -> Sequence[Update]:
        return (Update("paint", "painter", lambda context: losses(toy, context), draws=("a",), audited=audited),)

    return Toy(script)


@pytest.mark.parametrize("dead", ["rebuilt", "no_grad", "elsewhere", "multiplied"])
def test_a_term_without_effect_ends_the_training_by_name(dead: str) -> None:
    engine, pictures = train(painting(dead=dead), EVERY_STEP)
    with pytest.raises(DeadLossError, match="loss term pixels of update paint has no effect"):
        engine.take_step(pictures)


def test_it_is_left_alone_where_nobody_audits() -> None:
    for engine, pictures in (
        train(painting(dead="rebuilt", audited=False), EVERY_STEP),
        train(painting(dead="rebuilt"), replace(EVERY_STEP, loss_audit=LossAuditSettings(every_steps=None))),
    ):
        engine.take_step(pictures)
        assert not engine.audit.read()


def test_the_norms_are_those_of_the_weighted_terms() -> None:
    toy = painting()
    engine, pictures = train(toy, EVERY_STEP)
    weight, bias = copies(dict(toy.painter.named_parameters())).values()
    engine.take_step(pictures)
    found = engine.audit.read()
    assert set(found) == {"paint/adversarial", "paint/pixels", "paint/size"}

    painter = nn.Conv2d(3, 3, 1).double()
    painter.load_state_dict({"weight": weight, "bias": bias})
    images = pictures.picture("a", 0)[None]
    (10.0 * (painter(images) - images).abs().mean()).backward()
    expected = torch.nn.utils.get_total_norm([painter.weight.grad, painter.bias.grad])  # type: ignore[list-item]
    assert found["paint/pixels"] == pytest.approx(float(expected), rel=1e-6)


def test_numbers_are_read_once_and_come_at_the_first_step_and_every_so_often() -> None:
    settings = replace(EVERY_STEP, loss_audit=LossAuditSettings(every_steps=3))
    engine, pictures = train(painting(), settings)
    measured = []
    for _ in range(7):
        engine.take_step(pictures)
        measured.append(bool(engine.audit.read()))
    assert measured == [True, False, True, False, False, True, False]


def test_a_resumed_training_measures_when_one_that_was_not_cut_does() -> None:
    """Not at its own first step: a gradient that has become exactly nothing by then would end it, and only it."""
    settings = replace(EVERY_STEP, loss_audit=LossAuditSettings(every_steps=1000))
    engine, pictures = train(painting(), settings)
    engine.take_step(pictures)
    state = engine.state()
    assert state.counters["audited"] == ["paint"]
    resumed, drawn = train(painting(dead="multiplied"), settings)
    resumed.load_state(state)
    resumed.take_step(drawn)
    assert not resumed.audit.read()
    assert resumed.state().counters == {**state.counters, "step": 2, "images": 2, "draws": {"a": 2, "b": 0}}
    # A checkpoint of before does not say what was measured.
    earlier = {name: value for name, value in state.counters.items() if name != "audited"}
    resumed.load_state(TrainingState(state.tensors, earlier))
    with pytest.raises(DeadLossError, match="pixels"):
        resumed.take_step(drawn)


def test_measuring_changes_no_bit() -> None:
    states = []
    for every_steps in (1, None):
        engine, pictures = train(
            tiny_cyclegan(), TrainingSettings(loss_audit=LossAuditSettings(every_steps=every_steps)), pixels=16
        )
        for _ in range(3):
            engine.take_step(pictures)
        assert bool(engine.audit.read()) == (every_steps is not None)
        states.append(engine.state().tensors)
    assert_same_bits(*states)


def test_an_interval_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every_steps is 0"):
        LossAuditSettings(every_steps=0)
