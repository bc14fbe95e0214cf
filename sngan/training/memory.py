"""Whether a training step fits into memory, before it is tried."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sngan.config import Config
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator
from sngan.layers.normalized import Normalized
from sngan.precision import precision


class Need(NamedTuple):
    """The bytes that a training step keeps at a time, at least; what kernels need meanwhile comes on top."""

    fixed: int
    """Weights, their average, gradients and moments."""
    of_images: int
    """The images of a step."""
    of_batch: int
    """What the networks keep of a batch for backward, or of a micro-batch."""

    @property
    def total(self) -> int:
        """All."""
        return self.fixed + self.of_images + self.of_batch


def check_memory(need: Need, free: int | None, config: Config, device: torch.device, *, n: int, m: int) -> None:
    """Raises `UserError` that names what fits, if a step of n images and m latents a rank needs more bytes than are free (None: not known)."""
    if free is None or need.total <= free:
        return
    left = max(free - need.fixed, 0)
    part = left / (need.of_images + need.of_batch)
    fitting = [int(size * part) // 2 * 2 for size in (config.batch, config.g_batch)]
    splits = [k for k in _splits(config, n, m) if need.of_images + need.of_batch * config.accumulate / k <= left]
    advice = [f"accumulate={splits[0]}"] if splits else []
    advice += [f"batch={fitting[0]} g_batch={fitting[1]}"] if min(fitting) >= 2 else []
    raise UserError(
        f"{_asked(config)}: a training step keeps {need.total / 1e9:.1f} GB and {device} has {free / 1e9:.1f} GB free; "
        + (f"{' or '.join(advice)} may fit, or precision=bf16" if advice else "give narrower networks")
    )


def need_of(
    config: Config,
    G: Normalized[Generator],
    D: Normalized[nn.Module],
    spec: ImageSpec,
    device: torch.device,
    *,
    n: int,
    m: int,
) -> Need:
    """The need of a step with n images of each kind in a discriminator update and m latents in a generator update, on this rank.

    The larger of the two updates counts. What one image takes is the difference between four images and two, tried on the device.
    """
    numbers = [sum(p.numel() * p.element_size() for p in network.parameters()) for network in (G, D)]
    image = 4 * math.prod(spec.shape)
    with device, precision(config.precision, device):
        y = torch.zeros(4, dtype=torch.int64) if spec.n_classes else None
        z, x = torch.zeros(4, G.network.z_dim), torch.zeros(4, *spec.shape)
        of_G = _growth(lambda network, i: network(z[:i], None if y is None else y[:i]), G.network, device)
        of_D = _growth(lambda network, i: network(x[:i], None if y is None else y[:i]), D.network, device)
    images = config.d_steps * n * 2 * image
    return Need(5 * numbers[0] + 4 * numbers[1], images, max(2 * n * of_D, m * (of_G + of_D)) // config.accumulate)


def does_not_fit(config: Config, device: torch.device, *, n: int, m: int) -> str:
    """The message for a step of n images and m latents a rank that runs out of memory."""
    splits = [f"accumulate={k}, " for k in _splits(config, n, m)[:1]]
    return (
        f"{_asked(config)}: a training step does not fit into the memory of {device}; "
        f"try {''.join(splits)}batch={config.batch // 2} g_batch={config.g_batch // 2}, or precision=bf16"
    )


def _asked(config: Config) -> str:
    return f"batch={config.batch}, g_batch={config.g_batch}" + (
        f", accumulate={config.accumulate}" if config.accumulate > 1 else ""
    )


def _splits(config: Config, n: int, m: int) -> list[int]:
    """The larger values of `accumulate` that split n images and m latents."""
    if "forward" in (config.generator.iterate_per, config.discriminator.iterate_per):
        return []
    return [k for k in range(config.accumulate + 1, min(n, m) // 2 + 1) if n % k == m % k == 0]


def free_on(device: torch.device) -> int | None:
    """The bytes that are free on a GPU; None for other devices, which can take memory from elsewhere."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _growth(forward: Callable[[nn.Module, int], Tensor], network: nn.Module, device: torch.device) -> int:
    """The bytes that a network keeps for backward for each further image."""
    two, four = (_kept(forward, copy.deepcopy(network).to(device), i) for i in (2, 4))
    return (four - two) // 2


def _kept(forward: Callable[[nn.Module, int], Tensor], network: nn.Module, n: int) -> int:
    """The bytes that a forward of n images keeps for backward."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward(network, n)
    del output  # until here, or a storage could take the place of one that is gone
    return sum(kept.values())
