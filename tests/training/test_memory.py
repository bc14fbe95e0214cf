"""What a step keeps is predicted and compared with what a real one keeps, tensor by tensor; and a step that does not fit is told."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import TINY, alone, little_memory
from sngan import Config, UserError, build, compose, train
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.state import initial_state
from sngan.training.memory import Need, check_memory, need_of
from sngan.training.step import Game, Inputs, train_step

CPU = torch.device("cpu")
RESNET = ["generator=resnet", "generator.widths=[16,8,8,8]", "discriminator=resnet", "discriminator.widths=[8,8,8]",
          "discriminator.downsample=[true,true,false]"]  # fmt: skip


class MostBytes(TorchDispatchMode):
    """The most bytes of tensors made inside it that are there at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, weakref.ref[object]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in _pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


@pytest.mark.parametrize(
    "words",
    [[], RESNET, [*RESNET, "d_steps=3"], [*RESNET, "accumulate=4"]],
    ids=["cnn", "resnet", "three discriminator updates", "micro-batches"],
)
def test_the_prediction_is_what_a_step_keeps_at_least(words: list[str]) -> None:
    config = compose(
        [word for word in TINY if not words or not word.startswith("discriminator")] + [*words, "batch=32", "g_batch=64"]
    )
    spec, d, n, m = ImageSpec(32, 3, 0), config.d_steps, config.batch, config.g_batch
    networks = build_networks(config, spec)
    need = need_of(config, *networks, spec, CPU, n=n, m=m)
    state = initial_state(config, *networks, CPU)
    held = sum(p.numel() * 4 for network in (state.G, state.D, state.G_ema) for p in network.parameters())
    game = Game(build("loss", config.loss), None, None, config.ema.decay, accumulate=config.accumulate)
    inputs = Inputs(torch.rand(d, n, 3, 32, 32), None, torch.randn(d, n, 128), None, torch.rand(d, n), torch.randn(m, 128), None)
    given = inputs.x_real.numel() * 4
    with MostBytes() as counted:
        train_step(state, game, inputs)
    most = held + given + counted.most
    assert need.total <= most <= 2.2 * need.total, f"{need.total / most:.2f}"


def test_a_step_that_does_not_fit_names_what_may(tiny: Callable[..., Config]) -> None:
    need = Need(fixed=2_000_000_000, of_images=500_000_000, of_batch=7_500_000_000)
    for words, free, advice in (
        ([], 6, "6.0 GB free; accumulate=4 or batch=32 g_batch=64 may fit, or precision=bf16"),
        (["accumulate=2"], 6, "6.0 GB free; accumulate=8 or batch=32 g_batch=64 may fit, or precision=bf16"),
        (["discriminator.iterate_per=forward"], 6, "6.0 GB free; batch=32 g_batch=64 may fit, or precision=bf16"),
        ([], 2.6, "2.6 GB free; batch=4 g_batch=8 may fit, or precision=bf16"),
        ([], 1, "1.0 GB free; give narrower networks"),
    ):
        config = tiny("batch=64", "g_batch=128", *words)
        check_memory(need, 10_000_000_000, config, CPU, n=64, m=128)
        check_memory(need, None, config, CPU, n=64, m=128)
        asked = ", ".join(["batch=64, g_batch=128", *(word for word in words if "accumulate" in word)])
        with pytest.raises(UserError, match=re.escape(f"{asked}: a training step keeps 10.0 GB and cpu has {advice}") + "$"):
            check_memory(need, int(free * 1e9), config, CPU, n=64, m=128)


@alone
def test_running_out_of_memory_is_told_in_a_line(tiny: Callable[..., Config]) -> None:
    with (
        little_memory(300_000_000),
        pytest.raises(
            UserError,
            match=r"^batch=4096, g_batch=8: a training step does not fit into the memory of cpu; try accumulate=2, batch=2048",
        ),
    ):
        train(tiny("run_dir=run", "batch=4096", "data.n_train=4096", "protocol=none"))
