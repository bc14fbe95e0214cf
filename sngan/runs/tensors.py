"""Tensors in files that may be a stranger's: what a file says of itself is compared with what is expected before memory is taken."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sngan.errors import UserError
from sngan.files import said
from sngan.optimizer import restore_moments
from sngan.processes import open_regular

MOST_PICKLE = 2**24
"""Bytes of what `state.pt` holds besides numbers: 0.4 kB for each parameter."""

PICKLED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16")),
}
"""What the pickle of optimiser moments names. `weights_only` allows more, among it what takes as much memory as it is told to."""


def load_tensors(network: nn.Module, path: Path) -> None:
    """Copies a safetensors file into the network's own tensors, in place.

    Raises `UserError` if names, shapes or types differ, or a value is NaN or infinite.
    """
    from safetensors import SafetensorError, safe_open

    own = network.state_dict()
    try:
        open_regular(path).close()
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, it is no dict
            fault = _unfit(shapes, {name: tuple(tensor.shape) for name, tensor in own.items()})
            tensors = {} if fault else {name: file.get_tensor(name) for name in own}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {said(error)}") from None
    fault = fault or next(
        (f"{name} is {t.dtype}, not {own[name].dtype}" for name, t in tensors.items() if t.dtype != own[name].dtype), ""
    )
    if fault:
        raise UserError(f"{path} does not fit the network of the config: {fault}")
    broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if broken:
        raise UserError(
            f"{path}: {broken} holds NaN or infinity, so nothing that this network makes means anything; take another checkpoint"
        )
    network.load_state_dict(tensors)


class Fitted(NamedTuple):
    """What became of a file's tensors in a network that may be another one."""

    names: list[str]
    """The network's tensors that were filled."""
    left: list[str]
    """The layers that were not, a line each, with the reason."""
    lacks_vectors: bool
    """Whether a weight was filled whose u and v were not."""


@torch.no_grad()
def load_fitting(network: nn.Module, path: Path, *, but: Collection[str] = ()) -> Fitted:
    """Copies the layers of a safetensors file that fit into the network's own of the same names, in place; the others, and those named in `but`,
    stay as they are.

    A layer fits if the parameters that both have are of the same shape and type. Raises `UserError` for a file that cannot be read, and for
    values that are NaN or infinite.
    """
    from safetensors import SafetensorError, safe_open

    own = {name: tensor for name, tensor in network.state_dict().items() if name not in but}
    parameters = dict(network.named_parameters())
    names: list[str] = []
    reasons: dict[str, str] = {}
    try:
        open_regular(path).close()
        with safe_open(path, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, it is no dict
            for name in parameters.keys() & found.keys():
                if found[name] != tuple(own[name].shape):
                    layer, _, last = name.rpartition(".")
                    reasons[layer] = f"{last} has shape {list(found[name])} there and {list(own[name].shape)} here"
            for name, tensor in own.items():
                if name in found and found[name] == tuple(tensor.shape) and name.rpartition(".")[0] not in reasons:
                    value = file.get_tensor(name)
                    if not value.isfinite().all():
                        raise UserError(f"{path}: {name} holds NaN or infinity; take another checkpoint")
                    tensor.copy_(value)
                    names.append(name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {said(error)}") from None
    for name in parameters.keys() - found.keys():
        layer, _, last = name.rpartition(".")
        reasons.setdefault(layer, f"{last} is not there")
    lines = [f"{layer[:100] or 'network'} stays as initialised: {reason}" for layer, reason in sorted(reasons.items())]
    ours = {name.rpartition(".")[0] for name in own}
    beyond = sorted({layer for name in found if (layer := name.rpartition(".")[0]) not in ours and name not in but})
    lines += [f"{layer[:100]} is there and has no place here" for layer in beyond]
    lacks = any(
        name in names and f"{name.rpartition('.')[0]}.{vector}" in own.keys() - set(names) for name in parameters for vector in "uv"
    )
    return Fitted([name for name in names if name in parameters], lines, lacks)


def _unfit(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """The first difference between names and shapes, '' if there is none."""
    for name in sorted(found.keys() ^ expected.keys()):
        return f"{name[:100]} {'is missing' if name in expected else 'does not belong'}"
    different = (name for name in expected if found[name] != expected[name])
    return next((f"{name} has shape {list(found[name])}, not {list(expected[name])}" for name in different), "")


def check_size(path: Path, build: Callable[[], nn.Module]) -> None:
    """Raises `UserError` unless a file is as large as the network is that `build` makes, which takes no memory here."""
    try:
        with torch.device("meta"):
            tensors = build().state_dict().values()
    except (NotImplementedError, RuntimeError):
        return  # one's own network, which cannot be made without memory
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > path.stat().st_size:
        raise UserError(
            f"{path} does not fit the network of the config: this takes {needed / 1e6:.1f} MB, the file has {path.stat().st_size / 1e6:.1f}"
        )


def restore_optimizers(optimizers: Mapping[str, torch.optim.Optimizer], path: Path) -> None:
    """Gives optimisers the moments that `state.pt` holds under their names; `UserError` if they do not fit."""
    try:
        moments = _moments(path)
        for name, optimizer in optimizers.items():
            restore_moments(optimizer, moments[name])
    except Exception as error:  # unpickling raises almost anything on bytes that it does not expect
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise UserError(f"checkpoint {path.parent}: {path.name} does not fit ({reason}); remove the folder") from None


def _moments(path: Path) -> Any:
    """What `state.pt` holds, its tensors as maps of the file, so that none takes more memory than the file has bytes."""
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("it says that it holds more than it has")
        (named,) = (member for member in members if member.filename.endswith("/data.pkl"))
        if named.file_size > MOST_PICKLE:
            raise ValueError("its pickle is too large")
        named_by = (
            argument for op, argument, _ in pickletools.genops(archive.read(named)) if op.name in ("GLOBAL", "INST", "STACK_GLOBAL")
        )
        found = set(named_by)
    if found - PICKLED:
        raise pickle.UnpicklingError("it names what optimisers do not keep")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
