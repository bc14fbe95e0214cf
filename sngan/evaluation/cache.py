"""Results that are worth keeping between runs, in a folder of the user's: `SNGAN_CACHE`, or the platform's cache folder.

A result's name is the hash of all that it was made from, so what is there is never stale, and deleting any of it is harmless.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


def folder() -> Path:
    """Where results are kept; it need not exist."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SNGAN_CACHE") or user_cache_path("sngan"))


def remembered(kind: str, made_from: dict[str, Any], make: Callable[[], Tensors]) -> Tensors:
    """What `make` gave for the same `kind` and `made_from` (plain values), now or in an earlier run.

    Written under another name and renamed, so that several processes may do so at once. A damaged file is made anew. Where the folder
    cannot be written this is said, and nothing is kept.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    name = hashlib.sha256(json.dumps([kind, made_from], sort_keys=True).encode()).hexdigest()
    path = folder() / f"{kind}-{name[:32]}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError, RuntimeError):  # the last from torch, where another process removes the file as it is opened
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
            f"{path.parent} cannot be written ({error}), so {kind} is made anew each time; set SNGAN_CACHE to another folder"
        )
    return made
