"""What test_distributed.py starts with torchrun: each rank prints one JSON line of what it saw."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
import sys

import torch

from conftest import TINY
from sngan import UserError, build, compose, distributed, spectral_norm, train
from sngan.data.batches import Batches
from sngan.layers.normalized import Normalized
from sngan.networks import build_networks
from sngan.signals import StopRequest
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.inputs import InputStream
from sngan.training.step import Game, Inputs


def watch() -> tuple[list[TrainState], list[torch.Tensor], list[torch.Tensor]]:
    """What each step of the next run is given."""
    states: list[TrainState] = []
    z: list[torch.Tensor] = []
    reals: list[torch.Tensor] = []
    play = engine.train_step

    def watched(state: TrainState, game: Game, inputs: Inputs) -> dict[str, torch.Tensor]:
        states.append(state)
        z.append(inputs.z_D)
        reals.append(inputs.x_real)
        return play(state, game, inputs)

    engine.train_step = watched
    return states, z, reals


def numbers() -> dict[str, str]:
    """What a step of a conditional game is given here, by name, as digests: lines of two processes stay whole while they are short."""
    config = compose(
        [*TINY, "conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet",
         "discriminator.widths=[8,8]", "discriminator.downsample=[true,true]", "data.flip=true"]
    )  # fmt: skip
    source = build("data", config.data)
    G, _ = build_networks(config, source.spec)
    options = {"batch": 8, "d_steps": 1, "seed": 0, "data": config.data, "device": torch.device("cpu")}
    batches = Batches(source.load("train"), source.spec, **options, rank=distributed.rank(), world=distributed.world_size())
    given = InputStream(config, G.network, batches, torch.device("cpu"))(0)
    return {
        name: hashlib.sha256(value.numpy().tobytes()).hexdigest()[:16]
        for name, value in given._asdict().items()
        if value is not None
    }


def stops() -> list[bool]:
    """Whether the run is to stop after some steps, when the second rank alone has been asked."""
    with StopRequest() as request:
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return [request.requested(step) for step in (1, 19, 20, 21, 40)]


def digest(network: Normalized[torch.nn.Module]) -> str:
    """Of every parameter, u, v and gamma; batch-norm statistics are each rank's own."""
    tensors = [t for name, t in sorted(network.state_dict().items()) if "running" not in name and "num_batches" not in name]
    assert any(name.endswith(".u") for name in network.state_dict())
    return hashlib.sha256(b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def in_place() -> float:
    """How far spectral norm in place, trained by torch's DistributedDataParallel, ends from one process on the batches of both."""
    torch.manual_seed(0)
    one = spectral_norm(torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double())
    many = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(one))
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-2) for network in (one, many)]
    for _ in range(5):
        x = torch.randn(8, 6, dtype=torch.float64)
        for network, optimizer, batch in zip((one, many), optimizers, (x, x.chunk(2)[distributed.rank()]), strict=True):
            optimizer.zero_grad()
            (network(batch).square().mean() + network(batch + 1).mean()).backward()
            optimizer.step()
    ends = zip(one.state_dict().values(), many.module.state_dict().values(), strict=True)
    return max((a - b).abs().max().item() for a, b in ends)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        gradients = [torch.full((2, 3), float(rank)), torch.full((4,), float(10 * rank))]
        distributed.average(gradients)
        module = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(module.weight, float(rank + 1))
        distributed.broadcast(module)
        try:
            distributed.share(5, "batch")
            refused = ""
        except UserError as error:
            refused = str(error)
        try:
            distributed.share(6, "batch", accumulate=2)
            refused_parts = ""
        except UserError as error:
            refused_parts = str(error)
        try:
            engine.choose(compose([*TINY, "engine=compile", "sync_batch_norm=true"]), torch.device("cpu"))
            not_compiled = ""
        except UserError as error:
            not_compiled = str(error)
        states, z, reals = watch()
        train(compose([*TINY, "run_dir=run", "evaluate_every=3", "sample_every=3"]))
        weights = [p.detach().flatten().double() for network in (states[-1].G, states[-1].D) for p in network.parameters()]
        rival = [
            "generator.normalization=spectral",
            "discriminator.scale=learned",
            "regularizer=gradient_penalty",
            "precision=bf16",
        ]
        train(compose([*TINY, "run_dir=rival", "protocol=none", *rival]))
        said = {
            "in_place": in_place(),
            "numbers": numbers(),
            "stops": stops(),
            "networks": [digest(states[-1].G), digest(states[-1].D)],
            "gradients": [g.flatten().tolist() for g in gradients],
            "weight": module.weight.flatten().tolist(),
            "any": distributed.any_rank(rank == 1),
            "first": distributed.from_first_rank(f"from {rank}"),
            "refused": refused,
            "not_compiled": not_compiled,
            "refused_parts": refused_parts,
            "weights": [w.sum().item() for w in weights],
            "latents": z[0].flatten()[:5].tolist(),
            "reals": reals[0].flatten()[:5].tolist(),
        }
        sys.stdout.write("\n" + json.dumps(said) + "\n")
        sys.stdout.flush()
