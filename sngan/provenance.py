"""Where a number comes from: versions of the software, hashes of files."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED = ("sngan", "torch", "torchvision", "torch-fidelity", "numpy", "hydra-core")


def sha256_of(path: Path) -> str:
    """The sha256 of the whole file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that can change a result, by name."""
    return {"python": platform.python_version(), **{name: _version(name) for name in RECORDED}}


def commit() -> str | None:
    """The commit of the checkout, with a + if files differ from it; None if the package is not in a checkout."""
    folder = Path(__file__).parent
    try:
        known = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return known.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
