"""Eager float32 on one device is the definition; what is faster is held against it here."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from conftest import SHALLOW, TINY, composed, needs_a_compiler
from sngan import Config, UserError, build
from sngan.__main__ import main
from sngan.augmentations.augmentation import Augmentation
from sngan.data.images import ImageSpec
from sngan.generators.generator import Generator
from sngan.layers.normalized import Normalized
from sngan.losses.loss import RelativisticLoss
from sngan.networks import build_networks
from sngan.precision import precision
from sngan.state import TrainState, initial_state
from sngan.training import engine
from sngan.training.engine import Kind, choose
from sngan.training.step import Game, Inputs

CPU = torch.device("cpu")
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

RESNETS = [
    "generator=resnet", "generator.widths=[16,16,16,16]", "discriminator=resnet", "discriminator.widths=[16,16,16]",
    "discriminator.downsample=[true,true,false]",
]  # fmt: skip
CONDITIONAL = ["conditional=true", *RESNETS]
BIGGAN = [
    *CONDITIONAL, "generator=biggan", "generator.shared_dim=8", "generator.attention=16", "discriminator=biggan",
    "discriminator.attention=16", "g_orthogonal=1e-4",
]  # fmt: skip

GAMES = {
    "spectral": [],
    "gradient_penalty": ["discriminator.normalization=layer", "regularizer=gradient_penalty"],
}

GPU_GAMES = GAMES | {
    "resnet": RESNETS,
    "conditional": CONDITIONAL,
    "biggan": BIGGAN,
    "r1_r2": ["loss=relativistic_pair", "regularizer=r1_r2"],
    "lecam": ["regularizer=lecam"],
    "diffaugment": ["augment=diffaugment"],
    "ada": ["augment=ada", "augment.p=0.5"],
    "micro_batches": ["accumulate=2"],
    "batch_norm_in_D": ["discriminator.normalization=batch"],
    "weight_clip": ["discriminator.normalization=none", "weight_clip=0.01", "loss=wasserstein"],
}
"""Those whose step might read a number back from the device, or keep one outside the captured graph."""


def trained(
    kind: Kind, *overrides: str, steps: int, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> tuple[TrainState, Tensor]:
    """The state after so many steps from one seed, and their statistics [steps, statistics]."""
    torch._dynamo.reset()
    config = composed(*TINY, *overrides)
    state, train = engine_of(kind, config, device, dtype)
    stats = []
    for step in range(steps):
        with precision(config.precision, device):
            stats.append(train(inputs(config, step, device, dtype)))
    return state, torch.stack([torch.stack(list(s.values())) for s in stats]).cpu()


def engine_of(
    kind: Kind, config: Config, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> tuple[TrainState, engine.Engine]:
    """The first state of a config, and an engine that changes it."""
    G, D = build_networks(config, ImageSpec(32, 3, n_classes(config)))
    state = initial_state(config, G.to(dtype), D.to(dtype), device)
    game = Game(
        build("loss", config.loss),
        build("regularizer", config.regularizer),
        config.weight_clip,
        config.ema.decay,
        g_orthogonal=config.g_orthogonal,
        augment=augmentation(config),
        accumulate=config.accumulate,
    )
    return state, engine.build(kind, state, game)


def augmentation(config: Config) -> Augmentation | None:
    return build("augment", config.augment, ImageSpec(32, 3, n_classes(config)), config.batch)


def n_classes(config: Config) -> int:
    return 10 if config.conditional else 0


def inputs(config: Config, step: int, device: torch.device, dtype: torch.dtype) -> Inputs:
    """The inputs of a step, drawn on the CPU so that all devices have the same."""
    numbers = torch.Generator().manual_seed(step)
    d, n, m = config.d_steps, config.batch, config.g_batch
    x_real = torch.rand(d, n, 3, 32, 32, generator=numbers, dtype=dtype) * 2 - 1
    z_D, z_G = (torch.randn(*shape, 128, generator=numbers, dtype=dtype) for shape in ((d, n), (m,)))
    epsilon = torch.rand(d, n, generator=numbers, dtype=dtype)
    x_real, z_D, epsilon, z_G = (t.to(device) for t in (x_real, z_D, epsilon, z_G))
    others: dict[str, Tensor] = {}
    if isinstance(build("loss", config.loss), RelativisticLoss):
        others["x_real_G"] = x_real.flatten(0, 1)[-m:]
    augment = augmentation(config)
    if augment:
        for name, shape in (("u_real", (d, n)), ("u_fake", (d, n)), ("u_G", (m,))):
            others[name] = torch.rand(*shape, augment.numbers, generator=numbers, dtype=dtype).to(device)
    if not config.conditional:
        return Inputs(x_real, None, z_D, None, epsilon, z_G, None, **others)
    y_real, y_D, y_G = (torch.randint(n_classes(config), shape, generator=numbers).to(device) for shape in ((d, n), (d, n), (m,)))
    return Inputs(x_real, y_real, z_D, y_D, epsilon, z_G, y_G, **others)


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
def test_compiled_networks_train_the_same_twenty_steps(game: str) -> None:
    """In float64, where what rounding differs by has not grown to more: in float32 a game doubles it every step or two."""
    eager, eager_stats = trained("eager", *GAMES[game], *SHALLOW, steps=20, dtype=torch.float64)
    compiled, stats = trained("compile", *GAMES[game], *SHALLOW, steps=20, dtype=torch.float64)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-10, atol=1e-12)
    assert distance(eager, compiled) < 1e-10
    assert list(compiled.D.state_dict()) == list(eager.D.state_dict())


@needs_a_compiler
def test_compiled_networks_train_the_same_step_in_float32() -> None:
    _, eager_stats = trained("eager", *SHALLOW, steps=1)
    _, stats = trained("compile", *SHALLOW, steps=1)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-5, atol=1e-6)


@needs_a_compiler
def test_both_networks_run_compiled_code_and_no_other() -> None:
    """The four forwards of a step with one discriminator update: G's fakes, D in its update, G and D in that of G."""
    torch._dynamo.reset()
    config = composed(*TINY, *SHALLOW)
    _, train = engine_of("compile", config)
    train(inputs(config, 0, CPU, torch.float32))
    compiled = graphs()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        train(inputs(config, 1, CPU, torch.float32))
    regions = [event for event in profiled.events() if event.name.startswith("Torch-Compiled Region")]
    assert graphs() == compiled
    assert len(regions) == 4
    convolutions = [event for event in profiled.events() if event.name == "aten::convolution"]
    assert convolutions
    assert all(any(ancestor in regions for ancestor in ancestors(event)) for event in convolutions)


def ancestors(event: Any) -> Iterator[Any]:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


def graphs() -> int:
    """How many were compiled since the counters were reset."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


class Linear(Generator):
    """A generator without a kernel of its own, which compiles in no time."""

    z_dim, n_classes = 128, 0

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(128, 3)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.linear(z)[:, :, None, None]  # [N, 3, 1, 1]


class LinearD(torch.nn.Linear):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x.flatten(1)).squeeze(1)  # [N]


def small_engine(n: int) -> tuple[engine.Engine, Inputs]:
    """An engine that compiles networks of one layer, and the inputs of a step of n images, and twice as many latents of G."""
    config = composed(*TINY, f"batch={n}", f"g_batch={2 * n}")
    state = initial_state(config, Normalized(Linear()), Normalized(LinearD(3, 1)), CPU)
    data = inputs(config, 0, CPU, torch.float32)
    train = engine.build("compile", state, Game(build("loss", config.loss), None, None, 0.9))
    return train, data._replace(x_real=data.x_real[..., :1, :1])


@pytest.fixture
def _counted_anew() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@needs_a_compiler
@pytest.mark.usefixtures("_counted_anew")
def test_runs_of_one_process_are_all_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    for runs, n in enumerate((4, 5, 6), start=1):
        train, data = small_engine(n)
        train(data)
        assert graphs() == 4 * runs
    assert capsys.readouterr().err == ""


@needs_a_compiler
@pytest.mark.usefixtures("_counted_anew")
def test_networks_that_are_not_compiled_any_more_are_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    for n in (4, 5):
        train, data = small_engine(n)
    with (
        torch._dynamo.config.patch(recompile_limit=3),
        pytest.raises(
            UserError, match="engine=compile: torch compiles no more than 3 graphs in a process; start another one, or use"
        ),
    ):
        train(data)
    assert graphs() == 3
    assert capfd.readouterr().err == ""  # the error says it all


@needs_a_compiler
@pytest.mark.usefixtures("_counted_anew")
def test_a_network_that_compiles_in_part_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would run the rest as it is written, and the whole of it where errors are to be suppressed."""

    def forward(self: LinearD, x: Tensor, y: Tensor | None = None) -> Tensor:
        torch._dynamo.graph_break()
        return torch.nn.functional.linear(x.flatten(1), self.weight).squeeze(1)

    monkeypatch.setattr(LinearD, "forward", forward)
    train, data = small_engine(4)
    for switches in ({}, {"suppress_errors": True}):
        with torch._dynamo.config.patch(switches), pytest.raises(UserError, match="torch could not compile these networks"):
            train(data)


@pytest.mark.parametrize("switch", ["TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"])
def test_a_compiler_that_is_switched_off_is_an_error(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(switch, "1")
    with pytest.raises(UserError, match=f"engine=compile: {switch}=1 keeps torch from compiling"):
        choose(tiny("engine=compile"), CPU)


def test_switches_of_the_process_are_put_back() -> None:
    def switches() -> list[bool]:
        cudnn = torch.backends.cudnn
        return [torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark]

    before = switches()
    with precision("fp32", CPU):
        assert switches() == [False, False, True, False]
    assert switches() == before


def test_bfloat16_stays_within_two_per_cent_of_float32_for_a_step() -> None:
    """The first discriminator update sees the same weights; the tolerance is that of logits around 1."""
    _, exact = trained("eager", steps=1)
    _, rounded = trained("eager", "precision=bf16", steps=1)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


@needs_a_compiler
def test_a_run_goes_on_with_another_engine(tmp_path: Path) -> None:
    torch._dynamo.reset()
    assert main(["train", *TINY, *SHALLOW, "protocol=none", "run_dir=eager", "engine=eager"]) == 0
    assert main(["train", *TINY, *SHALLOW, "protocol=none", "run_dir=mixed", "engine=eager", "steps=4"]) == 0
    assert main(["train", *TINY, *SHALLOW, "protocol=none", "run_dir=mixed", "engine=compile"]) == 0
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
    assert choose(composed(*[o for o in TINY if not o.startswith("discriminator")], *resnets, "steps=50000"), CPU).kind == "compile"
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
    words = [sys.executable, "-m", "sngan", "train", *TINY, *SHALLOW, "protocol=none", "run_dir=run", "engine=compile"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sngan: engine=compile: torch could not compile these networks (")
    assert done.stderr.endswith("use engine=eager\n")
    assert done.stderr.count("\n") == 1


def test_a_refused_engine_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "run_dir=run", "engine=graph"]) == 2
    assert "engine=graph" in capsys.readouterr().err
    assert not Path("run").exists()


GPU = torch.device("cuda")


@needs_a_gpu
@pytest.mark.parametrize("game", GPU_GAMES)
def test_a_captured_step_is_the_step_bit_for_bit(game: str) -> None:
    eager, eager_stats = trained("eager", *GPU_GAMES[game], steps=20, device=GPU)
    graph, stats = trained("graph", *GPU_GAMES[game], steps=20, device=GPU)
    assert torch.equal(stats, eager_stats)
    assert distance(eager, graph) == 0.0


@needs_a_gpu
@pytest.mark.parametrize("kind", ["compile", "compiled_graph"])
def test_fused_kernels_of_a_gpu_train_the_same_twenty_steps(kind: Kind) -> None:
    eager, eager_stats = trained("eager", steps=20, device=GPU, dtype=torch.float64)
    fused, stats = trained(kind, steps=20, device=GPU, dtype=torch.float64)
    torch.testing.assert_close(stats, eager_stats, rtol=1e-9, atol=1e-11)
    assert distance(eager, fused) < 1e-9


@needs_a_gpu
@pytest.mark.parametrize("game", GPU_GAMES)
def test_a_step_of_a_gpu_is_that_of_the_cpu(game: str) -> None:
    here, here_stats = trained("eager", *GPU_GAMES[game], steps=3, dtype=torch.float64)
    there, stats = trained("eager", *GPU_GAMES[game], steps=3, device=GPU, dtype=torch.float64)
    torch.testing.assert_close(stats, here_stats, rtol=1e-8, atol=1e-10)
    assert distance(here, on_cpu(there)) < 1e-8


def on_cpu(state: TrainState) -> TrainState:
    for network in state.networks().values():
        network.to(CPU)
    return state


@needs_a_gpu
def test_bfloat16_of_a_gpu_stays_within_two_per_cent_of_float32_for_a_step() -> None:
    _, exact = trained("eager", *RESNETS, steps=1, device=GPU)
    for kind in ("eager", "compile"):
        _, rounded = trained(kind, *RESNETS, "precision=bf16", steps=1, device=GPU)
        assert not torch.equal(exact, rounded)
        torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


@needs_a_gpu
def test_a_graph_of_an_earlier_run_that_is_garbage_does_not_end_a_capture() -> None:
    for _ in range(2):
        _, train = engine_of("graph", composed(*TINY), GPU)
        cycle: list[object] = [train]
        cycle.append(cycle)
        threshold = gc.get_threshold()
        gc.set_threshold(20)  # collects many times in a step
        try:
            for step in range(5):
                train(inputs(composed(*TINY), step, GPU, torch.float32))
        finally:
            gc.set_threshold(*threshold)
        del train, cycle


def test_nothing_is_collected_during_a_capture() -> None:
    freed = []

    class Thing:
        def __del__(self) -> None:
            freed.append(self)

    def garbage() -> None:
        thing = Thing()
        thing.itself = thing  # type: ignore[attr-defined]

    garbage()
    with engine.nothing_collected():
        assert len(freed) == 1
        garbage()
        assert not gc.isenabled()
        assert len(freed) == 1
    assert gc.isenabled()


def warmed_up(kind: Kind, *overrides: str) -> tuple[engine.Engine, list[Inputs]]:
    """An engine on the GPU that has trained for five steps, and the inputs of three more."""
    torch._dynamo.reset()
    config = composed(*TINY, *overrides)
    _, train = engine_of(kind, config, GPU)
    steps = [inputs(config, step, GPU, torch.float32) for step in range(8)]
    for step in steps[:5]:
        train(step)
    return train, steps[5:]


@needs_a_gpu
@pytest.mark.parametrize("kind", ["eager", "graph"])
def test_statistics_of_a_step_are_left_alone_by_later_ones(kind: Kind) -> None:
    train, steps = warmed_up(kind)
    stats = train(steps[0])
    before = {name: value.item() for name, value in stats.items()}
    train(steps[1])
    assert before == {name: value.item() for name, value in stats.items()}


@needs_a_gpu
@pytest.mark.parametrize(
    ("kind", "game"), [*((kind, "spectral") for kind in engine.PARTS), *(("eager", game) for game in GPU_GAMES)]
)
def test_nothing_waits_for_the_gpu_between_logs(kind: Kind, game: str) -> None:
    train, steps = warmed_up(kind, *GPU_GAMES[game])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in steps:
            train(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_a_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["eager", "compile", "graph", "compiled_graph"])
def test_a_game_is_the_same_to_the_bit_each_time(kind: Kind, precision: str) -> None:
    """Convolutions of cuDNN, and the sums of gradients over the images of a class."""
    first, first_stats = trained(kind, *CONDITIONAL, f"precision={precision}", steps=20, device=GPU)
    second, stats = trained(kind, *CONDITIONAL, f"precision={precision}", steps=20, device=GPU)
    assert torch.equal(stats, first_stats)
    assert distance(first, second) == 0.0


@needs_a_gpu
@pytest.mark.parametrize("kind", ["eager", "graph"])
def test_a_run_that_is_resumed_on_a_gpu_is_the_uninterrupted_one(kind: Kind) -> None:
    options = [*TINY, "device=cuda", "protocol=none", f"engine={kind}", "save_every=6", "steps=12"]
    assert main(["train", *options, "run_dir=whole"]) == 0
    assert main(["train", *options, "run_dir=halves", "steps=6"]) == 0
    assert main(["train", *options, "run_dir=halves"]) == 0
    weights = [Path(run, "checkpoints/step-00000012/generator_raw.safetensors").read_bytes() for run in ("whole", "halves")]
    assert weights[0] == weights[1]


@needs_a_gpu
def test_a_step_that_does_not_fit_is_not_said_to_be_uncapturable() -> None:
    config = composed(*TINY)
    _, train = engine_of("graph", config, GPU)
    for step in range(engine.WARMUP_STEPS):
        train(inputs(config, step, GPU, torch.float32))
    large = inputs(composed(*TINY, "batch=4096"), 9, GPU, torch.float32)
    taken = torch.cuda.memory_reserved() / torch.cuda.get_device_properties(GPU).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(taken)
        with pytest.raises(UserError, match="the GPU's memory does not hold this step"):
            train(large)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
