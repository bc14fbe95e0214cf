"""A generator that has left its run: a folder of `model.safetensors` and `config.json`, without paths of the machine that trained it.

The weights are plain: with their norm applied, and with the batch-norm statistics with which they are scored. Like a checkpoint, the folder
is data: what `config.json` names is looked up in the registry.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt

from sngan.config import Component, Config, Rounding, Section, parse
from sngan.data.images import ImageSpec
from sngan.errors import DamagedError, UserError
from sngan.files import read_object, write_json
from sngan.generators.generator import Generator
from sngan.keys import flat
from sngan.processes import open_regular
from sngan.provenance import sha256_of, versions
from sngan.registry import build
from sngan.runs import earlier
from sngan.runs.checkpoint import GENERATORS, Checkpoint, Image, save_tensors
from sngan.runs.tensors import check_size, load_tensors

FORMAT = "sngan-generator-1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"

LOCAL = {"run_dir", "plugins", "device"}
"""Keys of a run that say something of the machine alone."""


class Exported(Section):
    """The content of `config.json`."""

    format: str
    generator: Component
    image: Image
    rounding: Rounding
    step: NonNegativeInt
    weights: Literal["ema", "raw"]
    batch_norm: str
    checkpoint_sha256: str
    """Of the file of weights in the checkpoint, which records of scores hold as `generator`."""
    sha256: str
    """Of `model.safetensors`."""
    training: dict[str, Any]
    """The run's config by keys with dots, without what names files or folders."""
    versions: dict[str, str]


def public(config: Config) -> dict[str, Any]:
    """A run's config by keys with dots, without paths: of data and extractor only names and numbers stay, elsewhere no text with a slash."""
    values = flat(config.model_dump(mode="json"))
    return {key: value for key, value in values.items() if key not in LOCAL and not _is_local(key, value)}


def _is_local(key: str, value: Any) -> bool:
    section, _, option = key.partition(".")
    text = isinstance(value, str)
    return text and ("/" in value or "\\" in value or (section in ("data", "extractor") and option not in ("name", "sha256")))


def known_of(
    checkpoint: Checkpoint, config: Config, *, weights: Literal["ema", "raw"], rounding: Rounding, batch_norm: str
) -> dict[str, Any]:
    """The content of `config.json` but for the format and the hash of the weights."""
    return {
        "generator": {"name": config.generator.name, **config.generator.options},
        "image": asdict(checkpoint.spec),
        "rounding": rounding,
        "step": checkpoint.step,
        "weights": weights,
        "batch_norm": batch_norm,
        "checkpoint_sha256": checkpoint.sha256[GENERATORS[weights]],
        "training": public(config),
        "versions": versions(),
    }


def save(G: Generator, known: dict[str, Any], folder: Path) -> None:
    """Writes both files into a folder; `known` is as `known_of` gives it."""
    save_tensors(G, folder / WEIGHTS)
    exported = parse(Exported, {"format": FORMAT, **known, "sha256": sha256_of(folder / WEIGHTS)}, build_check=False)
    write_json(folder / CONFIG, exported.model_dump(mode="json"))


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported generator rather than a run or a checkpoint."""
    return (folder / WEIGHTS).is_file()


def load(folder: Path) -> tuple[Generator, Exported]:
    """The generator, on the CPU in evaluation mode, and what is known of it; `UserError` for what is damaged or not of this version."""
    path = folder / WEIGHTS
    values = read_object(folder / CONFIG) or {}
    if values.get("format") != FORMAT:
        raise UserError(
            f"{folder / CONFIG} has format {values.get('format')}, this version reads {FORMAT}; use the version that wrote it"
        )
    values["generator"] = earlier.component("generator", values.get("generator"))
    exported = parse(Exported, values, build_check=False)
    try:
        open_regular(path, follow=True).close()
        whole = sha256_of(path) == exported.sha256
    except OSError:
        whole = False
    if not whole:
        raise DamagedError(f"{path} is damaged: missing, cut short or changed", "copy or download it again")
    spec = ImageSpec(**exported.image.model_dump())
    check_size(path, lambda: build("generator", exported.generator, spec))
    with torch.random.fork_rng(devices=[]):  # initial weights, which are about to be replaced
        G: Generator = build("generator", exported.generator, spec)
    load_tensors(G, path)
    return G.eval(), exported
