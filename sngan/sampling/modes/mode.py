"""The interface of every mode of `sngan sample`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from sngan.config import MOST_SAMPLES, Config, Rounding
from sngan.errors import UserError
from sngan.generators.generator import Generator
from sngan.runs.checkpoint import Checkpoint, load_generator
from sngan.sampling.figures import Sheet, draw, near_square
from sngan.sampling.interpolation import loop
from sngan.sampling.request import Sample
from sngan.sampling.rounding import rounding_for
from sngan.sampling.sampling import at_once, latents_of, prepared, samples
from sngan.sampling.video import FPS, check_output, write_pictures

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Ask:
    """A request with its defaults filled in and checked."""

    request: Sample
    checkpoint: Checkpoint
    config: Config
    seeds: tuple[int, ...]
    n: int
    """The number of latents of each seed."""
    labels: tuple[int, ...]
    """The classes, which take turns; empty for an unconditional generator."""
    out: Path
    device: torch.device

    @property
    def n_latents(self) -> int:
        """The number of latents of all seeds."""
        return len(self.seeds) * self.n

    def generator(self, checkpoint: Checkpoint | None = None) -> Generator:
        """G of this or another checkpoint of the run, as it is scored and shown, on the device."""
        G = load_generator(checkpoint or self.checkpoint, weights=self.request.weights).to(self.device)
        return prepared(G, self.config, self.request.weights)[0]

    @property
    def rounding(self) -> Rounding:
        """The rounding of the run's samples."""
        return rounding_for(self.config.data)

    def latents(self, G: Generator) -> Tensor:
        """The first n of each seed, one seed after the other: [n_latents, Z]."""
        return latents_of(self.seeds, self.n, G.z_dim)

    def y(self, count: int) -> Tensor | None:
        """Labels int64 [count]: the classes in turn; None for an unconditional generator."""
        return torch.tensor(self.labels)[torch.arange(count) % len(self.labels)] if self.labels else None

    def names(self, count: int) -> Sequence[str]:
        """A label for each of `count` images, equally many a seed: the seed if there are several, and the class if there are classes."""
        texts = []
        for i in range(count):
            seed = [f"seed {self.seeds[i * len(self.seeds) // count]}"] if len(self.seeds) > 1 else []
            label = [f"class {self.labels[i % len(self.labels)]}"] if self.labels else []
            texts.append(", ".join(seed + label))
        return texts if any(texts) else ()


class Mode(ABC):
    """A way to show samples of a checkpoint."""

    out: ClassVar[str]
    """The default of `out`."""
    n: ClassVar[int]
    """The default number of latents of a single seed."""
    n_each: ClassVar[int] = 1
    """The default number of latents of each of several seeds."""
    of_run: ClassVar[bool] = False
    """Whether it shows a whole run rather than one checkpoint."""

    def places(self, ask: Ask) -> int:
        """The number of images among which the classes take turns."""
        return ask.n_latents

    def cells(self, ask: Ask) -> int:
        """The number of images shown side by side."""
        return ask.n_latents

    def check(self, ask: Ask) -> None:  # noqa: B027, most modes have nothing to add
        """Raises `UserError` for what does not fit this mode, before anything is made."""

    @abstractmethod
    def make(self, ask: Ask) -> str:
        """Writes `ask.out` and returns a line that says what it holds."""


class Film(Mode):
    """A mode that makes a film."""

    endings: ClassVar[tuple[str, ...]] = (".gif", ".mp4")
    """Suffixes of the files that it writes."""

    @abstractmethod
    def frames(self, ask: Ask) -> int:
        """The number of frames in `sheets`."""

    @abstractmethod
    def sheets(self, ask: Ask) -> Iterator[Sheet]:
        """The frames, in order of time."""

    def check(self, ask: Ask) -> None:
        if ask.out.suffix not in self.endings:
            raise UserError(
                f"out={ask.out}: mode={ask.request.mode.name} writes {' or '.join(self.endings)}; give a name such as out={self.out}"
            )
        n = self.frames(ask) * self.cells(ask)
        if n > MOST_SAMPLES:
            raise UserError(
                f"a film of {n} images is more than {MOST_SAMPLES}; give fewer seeds, a smaller n, fewer labels, or fewer mode.seconds"
            )

    def make(self, ask: Ask) -> str:
        check_output(ask.out)
        n = self.frames(ask)
        sheets = tqdm(self.sheets(ask), total=n, desc="sampling", unit="frame", delay=2, disable=None)
        write_pictures(drawn(sheets), ask.out)
        return f"{ask.out}: {'one picture' if n == 1 else f'{n} frames, {n / FPS:g} s'}"


class Table(Film):
    """A mode that makes a picture, or a film of it in which each latent moves through all latents and back to its own."""

    endings = (".png", ".gif", ".mp4")

    def __init__(self, seconds: float | None):
        self.seconds = seconds
        self.per_leg = max(round((1.0 if seconds is None else seconds) * FPS), 1)

    def check(self, ask: Ask) -> None:
        super().check(ask)
        if _still(ask) and self.seconds is not None:
            raise UserError(
                f"mode.seconds={self.seconds:g} with out={ask.out}: a picture does not move; give out={ask.out.with_suffix('.gif')}"
            )
        if not _still(ask) and ask.n_latents < 2:
            raise UserError(
                f"out={ask.out}: a film goes from one latent to the next, and there is only one; give n=2 or more, or a PNG file"
            )

    def frames(self, ask: Ask) -> int:
        return 1 if _still(ask) else ask.n_latents * self.per_leg

    def ways(self, ask: Ask, z: Tensor) -> Tensor:
        """The latents [P, Z] over time, [T, P, Z]: each starts at itself and follows the closed path through all of them."""
        if _still(ask):
            return z[None]
        way = loop(z, self.per_leg)  # [T, Z]
        return torch.stack([way.roll(-i * self.per_leg, dims=0) for i in range(len(z))], dim=1)


def _still(ask: Ask) -> bool:
    return ask.out.suffix == ".png"


def laid_out(ask: Ask, images: Tensor, over: str = "") -> Sheet:
    """The first of the n_latents images: of one seed in a square; of several seeds a row each or, with one image each, labelled in a square."""
    names = [f"seed {seed}" for seed in ask.seeds[: -(-len(images) // ask.n)]]
    if len(ask.seeds) > 1 and ask.n > 1:
        return Sheet(images, ask.n, over, sides=names)
    return Sheet(images, near_square(len(images)), over, under=names if len(ask.seeds) > 1 else ())


def drawn(sheets: Iterable[Sheet]) -> Iterator[Image]:
    """The sheets as pictures; a sheet that is repeated is drawn once."""
    last, picture = None, None
    for sheet in sheets:
        if sheet is not last:
            last, picture = sheet, draw(sheet)
        assert picture is not None
        yield picture


def moving(G: Generator, z: Tensor, y: Tensor | None, *, rounding: Rounding) -> Iterator[Tensor]:
    """Images uint8 [P, C, H, W] of each frame, for latents z [T, P, Z] and labels y [P]; G makes several frames at once."""
    batch = at_once(G)
    for part in z.split(max(batch // z.shape[1], 1)):  # [T, P, Z] of some frames
        labels = None if y is None else y.repeat(len(part))
        images = torch.cat(list(samples(G, part.flatten(0, 1), labels, rounding=rounding, batch=batch)))
        yield from images.unflatten(0, part.shape[:2])
