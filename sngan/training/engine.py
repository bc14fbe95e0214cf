"""How a training step is run: as it is written, with compiled networks, or as one CUDA graph. The step itself does not depend on it."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sngan import devices, distributed
from sngan.config import Config
from sngan.errors import UserError
from sngan.state import TrainState
from sngan.training.step import Game, Inputs, train_step

Kind = Literal["eager", "compile", "graph", "compiled_graph"]

PARTS: dict[Kind, tuple[str, ...]] = {
    "eager": (),
    "compile": ("compile",),
    "graph": ("graph",),
    "compiled_graph": ("compile", "graph"),
}
"""What each engine does to the step."""

FASTEST_FIRST: tuple[Kind, ...] = ("compiled_graph", "graph", "compile", "eager")

Stats = dict[str, Tensor]
Engine = Callable[[Inputs], Stats]
"""Runs one training step on a state, in place, and returns its statistics as scalar tensors that later steps do not change."""

WARMUP_STEPS = 3
"""Training steps before the capture, in which libraries make their plans and the optimisers their moments. They count as steps."""

WORTH_COMPILING = 20_000
"""On a CPU `auto` compiles only runs of at least this many steps, because compiling takes up to a minute."""

FASTER_COMPILED_ON_CPU = {"resnet"}
"""Networks that compiling speeds up on a CPU: the ResNets are 1.1 times as fast, while the standard CNN takes 1.3 times as long
(scripts/results/benchmark_cpu_*.json)."""

MOST_GRAPHS = 1024
"""The most graphs that a process compiles. A run needs two to six, a sweep or a benchmark those of all its runs. Torch's own limit is 8, and
it would hold for the whole process because one function, `Normalized.forward`, runs all networks; code beyond it would not be compiled."""


class Choice(NamedTuple):
    """An engine and why it was chosen; the reason is None if the user asked for it."""

    kind: Kind
    reason: str | None


def choose(config: Config, device: torch.device) -> Choice:
    """The engine to use; `auto` is the fastest that the device and the run allow. Raises `UserError` if the one asked for cannot run."""
    refusals = {part: why_not(part, device) for part in ("compile", "graph")}
    if config.sync_batch_norm and distributed.world_size() > 1:
        refusals["compile"] = (
            refusals["compile"] or "sync_batch_norm waits for other ranks inside the networks, which is not compiled"
        )
    if config.engine == "auto":
        return _fastest(config, device, refusals)
    refusal = next((refusals[part] for part in PARTS[config.engine] if refusals[part]), None)
    if refusal:
        raise UserError(f"engine={config.engine}: {refusal}; use engine=eager, or auto for the fastest that can run")
    return Choice(config.engine, None)


def why_not(part: str, device: torch.device) -> str | None:
    """Why networks cannot be compiled, or a step cannot be captured, on this device; None if they can."""
    if part == "graph":
        if device.type != "cuda":
            return f"CUDA graphs are for NVIDIA GPUs, and the device is {device.type}"
        return "a graph is of one process, and there are several" if distributed.world_size() > 1 else None
    return devices.why_not_compile(device)


def _fastest(config: Config, device: torch.device, refusals: dict[str, str | None]) -> Choice:
    on_gpu = device.type == "cuda"
    if device.type == "cpu" and not refusals["compile"]:
        if not {config.generator.name, config.discriminator.name} <= FASTER_COMPILED_ON_CPU:
            return Choice("eager", "on a CPU only the ResNets are faster compiled")
        if config.steps < WORTH_COMPILING:
            return Choice("eager", f"compiling costs more than it saves in {config.steps} steps on a CPU")
    kind = next(kind for kind in FASTEST_FIRST if not any(refusals[part] for part in PARTS[kind]))
    lacking = [refusal for part, refusal in refusals.items() if refusal and (on_gpu or part == "compile")]
    fastest = "compiled networks, and the whole step one CUDA graph" if on_gpu else "compiled networks, which pays in a long run"
    return Choice(kind, "; ".join(lacking) or fastest)


def build(kind: Kind, state: TrainState, game: Game) -> Engine:
    """An engine that trains `state` by one step at each call. Build it after the state is restored: it may keep the state's tensors.

    With compiled networks, a step raises `UserError` instead of running a network uncompiled.
    """
    step: Engine = partial(train_step, state, game)
    if "compile" in PARTS[kind]:
        # in place, by torch.nn.Module.compile: names and tensors stay what they are. A full graph is compiled or is an error
        for network in (state.G, state.D):
            network.compile(dynamic=False, fullgraph=True)
        step = _compiled(step, kind)
    return CapturedStep(step) if "graph" in PARTS[kind] else step


def _compiled(step: Engine, kind: Kind) -> Engine:
    """`step` with the compiler's errors turned into `UserError`."""
    dynamo, exc = torch._dynamo.config, torch._dynamo.exc
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(dynamo, limit, max(getattr(dynamo, limit), MOST_GRAPHS))
    # sums are not split by what was timed, which would make one process differ from the next
    torch._inductor.config.deterministic = True
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores for float32 matrix multiplication available", UserWarning)
    # on a machine without a GPU, torch built for GPUs would warn that it finds none; and exceeding a limit is an error here, not a warning
    for logger in ("torch.utils.cpp_extension", "torch._dynamo.convert_frame"):
        logging.getLogger(logger).setLevel(logging.ERROR)

    def checked(inputs: Inputs) -> Stats:
        try:
            return step(inputs)
        except exc.FailOnRecompileLimitHit as error:
            raise UserError(
                f"engine={kind}: torch compiles no more than {dynamo.recompile_limit} graphs in a process; start another one, or use engine=eager"
            ) from error
        except exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"engine={kind}: torch could not compile these networks ({reason}); use engine=eager") from error

    return checked


class CapturedStep:
    """A training step as one CUDA graph: captured once with inputs of its own; each replay first copies new inputs into them."""

    def __init__(self, step: Engine):
        self._step = step
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm_up_stream = torch.cuda.Stream()

    def __call__(self, inputs: Inputs) -> Stats:
        self._steps += 1
        if self._steps <= WARMUP_STEPS:
            return self._warm_up(inputs)
        if self._graph is None:
            self._capture(inputs)
        assert self._graph is not None
        torch._foreach_copy_(_tensors(self._inputs), _tensors(inputs))
        self._graph.replay()
        # one copy of them all, because the next replay overwrites the graph's own
        return dict(zip(self._names, self._values.clone().unbind(), strict=True))

    def _warm_up(self, inputs: Inputs) -> Stats:
        """A step without a graph, on a side stream, as a later capture requires."""
        here = torch.cuda.current_stream()
        self._warm_up_stream.wait_stream(here)
        with torch.cuda.stream(self._warm_up_stream):
            stats = self._step(inputs)
        here.wait_stream(self._warm_up_stream)
        return stats

    def _capture(self, inputs: Inputs) -> None:
        """Records the step without running it."""
        graph = torch.cuda.CUDAGraph()
        try:
            self._inputs = Inputs(*(None if t is None else t.clone() for t in inputs))  # type: ignore[arg-type]
            # other threads may talk to the GPU meanwhile
            with nothing_collected(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                stats = self._step(self._inputs)
                self._names, self._values = list(stats), torch.stack([value.float() for value in stats.values()])
        except torch.OutOfMemoryError as error:
            raise UserError(
                "engine: the GPU's memory does not hold this step as a CUDA graph beside the networks; use a smaller batch, or engine=compile"
            ) from error
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"engine: this step cannot be captured as a CUDA graph ({reason}); use engine=compile or eager"
            ) from error
        self._graph = graph


@contextmanager
def nothing_collected() -> Iterator[None]:
    """No garbage is collected inside the block: an earlier run's graph in it would end the capture of this one's."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _tensors(inputs: Inputs) -> list[Tensor]:
    return [t for t in inputs if t is not None]
