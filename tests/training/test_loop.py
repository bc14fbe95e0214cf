"""Whole runs: what they leave, how they stop, and that a resumed run is the uninterrupted one.

Where something is to happen at a step, the step is wrapped and trains all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import sngan
from conftest import TINY, event_steps, full_disk
from sngan import Config, UserError, registry
from sngan.config import GeneratorNetwork, Network
from sngan.data.batches import Batches
from sngan.data.images import ImageSpec, game_spec
from sngan.errors import Interrupted
from sngan.evaluation.extractors.small_resnet import SHIPPED
from sngan.files import read_json, read_lines
from sngan.generators.generator import Generator
from sngan.networks import build_networks
from sngan.runs.checkpoint import steps_saved
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.inputs import InputStream
from sngan.training.loop import train
from sngan.training.step import Game, Inputs

Tiny = Callable[..., Config]


def final_weights(run: Path) -> dict[str, bytes]:
    """The final checkpoint's tensors, byte for byte."""
    saved = steps_saved(run / "checkpoints")
    return {path.name: path.read_bytes() for path in saved[max(saved)].glob("*.safetensors")}


def crash_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies at this step; the steps before it are the real ones."""
    play = engine.train_step

    def fragile(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        if state.step == step:
            raise RuntimeError("the power went out")
        return play(state, *args, **kwargs)

    monkeypatch.setattr(engine, "train_step", fragile)


def test_a_run_leaves_what_it_promises(tiny: Tiny) -> None:
    config = tiny("run_dir=run", "sample_every=3")
    scores = train(config)
    run = config.run_dir
    assert json.loads((run / "config.json").read_text()) == config.model_dump(mode="json")
    assert [line["step"] for line in read_lines(run / "scalars.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert read_lines(run / "scalars.jsonl")[0].keys() >= {
        "D_loss", "G_loss", "real_logits", "fake_logits", "sigma", "lr", "images_per_s",
    }  # fmt: skip
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["latest.png", *(f"step-{s:08d}.png" for s in (0, 3, 6))]
    assert [(line["role"], line["step"]) for line in read_lines(run / "metrics.jsonl")][:2] == [("quick", 3), ("quick", 6)]
    assert list(run.glob("events.out.tfevents.*"))
    assert 6 in steps_saved(run / "checkpoints")
    assert scores["last"].keys() == {
        "fd_32_shapes-train_small_resnet",
        "classifier_score_32_small_resnet",
        "recognised_32_small_resnet",
    }


def test_each_score_carries_its_protocol(tiny: Tiny) -> None:
    config = tiny("run_dir=run")
    train(config)
    for line in read_lines(config.run_dir / "metrics.jsonl"):
        assert line["protocol"]["n"] == 32
        reference = line["reference"]
        assert (reference["data"], reference["split"], reference["n"]) == ("shapes", "train", 64)
        assert reference["options"] == {"name": "shapes", "n_train": 64, "n_test": 16, "seed": 0, "max_angle": 360}
        assert len(line["extractor"]["sha256"]) == 64
        assert line["weights"] == "ema"
        assert line["batch_norm"] == "recalibrated over 2 batches of 8"
        assert line["versions"]["torch"] == torch.__version__.split("+")[0] or line["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    train(tiny("run_dir=whole", "sample_every=3"))
    with monkeypatch.context() as patch:
        crash_before(step, patch)
        with pytest.raises(RuntimeError, match="power"):
            train(tiny("run_dir=broken", "sample_every=3"))
    saved = max(steps_saved(Path("broken/checkpoints")), default=0)
    train(tiny("run_dir=broken", "sample_every=3"))
    sessions = json.loads(Path("broken/run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, saved], "it is continued, not trained again"
    assert final_weights(Path("whole")) == final_weights(Path("broken"))
    whole, broken = (read_lines(Path(run, "scalars.jsonl")) for run in ("whole", "broken"))
    timeless = [
        [{k: v for k, v in line.items() if k not in ("time", "images_per_s")} for line in lines] for lines in (whole, broken)
    ]
    assert timeless[0] == timeless[1]
    whole, broken = (read_lines(Path(run, "metrics.jsonl")) for run in ("whole", "broken"))
    assert [line["scores"] for line in whole] == [line["scores"] for line in broken]


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer.decay=linear", "optimizer.d.lr=4e-3", "optimizer.g.betas=[0.5,0.9]", "loss=relativistic_average"),
        ("data.resident_mb=0", "loss=relativistic_pair", "regularizer=r1_r2"),
        ("data.flip=true", "precision=bf16", "accumulate=2", "regularizer=lecam"),
        ("generator.normalization=spectral", "discriminator.scale=learned", "discriminator.iterate_per=forward"),
        ("discriminator.normalization=none", "regularizer=spectral_regularization", "generator.normalization=weight"),
        ("discriminator.normalization=batch", "weight_clip=0.01"),
        ("discriminator.normalization=weight", "discriminator.scale=learned", "regularizer=gradient_penalty", "precision=bf16"),
    ],
)
def test_resuming_is_exact_in_other_settings_too(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]) -> None:
    train(tiny("run_dir=whole", "protocol=none", *overrides))
    with monkeypatch.context() as patch:
        crash_before(3, patch)
        with pytest.raises(RuntimeError, match="power"):
            train(tiny("run_dir=broken", "protocol=none", *overrides))
    train(tiny("run_dir=broken", "protocol=none", *overrides))
    assert final_weights(Path("whole")) == final_weights(Path("broken"))


class OfTorch(Generator):
    """A plugin's, with a batch norm of torch's own."""

    def __init__(self, spec: ImageSpec, *, z_dim: int):
        super().__init__()
        self.z_dim, self.n_classes = z_dim, spec.n_classes
        self.linear, self.norm = nn.Linear(z_dim, spec.channels * spec.resolution**2), nn.BatchNorm2d(spec.channels)
        self.shape = (spec.channels, spec.resolution, spec.resolution)

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.norm(self.linear(z).unflatten(1, self.shape)))


def test_batch_norms_of_torch_cannot_be_synchronised(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._builders, "generator", dict(registry._builders["generator"]))
    registry.register("generator", "of_torch")(OfTorch)
    config = tiny("run_dir=run", "protocol=none", "steps=1")
    norm = {key: getattr(config.generator, key) for key in Network.model_fields if key != "name"}
    config = config.model_copy(update={"generator": GeneratorNetwork(name="of_torch", z_dim=8, **norm)})
    with pytest.raises(
        UserError, match=r"^sync_batch_norm=true does not reach the batch norms of generator=of_torch, .* torch's own"
    ):
        train(config.model_copy(update={"sync_batch_norm": True}))
    assert not Path("run").exists()
    train(config)


def test_sigma_is_logged_without_moving_u(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    train(tiny("run_dir=alone", "protocol=none", "log_every=0"))
    assert final_weights(Path("run")) == final_weights(Path("alone"))  # u and v among them
    sigmas = read_lines(Path("run/scalars.jsonl"))[-1]["sigma"]
    D = sngan.load_discriminator(sngan.open_checkpoint(Path("run/checkpoints/step-00000006")))
    assert sigmas == pytest.approx({f"D/{name}": sigma.item() for name, sigma in D.sigmas().items()})
    assert list(sigmas) == ["D/convs.0", "D/convs.2", "D/convs.5", "D/linear"]


@pytest.mark.parametrize("until", [3, 4, 6])
def test_a_sigma_that_lags_behind_at_two_saves_in_succession_is_warned_of_once(
    until: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play = engine.train_step

    def lagging(state: TrainState, *args: object) -> dict[str, torch.Tensor]:
        stats = play(state, *args)
        if state.step < until:
            u = state.D.network.convs[2].u
            u.copy_(torch.nn.functional.normalize(torch.ones_like(u), dim=0))
        return stats

    slow = tiny("run_dir=run", "protocol=none", "optimizer.lr=1e-5", "discriminator.power_iterations=20")
    train(slow)
    assert not caplog.records
    monkeypatch.setattr(engine, "train_step", lagging)
    train(slow.model_copy(update={"run_dir": Path("other")}))
    said = [record.message for record in caplog.records]
    assert len(said) == (until > 3), said
    for message in said:
        assert message.startswith("step 4: sigma by power iteration lags behind its exact value in D/convs.2 0.")


def test_a_generator_with_spectral_norm_is_given_out_plain(tiny: Tiny) -> None:
    """The checkpoint holds W, u and v; what samples and scores is made with holds W / sigma and nothing more."""
    from sngan.layers.singular_values import largest_singular_value

    train(tiny("run_dir=run", "generator.normalization=spectral", "steps=2", "protocol=none"))
    G = sngan.load_generator(sngan.open_checkpoint(Path("run/checkpoints/step-00000002")))
    assert not any(name.endswith((".u", ".v", ".gamma")) for name in G.state_dict())
    assert largest_singular_value(G.network.linear.weight) == pytest.approx(1.0, abs=0.05)


def test_scoring_and_sampling_change_nothing(tiny: Tiny) -> None:
    train(tiny("run_dir=watched", "sample_every=3"))
    train(tiny("run_dir=alone", "protocol=none", "sample_every=0", "log_every=0", "save_every=0"))
    assert final_weights(Path("watched")) == final_weights(Path("alone"))


def test_training_leaves_the_global_generator_alone(tiny: Tiny) -> None:
    before = torch.get_rng_state()
    train(tiny("run_dir=run", "sample_every=3"))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_give_different_runs(tiny: Tiny) -> None:
    for seed in (0, 1):
        train(tiny(f"run_dir=run{seed}", f"seed={seed}", "protocol=none"))
    assert final_weights(Path("run0")) != final_weights(Path("run1"))


def test_a_finished_run_is_not_run_again(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(tiny("run_dir=run"))
    crash_before(6, monkeypatch)
    n_scores = len(read_lines(Path("run/metrics.jsonl")))
    assert train(tiny("run_dir=run")) == first
    assert len(read_lines(Path("run/metrics.jsonl"))) == n_scores


def test_a_full_disk_is_told_with_the_last_good_checkpoint_and_the_run_goes_on_from_there(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none", "steps=2"))
    with (
        full_disk(200_000),
        pytest.raises(
            UserError,
            match=r"step 4 cannot be written to run \(File too large\); the last good checkpoint is .*-00000002",
        ),
    ):
        train(tiny("run_dir=run", "protocol=none"))
    assert list(steps_saved(Path("run/checkpoints"))) == [2]
    train(tiny("run_dir=run", "protocol=none"))
    train(tiny("run_dir=whole", "protocol=none"))
    assert final_weights(Path("whole")) == final_weights(Path("run"))


def test_a_folder_that_is_removed_from_under_a_run_is_told(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    play = engine.train_step

    def removing(state: TrainState, *args: object) -> dict[str, torch.Tensor]:
        if state.step == 3:
            Path("run").rename("elsewhere")
        return play(state, *args)

    monkeypatch.setattr(engine, "train_step", removing)
    with pytest.raises(UserError, match=r"step 4 cannot be written to run \(No such file or directory\); there is no checkpoint"):
        train(tiny("run_dir=run", "protocol=none", "sample_every=3"))  # so that TensorBoard's thread has written all it has
    assert not Path("run").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves_and_the_run_goes_on_from_there(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, signum: int, capfd: pytest.CaptureFixture[str]
) -> None:
    play = engine.train_step

    def interrupted(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        if state.step == 4:
            os.kill(os.getpid(), signum)
        return play(state, *args, **kwargs)

    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", interrupted)
        with pytest.raises(Interrupted):
            train(tiny("run_dir=broken", "protocol=none"))
    assert max(steps_saved(Path("broken/checkpoints"))) == 5
    assert "stopped after step 5 of 6" in capfd.readouterr().out
    assert signal.getsignal(signum) == before
    train(tiny("run_dir=broken", "protocol=none"))
    train(tiny("run_dir=whole", "protocol=none"))
    assert final_weights(Path("whole")) == final_weights(Path("broken"))


def test_a_signal_ends_a_score_at_once_and_the_score_is_taken_when_the_run_goes_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sngan.evaluation import fidelity

    extract, calls = fidelity.extract, []

    def interrupted(*args: object) -> fidelity.Features:
        calls.append(args)
        if len(calls) == 4:  # the trial, samples and reference at step 3, then the samples of step 6
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal should have ended the score")
        return extract(*args)

    with monkeypatch.context() as patch:
        patch.setattr(fidelity, "extract", interrupted)
        with pytest.raises(Interrupted):
            train(tiny("run_dir=run", "save_every=0"))
    assert list(steps_saved(Path("run/checkpoints"))) == [3, 6]  # the best so far, and where it stopped
    train(tiny("run_dir=run"))
    assert [(line["role"], line["step"]) for line in read_lines(Path("run/metrics.jsonl"))][:2] == [("quick", 3), ("quick", 6)]


def test_sigkill_at_any_moment_costs_nothing_but_time(tmp_path: Path) -> None:
    """In processes of their own: one run is killed twice, and ends as the one that never was."""
    command = [sys.executable, "-m", "sngan", "train", *TINY, "steps=12", "protocol=none", "sample_every=3"]

    def finish(run: str) -> None:
        subprocess.run([*command, f"run_dir={run}"], check=True, capture_output=True, cwd=tmp_path)

    for words in ("step 3/12", "step 8/12"):
        with subprocess.Popen(
            [*command, "run_dir=killed"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            assert any(words in line for line in process.stdout)
            process.kill()
    finish("killed")
    finish("whole")
    assert final_weights(tmp_path / "whole") == final_weights(tmp_path / "killed")
    assert event_steps(tmp_path / "whole") == event_steps(tmp_path / "killed")


def test_nan_stops_the_run_and_names_the_step_and_the_last_good_checkpoint(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    play = engine.train_step

    def diverging(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        if state.step == 4:
            next(state.D.parameters()).data.fill_(float("nan"))
        return play(state, *args, **kwargs)

    monkeypatch.setattr(engine, "train_step", diverging)
    with pytest.raises(
        UserError,
        match=r"D_loss became NaN or infinite at step 5, and by step 6 generator \S+ holds such values; the last good .*/step-00000004",
    ):
        train(tiny("run_dir=run", "log_every=100", "evaluate_every=0"))
    assert max(steps_saved(Path("run/checkpoints"))) == 4


def breaking_at(step: int, monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[torch.Tensor]:
    """Gives D's weights a NaN before a step, so many times; gives the latents of each step."""
    play, left, latents = engine.train_step, [None] * times, []

    def breaking(state: TrainState, game: Game, inputs: Inputs) -> dict[str, torch.Tensor]:
        latents.append(inputs.z_G)
        if state.step == step and left:
            left.pop()
            next(state.D.parameters()).data.fill_(float("nan"))
        return play(state, game, inputs)

    monkeypatch.setattr(engine, "train_step", breaking)
    return latents


def test_a_run_that_diverged_goes_back_and_on_with_other_latents(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        latents = breaking_at(4, patch, times=1)
        train(tiny("run_dir=run", "on_nan=rollback", "save_every=3", "sample_every=3", "protocol=none"))
    assert "step 5: D_loss became NaN or infinite at step 5" in caplog.text and "back to step 3 with other latents" in caplog.text
    assert len(latents) == 8, "steps 0 to 4, and from 3 to the end again"
    assert not torch.equal(latents[3], latents[5])
    (session,) = read_json(Path("run/run.json"))["sessions"]
    assert session["rollbacks"] == [3]
    assert [line["step"] for line in read_lines(Path("run/scalars.jsonl"))] == [1, 2, 3, 4, 5, 6]
    assert event_steps(Path("run"))["train/D_loss"] == [1, 2, 3, 4, 5, 6]
    assert event_steps(Path("run"))["samples"] == [0, 3, 6]

    # a run that went back and is then killed ends as the one that was not
    with monkeypatch.context() as patch:
        breaking_at(4, patch, times=1)
        crash_before(5, patch)
        with pytest.raises(RuntimeError, match="power"):
            train(tiny("run_dir=killed", "on_nan=rollback", "save_every=3", "sample_every=3", "protocol=none"))
    train(tiny("run_dir=killed", "on_nan=rollback", "save_every=3", "sample_every=3", "protocol=none"))
    assert final_weights(Path("killed")) == final_weights(Path("run"))


def test_going_back_to_the_same_checkpoint_ends(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking_at(4, monkeypatch, times=9)
    with pytest.raises(UserError, match="D_loss became NaN or infinite at step 5"):
        train(tiny("run_dir=run", "on_nan=rollback", "protocol=none"))
    assert read_json(Path("run/run.json"))["sessions"][0]["rollbacks"] == [4, 4, 4]
    breaking_at(2, monkeypatch, times=1)
    with pytest.raises(UserError, match=r"D_loss became NaN or infinite at step 3, .*; there is no checkpoint before it"):
        train(tiny("run_dir=unsaved", "on_nan=rollback", "save_every=0", "protocol=none"))


def test_a_changed_config_is_refused_key_by_key_unless_forced(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    with pytest.raises(UserError, match=r"d_steps: 1 -> 2; loss\.name: \"hinge\" -> \"wasserstein\"") as error:
        train(tiny("run_dir=run", "protocol=none", "loss=wasserstein", "d_steps=2"))
    assert "resume=force" in str(error.value)
    train(tiny("run_dir=run", "protocol=none", "loss=wasserstein", "d_steps=2", "steps=7", "resume=force"))
    assert max(steps_saved(Path("run/checkpoints"))) == 7


def test_what_does_not_change_the_game_may_change(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    train(tiny("run_dir=run", "log_every=2", "save_every=3", "data.workers=0", "keep.last=1"))


def test_a_run_without_a_schedule_may_be_continued_further(tiny: Tiny) -> None:
    train(tiny("run_dir=long", "protocol=none", "steps=9"))
    train(tiny("run_dir=run", "protocol=none"))
    train(tiny("run_dir=run", "protocol=none", "steps=9"))
    assert final_weights(Path("long")) == final_weights(Path("run"))
    train(tiny("run_dir=decay", "protocol=none", "steps=9", "optimizer.decay=linear"))
    with pytest.raises(UserError, match="steps: 9 -> 12"):
        train(tiny("run_dir=decay", "protocol=none", "steps=12", "optimizer.decay=linear"))


def test_resume_never_refuses_a_folder_that_holds_a_run(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    with pytest.raises(UserError, match="already holds a run"):
        train(tiny("run_dir=run", "protocol=none", "resume=never"))


def test_a_run_that_cannot_start_leaves_nothing_behind(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"protocol\.n_reference=100"):
        train(tiny("run_dir=some/new/run", "protocol.n_reference=100"))
    assert not Path("some").exists()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: (path / "generator_raw.safetensors").write_bytes(b"short"),
    "one bit": lambda path: (path / "state.pt").write_bytes(
        bytes([(path / "state.pt").read_bytes()[0] ^ 1]) + (path / "state.pt").read_bytes()[1:]
    ),
    "lost": lambda path: (path / "discriminator.safetensors").unlink(),
    "no manifest that can be read": lambda path: (path / "checkpoint.json").write_text("{"),
    "a manifest of nonsense": lambda path: (path / "checkpoint.json").write_text('{"format": "sngan-checkpoint-4", "step": "six"}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    tiny: Tiny, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    train(tiny("run_dir=whole", "protocol=none", "steps=8"))
    train(tiny("run_dir=run", "protocol=none"))
    DAMAGES[damage](Path("run/checkpoints/step-00000006"))
    caplog.clear()
    train(tiny("run_dir=run", "protocol=none", "steps=8"))
    assert "step-00000006" in caplog.text and "the checkpoint before it is taken" in caplog.text
    assert [session["from_step"] for session in json.loads(Path("run/run.json").read_text())["sessions"]] == [0, 4]
    assert final_weights(Path("run")) == final_weights(Path("whole"))
    assert list(steps_saved(Path("run/checkpoints"))) == list(steps_saved(Path("whole/checkpoints")))
    assert Path("run/checkpoints/damaged-step-00000006").is_dir(), "set aside for who wants to look at it"


def test_a_run_without_a_whole_checkpoint_does_not_begin_anew_by_itself(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    for path in steps_saved(Path("run/checkpoints")).values():
        (path / "state.pt").unlink()
    with pytest.raises(UserError, match=r"none of the checkpoints in run/checkpoints is whole; remove them to begin anew"):
        train(tiny("run_dir=run", "protocol=none", "steps=8"))


def test_a_damaged_best_checkpoint_costs_its_full_score_alone(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    train(tiny("run_dir=run", "optimizer.lr=1.0"))  # G only gets worse
    (Path("run/checkpoints/step-00000003") / "generator.safetensors").unlink()
    scores = train(tiny("run_dir=run", "optimizer.lr=1.0", "protocol.n=16"))
    assert scores["best"] == scores["last"]
    assert "step-00000003 is damaged: generator.safetensors is missing" in caplog.text


def test_the_best_checkpoint_and_the_last_few_are_kept(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "steps=9", "save_every=1", "keep.last=2", "keep.every=4", "optimizer.lr=1.0"))  # G only gets worse
    quick = [line for line in read_lines(Path("run/metrics.jsonl")) if line["role"] == "quick"]
    assert min(quick, key=lambda line: line["scores"]["fd_32_shapes-train_small_resnet"])["step"] == 3
    assert list(steps_saved(Path("run/checkpoints"))) == [3, 4, 8, 9]
    assert [line["step"] for line in read_lines(Path("run/metrics.jsonl")) if line["role"] == "full"] == [3, 9]


def test_a_score_saves_its_step_if_it_is_the_best_and_nothing_otherwise(tiny: Tiny) -> None:
    train(tiny("run_dir=scored", "steps=9", "save_every=0", "keep.last=9", "optimizer.lr=1.0"))
    assert list(steps_saved(Path("scored/checkpoints"))) == [3, 9]
    train(tiny("run_dir=saved", "protocol=none", "save_every=2", "keep.last=9"))
    assert list(steps_saved(Path("saved/checkpoints"))) == [2, 4, 6]


def test_a_run_that_is_to_stop_takes_no_score_first(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    play = engine.train_step

    def interrupted(state: TrainState, *args: object) -> dict[str, torch.Tensor]:
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return play(state, *args)

    monkeypatch.setattr(engine, "train_step", interrupted)
    with pytest.raises(Interrupted):
        train(tiny("run_dir=run"))
    assert not read_lines(Path("run/metrics.jsonl"))
    assert max(steps_saved(Path("run/checkpoints"))) == 3


def test_the_best_checkpoint_is_another_one_when_a_score_beats_it(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "optimizer.lr=1e-2", "steps=9", "save_every=0", "keep.last=1"))
    quick = {line["step"]: line["scores"] for line in read_lines(Path("run/metrics.jsonl")) if line["role"] == "quick"}
    best = min(quick, key=lambda step: quick[step]["fd_32_shapes-train_small_resnet"])
    assert list(steps_saved(Path("run/checkpoints"))) == sorted({best, 9})


def test_the_best_survives_a_kill_between_its_score_and_its_checkpoint(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are given, so that a score in the middle is the best; the two tests above let real ones decide."""
    from sngan.runs import checkpoint

    save, killed = checkpoint.save, []

    def fragile(state: TrainState, *args: object) -> Path:
        if state.step == 3 and not killed:
            killed.append(state.step)
            raise RuntimeError("the power went out")
        return save(state, *args)

    scores = {0: 9.0, 3: 2.0, 6: 5.0, 9: 4.0}
    taken = iter([9.0, 2.0])
    monkeypatch.setattr("sngan.evaluation.fidelity.frechet_distance", lambda *_: next(taken))
    monkeypatch.setattr(checkpoint, "save", fragile)
    with pytest.raises(RuntimeError, match="power"):
        train(tiny("run_dir=run", "steps=9", "save_every=0"))
    taken = iter([scores[3], scores[6], scores[9], 1.0, 1.0, 1.0])  # the full scores, and the real-data baseline
    train(tiny("run_dir=run", "steps=9", "save_every=0"))
    assert list(steps_saved(Path("run/checkpoints"))) == [3, 9]
    assert [line["step"] for line in read_lines(Path("run/metrics.jsonl")) if line["role"] == "full"] == [3, 9]


def test_weights_that_are_not_finite_are_never_saved(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    play = engine.train_step

    def breaking(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        stats = play(state, *args, **kwargs)
        if state.step == 3:
            next(state.G.buffers()).fill_(float("inf"))  # after the losses of this step
        return stats

    monkeypatch.setattr(engine, "train_step", breaking)
    with pytest.raises(
        UserError,
        match=r"generator_raw \S+ holds NaN or infinity after step 4, .* last good checkpoint is run/checkpoints/step-00000002",
    ):
        train(tiny("run_dir=run", "protocol=none"))
    assert list(steps_saved(Path("run/checkpoints"))) == [2]


def test_a_forced_change_of_the_optimiser_takes_effect(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    play = engine.train_step

    def watched(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        seen.append(state.D_optimizer.param_groups[0]["betas"])
        return play(state, *args, **kwargs)

    train(tiny("run_dir=run", "protocol=none"))
    monkeypatch.setattr(engine, "train_step", watched)
    train(tiny("run_dir=run", "protocol=none", "steps=7", "optimizer.betas=[0.5,0.99]", "resume=force"))
    assert seen == [(0.5, 0.99)]


def test_the_learning_rate_falls_as_the_schedule_says(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    play = engine.train_step

    def watched(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        rates.append([float(o.param_groups[0]["lr"]) for o in (state.G_optimizer, state.D_optimizer)])
        return play(state, *args, **kwargs)

    monkeypatch.setattr(engine, "train_step", watched)
    train(tiny("run_dir=run", "protocol=none", "optimizer.decay=linear", "optimizer.lr=6.0"))
    assert rates == [[6.0, 6.0], [5.0, 5.0], [4.0, 4.0], [3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]


@pytest.mark.parametrize("seed", [0, 3])
def test_each_step_is_trained_on_its_own_inputs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    config = tiny("run_dir=run", "protocol=none", f"seed={seed}", "steps=3", "g_batch=6")
    given, play = [], engine.train_step

    def watched(state: TrainState, game: Game, inputs: Inputs) -> dict[str, torch.Tensor]:
        given.append(inputs)
        return play(state, game, inputs)

    monkeypatch.setattr(engine, "train_step", watched)
    train(config)
    source, device = sngan.build("data", config.data), torch.device("cpu")
    spec = game_spec(source.spec, conditional=False)
    batches = Batches(source.load("train"), spec, batch=8, d_steps=1, seed=seed, data=config.data, device=device)
    inputs = InputStream(config, build_networks(config, spec)[0].network, batches, device)
    for step, got in enumerate(given):
        for name, value in inputs(step)._asdict().items():
            assert value is None if got._asdict()[name] is None else torch.equal(got._asdict()[name], value), name


def test_the_game_that_is_trained_is_the_configs(tiny: Tiny) -> None:
    rival = "protocol=none", "discriminator.normalization=none"
    train(tiny("run_dir=clipped", *rival, "weight_clip=0.01"))
    D = sngan.load_discriminator(sngan.open_checkpoint(Path("clipped/checkpoints/step-00000006")))
    assert max(p.abs().max() for p in D.parameters()) == torch.tensor(0.01)
    train(tiny("run_dir=penalised", *rival, "regularizer=r1"))
    assert all(line["penalty"] > 0 for line in read_lines(Path("penalised/scalars.jsonl")))


def test_an_extractor_that_is_blind_is_told_before_anything_is_written(tiny: Tiny) -> None:
    tensors = load_file(SHIPPED)
    tensors["layer1.0.bn1.weight"] = torch.full_like(tensors["layer1.0.bn1.weight"], 3e38)
    save_file(tensors, "blind.safetensors")
    with pytest.raises(UserError, match="extractor=blind gives NaN or infinity for images of shapes"):
        train(tiny("run_dir=run", "extractor.weights=blind.safetensors", "evaluate_every=0"))
    assert not Path("run").exists()


def test_precision_reaches_the_step(tiny: Tiny) -> None:
    train(tiny("run_dir=fp32", "protocol=none"))
    train(tiny("run_dir=bf16", "protocol=none", "precision=bf16"))
    assert final_weights(Path("fp32")) != final_weights(Path("bf16"))


def test_decay_of_the_average_reaches_the_step_and_changes_the_average_alone(tiny: Tiny) -> None:
    for decay in ("0.5", "0.9"):
        train(tiny(f"run_dir=ema{decay}", "protocol=none", f"ema.decay={decay}"))
    first, second = final_weights(Path("ema0.5")), final_weights(Path("ema0.9"))
    assert first["generator.safetensors"] != second["generator.safetensors"]
    assert first["generator_raw.safetensors"] == second["generator_raw.safetensors"]
    assert first["discriminator.safetensors"] == second["discriminator.safetensors"]


def test_a_signal_during_the_full_score_says_that_it_is_still_to_come(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> float:  # the real distance is taken below, when the run goes on
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal should have ended the score")

    with monkeypatch.context() as patch:
        patch.setattr("sngan.evaluation.fidelity.frechet_distance", interrupted)
        with pytest.raises(Interrupted):
            train(tiny("run_dir=run", "evaluate_every=0"))
    assert "before the full score; the same command takes it" in capfd.readouterr().out
    assert train(tiny("run_dir=run", "evaluate_every=0"))["last"]


def test_a_signal_while_loading_leaves_nothing_behind(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from sngan.data.shapes import Shapes

    def interrupted(*_: object) -> None:  # every other run here loads in earnest
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal should have ended the loading")

    monkeypatch.setattr(Shapes, "load", interrupted)
    Path("mine").mkdir()
    for run in ("new/run", "mine"):
        with pytest.raises(Interrupted):
            train(tiny(f"run_dir={run}"))
    assert [str(path) for path in Path().rglob("*")] == ["mine"]


def test_half_a_checkpoint_without_its_manifest_is_written_again(tiny: Tiny) -> None:
    half = Path("run/checkpoints/step-00000006")
    half.mkdir(parents=True)
    (half / "generator.safetensors").write_bytes(b"half")
    train(tiny("run_dir=run", "protocol=none"))
    assert max(steps_saved(Path("run/checkpoints"))) == 6


@pytest.mark.parametrize(("file", "content"), [("run.json", "["), ("scalars.jsonl", "none\n")])
def test_a_damaged_file_of_the_run_is_named(tiny: Tiny, file: str, content: str) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    Path("run", file).write_text(content)
    with pytest.raises(UserError, match=rf"run/{file}"):
        train(tiny("run_dir=run", "protocol=none", "steps=7"))


def test_a_damaged_config_is_that_of_the_newest_checkpoint(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    Path("run/config.json").write_text('{"name": "sh')
    with pytest.raises(UserError, match="d_steps: 1 -> 2"):
        train(tiny("run_dir=run", "protocol=none", "d_steps=2"))
    assert "run/config.json cannot be read" in caplog.text
    train(tiny("run_dir=run", "protocol=none", "steps=8"))
    assert json.loads(Path("run/config.json").read_text())["steps"] == 8


def test_a_run_may_be_scored_at_its_end_alone(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol@quick=none"))
    assert [(line["role"], line["step"]) for line in read_lines(Path("run/metrics.jsonl"))] == [("full", 6)]


def test_an_interval_of_0_switches_its_action_off(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "log_every=0", "sample_every=0", "save_every=0", "evaluate_every=0", "protocol=none"))
    assert read_lines(Path("run/scalars.jsonl")) == []
    assert list(Path("run/samples").iterdir()) == []
    assert list(steps_saved(Path("run/checkpoints"))) == [6]  # the end is always saved


def test_two_processes_cannot_share_a_run_folder(tiny: Tiny) -> None:
    from sngan.runs.folder import RunFolder

    config = tiny("run_dir=run")
    with RunFolder(config), pytest.raises(UserError, match="in use by another process"):
        train(config)
