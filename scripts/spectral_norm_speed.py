"""What spectral norm costs on the weights of networks that people have, by `sngan.spectral_norm` and by torch's two functions.

    python scripts/spectral_norm_speed.py --out scripts/results/spectral_norm_speed.json

An update is what the norm does in a training step: each weight is used in one forward, or in two as in a GAN's discriminator, a gradient
comes back to each use, and the weights change. It is measured alone, where a small difference shows, and in a training step: the whole
network's forward and backward pass. One process; an update of each form in turn, so that all meet the same moments of the machine; the median
of the rounds' ratios of CPU time counts.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from record_head import head
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm as parametrized
from torch.nn.utils.spectral_norm import SpectralNorm as OldHook

from sngan import ImageSpec, compose, spectral_norm
from sngan.benchmark.measures import kernel_calls
from sngan.files import write_json
from sngan.layers import normalized_weight
from sngan.layers.weights import weights
from sngan.networks import build_discriminator

warnings.simplefilter("ignore")  # torch's older function is to be replaced, and batch norms keep their scales: both are known here


class UNet(nn.Module):
    """A small U-Net as in diffusion: 32 px, widths 64 and 128, attention in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(3, 64, 3, padding=1)
        self.down = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.attention = nn.MultiheadAttention(128, 4, batch_first=True)
        self.middle = nn.Conv2d(128, 128, 3, padding=1)
        self.up = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1)
        self.out = nn.Conv2d(128, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.into(x).relu()
        h = self.down(first).relu()
        tokens = h.flatten(2).mT
        h = h + self.attention(tokens, tokens, tokens, need_weights=False)[0].mT.reshape(h.shape)
        return self.out(torch.cat([first, self.up(self.middle(h).relu()).relu()], dim=1))


def discriminator(resolution: int) -> nn.Module:
    """The paper's ResNet discriminator for this size, without its norm."""
    config = compose(["experiment=cifar10_resnet", "discriminator.normalization=none"])
    return build_discriminator(config, ImageSpec(resolution, 3, 0)).network


SHAPES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ResNet-18, 8 images of 64 px": (lambda: torchvision.models.resnet18(num_classes=10), (8, 3, 64, 64)),
    "U-Net with attention, 8 images of 32 px": (UNet, (8, 3, 32, 32)),
    "ViT-S block, 8 sequences of 196": (
        lambda: torchvision.models.vision_transformer.EncoderBlock(6, 384, 1536, 0.0, 0.0),
        (8, 196, 384),
    ),
    "D at 32 px, 16 images": (lambda: discriminator(32), (16, 3, 32, 32)),
    "D at 128 px, 2 images": (lambda: discriminator(128), (2, 3, 128, 128)),
}


def by_torch(network: nn.Module, function: Callable[..., nn.Module]) -> nn.Module:
    """One of torch's functions on each weight that ours finds; attention's Q, K and V are one matrix there."""
    for layer, attribute, _ in weights(network).values():
        function(layer, attribute)
    return network


FORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ours": spectral_norm,
    "parametrizations": lambda network: by_torch(network, parametrized),
    "hooks": lambda network: by_torch(network, nn.utils.spectral_norm),
    "ours, norm=map": lambda network: spectral_norm(network, norm="map"),
}


def update_of(network: nn.Module, shape: tuple[int, ...], forwards: int) -> Callable[[], None]:
    """An update of the normalised weights, without the network's own work."""
    network(torch.randn(shape))  # a convolution's map meets its size
    places = [(module, name) for module in network.modules() for name in normalized_names(module)]
    parameters = [p for p in network.parameters() if p.dim() > 1]
    with torch.no_grad():
        gradients = [torch.randn_like(getattr(*place)) for place in places]

    def update() -> None:
        used = []
        for _ in range(forwards):
            for module in network.modules():  # torch's older function computes in a hook before the forward
                for hook in module._forward_pre_hooks.values():
                    if isinstance(hook, OldHook):
                        hook(module, None)
            used += [getattr(*place) for place in places]
        torch.autograd.backward(used, gradients * forwards)
        with torch.no_grad():
            torch._foreach_mul_(parameters, 1.0)
        for p in parameters:
            p.grad = None

    return update


def step_of(network: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    """A training step of the network with its normalised weights: forward, backward, and the weights change."""
    x = torch.randn(shape)
    parameters = list(network.parameters())

    def step() -> None:
        network(x).square().mean().backward()
        with torch.no_grad():
            torch._foreach_mul_(parameters, 1.0)
        for p in parameters:
            p.grad = None

    return step


def operations_batched(plain: nn.Module, shape: tuple[int, ...], forwards: int) -> int | None:
    """Operations of ours in the form that runs on a GPU, where each is a kernel: all matrices iterate as a few batches."""
    usual = normalized_weight.LAYER_BY_LAYER_ON
    normalized_weight.LAYER_BY_LAYER_ON = frozenset()
    try:
        update = update_of(spectral_norm(copy.deepcopy(plain)), shape, forwards)
        update()
        return kernel_calls(update, torch.device("cpu"), compiled=False)
    finally:
        normalized_weight.LAYER_BY_LAYER_ON = usual


def normalized_names(module: nn.Module) -> list[str]:
    """A module's weights that are computed from others."""
    by_hooks = [hook.name for hook in module._forward_pre_hooks.values() if isinstance(hook, OldHook)]
    return [*by_hooks, *(module.parametrizations if parametrize.is_parametrized(module) else ())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="shapes whose name has this in it")
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    record = {
        **head(
            "spectral_norm_speed.py",
            "the norm alone in an update, with its gradient, and in a training step; CPU time, all forms in turn",
        ),
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "shapes": {name: measured(name, options.rounds) for name in SHAPES if options.only in name},
    }
    if options.out:
        write_json(options.out, record)


def compared(updates: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of CPU time of each, after one round of warming up, and the median of their ratios to ours."""
    times: dict[str, list[float]] = {form: [] for form in updates}
    for i in range(rounds + 1):
        for form, update in updates.items():
            start = time.process_time()
            update()
            if i:
                times[form].append(1000 * (time.process_time() - start))
    return {
        "ms": {form: round(statistics.median(values), 2) for form, values in times.items()},
        "times_ours": {
            form: round(statistics.median(b / a for a, b in zip(times["ours"], values, strict=True)), 2)
            for form, values in times.items()
        },
    }


def measured(name: str, rounds: int) -> dict[str, Any]:
    """For one and two forwards: an update's CPU time, each form's over ours, and operations; the same times for a training step."""
    make, shape = SHAPES[name]
    torch.manual_seed(0)
    plain = make()
    found: dict[str, Any] = {"weights": len(weights(plain)), "numbers": sum(p.numel() for p in plain.parameters() if p.dim() > 1)}
    for forwards in (1, 2):
        updates = {form: update_of(norm(copy.deepcopy(plain)), shape, forwards) for form, norm in FORMS.items()}
        found[f"forwards={forwards}"] = {
            **compared(updates, rounds),
            "operations_batched": operations_batched(plain, shape, forwards),
            "operations": {form: kernel_calls(update, torch.device("cpu"), compiled=False) for form, update in updates.items()},
        }
    found["step"] = compared({form: step_of(norm(copy.deepcopy(plain)), shape) for form, norm in FORMS.items()}, rounds)
    print(name, found, flush=True)
    return found


if __name__ == "__main__":
    main()
