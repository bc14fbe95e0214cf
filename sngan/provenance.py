"""What made a number: the software, and the content of files."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED = ("sngan", "torch", "torchvision", "torch-fidelity", "numpy", "hydra-core")


def sha256_of(path: Path) -> str:
    """Of the whole file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that can move a result, by name."""
    return {"python": platform.python_version(), **{name: _version(name) for name in RECORDED}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
