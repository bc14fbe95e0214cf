"""Runs on images that are not RGB squares: what a run leaves and what commands make follows the form of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import sngan
from sngan.__main__ import main
from sngan.data.images import ImageSpec

SMALLEST = [
    "run_dir=run", "data=npz", "data.path=images.npz", "steps=2", "batch=4", "g_batch=4", "generator.widths=[4,4,4]", "generator.z_dim=8",
    "discriminator=cnn", "discriminator.widths=[4,4,4]", "log_every=1", "sample_every=1", "save_every=1", "evaluate_every=2", "quick.n=8",
    "protocol.n=8", "ema.recalibrate=1", "protocol.splits=2", "quick.splits=2", "device=cpu", "engine=eager",
]  # fmt: skip


def trained(spec: ImageSpec) -> sngan.Run:
    rng = np.random.default_rng(0)
    np.savez("images.npz", images=rng.integers(0, 256, (12, *spec.shape), np.uint8))
    return sngan.train(*SMALLEST)


def test_a_run_and_all_that_is_made_of_it_follow_the_form_of_its_images() -> None:
    spec = ImageSpec((24, 16), 4, 0)
    run = trained(spec)
    assert run.checkpoint.spec == spec
    assert run.sample(2).shape == (2, *spec.shape)
    with Image.open("run/samples/step-00000002.png") as grid:
        assert (grid.size, grid.mode) == ((10 * (16 + 2) + 2, 10 * (24 + 2) + 2), "RGBA")
    assert run.evaluate(n=8)[0]["extractor"]["shown"] == "transparency laid over white"
    assert run.inspect(n=4, plot="none")["lipschitz_bound"] > 0
    assert run.report(neighbours=2).stat().st_size > 1000
    for words in (["n=4", "out=samples"], ["mode=interpolate", "n=2", "mode.seconds=0.1"]):
        assert main(["sample", "run=run", "device=cpu", *words]) == 0
    with Image.open("samples/00000.png") as sample:
        assert (sample.size, sample.mode) == ((16, 24), "RGBA")
    exported = run.export(format="weights", out=Path("exported"))
    assert sngan.load_generator(exported.parent).sample(1).shape == (1, *spec.shape)
    assert "[N, 4, 24, 16]" in exported.with_name("README.md").read_text()


def test_grey_images_are_trained_in_one_channel_and_shown_to_the_extractor_in_three() -> None:
    run = trained(ImageSpec(16, 1, 0))
    assert run.generator()(torch.zeros(1, 8)).shape == (1, 1, 16, 16)
    assert [record.extractor["shown"] for record in run.records] == ["grey, repeated in three channels"] * len(run.records)
