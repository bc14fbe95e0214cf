"""Images from a checkpoint as PNG files, and a grid of them."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sngan import devices
from sngan.config import Sample
from sngan.errors import UserError
from sngan.evaluation.pictures import grid, write_png
from sngan.evaluation.sampling import balanced_labels, latents, prepared, samples
from sngan.training.checkpoint import find, load_generator

N_GRID = 100
"""At most so many images are shown in the grid."""


def sample(request: Sample) -> Path:
    """Writes `out/00000.png` … and a grid of the first ones, whose path it returns.

    Image i is a function of (seed, i). Raises `UserError` before anything is written.
    """
    device = devices.resolve(request.device)
    checkpoint = find(request.run, request.checkpoint)
    config = checkpoint.config()
    G = load_generator(checkpoint, weights=request.weights).to(device)
    y = _labels(request, G.n_classes)
    _check_out(request)
    z = latents(request.n, G.z_dim, seed=request.seed)
    G, _ = prepared(G, config, request.weights)
    images = (image for batch in samples(G, z, y) for image in batch.cpu())
    shown = []
    for i, image in enumerate(tqdm(images, total=request.n, desc="sampling", unit="image", delay=2, disable=None)):
        write_png(image, request.out / f"{i:05d}.png")
        if i < N_GRID:
            shown.append(image)
    path = request.out / "grid.png"
    write_png(grid(torch.stack(shown), columns=math.ceil(math.sqrt(len(shown)))), path)
    return path


def _check_out(request: Sample) -> None:
    """Makes the folder; `UserError` if that fails, or if pictures of a larger set would stay among the new ones."""
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        older = [path.name for path in request.out.glob("*.png") if path.stem.isdigit() and int(path.stem) >= request.n]
    except OSError as error:
        raise UserError(f"out={request.out} cannot be written ({error.strerror}); give another out=DIR") from None
    if older:
        raise UserError(f"out={request.out} holds pictures of a larger set ({min(older)}, …); empty it, or give another out=DIR")


def _labels(request: Sample, n_classes: int) -> Tensor | None:
    if request.label is None:
        return balanced_labels(request.n, n_classes)
    if not n_classes:
        raise UserError(f"label={request.label}: this run is unconditional; leave label out")
    if request.label >= n_classes:
        raise UserError(f"label={request.label}: the classes are 0 to {n_classes - 1}")
    return torch.full((request.n,), request.label)
