"""A new run that begins with the weights of another one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import finished_run
from sngan import Config, UserError, train
from sngan.data.images import ImageSpec
from sngan.files import read_json
from sngan.networks import build_networks
from sngan.runs.checkpoint import open_checkpoint
from sngan.runs.start import open_start, start_from
from sngan.state import TrainState, initial_state

Tiny = Callable[..., Config]
WITHOUT_SCORES = ["protocol=none", "sample_every=0", "log_every=0"]
FILES = ("generator", "generator_raw", "discriminator")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("start"), *WITHOUT_SCORES, "run_dir=run")


def state_of(config: Config, n_classes: int = 0, resolution: int = 32) -> TrainState:
    spec = ImageSpec(resolution, 3, n_classes)
    return initial_state(config, *build_networks(config, spec), torch.device("cpu"))


def test_each_network_begins_with_its_own_tensors_and_buffers(run: Path, tiny: Tiny) -> None:
    state = state_of(tiny("seed=5"))
    origin = open_start(run)
    start = start_from(state, origin, ["G", "D"])
    assert not start.left
    for name, network in state.networks().items():
        saved = load_file(origin.path / f"{name}.safetensors")
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, saved[key]), f"{name} {key}"
    assert state.step == 0
    assert not state.D_optimizer.state
    assert start.record["sha256"] == {
        f"{name}.safetensors": hashlib.sha256((origin.path / f"{name}.safetensors").read_bytes()).hexdigest() for name in FILES
    }


def test_a_network_that_is_not_named_keeps_its_initial_weights(run: Path, tiny: Tiny) -> None:
    state, before = (state_of(tiny("seed=5")) for _ in range(2))
    start_from(state, open_start(run), ["D"])
    for a, b in zip(state.G.state_dict().values(), before.G.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(state.D.network.linear.weight, before.D.network.linear.weight)


def test_what_does_not_fit_is_named_a_layer_a_line_and_stays(run: Path, tiny: Tiny) -> None:
    config = tiny("seed=5", "conditional=true", "discriminator.widths=[8,8,6]")
    state, before = (state_of(config, n_classes=3, resolution=64) for _ in range(2))
    start = start_from(state, open_start(run), ["D"])
    assert [line.partition(":")[0] for line in start.left] == [
        f"D {layer} stays as initialised" for layer in ("convs.5", "embedding", "linear")
    ]
    assert all("\n" not in line for line in start.left)
    D, origin = state.D.network, load_file(open_checkpoint(run).path / "discriminator.safetensors")
    assert torch.equal(D.convs[2].weight, origin["convs.2.weight"])
    assert torch.equal(D.linear.weight, before.D.network.linear.weight)


def test_a_norm_that_comes_later_finds_sigma_of_the_weights_it_was_given(tmp_path: Path, tiny: Tiny) -> None:
    finished_run(tmp_path, *WITHOUT_SCORES, "discriminator.normalization=none", "steps=2")
    state = state_of(tiny("seed=5"))
    start_from(state, open_start(tmp_path / "run"), ["D"])
    for name, sigma in state.D.sigmas().items():
        exact = torch.linalg.matrix_norm(state.D.network.get_submodule(name).weight.flatten(1), ord=2).item()
        assert sigma.item() == pytest.approx(exact, rel=0.05), name


def test_nothing_that_fits_is_refused_with_the_reason(run: Path, tiny: Tiny) -> None:
    config = tiny("discriminator=resnet", "discriminator.widths=[4,4]", "discriminator.downsample=[true,true]")
    with pytest.raises(UserError, match=r"nothing of .* fits D \(.*\); give init_networks=\[G\]"):
        start_from(state_of(config), open_start(run), ["G", "D"])


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_start_that_is_not_there_is_told_and_leaves_nothing(path: str, tiny: Tiny) -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match=f"init={path}: "):
        train(tiny("run_dir=new", f"init={path}", *WITHOUT_SCORES))
    assert not Path("new").exists()


def test_a_run_begins_with_another_and_does_not_look_for_it_again(
    run: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, "origin")
    words = ["run_dir=new", "init=origin", "freeze_d=2", "seed=1", *WITHOUT_SCORES]
    train(tiny(*words, "steps=2"))
    newest = open_checkpoint("origin").path
    assert f"begins with {newest}" in capsys.readouterr().out
    session = read_json(Path("new/run.json"))["sessions"][0]
    assert (session["from_step"], session["init"]["step"], session["init"]["checkpoint"]) == (0, 6, str(newest))
    shutil.rmtree("origin")
    train(tiny(*words, "steps=4"))
    assert [s["from_step"] for s in read_json(Path("new/run.json"))["sessions"]] == [0, 2]
    train(tiny(*words[1:], "run_dir=whole", f"init={run}", "steps=4"))
    for name in FILES:
        whole, resumed = (load_file(open_checkpoint(p).path / f"{name}.safetensors") for p in ("whole", "new"))
        assert all(torch.equal(whole[key], resumed[key]) for key in whole), name
    before = load_file(open_checkpoint(run).path / "discriminator.safetensors")
    frozen = {key: torch.equal(before[key], whole[key]) for key in before if key.endswith(("weight", "bias"))}
    assert {key for key, same in frozen.items() if same} == {f"convs.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["freeze_d=1"], "freeze_d=1 would keep random weights"),
        (["freeze_d=1", "init=x", "init_networks=[G]"], "D among init_networks"),
        (["freeze_d=9", "init=x"], "freeze_d=9: this discriminator has 3 blocks"),
    ],
)
def test_frozen_blocks_that_make_no_sense_are_refused(overrides: list[str], words: str, run: Path, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=words):
        train(tiny("run_dir=new", *(f"init={run}" if word == "init=x" else word for word in overrides), *WITHOUT_SCORES))
    assert not Path("new").exists()
