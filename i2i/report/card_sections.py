"""The parts of a model's card, each as Markdown, "" where nothing is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from i2i.evaluation.passports.figures import Figure, FigureSheet, Passport, Subject, passport_fields
from i2i.inference.model_files.loading import ModelSource
from i2i.inference.model_files.model_file import EntryPointRecord, LatentRecord, PictureRecord
from i2i.report.markdown import block, code, front_matter, plain, table
from i2i.report.names import capital, processor_name, score_name, words
from i2i.report.run_files import RunFiles
from i2i.training.progress_bar import format_duration

NOTES = "## Notes"

# Method of the model file: its name, what it does, where it was published.
_METHODS: Mapping[str, tuple[str, str, str]] = {
    "cyclegan": (
        "CycleGAN",
        "translates pictures of one kind into another and back; it was trained without pairs",
        "[Zhu et al. 2017](https://arxiv.org/abs/1703.10593)",
    ),
    "unconditional": (
        "GAN",
        "makes pictures like those it was trained on out of random numbers",
        "[Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)",
    ),
    "srgan": (
        "SRGAN",
        "enlarges pictures and invents the detail that small ones lack",
        "[Ledig et al. 2017](https://arxiv.org/abs/1609.04802)",
    ),
}
_DATA_KINDS: Mapping[str, str] = {
    "unpaired_folders": "two folders of pictures without counterparts",
    "drawn_animals": "two sets of pictures that i2i draws itself",
    "drawn_digits": "digits that i2i draws itself",
    "drawn_scenes": "scenes that i2i draws itself",
    "image_folder": "a folder of pictures",
    "upscaling_folder": "a folder of pictures, made smaller for training",
    "idx": "a set in the file format of MNIST",
    "cifar10": "CIFAR-10",
}
_DATA_PATHS = ("root", "a", "b", "test", "test_a", "test_b", "low", "test_low")
_MOST_CLASSES_NAMED = 20
# Of a passport, what several metrics of one evaluation have in common.
_HOW_RUN = ("precision", "runner")
_SHARED = {one.name for one in fields(Passport)} - {"metric", "parameters"} | set(_HOW_RUN)
# As hubs of models call them.
_TASKS = {"generates": "unconditional-image-generation", "translates": "image-to-image"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is written from."""

    model: ModelSource
    bytes: int
    parameters: Mapping[str, int]
    """Numbers in each network; empty for an exported file."""
    run: RunFiles | None
    """The run that the model came out of, where its folder is at hand."""
    levels_from_source: float | None
    """How far an exported file's pictures are from its model's at most, in grey levels of 255; None if not known."""
    licence: str

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.model.metadata.provenance

    @property
    def name(self) -> str:
        """The recipe's, or the file's."""
        return str(self.provenance.get("recipe") or self.model.path.stem)

    @property
    def step(self) -> int | None:
        step = self.provenance.get("step")
        return step if isinstance(step, int) else None

    @property
    def sha256_of_weights(self) -> str:
        """Of the model file that the weights were read from; an exported file names it."""
        return self.model.sha256 if self.model.export is None else self.model.export.source_sha256

    def recipe_part(self, name: str) -> Mapping[str, Any]:
        part = self.run.recipe.get(name) if self.run is not None else None
        return part if isinstance(part, dict) else {}


def head(card: Card) -> str:
    """What model hubs read, the title, and the model in one sentence."""
    metadata = card.model.metadata
    method = metadata.pipeline
    matter: dict[str, str | Sequence[str]] = {
        "license": card.licence,
        "library_name": "i2i",
        "pipeline_tag": _TASKS["generates" if metadata.generates else "translates"],
        "tags": ["gan", *([method] if method else [])],
    }
    sentence = "A model whose training method is not recorded."
    if method is not None and method in _METHODS:
        title, does, source = _METHODS[method]
        sentence = f"A {title} ({source}): it {does}."
    elif "converted_from" in card.provenance:
        sentence = (
            f"Converted from {code(card.provenance['converted_from'])}, a checkpoint of the layout"
            f" {code(card.provenance.get('layout'))}; how that was trained is not recorded."
        )
    description = card.run.recipe.get("description") if card.run is not None else None
    said = [plain(description)] if isinstance(description, str) else []
    return "\n\n".join([front_matter(matter), f"# {plain(card.name)}", sentence, *said, *_sheets(card)])


def what_section(card: Card) -> str:
    """The file, and what can be asked of it."""
    model = card.model
    file = f"{code(model.path.name)}, {model.form}, {card.bytes:,} bytes, SHA-256 {code(model.sha256)}"
    lines = [f"- File: {file}"]
    if model.export is not None:
        facts = model.export
        pixels = "uint8 (N, H, W, C)" if facts.uint8 else "float32 (N, C, H, W) in [-1, 1]"
        lines += [f"- Exported from the model file with SHA-256 {code(facts.source_sha256)}; takes and gives {pixels}"]
        if facts.strength != 1:
            lines += [f"- Holds one network of strength {facts.strength:g}, between pixels alone and all detail"]
        if card.levels_from_source is not None:
            lines += [f"- Its pictures differ from that model's by at most {card.levels_from_source:.2g} of 255 levels"]
    header = ("Entry point", "What it does", "Network", "Parameters", "Picture sizes")
    rows = [_entry_row(card, name, record) for name, record in model.metadata.entry_points.items()]
    return "\n".join(["## What it is", "", *lines, "", table(header, rows, right=(3,))])


def _entry_row(card: Card, name: str, record: EntryPointRecord) -> tuple[str, ...]:
    parameters = f"{card.parameters[record.network]:,}" if record.network in card.parameters else "not counted"
    network = f"{code(record.generator.kind)}{_settings_of(record)}"
    if isinstance(record, LatentRecord):
        labels = f" and one of {record.classes} labels" if record.classes else ""
        does = f"{record.latent} normal random numbers{labels} to a picture"
        return code(name), does, network, parameters, plain(record.shape)
    does = "picture to picture" if record.scale == 1 else f"enlarges {record.scale} times"
    if record.pixel_network is not None:
        does += "; with a strength from 0 to 1"
    sizes = f"any from {record.minimum_pixels} pixels a side"
    if record.size_multiple > 1:
        sizes += f", padded to multiples of {record.size_multiple}"
    return code(name), does, network, parameters, sizes


def _settings_of(record: EntryPointRecord) -> str:
    """The network's size, of whatever its settings say about it."""
    shown = [
        f"{words(key)} {value}"
        for key in ("base_channels", "channels", "blocks", "depth", "hidden", "widths", "normalization")
        if (value := getattr(record.generator, key, None)) is not None
    ]
    return f" ({plain(', '.join(shown))})" if shown else ""


def data_section(card: Card) -> str:
    """What it was trained on, without a path of the machine."""
    lines: list[str] = []
    settings = card.recipe_part("data")
    if settings:
        kind = str(settings.get("kind"))
        named = [PurePath(str(settings[key])).name for key in _DATA_PATHS if settings.get(key)]
        names = f": {', '.join(map(code, named))}" if named else ""
        lines.append(f"- {capital(_DATA_KINDS.get(kind, words(kind)))} ({code(kind)}){names}")
        sides = [settings[key] for key in ("crop_pixels", "size_pixels") if settings.get(key)]
        lines += [f"- Trained on squares of {sides[0]} pixels a side"] if sides else []
    counts = card.provenance.get("pictures")
    if isinstance(counts, dict):
        parts = [
            f"{role} " + ", ".join(f"{number:,} of {name}" for name, number in streams.items())
            for role, streams in counts.items()
            if isinstance(streams, dict) and streams
        ]
        lines += [f"- Samples: {'; '.join(map(plain, parts))}"] if parts else []
    classes = card.provenance.get("class_names")
    if isinstance(classes, list) and classes:
        more = f" and {len(classes) - _MOST_CLASSES_NAMED} more" if len(classes) > _MOST_CLASSES_NAMED else ""
        lines.append(f"- Labels: {', '.join(plain(name) for name in classes[:_MOST_CLASSES_NAMED])}{more}")
    if card.provenance.get("data"):
        lines.append(f"- Hash of its content: {code(card.provenance['data'])}")
    return "\n".join(["## Data", "", *(lines or ["Nothing is recorded of what it was trained on."])])


def training_section(card: Card) -> str:
    """How long, where and with what it was trained."""
    provenance, training = card.provenance, card.recipe_part("training")
    lines: list[str] = []
    if card.step is not None:
        images = provenance.get("images")
        seen = f", {images:,} pictures seen by each stream" if isinstance(images, int) else ""
        lines.append(f"- {card.step:,} steps{seen}{_time_until(card)}")
    if training.get("batch_size"):
        ema = training.get("ema_half_life_images")
        average = f"; weights averaged over {ema:,.0f} pictures (half-life)" if isinstance(ema, int | float) else ""
        lines.append(f"- Batches of {training['batch_size']}{average}")
    if provenance.get("recipe"):
        lines.append(f"- Recipe {code(provenance['recipe'])}")
    if card.run is not None:
        recipe, environment = card.run.recipe, card.run.environment
        lines.append(f"- Precision {plain(recipe.get('precision'))}, seed {plain(recipe.get('seed'))}")
        if recipe.get("initialize_from"):
            lines.append(f"- Began from the weights of {code(PurePath(str(recipe['initialize_from'])).name)}")
        lines += _machine(environment)
    lines += [f"- Made with i2i {plain(provenance['i2i'])}"] if provenance.get("i2i") else []
    return "\n".join(["## Training", "", *lines]) if lines else ""


def _time_until(card: Card) -> str:
    """Of the wall clock, until the step at which the model was written."""
    rows = card.run.rows if card.run is not None else []
    seconds = [row["wall_seconds"] for row in rows if row["step"] <= (card.step or 0)]
    return f", {format_duration(max(seconds))}" if seconds else ""


def _machine(environment: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    gpus, cpu, versions = environment.get("gpus"), environment.get("cpu"), environment.get("versions")
    if isinstance(gpus, list) and gpus and isinstance(gpus[0], dict) and environment.get("device") != "cpu":
        lines.append(f"- Machine: {plain(gpus[0].get('name', 'GPU'))}")
    elif isinstance(cpu, dict):
        lines.append(f"- Machine: {plain(processor_name(cpu.get('name')))}, {cpu.get('usable_cores')} cores")
    if isinstance(versions, dict):
        shown = [f"{name} {versions[name]}" for name in ("torch", "numpy") if name in versions]
        lines.append(f"- Python {plain(environment.get('python'))}, {plain(', '.join(shown))}")
    git = environment.get("git")
    state = git.get("i2i") if isinstance(git, dict) else None
    if isinstance(state, dict) and state.get("commit"):
        lines.append(
            f"- Code at commit {code(state['commit'])}{', with uncommitted changes' * bool(state.get('dirty'))}"
        )
    return lines


def results_section(card: Card) -> str:
    """The figures of exactly these weights, each with its passport, and the scores of their validation."""
    found = [
        (figure, _passport(figure) | _how_run(sheet.subject))
        for sheet in (card.run.evaluations if card.run else []) if _is_of(card, sheet) for figure in sheet.figures
    ]  # fmt: skip
    newest = {(figure.name, repr(passport)): (figure, passport) for figure, passport in found}
    parts = ["## Results"]
    if newest:
        parts += _figures(card, list(newest.values()))
    scores = _validation(card)
    if scores:
        parts += [
            "Validation while it trained, on test pictures, at the step at which these weights were written:",
            scores,
        ]
    if len(parts) == 1:
        parts += [
            "Nothing was measured of exactly these weights. `i2i evaluate` measures, and the card of the run has its"
            " figures when it is written again."
        ]
    return "\n\n".join(parts)


def _is_of(card: Card, sheet: FigureSheet) -> bool:
    """Whether a sheet is of these weights, run as they are by default.

    Which weights, the file's hash tells, or the step where a training measured itself.
    """
    if not sheet.subject.is_as_trained(1.0 if card.model.export is None else card.model.export.strength):
        return False
    if sheet.subject.sha256 is not None:
        return sheet.subject.sha256 == card.sha256_of_weights
    return card.step is not None and sheet.subject.step == card.step


def _how_run(subject: Subject) -> dict[str, Any]:
    """What of the settings a figure may depend on; paths stay on the machine."""
    return {name: subject.settings[name] for name in _HOW_RUN if name in subject.settings}


def _figures(card: Card, figures: Sequence[tuple[Figure, Mapping[str, Any]]]) -> list[str]:
    """A table, and the passports that its last column numbers; a metric's own numbers stand with its name."""
    scale = card.run.scale if card.run is not None else None
    passports: dict[str, tuple[int, Mapping[str, Any]]] = {}
    rows: list[tuple[str, ...]] = []
    for figure, passport in figures:
        shared = {name: value for name, value in passport.items() if name in _SHARED}
        number, _ = passports.setdefault(repr(shared), (len(passports) + 1, shared))
        name = score_name(figure.name, scale)
        arrow = {True: " ↑", False: " ↓", None: ""}[figure.higher_is_better]
        own = ", ".join(f"{words(key)} {value}" for key, value in figure.passport.parameters.items())
        label = f"{plain(figure.label)}{arrow}" + (f" ({plain(own)})" if own else "")
        value = f"{name.write(figure.value)} {plain(figure.unit or '')}".strip()
        interval = "none"
        if figure.interval is not None:
            interval = (
                f"± {name.write(figure.interval.half_width, beside=figure.value)} ({plain(figure.interval.kind)})"
            )
        rows.append((label, value, interval, str(number)))
    lines = [
        f"{number}. " + "; ".join(f"{words(name)} {code(value)}" for name, value in shared.items())
        for number, shared in passports.values()
    ]
    return [
        table(("Measure", "Value", "Interval", "Passport"), rows, right=(1,)),
        "↑ higher is better, ↓ lower is better. Figures compare only where their passports are the same:",
        "\n".join(lines),
    ]


def _passport(figure: Figure) -> dict[str, Any]:
    """What there is in it."""
    return {name: value for name, value in passport_fields(figure.passport).items() if value is not None}


def _validation(card: Card) -> str:
    rows = [row for row in (card.run.rows if card.run else []) if row["step"] == card.step]
    values = {
        name.partition("/")[2]: value
        for row in rows
        for name, value in row["values"].items()
        if name.startswith("validation/")
    }
    scale = card.run.scale if card.run is not None else None
    shown = [(score_name(key, scale), value) for key, value in values.items()]
    cells = [(plain(name.label), f"{name.write(value)} {name.unit}".strip()) for name, value in shown]
    return table(("Score", "Value"), cells, right=(1,)) if cells else ""


def limits_section(card: Card) -> str:
    """What follows from the method, the network and the data; what was not tried is said to be unknown."""
    metadata = card.model.metadata
    pictures = [record for record in metadata.entry_points.values() if isinstance(record, PictureRecord)]
    lines = [
        "- Its pictures look plausible; they are not evidence of anything. Do not use them where what is shown must be"
        " true, such as in medicine, in court or to identify people.",
        "- It knows what its training pictures showed, with all their bias. Pictures of other kinds, sizes or quality"
        " were not tried unless the results above say so.",
    ]
    if any(record.scale > 1 for record in pictures):
        lines.append(
            "- Detail that it adds to an enlarged picture is invented; text and faces come out wrong at times."
        )
    if any("instance" in record.normalization for record in pictures):
        lines.append(
            "- Instance norm looks at whole pictures: a part of one is translated differently alone than within it."
        )
    if metadata.generates:
        lines.append("- It may repeat training pictures, or the same few pictures; neither was ruled out.")
    return "\n".join(["## Limits", "", *lines])


def licence_section(card: Card) -> str:
    """The licence, which nobody but the author can know."""
    if card.licence == "unknown":
        said = "Not stated. Its author states it with `i2i card --licence NAME`, after a look at that of the pictures."
    else:
        said = f"{plain(card.licence)}. The training pictures may be under another."
    return f"## Licence\n\n{said}"


def use_section(card: Card) -> str:
    """What to type."""
    name = card.model.path.name
    generates = card.model.metadata.generates
    first, *others = card.model.metadata.entry_points
    if generates:
        commands = [f"i2i generate --model {name} --n 100"]
        calls = ["pictures = model(model.latents(range(9)))  # (9, H, W, C) uint8"]
    else:
        commands = [f"i2i translate --model {name} PICTURES"]
        commands += [f"i2i translate --model {name} PICTURES --direction {other}" for other in others]
        calls = ["results = model(pictures)  # RGB uint8 (N, H, W, 3)"]
    either = f', direction="{first}")  # or ' + " or ".join(f'"{other}"' for other in others) if others else ")"
    python = ["import i2i", "", f'model = i2i.load("{name}"{either}', *calls]
    if card.model.form in ("torchscript", "pt2"):
        commands.append("# A file of this kind can carry code: who did not export it adds --trust, or trust=True.")
    again = ["The recipe lies beside it: `i2i train recipe.yaml` trains it again."] if _beside_recipe(card) else []
    return "\n\n".join(["## How to use it", block("sh", commands), block("python", python), *again])


def _beside_recipe(card: Card) -> bool:
    return card.run is not None and card.run.folder.resolve() == card.model.path.parent.resolve()


def _sheets(card: Card) -> list[str]:
    """The run's last sample sheets up to the step of the weights, where the card lies beside their folder."""
    if card.run is None or not _beside_recipe(card):
        return []
    by_step: dict[int, list[str]] = {}
    for sheet in sorted((card.run.folder / "samples").glob("step_*.png")):
        found = re.match(r"step_(\d+)", sheet.name)
        if found is not None and (card.step is None or int(found[1]) <= card.step):
            by_step.setdefault(int(found[1]), []).append(sheet.name)
    last = max(by_step, default=0)
    return [f"![Samples at step {last:,}](samples/{quote(name)})" for name in by_step.get(last, [])]
