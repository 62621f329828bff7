"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value, e.g. training.batch_size=4."),
]
Model = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        help="A run or checkpoint folder, a .safetensors, or what i2i exported: .onnx, .xml, TorchScript, .pt2.",
    ),
]
Runner = Annotated[
    Literal["auto", "torch", "onnxruntime", "openvino"],
    typer.Option(help="The engine that computes; auto tries those installed and remembers which is fastest."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Open a TorchScript or .pt2 made elsewhere, although it can carry code.")
]
MaxPixels = Annotated[int, typer.Option(help="Larger pictures are refused, before they are decoded.")]
Direction = Annotated[str | None, typer.Option(help="AtoB or BtoA.")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the network.")]
Strength = Annotated[
    float, typer.Option(metavar="0..1", help="Of an upscaler: 0 true to the pixels, 1 all the detail it invents.")
]
Consistent = Annotated[
    bool, typer.Option("--consistent", help="Of an upscaler: results shrink back to their inputs: no shifted colours.")
]
