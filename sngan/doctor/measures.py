"""The numbers that tell how a run is: from its log, from D and G, and from samples beside real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sngan.config import Config
from sngan.data.batches import to_float
from sngan.data.images import Images, Split
from sngan.errors import UserError
from sngan.evaluation.neighbours import Neighbours, nearer_than_real
from sngan.layers.head import logits_of
from sngan.layers.normalized import bake
from sngan.layers.singular_values import drift
from sngan.losses.loss import Loss, RelativisticLoss
from sngan.precision import precision
from sngan.randomness import DEQUANTIZE, generator
from sngan.registry import build
from sngan.runs.checkpoint import Checkpoint, load_discriminator, load_generator
from sngan.runs.run import Run
from sngan.sampling.fitting import batch_of
from sngan.sampling.sampling import balanced_labels, latents, prepared

IDLE = 0.01
"""An image from which D learns nothing: the slope of its loss by the logit, times the number of images, is below this. It is at most 1."""

Numbers = dict[str, float | str]
"""A number by the name of its check (`limits.CHECKS`), or the reason why it is not measured."""


@dataclass(frozen=True)
class Judged:
    """Logits [n] by D of training images, held-out images (or the reason why there are none) and samples, and the gradient that these give G.

    `gradients` [n] are the norms of n dL_G/dx, L_G being the loss of G on the n samples x in [-1, 1].
    """

    train: Tensor
    held_out: Tensor | str
    fake: Tensor
    gradients: Tensor


def of_log(run: Run | None) -> Numbers:
    """How often the loss was not finite, how large D's logits were, and by how much they grew.

    Their size in a line of the log is the larger absolute value of the means of real and fake logits. `logit_growth` is its mean in the last
    quarter of the lines, of that in the second quarter or, where that is less, of 1: from there on losses tell logits apart.
    """
    if run is None:
        return dict.fromkeys(("not_finite", "logits", "logit_growth"), "the checkpoint stands without the log of its run")
    failed = run.error is not None and "NaN or infin" in run.error
    means = [(line.get("real_logits"), line.get("fake_logits")) for line in run.scalars]
    sizes = [max(abs(real), abs(fake)) for real, fake in means if isinstance(real, int | float) and isinstance(fake, int | float)]
    quarter = len(sizes) // 4
    before = max(sum(sizes[quarter : 2 * quarter]), quarter)
    return {
        "not_finite": float(failed + sum(len(session.rollbacks) for session in run.sessions)),
        "logits": float(max(sizes)) if sizes else "the log holds none; log_every=N sets how often a line is written",
        "logit_growth": sum(sizes[-quarter:]) / before
        if quarter > 1
        else "the log has fewer than eight lines; log_every=N sets how often one is written",
    }


def of_networks(
    checkpoint: Checkpoint, config: Config, load: Callable[[Split], Images], device: torch.device, *, n: int, seed: int
) -> Numbers:
    """How D meets images it has not seen, what its loss and G's have left to learn from, and how far sigma is from its exact value.

    G is the trained one, as D meets it, with its running batch-norm statistics; D is in evaluation mode.
    """
    normalized = load_discriminator(checkpoint)
    lags = [abs(ratio - 1.0) for ratio in drift(normalized).values()]
    loss: Loss | RelativisticLoss = build("loss", config.loss)
    G, _ = prepared(load_generator(checkpoint, weights="raw").to(device), config, "raw")
    seen = judged(bake(normalized).eval().requires_grad_(False).to(device), G, loss, config, load, n=n, seed=seed)
    return {
        "lead": lead(seen.train, seen.fake),
        "overfitting": seen.held_out if isinstance(seen.held_out, str) else overfitting(seen.train, seen.held_out, seen.fake),
        "saturation": saturation(loss, seen.train, seen.fake),
        "gradient": float(seen.gradients.mean()),
        "sigma_lag": max(lags) if lags else "no layer of D tracks sigma",
    }


def judged(
    D: nn.Module,
    G: Any,
    loss: Loss | RelativisticLoss,
    config: Config,
    load: Callable[[Split], Images],
    *,
    n: int,
    seed: int,
) -> Judged:
    """D on the first n images of each split, or all if there are fewer, and on as many samples as training images."""
    device = next(D.parameters()).device
    train, y_train = real_images(load("train"), config, n, seed, is_conditional=G.n_classes > 0)
    n = len(train)
    z, y = latents(n, G.z_dim, seed=seed), balanced_labels(n, G.n_classes)
    size = batch_of(D, train[:1].to(device), None if y is None else y[:1].to(device))
    rows = [slice(start, start + size) for start in range(0, n, size)]

    def logits(x: Tensor, y: Tensor | None, part: slice) -> Tensor:
        with precision("fp32", device):
            return logits_of(D(x[part].to(device), None if y is None else y[part].to(device)))

    @torch.no_grad()
    def of_real(x: Tensor, y: Tensor | None) -> Tensor:
        return torch.cat([logits(x, y, slice(s, s + size)) for s in range(0, len(x), size)]).cpu()

    real = of_real(train, y_train)
    try:
        held_out: Tensor | str = of_real(*real_images(load("test"), config, n, seed, is_conditional=y is not None))
    except UserError as error:
        held_out = f"no held-out images: {error}"
    fakes, gradients = [], []
    for part in rows:
        with torch.no_grad(), precision("fp32", device):
            x = G(z[part].to(device), None if y is None else y[part].to(device))  # [<= size, C, H, W]
        x.requires_grad_()
        fake = logits(x, None if y is None else y[part], slice(None))
        G_loss = loss.generator(real[part].to(device), fake) if isinstance(loss, RelativisticLoss) else loss.generator(fake)
        (gradient,) = torch.autograd.grad(G_loss * len(x), x)
        fakes.append(fake.detach().cpu())
        gradients.append(gradient.flatten(1).norm(dim=1).cpu())
    return Judged(real, held_out, torch.cat(fakes), torch.cat(gradients))


def real_images(images: Images, config: Config, n: int, seed: int, *, is_conditional: bool) -> tuple[Tensor, Tensor | None]:
    """The first n images as D is shown them, [n, C, H, W] in [-1, 1], and their labels [n] if D takes any."""
    pixels, labels = zip(*(images[i] for i in range(min(n, len(images)))), strict=True)
    noise = generator("cpu", seed, DEQUANTIZE) if config.data.dequantize else None
    return to_float(torch.stack(pixels), noise), torch.tensor(labels) if is_conditional else None


def lead(train: Tensor, fake: Tensor) -> float:
    """(E D(train) - E D(fake)) over the standard deviation of a logit, the root of the mean of both variances."""
    return float((train.mean() - fake.mean()) / ((train.var() + fake.var()) / 2).sqrt())


def overfitting(train: Tensor, held_out: Tensor, fake: Tensor) -> float | str:
    """(E D(train) - E D(held out)) / (E D(train) - E D(fake)): 0 if D treats held-out images as training images, 1 if as samples.

    Less than three standard errors count as 0. Source: Karras et al. 2020 (ADA), eq. 1, r_v.
    """
    ahead, gap = train.mean() - fake.mean(), train.mean() - held_out.mean()
    if ahead <= 3 * error_of(train, fake):
        return "D does not tell training images from samples"
    return float(gap / ahead) if gap > 3 * error_of(train, held_out) else 0.0


def error_of(a: Tensor, b: Tensor) -> float:
    """The standard error of the difference of two means."""
    return float((a.var() / len(a) + b.var() / len(b)).sqrt())


def saturation(loss: Loss | RelativisticLoss, real: Tensor, fake: Tensor) -> float:
    """The share of images, real and generated, from which D learns nothing (`IDLE`)."""
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    slopes = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    return float(torch.cat([slope.abs() * len(slope) < IDLE for slope in slopes]).float().mean())


def of_samples(samples: Tensor, real: Images) -> Numbers:
    """The mean distance of two samples uint8 [n, C, H, W] in pixels, of that of two of the first n training images."""
    pixels = torch.stack([real[i][0] for i in range(min(len(samples), len(real)))])
    spread = mean_distance(pixels)
    return {"pixel_diversity": mean_distance(samples) / spread if spread else "the training images are all the same"}


def mean_distance(images: Tensor) -> float:
    """Of pairs of images uint8 [n, C, H, W], n > 1."""
    return float(torch.pdist(images.flatten(1).float()).mean())


def of_features(found: Neighbours) -> Numbers:
    """The same in features of the run's extractor, and the share of samples that are nearer to a training image than 1 % of real images are."""
    nearer = nearer_than_real(found)
    return {
        "feature_diversity": "the training images are all the same" if found.diversity is None else found.diversity,
        "copies": "no real images to compare with" if nearer is None else nearer[1],
    }
