"""A trained generator as it is scored and shown, for use from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sngan.config import MOST_SAMPLES, Rounding
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator
from sngan.runs import checkpoint, exported, hub
from sngan.runs.checkpoint import Checkpoint, open_checkpoint
from sngan.sampling.pictures import Pictures
from sngan.sampling.rounding import rounding_for
from sngan.sampling.sampling import latents, prepared, samples
from sngan.sampling.truncation import truncated


class TrainedGenerator(Generator):
    """A generator in evaluation mode with its weights as they are used, and the batch-norm statistics with which it is scored.

    `G(z, y)` maps latents float32 [N, Z] ~ N(0, I), and labels int64 [N] if `n_classes` > 0, to images [N, C, H, W] in [-1, 1].
    """

    def __init__(self, network: Generator, spec: ImageSpec, *, rounding: Rounding, batch_norm: str, step: int):
        super().__init__()
        self.network, self.spec, self.rounding, self.batch_norm, self.step = network, spec, rounding, batch_norm, step
        self.z_dim, self.n_classes = network.z_dim, network.n_classes
        self.eval()

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        images: Tensor = self.network(z, y)
        return images

    def sample(
        self, n: int = 16, *, seed: int = 0, label: int | Sequence[int] | None = None, truncation: float | None = None
    ) -> Pictures:
        """Images uint8 [n, C, H, W] in 0..255 on the CPU; image i is a function of (seed, i), the one that `sngan sample` writes.

        `label` is a class of a conditional generator, or several that take turns; None: all in turn. `truncation` is the psi of
        `truncation.truncated`. Raises `UserError` for what the generator does not have.
        """
        if not 0 < n <= MOST_SAMPLES:
            raise UserError(f"n={n}: give 1 to {MOST_SAMPLES} samples")
        if truncation is not None and not truncation >= 0:
            raise UserError(f"truncation={truncation}: give a number from 0 on, or None")
        z = latents(n, self.z_dim, seed=seed)
        if truncation is not None:
            z = truncated(z, truncation)
        made = samples(self.network, z, self._labels(n, label), rounding=self.rounding)
        return torch.cat([batch.cpu() for batch in made]).as_subclass(Pictures)

    def _labels(self, n: int, label: int | Sequence[int] | None) -> Tensor | None:
        if not self.n_classes:
            if label is not None:
                raise UserError(f"label={label}: this generator is unconditional; leave label out")
            return None
        turns = range(self.n_classes) if label is None else [label] if isinstance(label, int) else list(label)
        if not turns or not all(0 <= y < self.n_classes for y in turns):
            raise UserError(f"label={label}: the classes are 0 to {self.n_classes - 1}")
        return torch.tensor(turns)[torch.arange(n) % len(turns)]


def load_generator(
    source: str | Path | Checkpoint, *, weights: Literal["ema", "raw"] = "ema", device: str | torch.device = "cpu"
) -> TrainedGenerator:
    """The generator of a run (its newest checkpoint), a checkpoint, an exported folder, or `hf://user/name`, on the device.

    It is as it is scored and shown: batch-norm statistics of averaged weights are measured anew, which takes `ema.recalibrate` batches.
    Loading runs no code of the source. Raises `UserError` if there is no such generator, or its file does not fit.
    """
    if isinstance(source, str) and source.startswith(hub.SCHEME):
        source = hub.download(source)
    if isinstance(source, str | Path) and exported.is_exported(Path(source)):
        G, known = exported.load(Path(source))
        if weights != known.weights:
            raise UserError(f"{source} holds {known.weights} weights, not {weights}; leave weights out")
        spec = ImageSpec(**known.image.model_dump())
        return TrainedGenerator(G.to(device), spec, rounding=known.rounding, batch_norm=known.batch_norm, step=known.step)
    found = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    config = found.config()
    G, batch_norm = prepared(checkpoint.load_generator(found, weights=weights).to(device), config, weights)
    return TrainedGenerator(G, found.spec, rounding=rounding_for(config.data), batch_norm=batch_norm, step=found.step)
