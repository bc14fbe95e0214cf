"""Checkpoints: folders of tensors and JSON, complete or not there at all.

    checkpoints/step-00050000/
        generator.safetensors       G_ema, what people want
        generator_raw.safetensors   G
        discriminator.safetensors   D, with the u, v and gamma of its spectral norm
        state.pt                    both optimisers; plain tensors and numbers, loaded with weights_only=True
        config.json                 the run's config
        checkpoint.json             format, step, image spec, versions, sha256 of the files above

A checkpoint is written under another name, flushed to the disk and renamed, so a kill at any moment leaves the ones before. Nothing in
it is code: names in config.json are looked up in the registry.
"""

from __future__ import annotations

import io
import logging
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt
from torch import nn

from sngan.config import Config, Keep, Resolution, Section, due, parse
from sngan.data.images import MOST_CLASSES, ImageSpec
from sngan.errors import DamagedError, UserError
from sngan.files import read_object, refuse_link, remove, write_json
from sngan.generators.generator import Generator
from sngan.layers.normalization import activation_norm
from sngan.layers.normalized import Normalized, bake
from sngan.networks import build_discriminator, build_generator
from sngan.processes import flush, open_regular
from sngan.provenance import sha256_of, versions
from sngan.registry import build
from sngan.runs import earlier
from sngan.runs.tensors import check_size, load_tensors, restore_optimizers
from sngan.state import TrainState

FORMAT = "sngan-checkpoint-4"
MANIFEST = "checkpoint.json"

FILES = ("generator.safetensors", "generator_raw.safetensors", "discriminator.safetensors", "state.pt", "config.json")
"""What a whole checkpoint holds besides its manifest."""

MOST_VALUES = 2**30
"""Numbers in a batch of images: 4 GB of them."""

GENERATORS = {"ema": "generator.safetensors", "raw": "generator_raw.safetensors"}
"""The averaged generator and the one that is trained; records of scores hold the file's sha256 as `generator`."""


ADVICE = "take the checkpoint before it"
"""For a checkpoint that is damaged."""

log = logging.getLogger(__name__)


class Image(Section):
    """An `ImageSpec` in a manifest."""

    resolution: Resolution
    channels: Annotated[int, Field(ge=1, le=1024)]
    n_classes: Annotated[int, Field(ge=0, le=MOST_CLASSES)]


class Manifest(Section):
    """The content of `checkpoint.json`."""

    format: str
    step: NonNegativeInt
    image: Image
    versions: dict[str, str]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose manifest has been read."""

    path: Path
    step: int
    spec: ImageSpec
    sha256: dict[str, str]
    whole: set[str] = field(default_factory=set, compare=False)
    """Files that have been compared with the manifest."""

    def file(self, name: str) -> Path:
        """A file of the checkpoint, after its content has been compared with the manifest, once; `DamagedError` if it is another."""
        path = self.path / name
        if name in self.whole:
            return path
        if name not in self.sha256:
            raise UserError(f"checkpoint {self.path} holds no {name}, as what was imported from other projects may")
        try:
            open_regular(path).close()
            whole = sha256_of(path) == self.sha256.get(name)
        except OSError:
            whole = False
        if not whole:
            raise DamagedError(f"checkpoint {self.path} is damaged: {name} is missing, cut short or changed", ADVICE)
        self.whole.add(name)
        return path

    def check(self) -> None:
        """Raises `DamagedError` unless every file is as it was written."""
        for name in FILES:
            self.file(name)

    def config(self) -> Config:
        """The run's config; `UserError` if this version cannot read it, or it asks for more than any machine has."""
        config = parse(Config, earlier.config(read_object(self.file("config.json")) or {}), build_check=False)
        if config.g_batch * math.prod(self.spec.shape) > MOST_VALUES:
            raise UserError(
                f"checkpoint {self.path}: g_batch={config.g_batch} images of {self.spec.channels} x {self.spec.size} px do not fit "
                "in a memory; it is damaged or not made by sngan"
            )
        return config


def size_of(state: TrainState) -> int:
    """The bytes of a checkpoint of the state, up to some kB: the networks, and two moments of each trained parameter."""
    tensors = [t for network in state.networks().values() for t in network.state_dict().values()]
    moments = [p for network in (state.G, state.D) for p in network.parameters() for _ in range(2)]
    return sum(t.numel() * t.element_size() for t in [*tensors, *moments])


def save(state: TrainState, config: Config, spec: ImageSpec, folder: Path) -> Path:
    """Writes the state after `state.step` steps as a new checkpoint in `folder` and returns its path; leaves a complete one as it is."""
    refuse_link(folder)
    final = folder / f"step-{state.step:08d}"
    refuse_link(final)
    if (final / MANIFEST).exists():
        return final
    partial = folder / f".partial-{final.name}"
    for incomplete in (partial, final):
        remove(incomplete)
    partial.mkdir(parents=True)
    for name, network in state.networks().items():
        save_tensors(network, partial / f"{name}.safetensors")
    # moments alone: rates and betas are the config's
    moments = {"G_optimizer": state.G_optimizer.state_dict()["state"], "D_optimizer": state.D_optimizer.state_dict()["state"]}
    buffer = io.BytesIO()
    torch.save(moments, buffer)
    (partial / "state.pt").write_bytes(buffer.getbuffer())  # by Python: a full disk is an OSError, where torch raises others
    (partial / "config.json").write_text(config.model_dump_json(indent=2))
    manifest = {
        "format": FORMAT,
        "step": state.step,
        "image": asdict(spec),
        "versions": versions(),
        "sha256": {path.name: sha256_of(path) for path in sorted(partial.iterdir())},
    }
    for path in partial.iterdir():
        flush(path)
    write_json(partial / MANIFEST, manifest, sealed=True)
    flush(partial)
    partial.rename(final)
    flush(folder)
    return final


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Fills `state` from a checkpoint of the same networks, so that training continues as if it had not stopped."""
    for name, network in state.networks().items():
        try:
            load_tensors(network, checkpoint.file(f"{name}.safetensors"))
        except UserError as error:
            raise UserError(f"{error}; a run cannot go on with other networks: give another run_dir=DIR") from None
    restore_optimizers({"G_optimizer": state.G_optimizer, "D_optimizer": state.D_optimizer}, checkpoint.file("state.pt"))
    state.step = checkpoint.step


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Reads the manifest of a checkpoint, or of the newest whole one in a run folder.

    Raises `UserError` when the folder is not there or holds no checkpoint that this version knows.
    """
    path = Path(path)
    if (path / "checkpoints").is_dir():
        return find(path, None)
    values = read_object(path / MANIFEST)
    if values is None:
        raise UserError(
            f"checkpoint={path}: no checkpoint there (no {MANIFEST}); give a folder such as runs/…/checkpoints/step-00001000"
        )
    found = values.get("format")
    if found not in (FORMAT, *earlier.FORMATS):
        known = ", ".join((FORMAT, *earlier.FORMATS))
        raise UserError(f"checkpoint {path} has format {found}, this version reads {known}; use the version that wrote it")
    try:
        manifest = parse(Manifest, values)
    except UserError as error:
        raise DamagedError(f"checkpoint {path} is damaged: {MANIFEST}: {error}", ADVICE) from None
    return Checkpoint(path, manifest.step, ImageSpec(**manifest.image.model_dump()), manifest.sha256)


def newest_whole(folder: Path) -> Checkpoint | None:
    """The checkpoint of the most steps in a `checkpoints` folder that is as it was written; None where there is none at all.

    A damaged one is passed over with a warning. Raises `UserError` if all are damaged, or a newer one is of a format that this version
    does not know.
    """
    saved = steps_saved(folder)
    for path in reversed(saved.values()):
        try:
            checkpoint = open_checkpoint(path)
            checkpoint.check()
        except DamagedError as error:
            log.warning(f"{error.what}; the checkpoint before it is taken")
        else:
            return checkpoint
    if saved:
        raise UserError(f"none of the checkpoints in {folder} is whole; remove them to begin anew")
    return None


def latest(folder: Path) -> Path | None:
    """The complete checkpoint of the most steps in a `checkpoints` folder."""
    complete = steps_saved(folder)
    return complete[max(complete)] if complete else None


def steps_saved(folder: Path) -> dict[int, Path]:
    """Complete checkpoints by step, in order; `UserError` for a link in the place of a folder."""
    refuse_link(folder)
    found = {
        int(m[1]): path
        for path in folder.glob("step-*")
        if (m := re.fullmatch(r"step-([0-9]{1,18})", path.name)) and (path / MANIFEST).exists()
    }
    for path in found.values():
        refuse_link(path)
    return dict(sorted(found.items()))


def set_aside(folder: Path, step: int) -> None:
    """Renames the checkpoints of more steps, which are damaged where a run goes on from this one: they are written again."""
    for later, path in steps_saved(folder).items():
        if later > step:
            target = folder / f"damaged-{path.name}"
            remove(target)
            path.rename(target)


def prune(folder: Path, keep: Keep, best: int | None) -> None:
    """Removes what `keep` does not ask for: all but the last few, the milestones and the best; and leftovers of interrupted writing."""
    saved = steps_saved(folder)
    for step in list(saved)[: -keep.last]:
        milestone = step > 0 and due(step, keep.every)
        if step != best and not milestone:
            saved[step].rename(folder / f".partial-{saved[step].name}")  # a kill in the middle leaves no half checkpoint
    for partial in folder.glob(".partial-*"):
        remove(partial)


def find(run: Path | None, checkpoint: Path | None) -> Checkpoint:
    """The checkpoint that `run=` (its latest) or `checkpoint=` names; `UserError` if neither or both are given or there is none."""
    if (run is None) == (checkpoint is None):
        raise UserError("give one of run=DIR (its latest checkpoint) and checkpoint=DIR")
    if run is None:
        assert checkpoint is not None
        return open_checkpoint(checkpoint)
    if not run.is_dir():
        raise UserError(f"run={run}: no such folder; give a run folder such as runs/shapes/default/seed0")
    newest = newest_whole(run / "checkpoints")
    if newest is None:
        raise UserError(f"run={run} holds no complete checkpoint in {run / 'checkpoints'}; train it first, or give checkpoint=DIR")
    return newest


def load_generator(checkpoint: Checkpoint, *, weights: Literal["ema", "raw"] = "ema") -> Generator:
    """The generator of a checkpoint on the CPU, with its weights as they are used, in evaluation mode.

    Raises `UserError` if its file does not fit.
    """
    return bake(load_normalized_generator(checkpoint, weights=weights)).eval()


def load_normalized_generator(checkpoint: Checkpoint, *, weights: Literal["ema", "raw"] = "ema") -> Normalized[Generator]:
    """The generator as in training, with its norm if it has one."""
    config, spec, path = checkpoint.config(), checkpoint.spec, checkpoint.file(GENERATORS[weights])
    check_size(path, lambda: build("generator", config.generator, spec))
    with torch.random.fork_rng(devices=[]):  # initial weights, which are about to be replaced
        G = build_generator(config, spec)
    load_tensors(G.network, path)
    return G.eval()


def load_discriminator(checkpoint: Checkpoint | str | Path) -> Normalized[nn.Module]:
    """The discriminator of a checkpoint, or of a run's newest, on the CPU, in evaluation mode; `UserError` if its file does not fit."""
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    config, spec, path = checkpoint.config(), checkpoint.spec, checkpoint.file("discriminator.safetensors")
    norm = activation_norm(config.discriminator.normalization)
    check_size(path, lambda: build("discriminator", config.discriminator, spec, norm))
    with torch.random.fork_rng(devices=[]):
        D = build_discriminator(config, spec)
    load_tensors(D.network, path)
    return D.eval()


def save_tensors(network: nn.Module, path: Path) -> None:
    """The network's parameters and buffers as safetensors."""
    from safetensors.torch import save

    # written by Python: a full disk is an OSError, where save_file raises another
    path.write_bytes(save({name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}))
