"""Generators on the Hugging Face Hub: exported folders, as `huggingface_hub` stores them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from sngan.errors import UserError
from sngan.processes import cache_folder
from sngan.runs.exported import CONFIG, WEIGHTS

SCHEME = "hf://"
FAULTS = (OSError, ValueError, RuntimeError)
"""What `huggingface_hub` raises: its errors of HTTP are OSErrors."""

EXTRA = "the Hub needs the extra hub, which is not installed: pip install 'sngan[hub]'"


def download(source: str) -> Path:
    """The local copy of `hf://user/name`, or of a revision as `hf://user/name@revision`; `UserError` if it cannot be had.

    Files that are here already are not fetched again, and none but those of an exported generator are fetched.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", source)
    if not match:
        raise UserError(f"{source}: give hf://user/name, or hf://user/name@revision")
    check(match[1])
    from huggingface_hub import snapshot_download

    # files rather than links into the Hub's own cache
    folder = cache_folder() / "hub" / re.sub(r"[/@]+", "--", source.removeprefix(SCHEME))
    try:
        return Path(snapshot_download(match[1], revision=match[2], local_dir=folder, allow_patterns=[CONFIG, WEIGHTS, "README.md"]))
    except FAULTS as error:
        raise UserError(f"{source} cannot be had: {_reason(error)}") from None


def check(name: str) -> None:
    """Raises `UserError` unless this is `user/name` and the extra is installed."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{name}: give user/name")
    if find_spec("huggingface_hub") is None:
        raise UserError(EXTRA)


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Makes `user/name` on the Hub if need be and uploads the files of a folder to it; gives its address. Raises `UserError`."""
    check(name)
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="An SNGAN generator")
    except FAULTS as error:
        raise UserError(f"{name} cannot be written on the Hub: {_reason(error)}; hf auth login signs in") from None
    return str(address)


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
