"""Results that are kept between runs, in the folder `SNGAN_CACHE` or the platform's cache folder of the user.

A result's name is the hash of everything it was made from, so no file is ever out of date, and any may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor

from sngan.processes import cache_folder, open_regular

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


def remembered(kind: str, made_from: dict[str, Any], holds: Mapping[str, int], make: Callable[[], Tensors]) -> Tensors:
    """The tensors that `make` returns for this `kind` and `made_from` (plain values), now or in an earlier run.

    `holds` gives their names, each with its number of dimensions. They hold finite numbers, and the first dimension of all is of one size.

    Written under another name and renamed, so that several processes may do so at once. A file that is damaged or holds other tensors
    is made again. If the folder cannot be written, there is a warning and nothing is kept.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    name = hashlib.sha256(json.dumps([kind, made_from], sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"{kind}-{name[:32]}.safetensors"
    # RuntimeError: safetensors opens the file twice, and torch says so where it was deleted in between
    with suppress(OSError, SafetensorError, RuntimeError):
        open_regular(path).close()
        found: Tensors = load_file(path)
        if _is_fit(found, holds):
            return found
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        os.close(descriptor)
        try:
            save_file({name: tensor.contiguous() for name, tensor in made.items()}, partial)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except (OSError, SafetensorError) as error:
        log.warning(
            f"{path.parent} cannot be written ({error}), so {kind} cannot be kept and will be computed again; set SNGAN_CACHE to another folder"
        )
    return made


def _is_fit(found: Tensors, holds: Mapping[str, int]) -> bool:
    return (
        {name: tensor.dim() for name, tensor in found.items()} == dict(holds)
        and len({len(tensor) for tensor in found.values()}) == 1
        and all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in found.values())
    )
