"""Images as PNG files, and a grid of the first of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from sngan.errors import UserError
from sngan.registry import register
from sngan.sampling.figures import draw
from sngan.sampling.grids import grid, write_png
from sngan.sampling.modes.mode import Ask, Mode, laid_out
from sngan.sampling.sampling import samples
from sngan.sampling.video import write_pictures

N_GRID = 100
"""The most images in the grid."""


@register("mode", "images")
class Images(Mode):
    """Writes `out/00000.png` …, of several seeds `out/seed3-00000.png` …, and `out/grid.png`. Image i is a function of (seed, i)."""

    out, n = "samples", 64

    def cells(self, ask: Ask) -> int:
        return 1  # a file each

    def check(self, ask: Ask) -> None:
        if ask.out.suffix in (".png", ".gif", ".mp4"):
            raise UserError(
                f"out={ask.out}: mode=images writes a folder of PNG files; give a folder, or mode=interpolate for a film"
            )

    def make(self, ask: Ask) -> str:
        G = ask.generator()
        _open_folder(ask)
        batches = samples(G, ask.latents(G), ask.y(ask.n_latents), rounding=ask.rounding)
        made = (image for batch in batches for image in batch.cpu())
        shown: list[Tensor] = []
        for name, image in zip(tqdm(_names(ask), desc="sampling", unit="image", delay=2, disable=None), made, strict=True):
            write_png(image, ask.out / name)
            if len(shown) < N_GRID:
                shown.append(image)
        path = ask.out / "grid.png"
        if len(ask.seeds) == 1:
            write_png(grid(torch.stack(shown), columns=math.ceil(math.sqrt(len(shown)))), path)
        else:
            write_pictures(iter([draw(laid_out(ask, torch.stack(shown)))]), path)
        return f"{ask.n_latents} images in {ask.out}, the first of them in {path}"


def _open_folder(ask: Ask) -> None:
    """Makes the folder; `UserError` if that fails, or if it holds pictures that the new ones would not replace."""
    try:
        ask.out.mkdir(parents=True, exist_ok=True)
        older = {path.name for path in ask.out.glob("*[0-9].png")} - set(_names(ask))
    except OSError as error:
        raise UserError(f"out={ask.out} cannot be written ({error.strerror}); give another out=DIR") from None
    if older:
        raise UserError(
            f"out={ask.out} holds other pictures ({min(older)}, …), which would mix with the new ones; empty it, or give another out=DIR"
        )


def _names(ask: Ask) -> Sequence[str]:
    """The names of the files, in order."""
    if len(ask.seeds) == 1:
        return [f"{i:05d}.png" for i in range(ask.n)]
    return [f"seed{seed}-{i:05d}.png" for seed in ask.seeds for i in range(ask.n)]
