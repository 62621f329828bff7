"""A second phase that starts from a run of both phases keeps that run's pixel-trained network."""

from __future__ import annotations

import torch

from tests.pipelines.test_srgan import draw, engine_of, made, weights


def test_a_twin_that_was_given_is_kept() -> None:
    source = engine_of(made(pixel_images=2))
    for _ in range(3):
        source.take_step(draw)
    twin = weights(source.pipeline.networks["pixel_generator"])
    assert not torch.equal(twin, weights(source.pipeline.networks["generator"]))
    engine = engine_of(made(pixel_images=0))
    engine.load_networks(source.state())
    engine.take_step(draw)
    assert torch.equal(weights(engine.pipeline.networks["pixel_generator"]), twin)


def test_without_one_it_is_what_the_second_phase_starts_from() -> None:
    source = engine_of(made(discriminator=None))
    source.take_step(draw)
    start = weights(source.pipeline.networks["generator"])
    engine = engine_of(made(pixel_images=0))
    engine.load_networks(source.state(), names=["generator"])
    engine.take_step(draw)
    assert torch.equal(weights(engine.pipeline.networks["pixel_generator"]), start)
