"""Files of other projects, which may be anybody's: tensors, numbers and text come out, and no code of theirs runs."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from sngan.errors import UserError
from sngan.processes import open_regular

_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64")),
]
"""What numpy's numbers are made of: StudioGAN keeps its best FID as one."""

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
"""What TorchScript calls the types of numbers."""

MOST_PICKLE = 2**24
"""Bytes of what a file holds besides numbers."""


def read(path: Path) -> Mapping[str, Any]:
    """What a file of `torch.save` or TorchScript holds, its tensors on the CPU; of TorchScript the state dict alone.

    Raises `UserError` for a file that is missing, damaged or compressed, or holds more than tensors, numbers and text.
    """
    try:
        with open_regular(path, follow=True) as file:
            content = _content(file, path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint or a state dict")
    tensors = _tensors(content)
    odd = next((name for name, t in tensors if t.layout != torch.strided or t.is_quantized or t.is_complex() or t.is_meta), None)
    if odd is not None:
        raise UserError(f"{path}: {odd[:100]} is sparse, quantised or complex; networks that can be read hold plain numbers")
    if sum(tensor.numel() * tensor.element_size() for _, tensor in tensors) > path.stat().st_size:
        raise UserError(f"{path}: its tensors say that they are larger than the file; it is damaged or hostile")
    return content


def _tensors(content: Mapping[Any, Any]) -> list[tuple[str, Tensor]]:
    """The tensors that a network may be made of: those in the file's mapping, and in the mappings in it."""
    found = [item for value in content.values() if isinstance(value, Mapping) for item in value.items()]
    return [(str(name), value) for name, value in [*content.items(), *found] if isinstance(value, Tensor)]


def _content(file: IO[bytes], path: Path) -> Any:
    try:
        if not zipfile.is_zipfile(file):
            with torch.serialization.safe_globals(NUMPY):
                return torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(file) as archive:
            _refuse_bomb(archive, path)
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return _scripted(archive)
        with torch.serialization.safe_globals(NUMPY):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds more than tensors, numbers and text, or is no file of torch, so it is not read; save its state dict alone"
        ) from None
    except UserError:
        raise
    except Exception as error:  # unpickling raises almost anything on bytes that it does not expect
        raise UserError(f"{path} is no checkpoint of torch, or is damaged ({type(error).__name__})") from None


def _refuse_bomb(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members if not m.filename.endswith((".py", ".debug_pkl"))):
        raise UserError(f"{path} is compressed, as torch never does; save it again by torch.save")
    if sum(m.file_size for m in members if m.compress_type == zipfile.ZIP_STORED) > path.stat().st_size:
        raise UserError(f"{path} says that it holds more than it has; it is damaged or hostile")


class _Module(dict[str, Any]):
    """A TorchScript module, of which its attributes stay."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


class _Unpickler(pickle.Unpickler):
    """Reads a TorchScript file's modules as dictionaries; their classes, which are code, are looked at by nobody."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, prefix: str):
        super().__init__(file)
        self.archive, self.prefix = archive, prefix
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle":
            return lambda *values: values[0] if values else None
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, n = pid
        if key not in self.storages:
            self.storages[key] = torch.frombuffer(bytearray(self.archive.read(f"{self.prefix}data/{key}")), dtype=dtype)
        if len(self.storages[key]) != n:
            raise pickle.UnpicklingError("a storage is cut short")
        return self.storages[key]


def _tensor(flat: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if len(size) != len(stride) or offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= max(len(flat), 1):
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return torch.as_strided(flat, size, stride, offset)


def _scripted(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """The tensors of a TorchScript file by the names of its state dict."""
    (named,) = (m for m in archive.infolist() if m.filename.endswith("/data.pkl"))
    if named.file_size > MOST_PICKLE:
        raise pickle.UnpicklingError("its pickle is too large")
    with archive.open(named) as file:
        return _state(_Unpickler(file, archive, named.filename.removesuffix("data.pkl")).load(), "")


def _state(module: Any, prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in module.items() if isinstance(module, _Module) else ():
        if isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
        else:
            found |= _state(value, f"{prefix}{name}.")
    return found
