"""What a recipe may say about evaluations, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.errors import RecipeError
from i2i.recipe import changes_on_resume, dump_recipe, parse_recipe
from i2i.recipe.settings import Recipe
from i2i.training.settings import EvaluationSettings
from tests.training.runs import GENERATION, RECIPE, UPSCALING, make_generation_recipe

TRANSLATION = RECIPE.replace("ROOT", "pictures")


def told(text: str, evaluate: str) -> str:
    """The mistakes that a recipe is refused for."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{text}evaluate:\n  {evaluate}\n", "tiny.yaml")
    return str(caught.value)


def line_of(text: str) -> int:
    """Of the first line below `evaluate:` at the end of the text."""
    return text.count("\n") + 2


@pytest.mark.parametrize(
    ("text", "evaluate", "expected"),
    [
        (GENERATION, "metrics: [fidd]", "evaluate.metrics: is ['fidd']; metric 'fidd' is unknown, did you mean 'fid'?"),
        (GENERATION, "metrics: []", "evaluate.metrics: is []; no metric is named"),
        (GENERATION, "best: is", "evaluate.best: is 'is', which none of the metrics gives; these give fid, kid"),
        (GENERATION, "best: fud", "evaluate.best: is 'fud', which none of the metrics gives; these give fid, kid"),
        (GENERATION, "{metrics: [diversity], best: diversity}", "neither more nor less is better"),
        (GENERATION, "best: fid_AtoB", "evaluate.best is 'fid_AtoB'; this pipeline gives fid"),
        (TRANSLATION, "best: fid_atob", "this pipeline gives fid and fid_AtoB and fid_BtoA"),
        (GENERATION, "metrics: [fid, psnr]", "psnr compares with true counterparts, and pictures out of nothing have"),
        (TRANSLATION, "metrics: [d_probability]", "under the lsgan loss a logit is no probability's"),
        (UPSCALING.replace("{kind: vgg, base_channels: 2}", "null"), "metrics: [d_probability]", "there is none"),
        (GENERATION, "features: inceptoin", "there are no features 'inceptoin' - did you mean 'inception'?"),
        (GENERATION, "features: mine.pt", "which can carry code; name its SHA-256: features_sha256"),
        (GENERATION, "samples: 1", "evaluate.samples: is 1; needs at least 2"),
        (GENERATION, "every_steps: 0", "evaluate.every_steps: is 0; needs more than 0"),
        (GENERATION, "every_step: 5", "evaluate.every_step: unknown key, did you mean 'every_steps'?"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, evaluate: str, expected: str) -> None:
    message = told(text, evaluate)
    assert expected in message
    assert message.startswith(f"tiny.yaml:{line_of(text)}: ")
    assert "\n" not in message


def test_what_can_be_said_is_understood_and_kept() -> None:
    text = f"{TRANSLATION}evaluate: {{every_epochs: 2, metrics: [fid, is, psnr], samples: 9, best: fid_BtoA}}\n"
    recipe = parse_recipe(text)
    assert recipe.evaluate == EvaluationSettings(
        every_epochs=2, metrics=("fid", "is", "psnr"), samples=9, best="fid_BtoA"
    )
    assert EvaluationSettings(best="fid_BtoA").direction_of_best == "BtoA"
    assert parse_recipe(dump_recipe(recipe)) == recipe
    assert parse_recipe(TRANSLATION).evaluate is None
    assert EvaluationSettings(best="fid").direction_of_best == ""


class TestOnResume:
    @staticmethod
    def recipe(*overrides: str) -> Recipe:
        return parse_recipe(GENERATION, "tiny.yaml", overrides)

    def test_how_often_may_change(self) -> None:
        old, new = (self.recipe("evaluate.best=fid", f"evaluate.every_steps={period}") for period in (5, 7))
        assert changes_on_resume(old, new) == ["evaluate.every_steps"]

    def test_evaluations_that_decide_nothing_may_come_change_and_go(self) -> None:
        none, some, other = self.recipe(), self.recipe("evaluate.samples=50"), self.recipe("evaluate.metrics=[kid]")
        for old, new in ((none, some), (some, other), (other, none)):
            assert changes_on_resume(old, new)

    @pytest.mark.parametrize("changed", ["evaluate.best=kid", "evaluate.samples=50", "evaluate.best=null"])
    def test_what_decides_the_best_may_not(self, changed: str) -> None:
        with pytest.raises(RecipeError, match=r"evaluate\.\w+: was .* a resumed run cannot change this"):
            changes_on_resume(self.recipe("evaluate.best=fid"), self.recipe("evaluate.best=fid", changed))


def test_a_mistake_names_the_file_and_the_line(tmp_path: Path) -> None:
    from i2i.recipe import load_recipe

    path = make_generation_recipe(tmp_path)
    path.write_text(path.read_text() + "evaluate:\n  samples: 10\n  metrics: [fid, kidd]\n")
    with pytest.raises(RecipeError, match=rf"tiny_generation\.yaml:{line_of(GENERATION) + 1}: evaluate\.metrics"):
        load_recipe(path)
