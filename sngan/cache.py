"""Results that are kept between runs, in the folder `SNGAN_CACHE` or the platform's cache folder of the user.

A result's name is the hash of everything it was made from, so no file is ever out of date, and any may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sngan.processes import cache_folder, open_regular

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


def remembered(
    kind: str, made_from: dict[str, Any], make: Callable[[], Tensors], *, fits: Callable[[Tensors], bool], quiet: bool = False
) -> Tensors:
    """The tensors that `make` returns for this `kind` and `made_from` (plain values), now or in an earlier run; kept as by `keep`."""
    found = recalled(kind, made_from, fits=fits)
    if found is None:
        found = make()
        keep(kind, made_from, found, quiet=quiet)
    return found


def recalled(kind: str, made_from: dict[str, Any], *, fits: Callable[[Tensors], bool]) -> Tensors | None:
    """The tensors that were kept of this; None if there are none, if their file is damaged, or if they do not fit."""
    from safetensors import SafetensorError

    # RuntimeError: safetensors opens the file twice, and torch says so where it was deleted in between
    with suppress(OSError, SafetensorError, RuntimeError):
        found = _read(_path(kind, made_from))
        if found is not None and fits(found):
            return found
    return None


def keep(kind: str, made_from: dict[str, Any], tensors: Tensors, *, quiet: bool = False) -> None:
    """Written under another name and renamed, so that several processes may do so at once.

    If the folder cannot be written, nothing is kept, and there is a warning unless `quiet`.
    """
    from safetensors import SafetensorError

    path = _path(kind, made_from)
    try:
        _write({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except (OSError, SafetensorError) as error:
        if not quiet:
            log.warning(
                f"{path.parent} cannot be written ({error}), so {kind} cannot be kept and will be computed again; set SNGAN_CACHE to another "
                "folder"
            )


def forget(kind: str, made_from: dict[str, Any]) -> None:
    """Deletes what is remembered of this, if anything is and if it can be."""
    with suppress(OSError):
        _path(kind, made_from).unlink()


def _path(kind: str, made_from: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps([kind, made_from], sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{kind}-{name[:32]}.safetensors"


def _read(path: Path) -> Tensors | None:
    """The tensors of a file, None if their checksum is not the one that it holds."""
    from safetensors import safe_open

    open_regular(path).close()
    with safe_open(path, "pt") as file:
        found: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return found if file.metadata() == _checksum(found) else None


def _write(tensors: Tensors, path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    os.close(descriptor)
    try:
        save_file(tensors, partial, metadata=_checksum(tensors))
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _checksum(tensors: Tensors) -> dict[str, str]:
    crc = 0
    for _, tensor in sorted(tensors.items()):
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return {"crc32": f"{crc:08x}"}
