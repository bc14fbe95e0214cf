"""Eager float32 on one device is the definition; what is faster is held against it here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import TINY
from sngan import Config, UserError, build, compose
from sngan.__main__ import main
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.precision import precision
from sngan.state import TrainState, initial_state
from sngan.training import engine
from sngan.training.engine import Kind, choose
from sngan.training.step import Game, Inputs

CPU = torch.device("cpu")
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
needs_a_compiler = pytest.mark.skipif(engine.why_not("compile", CPU) is not None, reason="needs a C++ compiler")

GAMES = {
    "spectral": [],
    "gradient_penalty": ["discriminator.normalization=layer", "regularizer=gradient_penalty"],
}


def played(
    kind: Kind, *overrides: str, steps: int, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> tuple[TrainState, Tensor]:
    """The state after so many steps from one seed, and their statistics [steps, statistics]."""
    torch._dynamo.reset()
    config = compose([*TINY, *overrides])
    G, D = build_networks(config, ImageSpec(32, 3, 0))
    state = initial_state(config, G.to(dtype), D.to(dtype), device)
    game = Game(build("loss", config.loss), build("regularizer", config.regularizer), config.weight_clip, config.ema.decay)
    play = engine.build(kind, state, game)
    stats = []
    for step in range(steps):
        with precision(config.precision, device):
            stats.append(play(inputs(config, step, device, dtype)))
    return state, torch.stack([torch.stack(list(s.values())) for s in stats]).cpu()


def inputs(config: Config, step: int, device: torch.device, dtype: torch.dtype) -> Inputs:
    numbers = torch.Generator().manual_seed(step)
    d, n, m = config.d_steps, config.batch, config.g_batch
    x_real = torch.rand(d, n, 3, 32, 32, generator=numbers, dtype=dtype) * 2 - 1
    z_D, z_G = (torch.randn(*shape, 128, generator=numbers, dtype=dtype) for shape in ((d, n), (m,)))
    epsilon = torch.rand(d, n, generator=numbers, dtype=dtype)
    x_real, z_D, epsilon, z_G = (t.to(device) for t in (x_real, z_D, epsilon, z_G))
    return Inputs(x_real, None, z_D, None, epsilon, z_G, None)


def distance(a: TrainState, b: TrainState) -> float:
    """The largest relative difference of a weight matrix or buffer of the two."""
    differences = []
    for name, network in a.networks().items():
        other = b.networks()[name].state_dict()
        for key, value in network.state_dict().items():
            if value.dim() > 1:
                differences.append(((value - other[key]).norm() / value.norm()).item())
    return max(differences)


@needs_a_compiler
@pytest.mark.parametrize("game", GAMES)
def test_compiled_networks_play_the_same_twenty_steps(game: str) -> None:
    """In float64, where what rounding differs by has not grown to more: in float32 a game doubles it every step or two."""
    eager, eager_stats = played("eager", *GAMES[game], steps=20, dtype=torch.float64)
    compiled, stats = played("compile", *GAMES[game], steps=20, dtype=torch.float64)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-10, atol=1e-12)
    assert distance(eager, compiled) < 1e-10
    assert list(compiled.D.state_dict()) == list(eager.D.state_dict())


@needs_a_compiler
def test_compiled_networks_play_the_same_step_in_float32() -> None:
    _, eager_stats = played("eager", steps=1)
    _, stats = played("compile", steps=1)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-5, atol=1e-6)


def test_compiling_does_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: seen.append((type(self).__name__, options)))
    played("compile", steps=1)
    assert [name for name, _ in seen] == ["Normalized", "SpectralNorm"]


def test_bfloat16_stays_within_two_per_cent_of_float32_for_a_step() -> None:
    """The first update of D sees the same weights; the tolerance is that of logits around 1."""
    _, exact = played("eager", steps=1)
    _, rounded = played("eager", "precision=bf16", steps=1)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


@needs_a_compiler
def test_a_run_goes_on_with_another_engine(tmp_path: Path) -> None:
    torch._dynamo.reset()
    assert main(["train", *TINY, "protocol=none", "run_dir=eager", "engine=eager"]) == 0
    assert main(["train", *TINY, "protocol=none", "run_dir=mixed", "engine=eager", "steps=4"]) == 0
    assert main(["train", *TINY, "protocol=none", "run_dir=mixed", "engine=compile"]) == 0
    sessions = json.loads(Path("mixed/run.json").read_text())["sessions"]
    assert [session["engine"] for session in sessions] == ["eager", "compile"]
    losses = {run: [json.loads(line) for line in Path(run, "scalars.jsonl").read_text().splitlines()] for run in ("eager", "mixed")}
    for key in ("D_loss", "G_loss", "real_logits"):
        assert losses["mixed"][4][key] == pytest.approx(losses["eager"][4][key], rel=1e-4, abs=1e-5)


def test_auto_says_what_it_chose_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "protocol=none", "run_dir=run", "steps=2"]) == 0
    assert "engine eager: on a CPU only the ResNets are faster compiled" in capsys.readouterr().out


@needs_a_compiler
def test_auto_compiles_where_it_pays_on_a_cpu(tiny: Callable[..., Config]) -> None:
    resnets = ["generator=resnet", "discriminator=resnet", "discriminator.widths=[8]", "discriminator.downsample=[true]"]
    assert (
        choose(compose([*[o for o in TINY if not o.startswith("discriminator")], *resnets, "steps=50000"]), CPU).kind == "compile"
    )
    assert choose(tiny("steps=50000"), CPU) == ("eager", "on a CPU only the ResNets are faster compiled")


def test_auto_on_a_gpu_is_one_graph_of_compiled_networks_or_what_comes_next(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals: dict[str, str | None] = {}
    monkeypatch.setattr(engine, "why_not", lambda part, device: refusals.get(part))
    gpu = torch.device("cuda")
    assert choose(tiny(), gpu).kind == "compiled_graph"
    refusals["compile"] = "no triton"
    assert choose(tiny(), gpu) == ("graph", "no triton")
    refusals["graph"] = "two ranks"
    assert choose(tiny(), gpu) == ("eager", "no triton; two ranks")
    del refusals["compile"]
    assert choose(tiny(), gpu) == ("compile", "two ranks")


@pytest.mark.parametrize("kind", ["graph", "compiled_graph"])
def test_an_engine_that_cannot_run_is_an_error_that_says_why(tiny: Callable[..., Config], kind: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"engine={kind}: CUDA graphs are for NVIDIA GPUs, and the device is cpu")):
        choose(tiny(f"engine={kind}"), CPU)


def test_compiling_without_a_compiler_is_an_error(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="engine=compile: compiling needs a C\\+\\+ compiler, and there is no no-such-compiler"):
        choose(tiny("engine=compile"), CPU)
    assert choose(tiny("steps=50000"), CPU) == ("eager", "compiling needs a C++ compiler, and there is no no-such-compiler")


def test_a_compiler_that_does_not_compile_is_an_error_of_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    words = [sys.executable, "-m", "sngan", "train", *TINY, "protocol=none", "run_dir=run", "engine=compile"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sngan: engine=compile: torch could not compile these networks (")
    assert done.stderr.endswith("use engine=eager\n")
    assert done.stderr.count("\n") == 1


def test_a_refused_engine_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "run_dir=run", "engine=graph"]) == 2
    assert "engine=graph" in capsys.readouterr().err
    assert not Path("run").exists()


def gpu() -> torch.device:
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda")


@needs_a_gpu
@pytest.mark.parametrize("game", GAMES)
def test_a_captured_step_is_the_step_bit_for_bit(game: str) -> None:
    eager, eager_stats = played("eager", *GAMES[game], steps=20, device=gpu())
    graph, stats = played("graph", *GAMES[game], steps=20, device=gpu())
    assert torch.equal(stats, eager_stats)
    assert distance(eager, graph) == 0.0


@needs_a_gpu
@pytest.mark.parametrize("kind", ["compile", "compiled_graph"])
def test_fused_kernels_of_a_gpu_play_the_same_twenty_steps(kind: Kind) -> None:
    eager, eager_stats = played("eager", steps=20, device=gpu(), dtype=torch.float64)
    fused, stats = played(kind, steps=20, device=gpu(), dtype=torch.float64)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-9, atol=1e-11)
    assert distance(eager, fused) < 1e-9


def warmed_up(kind: Kind) -> tuple[engine.Engine, list[Inputs]]:
    """An engine on the GPU that has played five steps, and the inputs of three more."""
    torch._dynamo.reset()
    config = compose(TINY)
    state = initial_state(config, *build_networks(config, ImageSpec(32, 3, 0)), gpu())
    play = engine.build(kind, state, Game(build("loss", config.loss), None, None, 0.9))
    steps = [inputs(config, step, gpu(), torch.float32) for step in range(8)]
    for step in steps[:5]:
        play(step)
    return play, steps[5:]


@needs_a_gpu
@pytest.mark.parametrize("kind", ["eager", "graph"])
def test_statistics_of_a_step_are_left_alone_by_later_ones(kind: Kind) -> None:
    play, steps = warmed_up(kind)
    stats = play(steps[0])
    before = {name: value.item() for name, value in stats.items()}
    play(steps[1])
    assert before == {name: value.item() for name, value in stats.items()}


@needs_a_gpu
@pytest.mark.parametrize("kind", ["eager", "compile", "graph", "compiled_graph"])
def test_nothing_waits_for_the_gpu_between_logs(kind: Kind) -> None:
    play, steps = warmed_up(kind)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in steps:
            play(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
