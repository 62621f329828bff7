"""The verbs."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from i2i import __version__
from i2i.cli.data_verbs import data_app
from i2i.cli.options import (
    Consistent,
    Device,
    Direction,
    Json,
    MaxPixels,
    Model,
    Overrides,
    Precision,
    Quiet,
    Runner,
    Strength,
    Trust,
)

_EPILOG = """\b
Exit codes: 0 ok, 1 internal error, 2 usage, 3 recipe, 4 data,
5 model or checkpoint, 6 out of memory, 7 some inputs failed,
8 training diverged, 130 and 143 stopped by a signal, 141 output cut off."""

app = typer.Typer(
    name="i2i",
    epilog=_EPILOG,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data", invoke_without_command=True)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose; works after a verb too.")] = False,
) -> None:
    """Train, test and ship GAN image-to-image models: one recipe in, one model file out."""
    if version:
        typer.echo(f"i2i {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A built-in recipe's name (`i2i recipes`) or a .yaml file.")
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Take a few steps, say what time and memory the whole needs, keep nothing."),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; runs/RECIPE-TIME by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's seed.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a model from a recipe, or go on with a run."""
    wanted = [*([] if seed is None else [f"seed={seed}"]), *(overrides or [])]
    if dry_run:
        from i2i.commands import dry_run as trial

        trial.run(recipe, wanted, resume=resume, device_name=device, json=json)
        return
    from i2i.commands import train as command

    command.run(recipe, wanted, resume=resume, out=out, device=device, quiet=quiet, json=json)


@app.command()
def translate(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Pictures, folders, patterns like 'in/*.png', videos, or - for stdin."),
    ],
    model: Model,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder, or a file for one picture, or - for stdout; INPUT_translated by default, "
            "INPUT_BtoA_translated for a model's second direction.",
        ),
    ] = None,
    direction: Direction = None,
    strength: Strength = 1.0,
    consistent: Consistent = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    runner: Runner = "auto",
    trust: Trust = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave results that this model made with these settings, or of which nothing is known.",
        ),
    ] = False,
    format: Annotated[str | None, typer.Option(help="png, jpg, webp or tiff; that of the input by default.")] = None,
    quality: Annotated[int, typer.Option(help="Of JPEG and WebP, 1 to 100.")] = 95,
    alpha: Annotated[
        Literal["copy", "model", "drop"],
        typer.Option(help="Transparency: kept (enlarged by interpolation), through the model as well, or left out."),
    ] = "copy",
    max_pixels: MaxPixels = 200_000_000,
    tile: Annotated[
        str, typer.Option(metavar="auto|off|N", help="Large pictures in parts: where memory is short, never, or N px.")
    ] = "auto",
    tile_statistics: Annotated[
        Literal["exact", "thumbnail"],
        typer.Option(help="Of instance norm in parts: of the whole picture, or of a small copy (faster, rough)."),
    ] = "exact",
    batch: Annotated[int, typer.Option(help="Pictures in flight together.")] = 1,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Processes that share the pictures; torchrun works too.")
    ] = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run pictures through a model."""
    from i2i.commands import translate as command

    command.run(
        model, inputs, out, direction=direction, device=device, precision=precision, strength=strength,
        consistent=consistent, runner=runner, trust=trust, tile=tile, tile_statistics=tile_statistics, jobs=jobs,
        skip_existing=skip_existing, format=format, quality=quality, max_pixels=max_pixels, batch=batch, alpha=alpha,
        json=json, quiet=quiet,
    )  # fmt: skip


@app.command(context_settings={"allow_extra_args": True})
def generate(
    context: typer.Context,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="As for translate; by default the newest run under runs/ that generates."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Pictures to make; 100 by default.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; generated/MODEL by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Picture i of a seed is always the same; 0 by default.")] = None,
    truncation: Annotated[
        float | None, typer.Option(help="Draw latents anew beyond this: 0.7 gives less variety, fewer failures.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="LIST", help="Of models with classes: names or numbers, e.g. 3,5.")
    ] = None,
    labelled: Annotated[bool, typer.Option("--labelled", help="A folder for each class.")] = False,
    grid: Annotated[Path | None, typer.Option(metavar="FILE", help="Show the first 100 on one sheet.")] = None,
    save_latents: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the latents (.safetensors).")] = None,
    latents: Annotated[Path | None, typer.Option(metavar="FILE", help="Use the latents in this file.")] = None,
    interpolate: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="In place of pictures a film through K of them, all of one class: PNG, GIF, MP4."
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Of such a film, from one to the next; 24 by default.")] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="With --latents, rows and means of rows: '(1,2,3)-(4,5,6)+(7,8,9)'."),
    ] = None,
    format: Annotated[str, typer.Option(help="png, jpg, webp or tiff.")] = "png",
    batch: Annotated[int, typer.Option(help="Pictures computed together; changes no pixel.")] = 64,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave files that are already there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are already there.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    runner: Runner = "auto",
    trust: Trust = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make pictures with a trained generator.

    Under torchrun, which has an --n of its own, write -n; the processes share the pictures.
    """
    from i2i.commands import generate as command
    from i2i.commands.generation import Wishes, refuse_words

    refuse_words(context.args, model)
    wishes = Wishes(
        n=n, out=out, seed=seed, truncation=truncation, classes=classes, grid=grid, labelled=labelled, latents=latents,
        save_latents=save_latents, interpolate=interpolate, frames=frames, arithmetic=arithmetic, format=format,
        batch=batch, skip_existing=skip_existing, force=force,
    )  # fmt: skip
    command.run(model, wishes, device=device, precision=precision, runner=runner, trust=trust, json=json, quiet=quiet)


@app.command()
def evaluate(
    model: Annotated[Path | None, typer.Option("--model", "-m", help="As for translate, or a generator.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Folder with testA and testB (aligned by file name, or not), a recipe, a run, idx or CIFAR-10 files, "
            "or pictures; the data of the model's own run by default.",
        ),
    ] = None,
    real: Annotated[Path | None, typer.Option(metavar="DIR", help="Without a model: true pictures.")] = None,
    fake: Annotated[Path | None, typer.Option(metavar="DIR", help="With --real: made pictures.")] = None,
    hr: Annotated[
        str | None,
        typer.Option(metavar="PICTURES", help="For models that enlarge: a folder or a 'pattern' of true pictures."),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(metavar="PICTURES", help="Small counterparts of --hr; made from them as MATLAB does by default."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of fid,kid,is,pr,dc,diversity,lpips,psnr,l1,ssim,parzen; by default paired scores where counterparts "
            "are known, else fid,kid.",
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NET",
            help="inception (by default), vgg16, alexnet (each with :FILE), lenet:FILE, TorchScript .pt.",
        ),
    ] = None,
    lpips: Annotated[
        str | None,
        typer.Option(metavar="NET", help="alexnet (by default) or vgg16, with :NETWORK,HEADS for files."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Made pictures; as many as real ones, of a generator at most 10,000, by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of a generator's pictures: those of `i2i generate --seed`; 0 by default.")
    ] = None,
    split: Annotated[
        Literal["train", "test"] | None,
        typer.Option(
            help="Half of the data; by default test, of generators train - but for parzen, which takes what they never "
            "saw where there is some."
        ),
    ] = None,
    direction: Direction = None,
    strength: Strength = 1.0,
    consistent: Consistent = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the figures for i2i compare (.json).")
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    runner: Runner = "auto",
    trust: Trust = False,
    max_pixels: MaxPixels = 200_000_000,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what a model makes against real pictures.

    With --real and --fake, one folder of pictures against another. Every figure says how it was made. Under torchrun
    the processes share the work.
    """
    from i2i.commands.evaluation import running
    from i2i.commands.evaluation.wishes import Wishes

    running.run(
        Wishes(
            model=model, data=data, real=real, fake=fake, hr=hr, lr=lr, metrics=metrics, features=features, lpips=lpips,
            samples=samples, seed=seed, split=split, direction=direction, strength=strength, consistent=consistent,
            out=out, device=device, precision=precision, runner=runner, trust=trust, max_pixels=max_pixels, json=json,
            quiet=quiet,
        )
    )  # fmt: skip


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A file of i2i evaluate -o, or a run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="FIELDS", help="What may differ in how figures were made: fake_count,seed."),
    ] = None,
    json: Json = False,
) -> None:
    """Put the figures of two evaluations side by side.

    Those that were not made alike are refused.
    """
    from i2i.commands import compare as command

    command.run(first, second, ignore=ignore or (), json=json)


@app.command()
def export(
    model: Model,
    to: Annotated[Literal["onnx", "torchscript", "pt2", "openvino"], typer.Option(help="The kind of file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write; OpenVINO's is an .xml.")],
    direction: Direction = None,
    strength: Strength = 1.0,
    uint8: Annotated[
        bool, typer.Option("--uint8", help="Take and give 8-bit pictures (N, H, W, 3): scaling and rounding included.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a model as a file for other programs.

    It is proved to give the same pictures, or not kept.
    """
    from i2i.commands import export as command

    command.run(model, to, out, direction=direction, strength=strength, uint8=uint8, json=json)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="Another project's .pth, .pt or .safetensors.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The model file to write, .safetensors.")],
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="The project's network; recognized by default.")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="Of a translator: AtoB or BtoA; AtoB by default.")] = None,
    json: Json = False,
) -> None:
    """Make a model file of another project's checkpoint.

    No code in it is ever run.
    """
    from i2i.commands import convert as command

    command.run(checkpoint, out, layout=layout, direction=direction, json=json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several are also compared.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The page to write; of several runs the comparison."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a page, report.html, into each run folder.

    Of several runs also a page that compares them.
    """
    from i2i.commands import report as command

    pages = [str(page) for page in command.run(runs, out)]
    typer.echo(json_module.dumps(pages) if json else "\n".join(pages))


@app.command()
def card(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Run folders or model files.")],
    licence: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the model, such as CC-BY-4.0; an earlier card's by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a Markdown card beside each model.

    What it is, its data, results, limits, licence and use.
    """
    from i2i.commands import card as command

    cards = [str(path) for path in command.run(models, licence=licence)]
    typer.echo(json_module.dumps(cards) if json else "\n".join(cards))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's text.")] = None, json: Json = False
) -> None:
    """List the built-in recipes, or print one."""
    from i2i.commands import recipes as command

    command.run(name, json)


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the trial of number formats.")] = False,
    json: Json = False,
) -> None:
    """Show what is installed and how fast it computes."""
    from i2i.commands import doctor as command

    command.run(quick=quick, json=json)


@app.command()
def demo(
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for training.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Everything random derives from it.")] = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; runs/cyclegan_demo-TIME by default.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a small CycleGAN on drawn pictures.

    Then say what it learnt. Needs no data and no network.
    """
    from i2i.commands import demo as command

    command.run(minutes=minutes, seed=seed, device=device, out=out, quiet=quiet, json=json)
