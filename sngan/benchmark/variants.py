"""The variants in their order: the textbook's loop, then one more technique in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sngan.benchmark.textbook import LoaderInputs, TextbookStep, with_torch_spectral_norm
from sngan.config import Config
from sngan.data.batches import Batches
from sngan.data.images import Images, ImageSpec
from sngan.layers.normalized import Normalized
from sngan.layers.resampling import Resampling3x3
from sngan.networks import build_networks
from sngan.optimizer import trained
from sngan.precision import precision
from sngan.registry import build
from sngan.state import TrainState, initial_state
from sngan.training import engine
from sngan.training.fakes import TOGETHER_ON
from sngan.training.inputs import InputStream
from sngan.training.step import Game, Inputs


@dataclass(frozen=True)
class Variant:
    """A way to train: its name, what it adds to the variant before it, and everything it uses."""

    name: str = "textbook"
    adds: str = "torch's spectral norm, D on real and on generated images, float32, plain Adam, a DataLoader"
    norm_once: bool = False
    one_forward: bool = False
    frozen: bool = False
    resident: bool = False
    channels_last: bool = False
    fused_adam: bool = False
    fused_resampling: bool = False
    grouped: bool = False
    engine: engine.Kind = "eager"
    precision: str = "fp32"


def ladder(device: torch.device) -> list[Variant]:
    """The variants that make sense on the device, usually the slowest first.

    Each has what those before it have, except that bfloat16 is first tried without compiled networks.
    """
    on_gpu, compiles = device.type == "cuda", not engine.why_not("compile", device)
    compiled_graph, plain = "compiled_graph" if compiles else "graph", "graph" if on_gpu else "eager"
    uncompiled = ", not compiled" if compiles else ""
    rungs: list[tuple[bool, dict[str, object]]] = [
        (True, {"name": "norm_once", "adds": "W / sigma once for each version of the weights", "norm_once": True}),
        (True, {"name": "one_forward", "adds": "real and generated images through D together", "one_forward": True}),
        (True, {"name": "frozen_D", "adds": "no gradient of D's weights in G's update", "frozen": True}),
        (True, {"name": "resident", "adds": "images on the device as uint8", "resident": True}),
        (True, {"name": "channels_last", "adds": "channels_last", "channels_last": True}),
        (True, {"name": "fused_adam", "adds": "fused Adam", "fused_adam": True}),
        (True, {"name": "resampling", "adds": "convolution and resampling as one operation", "fused_resampling": True}),
        (device.type in TOGETHER_ON, {"name": "grouped_fakes", "adds": "all fakes of a step from one forward", "grouped": True}),
        (compiles, {"name": "compile", "adds": "compiled networks", "engine": "compile"}),
        (on_gpu, {"name": "graph", "adds": "the whole step as one CUDA graph", "engine": compiled_graph}),
        (on_gpu, {"name": "tf32", "adds": "TensorFloat-32 in convolutions", "precision": "tf32"}),
        (
            True,
            {
                "name": "bf16",
                "adds": f"bfloat16 in convolutions and matrix products{uncompiled}",
                "precision": "bf16",
                "engine": plain,
            },
        ),
        (
            compiles,
            {"name": "bf16_compile", "adds": "bfloat16 and compiled networks", "engine": compiled_graph if on_gpu else "compile"},
        ),
    ]
    variants = [Variant()]
    for runs_here, changes in rungs:
        if runs_here:
            variants.append(replace(variants[-1], **changes))  # type: ignore[arg-type]
    return variants


def recommended(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The fastest engine for each precision that was timed, of the records of a whole ladder: compiled only where that pays."""
    as_trained = records[max(i for i, r in enumerate(records) if (r["engine"], r["precision"]) == ("eager", "fp32")) :]
    slowest_first = sorted(as_trained, key=lambda r: -float(r["seconds"]))
    return {r["precision"]: r["engine"] for r in slowest_first}


class Contender:
    """A variant in the comparison: it has its own training state, and `step()` makes inputs and trains on them."""

    def __init__(self, variant: Variant, config: Config, spec: ImageSpec, images: Images, device: torch.device):
        self.variant, self.config, self.spec, self.images, self.device = variant, config, spec, images, device
        self.state = _state(variant, config, spec, device)
        self.game = Game(build("loss", config.loss), None, None, config.ema.decay)
        self._train_step = self._engine()
        self._batches: Batches | None = None
        self.inputs: Callable[[], Inputs]
        if variant.resident:
            self._batches = Batches(
                images, spec, batch=config.batch, d_steps=config.d_steps, seed=config.seed, data=config.data, device=device
            )
            stream, self._step = InputStream(config, self.state.G.network, self._batches, device), 0
            self.inputs = lambda: stream(self._next())
        else:
            self.inputs = LoaderInputs(config, images, self.state.G.network, device)

    def step(self) -> None:
        """One training step, including its inputs."""
        self.train_step(self.inputs())

    def train_step(self, inputs: Inputs) -> None:
        """One training step on these inputs."""
        with precision(self.variant.precision, self.device):  # type: ignore[arg-type]
            self._train_step(inputs)

    def close(self) -> None:
        """Ends the processes that load the inputs."""
        if self._batches:
            self._batches.close()

    def _engine(self) -> engine.Engine:
        variant = self.variant
        if variant.engine != "eager" or variant.precision != "fp32":
            return engine.build(variant.engine, self.state, self.game)
        return TextbookStep(self.state, self.game, one_forward=variant.one_forward, frozen=variant.frozen, grouped=variant.grouped)

    def _next(self) -> int:
        self._step += 1
        return self._step


def _state(variant: Variant, config: Config, spec: ImageSpec, device: torch.device) -> TrainState:
    if not variant.norm_once:
        unnormalized = config.discriminator.model_copy(update={"normalization": "none"})
        G, D = build_networks(config.model_copy(update={"discriminator": unnormalized}), spec)
        D = Normalized(with_torch_spectral_norm(D.network))
    else:
        G, D = build_networks(config, spec)
    for network in (G, D):
        for layer in network.modules():
            if isinstance(layer, Resampling3x3) and not variant.fused_resampling:
                layer.fused = False
    state = initial_state(config, G, D, device)
    if not variant.channels_last:
        for network in (state.G, state.D, state.G_ema):
            network.to(memory_format=torch.contiguous_format)
    if not variant.fused_adam:
        of_G, of_D = config.optimizer.of("g"), config.optimizer.of("d")
        state.G_optimizer = torch.optim.Adam(trained(state.G), lr=of_G.lr, betas=of_G.betas)
        state.D_optimizer = torch.optim.Adam(trained(state.D), lr=of_D.lr, betas=of_D.betas)
    return state
