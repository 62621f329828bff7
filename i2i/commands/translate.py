"""`i2i translate`: pictures and videos through a trained model."""

from __future__ import annotations

import functools
import json as json_module
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from i2i.commands.generation import device_of_this_process, share_of_this_process
from i2i.commands.translate_progress import TranslationProgress
from i2i.commands.translate_streams import streams_as_files
from i2i.errors import I2IError, PartialFailureError, UsageError

if TYPE_CHECKING:
    from i2i.inference.generation.generate import Share
    from i2i.inference.image_model import ImageModel
    from i2i.inference.pictures.enlarging import AlphaMode
    from i2i.inference.pictures.image_files import OutputFormat
    from i2i.inference.runtime import Precision
    from i2i.inference.tiling.tiles import TileSettings
    from i2i.inference.translation.ledger import Ledger, Maker
    from i2i.inference.translation.planning import Job, Outcome, Plan
    from i2i.inference.translation.workers import Work

_FORMAT_NAMES: dict[str, OutputFormat] = {
    "png": "png", "jpg": "jpg", "jpeg": "jpg", "webp": "webp", "tif": "tiff", "tiff": "tiff",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Of the command, beyond which pictures; see `run`."""

    direction: str | None
    device: str
    precision: Precision
    strength: float
    consistent: bool
    runner: str
    trust: bool
    tiles: TileSettings
    jobs: int
    skip_existing: bool
    format: OutputFormat | None
    quality: int
    max_pixels: int
    batch: int
    alpha: AlphaMode
    json: bool
    quiet: bool


def run(
    model: Path | str,
    inputs: Sequence[Path | str],
    out: Path | None = None,
    *,
    direction: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    strength: float = 1.0,
    consistent: bool = False,
    runner: str = "auto",
    trust: bool = False,
    tile: str = "auto",
    tile_statistics: Literal["exact", "thumbnail"] = "exact",
    jobs: int = 1,
    skip_existing: bool = False,
    format: str | None = None,
    quality: int = 95,
    max_pixels: int = 200_000_000,
    batch: int = 1,
    alpha: Literal["copy", "model", "drop"] = "copy",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Translate `inputs` (files, folders, patterns, ``-``) and write the results below `out`.

    Progress, notes and failures go to standard error; with `json` one object goes to standard output. Under
    ``torchrun`` the processes share the pictures, and the first one speaks for all.

    Args:
        runner: the engine that computes; "auto" takes the fastest, measured where there is enough to do.
        trust: open a model file that may carry code.
        tile: "auto", "off", or the side of a tile in pixels of the input.
        tile_statistics: of networks that normalize over the whole picture; "thumbnail" is fast and about right.
        jobs: so many processes share the pictures.
        alpha: what becomes of transparency, see `i2i.inference.pictures.enlarging`.

    Raises:
        PartialFailureError: some pictures failed; all others were done.
        UsageError, DataError, ModelError, StorageError: nothing could be done, or no more.
    """
    output_format = _output_format(format)
    _check_numbers(quality=quality, max_pixels=max_pixels, batch=batch, jobs=jobs)
    if alpha not in ("copy", "model", "drop"):
        raise UsageError(f"--alpha {alpha}: use copy, model or drop")
    options = _Options(
        direction=direction, device=device, precision=precision, strength=strength, consistent=consistent,
        runner=runner, trust=trust, tiles=_tiles(tile, tile_statistics), jobs=jobs, skip_existing=skip_existing,
        format=output_format, quality=quality, max_pixels=max_pixels, batch=batch, alpha=alpha, json=json, quiet=quiet,
    )  # fmt: skip
    with streams_as_files(inputs, out, output_format, json=json) as streamed:
        _run(model, streamed.inputs, streamed.out, options, dict(streamed.names))


def _run(
    model: Path | str, inputs: Sequence[Path | str], out: Path | None, options: _Options, names: dict[str, str]
) -> None:
    from i2i.inference import load_model
    from i2i.inference.translation.ledger import Ledger, check_lists
    from i2i.inference.translation.planning import folders_for_results, plan_translation
    from i2i.inference.translation.video import settle_video

    share = share_of_this_process()
    if share.count > 1 and options.jobs > 1:
        raise UsageError(f"--jobs {options.jobs}: torchrun has started {share.count} processes - leave --jobs out")
    _require_ffmpeg(inputs)
    loaded = load_model(
        model, device_of_this_process(options.device), options.direction, options.precision,
        strength=options.strength, consistent=options.consistent, runner=options.runner, trust=options.trust,
        worthwhile=options.runner == "auto" and _is_much(inputs, out, options.format),
    )  # fmt: skip
    # What the other directions make of the same pictures must not be taken for this one's.
    other = None if loaded.name == loaded.names[0] else loaded.name
    plan = plan_translation(inputs, out, options.format, direction=other)
    maker, facts = _maker(loaded, options), _facts(loaded)
    ours = _ours(plan, share)
    total = len(ours.jobs) + len(ours.missing) + len(ours.videos)
    progress = TranslationProgress(total=total, quiet=options.quiet or share.rank > 0, names=names)
    with folders_for_results(plan, shared=share.count > 1), progress:
        check_lists((*ours.jobs, *ours.videos))
        if options.direction is None and len(loaded.names) > 1:
            progress.line(_default_direction_line(loaded))
        progress.line(f"runner {facts['runner']}, {loaded.precision} on {loaded.device}")
        for outcome in ours.missing:
            progress.settled(outcome)
        ledger = Ledger(maker, facts)
        large_model, processes = _large_model(loaded, options), _processes_on_one_device(loaded, share)
        try:
            _pictures(loaded, ours.jobs, options, ledger, progress, maker, facts, large_model, processes)
            for video in ours.videos:
                outcome = settle_video(
                    loaded, video, ledger, skip_existing=options.skip_existing, batch=options.batch,
                    max_pixels=options.max_pixels, tiles=options.tiles, large_model=large_model, processes=processes,
                    on_part=progress.part,
                )  # fmt: skip
                progress.settled(outcome)
        except KeyboardInterrupt:
            done = f"stopped after {len(progress.outcomes)} of {total}"
            progress.line(f"{done}; the same command with --skip-existing does the others")
            raise
        progress.summary(ours, len(plan.jobs) + len(plan.videos) - len(ours.jobs) - len(ours.videos))
    if options.json and share.rank == 0:
        typer.echo(json_module.dumps(_as_json(loaded, options, progress, facts)))
    _raise_for_failures(progress.outcomes)


def _is_much(inputs: Sequence[Path | str], out: Path | None, format: OutputFormat | None) -> bool:
    """Whether so much is to be computed that finding the fastest runner pays; told by the headers."""
    from i2i.data.headers import read_header
    from i2i.inference.runners import WORTHWHILE_PIXELS
    from i2i.inference.translation.planning import plan_translation

    try:
        plan = plan_translation(inputs, out, format)
    except I2IError:
        return False  # The same comes out again where it is reported.
    pixels = 0
    for job in plan.jobs:
        try:
            pixels += read_header(job.source).pixels
        except I2IError:
            continue
        if pixels >= WORTHWHILE_PIXELS:
            return True
    return bool(plan.videos)


def _ours(plan: Plan, share: Share) -> Plan:
    """This process's part: every so many pictures; the first process reports what is missing."""
    from i2i.inference.translation.planning import Plan

    if share.count == 1:
        return plan
    missing = plan.missing if share.rank == 0 else ()
    jobs, videos = plan.jobs[share.rank :: share.count], plan.videos[share.rank :: share.count]
    return Plan(jobs, missing, plan.folders, videos)


def _pictures(
    model: ImageModel,
    jobs: Sequence[Job],
    options: _Options,
    ledger: Ledger,
    progress: TranslationProgress,
    maker: Maker,
    facts: dict[str, Any],
    large_model: Callable[[], ImageModel] | None,
    processes: int,
) -> None:
    if min(options.jobs, len(jobs)) > 1:
        from i2i.inference.translation.workers import translate_in_processes

        works = _works(model, jobs, options, maker, facts, runner_is_chosen=large_model is not None)
        translate_in_processes(works, progress.settled)
        return
    from i2i.inference.translation.conveyor import translate_files

    translate_files(
        model, jobs, skip_existing=options.skip_existing, batch=options.batch, quality=options.quality,
        max_pixels=options.max_pixels, tiles=options.tiles, alpha=options.alpha, ledger=ledger,
        large_model=large_model, processes=processes, on_outcome=progress.settled, on_part=progress.part,
    )  # fmt: skip


def _large_model(model: ImageModel, options: _Options) -> Callable[[], ImageModel] | None:
    """The same model in PyTorch, where the engine was not asked for by name and the file is not of one engine."""
    if options.runner != "auto" or model.form != "safetensors":
        return None

    @functools.cache
    def load() -> ImageModel:
        from i2i.inference import load_model

        assert model.path is not None
        return load_model(
            model.path, str(model.device), model.name, options.precision, strength=options.strength,
            consistent=options.consistent, runner="torch", trust=options.trust, expected_sha256=model.sha256,
        )  # fmt: skip

    return load


def _works(
    model: ImageModel,
    jobs: Sequence[Job],
    options: _Options,
    maker: Maker,
    facts: dict[str, Any],
    *,
    runner_is_chosen: bool,
) -> list[Work]:
    import torch

    from i2i.inference.translation.workers import Work

    assert model.path is not None
    count = min(options.jobs, len(jobs))
    gpus = torch.cuda.device_count() if model.device.type == "cuda" and ":" not in options.device else 0
    return [
        Work(
            model=model.path,
            model_sha256=model.sha256,
            device=f"cuda:{rank % gpus}" if gpus else str(model.device),
            direction=model.name,
            precision=options.precision,
            strength=options.strength,
            consistent=options.consistent,
            # Chosen once: processes that time engines beside each other measure each other.
            runner=options.runner if model.choice is None else model.choice.name,
            runner_is_chosen=runner_is_chosen,
            trust=options.trust,
            threads=max(1, torch.get_num_threads() // count),
            processes=-(-count // gpus) if gpus else count,
            jobs=tuple(jobs[rank::count]),
            skip_existing=options.skip_existing,
            batch=options.batch,
            quality=options.quality,
            max_pixels=options.max_pixels,
            tiles=options.tiles,
            alpha=options.alpha,
            maker=maker,
            facts=facts,
        )
        for rank in range(count)
    ]


def _require_ffmpeg(inputs: Sequence[Path | str]) -> None:
    from i2i.inference.translation.planning import is_video_name
    from i2i.inference.translation.video import require_ffmpeg

    for path in map(Path, inputs):
        if is_video_name(path) and path.is_file():
            require_ffmpeg(path)


def _processes_on_one_device(model: ImageModel, share: Share) -> int:
    """That torchrun has started here; of GPUs each has one of its own."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    if share.count == 1 or model.device.type == "cuda":
        return 1
    return int(local) if local.isdecimal() else share.count


def _maker(model: ImageModel, options: _Options) -> Maker:
    from i2i.inference.translation.ledger import Maker

    return Maker(
        model_sha256=model.sha256 or "",
        direction=model.name,
        precision=model.precision,
        strength=float(model.strength),
        consistent=model.consistent,
        alpha=options.alpha,
        statistics=options.tiles.statistics,
        quality=options.quality,
    )


def _facts(model: ImageModel) -> dict[str, Any]:
    """What the list of results says of how they were made, beyond what decides about their pixels."""
    from i2i import __version__

    seconds = {} if model.choice is None else dict(model.choice.seconds)
    return {
        "model": str(model.path),
        "runner": model.runner.name,
        # Of one picture, by each engine that was timed before the choice.
        "runner_seconds": seconds,
        "device": str(model.device),
        "i2i": __version__,
    }


def _tiles(tile: str, statistics: Literal["exact", "thumbnail"]) -> TileSettings:
    from i2i.inference.tiling.tiles import TileSettings

    if statistics not in ("exact", "thumbnail"):
        raise UsageError(f"--tile-statistics {statistics}: use exact or thumbnail")
    if tile in ("auto", "off"):
        return TileSettings(side="auto" if tile == "auto" else None, statistics=statistics)
    if not tile.isdecimal() or int(tile) < 1:
        raise UsageError(f"--tile {tile}: use auto, off or the side of a tile in pixels")
    return TileSettings(side=int(tile), statistics=statistics)


def _output_format(name: str | None) -> OutputFormat | None:
    if name is None:
        return None
    chosen = _FORMAT_NAMES.get(name.lower().removeprefix("."))
    if chosen is None:
        raise UsageError(f"--format {name}: unknown - use png, jpg, webp or tiff")
    return chosen


def _check_numbers(*, quality: int, max_pixels: int, batch: int, jobs: int) -> None:
    if not 1 <= quality <= 100:
        raise UsageError(f"--quality {quality}: use 1 to 100")
    if max_pixels < 1:
        raise UsageError(f"--max-pixels {max_pixels}: use a positive number")
    if batch < 1:
        raise UsageError(f"--batch {batch}: use 1 or more")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: use 1 or more")


def _default_direction_line(model: ImageModel) -> str:
    others = ", ".join(name for name in model.names if name != model.name)
    return f"direction {model.name} (this model also has {others}: choose with --direction)"


def _as_json(
    model: ImageModel, options: _Options, progress: TranslationProgress, facts: dict[str, Any]
) -> dict[str, object]:
    return {
        "model": str(model.path),
        "direction": model.name,
        "device": str(model.device),
        "precision": model.precision,
        "runner": facts["runner"],
        "runner_seconds": facts["runner_seconds"],
        "scale": model.entry_point.scale,
        "strength": model.strength,
        "consistent": model.consistent,
        "seconds": round(progress.seconds, 3),
        "megapixels": round(progress.megapixels, 3),
        "written": progress.counts["written"],
        "skipped": progress.counts["skipped"],
        "failed": progress.counts["failed"],
        "pictures": [
            {
                "source": str(outcome.source),
                "destination": None if outcome.destination is None else str(outcome.destination),
                "status": outcome.status,
                "message": outcome.message,
                "notes": list(outcome.notes),
            }
            for outcome in progress.outcomes
        ],
    }


def _raise_for_failures(outcomes: Sequence[Outcome]) -> None:
    """Which and why was said as it happened."""
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed == len(outcomes) and failed:
        raise PartialFailureError("nothing could be translated, see above")
    if failed:
        raise PartialFailureError(f"{failed} of {len(outcomes)} inputs failed, see above; the others are done")
