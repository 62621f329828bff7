"""Weight names of projects that make pictures from latents."""

from __future__ import annotations

from i2i.core.discriminators import DCGANDiscriminatorSettings, R3GANDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings, MLPGeneratorSettings, R3GANGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.sizes import doublings
from i2i.export.layouts.naming import end_keys, keys, weight_and_bias


def pytorch_dcgan_generator(settings: DCGANGeneratorSettings, shape: ImageShape) -> dict[str, str]:
    """``Generator`` of the DCGAN example in pytorch/examples, without classes."""
    _, stages = doublings(shape.pixels)
    inner = [(f"stages.{stage}.0", f"main.{3 * stage}") for stage in range(stages)]
    return keys(inner, settings.normalization) | end_keys([("picture.0", f"main.{3 * stages}")], settings.normalization)


def pytorch_dcgan_discriminator(settings: DCGANDiscriminatorSettings, shape: ImageShape) -> dict[str, str]:
    """``Discriminator`` of the same example, without classes and spectral norm."""
    _, stages = doublings(shape.pixels)
    inner = [(f"stages.{stage}.0", f"main.{3 * stage - 1}") for stage in range(1, stages)]
    ends = [("stages.0.0", "main.0"), ("judge", f"main.{3 * stages - 1}")]
    return keys(inner, settings.normalization) | end_keys(ends, settings.normalization)


def csinva_mlp(settings: MLPGeneratorSettings) -> dict[str, str]:
    """``G`` of the plain GAN in csinva/gan-vae-pretrained-pytorch, without classes: activations stand between."""
    layers = [(f"hidden.{index}.0", str(2 * index)) for index in range(len(settings.hidden))]
    return weight_and_bias([*layers, ("picture.0", str(2 * len(settings.hidden)))])


def brownvc_r3gan_generator(settings: R3GANGeneratorSettings, shape: ImageShape) -> dict[str, str]:
    """``Generator`` of brownvc/R3GAN, without classes; the filters that it stores are constants."""
    stages = settings.stages(shape)
    layout = {
        "basis.maps": "MainLayers.0.Layers.0.Basis",
        "basis.linear.weight": "MainLayers.0.Layers.0.LinearLayer.weight",
        "picture.weight": "AggregationLayer.Layer.weight",
    }
    for index, stage in enumerate(stages):
        if index and stages[index - 1].width != stage.width:
            layout[f"transitions.{index - 1}.0.weight"] = f"MainLayers.{index}.Layers.0.LinearLayer.Layer.weight"
        for block in range(stage.blocks):
            layout |= _r3gan_block(f"stages.{index}.{block}", f"MainLayers.{index}.Layers.{block + 1}")
    return layout


def brownvc_r3gan_discriminator(settings: R3GANDiscriminatorSettings, shape: ImageShape) -> dict[str, str]:
    """``Discriminator`` of the same project, without classes."""
    stages = settings.stages(shape)
    last = f"MainLayers.{len(stages) - 1}.Layers.{stages[-1].blocks}"
    layout = {
        "extraction.weight": "ExtractionLayer.Layer.weight",
        "basis.weight": f"{last}.Basis.weight",
        "judge.weight": f"{last}.LinearLayer.weight",
    }
    for index, stage in enumerate(stages):
        for block in range(stage.blocks):
            layout |= _r3gan_block(f"stages.{index}.{block}", f"MainLayers.{index}.Layers.{block}")
        if index + 1 < len(stages) and stages[index + 1].width != stage.width:
            theirs = f"MainLayers.{index}.Layers.{stage.blocks}.LinearLayer.Layer.weight"
            layout[f"transitions.{index}.1.weight"] = theirs
    return layout


def _r3gan_block(ours: str, theirs: str) -> dict[str, str]:
    """Our biases are those of their activations."""
    return {
        f"{ours}.branch.0.weight": f"{theirs}.LinearLayer1.Layer.weight",
        f"{ours}.branch.0.bias": f"{theirs}.NonLinearity1.Bias",
        f"{ours}.branch.2.weight": f"{theirs}.LinearLayer2.Layer.weight",
        f"{ours}.branch.2.bias": f"{theirs}.NonLinearity2.Bias",
        f"{ours}.branch.4.weight": f"{theirs}.LinearLayer3.Layer.weight",
    }
