"""What a run leaves behind, and that it is of this run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import events
from sngan import Config, open_checkpoint, train
from sngan.files import read_lines
from sngan.runs.checkpoint import load_generator
from sngan.sampling.grids import grid
from sngan.sampling.sampling import balanced_labels, latents, prepared, samples
from sngan.training import engine
from sngan.training.recorder import Recorder

Tiny = Callable[..., Config]
UNSCORED = ["run_dir=run", "protocol=none"]


def test_images_per_second_are_the_real_images_of_steps_over_their_time_alone(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves in steps, four seconds each, and as long as one likes beside them; the steps are the real ones."""
    now, play, samples = [0.0], engine.train_step, Recorder.samples

    def step(*args: object) -> object:
        now[0] += 4.0
        return play(*args)  # type: ignore[arg-type]

    def slow(self: Recorder) -> None:
        now[0] += 1000.0
        samples(self)

    monkeypatch.setattr("sngan.training.log.time.monotonic", lambda: now[0])
    monkeypatch.setattr(engine, "train_step", step)
    monkeypatch.setattr(Recorder, "samples", slow)
    train(tiny(*UNSCORED, "d_steps=3", "batch=8", "log_every=2"))
    assert [line["images_per_s"] for line in read_lines(Path("run/scalars.jsonl"))] == [3 * 8 / 4.0] * 3


def test_a_line_holds_the_means_of_the_steps_since_the_line_before(tiny: Tiny) -> None:
    for name, every in (("each", 1), ("third", 3)):
        train(tiny(f"run_dir={name}", "protocol=none", f"log_every={every}"))
    each, third = (read_lines(Path(name, "scalars.jsonl")) for name in ("each", "third"))
    assert [line["step"] for line in third] == [3, 6]
    for line, steps in zip(third, (each[:3], each[3:]), strict=True):
        for key in ("D_loss", "G_loss", "real_logits", "fake_logits"):
            assert line[key] == pytest.approx(sum(step[key] for step in steps) / 3, rel=1e-5, abs=1e-7)


def test_sigma_of_both_networks_is_logged(tiny: Tiny) -> None:
    train(tiny(*UNSCORED, "generator.normalization=spectral", "steps=1"))
    (line,) = read_lines(Path("run/scalars.jsonl"))
    assert {name[:2] for name in line["sigma"]} == {"D/", "G/"}
    assert f"sigma/{next(iter(line['sigma']))}" in events(Path("run")).Tags()["scalars"]


def test_a_grid_is_of_the_averaged_generator_at_latents_of_the_seed_and_labels_in_turn(tiny: Tiny) -> None:
    config = tiny(
        *UNSCORED, "conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet", "seed=4",
        "discriminator.widths=[8,8]", "discriminator.downsample=[true,true]", "optimizer.lr=1e-2", "sample_every=6",
    )  # fmt: skip
    train(config)
    G = load_generator(open_checkpoint(Path("run/checkpoints/step-00000006")))
    G, _ = prepared(G, config, "ema")
    made = torch.cat(list(samples(G, latents(100, G.z_dim, seed=4), balanced_labels(100, 10).sort().values, rounding="inverse")))
    expected = grid(made, columns=10)
    shown = torch.frombuffer(bytearray(Image.open("run/samples/step-00000006.png").tobytes()), dtype=torch.uint8)
    apart = (shown.view(*expected.shape[1:], 3).permute(2, 0, 1).int() - expected.int()).abs()
    assert apart.max() <= 1, "a level is rounding, where weights in another memory order are summed in another one"
    assert apart.float().mean() < 0.01


def test_grids_show_the_same_latents_all_along(tiny: Tiny) -> None:
    train(tiny(*UNSCORED, "sample_every=3", "optimizer.lr=1e-30"))  # nothing moves
    first, *later = [path.read_bytes() for path in sorted(Path("run/samples").glob("step-*.png"))]
    assert len(later) == 2
    assert all(picture == first for picture in later)


def test_each_score_is_by_its_own_protocol_and_the_last_one_names_the_file_it_is_of(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "quick.n=20", "protocol.n=24", "protocol.n_reference=50"))
    lines = read_lines(Path("run/metrics.jsonl"))
    assert {(line["role"], line["protocol"]["n"], "floor" in line) for line in lines} == {("quick", 20, False), ("full", 24, True)}
    (last,) = [line for line in lines if (line["role"], line["step"]) == ("full", 6)]
    assert last["generator"] == open_checkpoint(Path("run/checkpoints/step-00000006")).sha256["generator.safetensors"]


def test_scores_taken_in_another_way_are_not_taken_for_these(tiny: Tiny) -> None:
    train(tiny("run_dir=run"))
    before = len(read_lines(Path("run/metrics.jsonl")))
    train(tiny("run_dir=run", "protocol.n=24"))
    added = read_lines(Path("run/metrics.jsonl"))[before:]
    assert [(line["role"], line["step"], line["protocol"]["n"]) for line in added] == [("full", 6, 24)]


def test_scores_during_training_are_of_the_averaged_generator(tiny: Tiny) -> None:
    """It stays where it was, while the one that is trained runs away."""
    train(tiny("run_dir=run", "protocol.n=32", "ema.decay=0.9999", "optimizer.lr=1.0"))
    distances = [line["scores"]["fd_32_shapes-train_small_resnet"] for line in read_lines(Path("run/metrics.jsonl"))]
    assert len(distances) > 3
    assert distances == pytest.approx([distances[0]] * len(distances), rel=0.05)


def test_what_a_run_prints_fits_a_terminal_and_names_the_newest_samples(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "runs/shapes/default/seed0"
    train(tiny(f"run_dir={folder}", "steps=4", "sample_every=3", "evaluate_every=3"))
    said, warned = capsys.readouterr()
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert not warned
    assert f"newest samples: {folder}/samples/latest.png" in lines
    assert f"  samples      {folder}/samples/latest.png" in lines
    scored = [line.split(":")[0] for line in lines if "fd_" in line]
    assert scored[:2] == ["step 3", "step 4"], "step 0 is not scored, the last step in any case"
    assert scored[-1] == "16 real test images"
    assert [label.startswith("last") for label in scored].count(True) == 1
    assert Path(folder, "samples/latest.png").read_bytes() == Path(folder, "samples/step-00000004.png").read_bytes()
