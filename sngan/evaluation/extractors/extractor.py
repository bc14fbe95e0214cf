"""What a feature extractor is to a score: a checked weights file, and the network that it fills."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sngan.devices import why_not_compile
from sngan.errors import UserError

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""How long a download waits for an answer."""

WORTH_COMPILING = 10_000
"""Images from which on `auto` compiles on a CPU: there Inception gains some 8 ms an image, and compiling takes half a minute
(scripts/results/scoring_speed.json). On a GPU, which sees as many in seconds, it does not pay."""


@dataclass(frozen=True)
class Extractor:
    """A network before it is loaded. Its weights file is checked when it is made, so that a run with a bad file stops before its first step."""

    label: str
    """Its name in the names of scores."""
    weights: Path | None
    sha256: str
    """The hash of the weights file, or of the tensors if there is no file."""
    distance: Literal["fid", "fd"]
    """The name of the Fréchet distance: 'fid' for the 2015 Inception weights only."""
    network: Callable[[Any], nn.Module]
    """Loads the weights file."""
    classifies: bool = True
    """Whether there are logits, which the Inception score needs."""
    cpu_batch: int = 32
    """How many images it sees at once on a CPU: so few that what its layers make stays in the processor's cache."""
    compile: bool | Literal["auto"] = False
    """Whether it runs compiled: the same numbers but for rounding; auto: where that saves time."""

    def compiles(self, n: int, device: torch.device) -> bool:
        """Whether it is to be compiled for n images."""
        if self.compile == "auto":
            return device.type == "cpu" and n >= WORTH_COMPILING and not why_not_compile(device)
        return self.compile

    def load(self, device: torch.device | str, *, compiled: bool = False) -> nn.Module:
        """The network in eval mode: uint8 [N, 3, H, W] in 0..255 -> (features [N, F], logits [N, K]), float32; K is 0 without logits."""
        network = self.network(self.weights).requires_grad_(False).eval().to(device)
        if compiled:
            network.compile(options={"freezing": True})  # its weights never change
        return _WhereItCompiles(network) if compiled and self.compile == "auto" else network


class _WhereItCompiles(nn.Module):
    """A network that nobody asked to compile: if that fails, it runs as it is."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.failed = False

    def forward(self, x: Tensor) -> Any:
        if not self.failed:
            try:
                return self.network(x)
            except torch._dynamo.exc.TorchDynamoException as error:
                self.failed = True
                log.warning(f"the extractor is not compiled, which would save time: {' '.join(str(error).split())[:200]}")
        return self.network.forward(x)


@contextmanager
def network_timeout() -> Iterator[None]:
    """Without a time limit, which torch.hub does not set, a network that drops packets would block the program for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def label_of(path: Path, sha256: str) -> str:
    """The name in scores of a weights file of the user's: its stem, with its hash if the stem is the name of a known network."""
    return f"{path.stem}-{sha256[:8]}" if path.stem in ("inception", "small_resnet") else path.stem


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, path: Path, what: str) -> None:
    """Raises `UserError` unless `found` has the names and shapes of `expected`, and finite floating-point numbers.

    Batch norm's counters may be missing or of another type: evaluation does not use them.
    """
    needed = {name for name in expected if not name.endswith(".num_batches_tracked")}
    faults = [f"{name} is missing" for name in sorted(needed - found.keys())]
    faults += [f"{name} does not belong" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(needed & found.keys()):
        tensor, shape = found[name], expected[name].shape
        if tensor.shape != shape:
            faults.append(f"{name} has shape {list(tensor.shape)}, not {list(shape)}")
        elif not tensor.is_floating_point() or not tensor.isfinite().all():
            faults.append(f"{name} holds other than finite floating-point numbers")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"extractor.weights={path} is not {what}: {faults[0]}{more}")
