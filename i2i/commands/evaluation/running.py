"""`i2i evaluate`, from the options to the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.commands.evaluation.wishes import DEFAULT_FEATURES, DEFAULT_LPIPS, Wishes
from i2i.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from i2i.commands.evaluation.comparisons import Comparison
    from i2i.evaluation.features.protocol import FeatureExtractor
    from i2i.evaluation.passports.figures import Figure
    from i2i.evaluation.pixel_measures import PerceptualMeasure
    from i2i.evaluation.team import Team
    from i2i.inference import ImageModel, LatentModel
    from i2i.inference.model_files.model_file import ModelMetadata


def run(wishes: Wishes) -> None:
    """Evaluate a model, or a folder of made pictures.

    Under ``torchrun`` the processes share the work; the first one speaks for all, and the figures are the same.

    Raises:
        PartialFailureError: some pictures cannot be read; the others are scored.
        UsageError, DataError, ModelError, RecipeError: nothing could be evaluated.
    """
    wishes.check()
    from i2i.commands.generation import device_of_this_process, share_of_this_process
    from i2i.evaluation.features.blocks import Share
    from i2i.evaluation.team import Team

    if share_of_this_process().count == 1:
        _evaluate(wishes, wishes.device, Team())
        return
    from i2i.inference.runtime import resolve_device
    from i2i.training.distributed import Processes

    device = resolve_device(device_of_this_process(wishes.device))
    processes = Processes.from_environment(device)
    share = Share(processes.rank, processes.count)
    try:
        processes.together(lambda collect: _evaluate(wishes, str(device), Team(share=share, gather=collect)))
    finally:
        processes.leave()


def _evaluate(wishes: Wishes, device: str, team: Team) -> None:
    if wishes.folders:
        _folders(wishes, device, team)
        return
    if wishes.hr is not None:
        _high_pictures(wishes, device, team)
        return
    from i2i.inference import resolve_model
    from i2i.inference.model_files.loading import read_any_metadata

    assert wishes.model is not None, "wishes were checked"
    place = _place(wishes)
    metadata = read_any_metadata(resolve_model(wishes.model))
    if metadata.translates:
        _translator(wishes, place, device, team, metadata)
    else:
        _generator(wishes, place, device, team)


# By what is evaluated


def _folders(wishes: Wishes, device: str, team: Team) -> None:
    from i2i.commands.evaluation.comparisons import of_folders
    from i2i.commands.evaluation.results import keep, refuse_silence, tell
    from i2i.evaluation.passports.figures import Subject, sheet_of
    from i2i.evaluation.passports.tables import figure_table

    assert wishes.real is not None and wishes.fake is not None
    looking = _Looking.of(wishes, device, team)
    comparison = of_folders(wishes.real, wishes.fake, wishes, team)
    figures = looking.figures([comparison])
    if team.leads:
        about = {"real": str(wishes.real), "fake": str(wishes.fake)}
        subject = Subject(description=f"pictures in {wishes.fake}", sha256=comparison.fake.sha256)
        sheet = sheet_of(subject, figures)
        keep(sheet, wishes.out, None)
        tell(about, sheet, figure_table(figures), json=wishes.json, failed=comparison.damaged)
    refuse_silence(comparison.damaged)


def _high_pictures(wishes: Wishes, device: str, team: Team) -> None:
    from i2i.commands import evaluate_upscaling

    assert wishes.model is not None and wishes.hr is not None
    if wishes.metrics is None:
        evaluate_upscaling.run(
            wishes.model, wishes.hr, wishes.lr, direction=wishes.direction, strength=wishes.strength,
            consistent=wishes.consistent, device=device, precision=wishes.precision, runner=wishes.runner,
            trust=wishes.trust, max_pixels=wishes.max_pixels, samples=wishes.samples, out=wishes.out, json=wishes.json,
            quiet=wishes.quiet, team=team,
        )  # fmt: skip
        return
    from i2i.commands.evaluation.comparisons import of_high_pictures
    from i2i.commands.evaluation.upscaling_pairs import find_pairs

    looking = _Looking.of(wishes, device, team)
    model = _upscaler(wishes, device)
    evaluate_upscaling.check_enlarges(wishes.model, model)
    pairs = find_pairs(wishes.hr, wishes.lr)
    about = {"hr": wishes.hr, "lr": wishes.lr}
    looking.deliver(model, [of_high_pictures(model, pairs, wishes, team)], about)


def _translator(wishes: Wishes, place: str, device: str, team: Team, metadata: ModelMetadata) -> None:
    from i2i.commands import evaluate, evaluate_upscaling
    from i2i.commands.evaluation.comparisons import of_data_set, of_test_folders
    from i2i.commands.evaluation.data_sets import has_test_folders, open_set

    enlarges = any(getattr(record, "scale", 1) > 1 for record in metadata.entry_points.values())
    if not enlarges and (wishes.strength != 1.0 or wishes.consistent):
        raise UsageError("--strength and --consistent are for models that enlarge - score them with --hr PICTURES")
    assert wishes.model is not None
    wishes.refuse_seed("what this model makes is not drawn")
    if has_test_folders(place):
        if wishes.split == "train":
            raise UsageError(
                f"{place}: of testA and testB the test half alone is known - leave --split train out, or give a recipe"
                " that says what is what"
            )
        if wishes.metrics is None and _has_counterparts(place):
            wishes.refuse_networks("paired scores look through no network")
            evaluate.run(
                wishes.model, Path(place).expanduser(), direction=wishes.direction, device=device,
                precision=wishes.precision, runner=wishes.runner, trust=wishes.trust, max_pixels=wishes.max_pixels,
                samples=wishes.samples, out=wishes.out, json=wishes.json, quiet=wishes.quiet, team=team,
            )  # fmt: skip
            return
        models = _directions(wishes, device)
        looking = _Looking.of(wishes, device, team)
        root = Path(place).expanduser()
        looking.deliver(next(iter(models.values())), of_test_folders(models, root, wishes, team), {"data": place})
        return
    models = {"": _upscaler(wishes, device)} if enlarges else _directions(wishes, device)
    models = {model.name: model for model in models.values()}
    advice = "use --hr PICTURES" if enlarges else "put the test pictures into folders testA and testB there"
    opened = open_set(place, None, advice=advice)
    first = next(iter(models.values()))
    if wishes.metrics is None and opened.data.aligned and wishes.split != "train":
        wishes.refuse_networks("paired scores look through no network")
        if enlarges:
            evaluate_upscaling.run_on_data_set(
                first, opened.data, opened.description, samples=wishes.samples, out=wishes.out, json=wishes.json,
                team=team,
            )  # fmt: skip
        else:
            evaluate.run_on_data_set(
                models, opened.data, opened.description, direction=wishes.direction, samples=wishes.samples,
                out=wishes.out, json=wishes.json, team=team,
            )  # fmt: skip
        return
    looking = _Looking.of(wishes, device, team)
    looking.deliver(first, of_data_set(models, opened, wishes), {"data": place})


def _generator(wishes: Wishes, place: str, device: str, team: Team) -> None:
    from i2i.commands.evaluation.comparisons import of_generator
    from i2i.commands.evaluation.data_sets import open_set
    from i2i.inference import load_generator

    assert wishes.model is not None
    if wishes.direction is not None or wishes.strength != 1.0 or wishes.consistent:
        raise UsageError(f"{wishes.model}: a generator has no --direction, --strength or --consistent - leave them out")
    looking = _Looking.of(wishes, device, team)
    model = load_generator(wishes.model, device, wishes.precision, runner=wishes.runner, trust=wishes.trust)
    opened = open_set(place, model.entry_point.shape)
    looking.deliver(model, [of_generator(model, opened, wishes)], {"data": place})


def _place(wishes: Wishes) -> str:
    """The data set: as said, else that of the run that the model lies in."""
    from i2i.commands.evaluation.results import run_folder_of
    from i2i.inference import resolve_model

    if wishes.data is not None:
        return wishes.data
    assert wishes.model is not None
    run_folder = run_folder_of(wishes.model)
    if run_folder is None:
        resolve_model(wishes.model)  # a model that is not there is the nearer reason
        raise wishes.nothing_to_score_on()
    return str(run_folder)


def _directions(wishes: Wishes, device: str) -> dict[str, ImageModel]:
    from i2i.commands.evaluate import load_directions

    assert wishes.model is not None
    return load_directions(wishes.model, device, wishes.direction, wishes.precision, wishes.runner, wishes.trust)


def _upscaler(wishes: Wishes, device: str) -> ImageModel:
    from i2i.inference import load_model

    assert wishes.model is not None
    return load_model(
        wishes.model, device, wishes.direction, wishes.precision, strength=wishes.strength,
        consistent=wishes.consistent, runner=wishes.runner, trust=wishes.trust,
    )  # fmt: skip


def _has_counterparts(place: str) -> bool:
    """Whether any picture of ``testA`` has one of its name in ``testB``."""
    from i2i.commands.evaluate import counterparts

    root = Path(place).expanduser()
    return bool(counterparts(root / "testA", root / "testB")[0])


# With metrics


class _Looking:
    """The metrics that were asked for, and the networks that they look through."""

    def __init__(
        self,
        wishes: Wishes,
        metrics: tuple[str, ...],
        extractor: FeatureExtractor | None,
        perceptual: PerceptualMeasure | None,
        team: Team,
    ) -> None:
        from i2i.commands.evaluation.results import console_of

        self.wishes, self.metrics, self.extractor, self.perceptual, self.team = (
            wishes,
            metrics,
            extractor,
            perceptual,
            team,
        )
        self.console: Console = console_of(team, wishes.quiet)

    @classmethod
    def of(cls, wishes: Wishes, device: str, team: Team) -> _Looking:
        """Open the networks first: that they are missing is to be known before anything else is done."""
        from i2i.evaluation.assessment import check
        from i2i.evaluation.features.opening import open_extractor
        from i2i.evaluation.measures import METRICS
        from i2i.evaluation.perceptual_opening import open_perceptual
        from i2i.inference.runtime import resolve_device

        metrics = wishes.metric_names()
        target = resolve_device(device)
        looks = any(METRICS[name].needs in ("features", "logits") for name in metrics)
        extractor = open_extractor(wishes.features or DEFAULT_FEATURES, target, trust=wishes.trust) if looks else None
        perceptual = open_perceptual(wishes.lpips or DEFAULT_LPIPS, target) if "lpips" in metrics else None
        check(metrics, extractor, perceptual)
        return cls(wishes, metrics, extractor, perceptual, team)

    def figures(self, comparisons: Sequence[Comparison]) -> list[Figure]:
        """Of all comparisons, on every process."""
        from i2i.commands.evaluation.results import tell_failures

        for comparison in comparisons:
            tell_failures(comparison.damaged, self.team)
        return [figure for comparison in comparisons for figure in self._figures(comparison)]

    def _figures(self, comparison: Comparison) -> list[Figure]:
        from i2i.evaluation.assessment import assess, cautions
        from i2i.evaluation.features.store import default_features_folder
        from i2i.evaluation.measures import METRICS

        real, fake = comparison.real, comparison.fake
        self.console.print(f"{fake.count:,} made: {fake.description}; {real.count:,} real: {real.description}")
        for line in cautions(self.metrics, real.count, fake.count, self.extractor):
            self.console.print(f"note: {line}")
        paired = [name for name in self.metrics if METRICS[name].needs == "counterparts"]
        if paired and comparison.counterparts is None:
            raise DataError(
                f"metric {paired[0]}: compares pictures with their counterparts, but {comparison.without_counterparts}"
                " - leave it out, or take fid or kid"
            )
        if paired and comparison.counterparts is not None:
            self._say_pairs(comparison)
        found: dict[str, Figure] = {}
        pixels = [name for name in self.metrics if METRICS[name].needs == "pixels"]
        others = [name for name in self.metrics if name not in paired + pixels]
        # A likelihood of what was learnt from would praise learning by heart.
        unseen, half = (real, comparison.split) if comparison.held_out is None else (comparison.held_out, "test")
        if pixels and comparison.held_out is not None:
            self.console.print(f"{', '.join(pixels)}: against {unseen.count:,} that it never saw: {unseen.description}")
        groups = (
            (others, real, fake, comparison.split),
            (pixels, unseen, fake, half),
            (paired, *(comparison.counterparts or (real, fake)), comparison.split),
        )
        for names, truth, made, split in groups:
            if names:
                figures = assess(
                    names,
                    truth,
                    made,
                    extractor=self.extractor,
                    split=split,
                    suffix=comparison.suffix,
                    latent_seed=comparison.latent_seed,
                    share=self.team.share,
                    collect=self.team.gather,
                    store=default_features_folder(),
                    perceptual=self.perceptual,
                )
                found |= {figure.name: figure for figure in figures}
        order = [f"{kind.name}{comparison.suffix}" for name in self.metrics for kind in METRICS[name].figures]
        return [found[name] for name in order]

    def _say_pairs(self, comparison: Comparison) -> None:
        assert comparison.counterparts is not None
        pairs = comparison.counterparts[1].count
        if pairs < max(comparison.real.count, comparison.fake.count):
            self.console.print(f"{pairs:,} of them are pairs, which scores between counterparts are taken on")

    def deliver(
        self, model: ImageModel | LatentModel, comparisons: Sequence[Comparison], about: Mapping[str, str | None]
    ) -> None:
        """Measure what a model makes, say it and keep it."""
        from i2i.commands.evaluation.results import deliver, refuse_silence
        from i2i.evaluation.passports.tables import figure_table

        figures = self.figures(comparisons)
        damaged = [line for comparison in comparisons for line in comparison.damaged]
        if self.team.leads:
            wishes = self.wishes
            asked = {} if wishes.direction is None else {"direction": model.name}
            deliver(
                model, figures, figure_table(figures), about={**about, **asked}, failed=damaged, out=wishes.out,
                json=wishes.json,
            )  # fmt: skip
        refuse_silence(damaged)
