"""The latent whose image is nearest to a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from sngan.config import Config
from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.files import check_writable, replace
from sngan.generators.generator import Generator
from sngan.optimizer import Adam
from sngan.precision import precision
from sngan.registry import register
from sngan.sampling.figures import Sheet
from sngan.sampling.modes.mode import Ask, Mode, drawn
from sngan.sampling.sampling import at_once, balanced_labels, latents, samples
from sngan.sampling.video import check_output, write_pictures

N_SAMPLES = 1000
"""Samples, the nearest of which and the mean of which say what a distance is worth."""

LR = 0.1
"""Of Adam, for latents N(0, I); it falls to 0 along a half cosine."""

MOST_LONGER = 2.0
"""A latent gets no longer than sqrt(Z) + 2: lengths of N(0, I) have a deviation of 0.7, so that 3 in 1,000 are."""


@register("mode", "project")
class Project(Mode):
    """Searches from n latents of each seed, with each class that is asked for, and keeps what comes nearest.

    Distances are root mean squares over pixels and channels, in grey levels, of images that are rounded to 256 levels.
    """

    out, n, n_each = "project.png", 16, 16

    def __init__(self, *, image: Path, steps: PositiveInt):
        self.image, self.steps = image, steps

    def places(self, ask: Ask) -> int:
        return max(ask.n_latents, len(ask.labels))  # each class is tried with each latent

    def cells(self, ask: Ask) -> int:
        return 3

    def check(self, ask: Ask) -> None:
        if ask.out.suffix != ".png":
            raise UserError(f"out={ask.out}: mode=project writes a .png and, beside it, the latent as .npy; give such a name")
        picture_as(self.image, ask.config, ask.checkpoint.spec)

    def make(self, ask: Ask) -> str:
        latent_file = ask.out.with_suffix(".npy")
        check_output(ask.out)
        try:
            check_writable(latent_file)
        except OSError as error:
            raise UserError(f"{latent_file} cannot be written ({error.strerror}); give another out=FILE") from None
        picture, G = picture_as(self.image, ask.config, ask.checkpoint.spec), ask.generator()
        z, y = ask.latents(G), None
        if ask.labels:
            y = torch.tensor(ask.labels).repeat(len(z))
            z = z.repeat_interleave(len(ask.labels), dim=0)
        z = project(G, picture, z, y, steps=self.steps, dequantized=ask.config.data.dequantize)
        images = torch.cat([x.cpu() for x in samples(G, z, y, rounding=ask.rounding)])
        distances = rms(images, picture)
        best = int(distances.argmin())
        others = latents(N_SAMPLES, G.z_dim, seed=ask.seeds[0]), balanced_labels(N_SAMPLES, G.n_classes)
        seen = torch.cat([x.cpu() for x in samples(G, *others, rounding=ask.rounding)])
        of_samples = rms(seen, picture)
        nearest, mean = int(of_samples.argmin()), float(rms(seen.float().mean(0, keepdim=True), picture))
        sheet = Sheet(
            torch.stack([picture, images[best], seen[nearest]]),
            3,
            heads=["picture", f"found: {distances[best]:.1f}", f"nearest sample: {of_samples[nearest]:.1f}"],
        )
        content = io.BytesIO()
        np.save(content, z[best].numpy())
        replace(latent_file, content.getvalue())
        write_pictures(drawn([sheet]), ask.out)
        of_class = f" of class {int(y[best])}" if y is not None else ""
        return (
            f"{ask.out}: an image{of_class} {distances[best]:.1f} grey levels from the picture (RMS); the nearest of {N_SAMPLES:,} samples is "
            f"{of_samples[nearest]:.1f} from it, their mean {mean:.1f}\n{latent_file}: its latent, [{G.z_dim}], of length {z[best].norm():.1f}"
        )


def picture_as(path: Path, config: Config, spec: ImageSpec) -> Tensor:
    """The picture as an image of the run, uint8 [C, H, W], cut out, padded or stretched as its data are; `UserError` if it cannot be read."""
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"mode.image={path}: no such file; give a picture")
    options = config.data.options
    form = Form(spec.resolution, spec.channels, options.get("fit", "crop"))
    try:
        return Pictures(path.parent, [path.name], [0], form)[0][0]
    except UserError as error:
        raise UserError(f"mode.image: {error}") from None


def project(G: Generator, picture: Tensor, z: Tensor, y: Tensor | None, *, steps: int, dequantized: bool) -> Tensor:
    """Latents [P, Z] on the CPU, after so many steps of Adam on the squared distance of G(z, y) to the picture, each from its own start z [P, Z].

    A start's way depends on no other.
    """
    device = next(G.parameters()).device
    scale, offset = (128, 0.5) if dequantized else (127.5, 0.0)
    target = ((picture.to(device).float() + offset) / scale - 1)[None]  # the middle of what rounding gives the same level
    longest = G.z_dim**0.5 + MOST_LONGER
    size = max(at_once(G) // 4, 1)  # activations stay in memory for the gradient
    G.requires_grad_(False)
    found = []
    for start in range(0, len(z), size):
        labels = None if y is None else y[start : start + size].to(device)
        part = z[start : start + size].to(device).clone().requires_grad_()
        optimizer = Adam([part], lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            with precision("fp32", device):
                loss = (G(part, labels) - target).square().flatten(1).mean(1).sum()
            (part.grad,) = torch.autograd.grad(loss, part)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                part.mul_((longest / part.norm(dim=1, keepdim=True)).clamp(max=1))
        found.append(part.detach().cpu())
    return torch.cat(found)


def rms(images: Tensor, picture: Tensor) -> Tensor:
    """The root mean squared difference [N] of images [N, C, H, W] to a picture [C, H, W], in grey levels."""
    return (images.float() - picture.float()).square().flatten(1).mean(1).sqrt()
