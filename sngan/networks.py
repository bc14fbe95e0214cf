"""G and D of a config."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan.augmentations.augmentation import Augmentation
from sngan.config import Config
from sngan.data.images import ImageSpec
from sngan.generators.generator import Generator
from sngan.layers.normalization import activation_norm, normalized
from sngan.layers.normalized import Normalized
from sngan.registry import build
from sngan.regularizers.regularizer import Regularizer


def build_networks(config: Config, spec: ImageSpec) -> tuple[Normalized[Generator], Normalized[nn.Module]]:
    """G and D for these images, on the CPU, with initial weights that depend on `config.seed` alone.

    Raises `UserError` if they cannot be built for this image size or normalised in this way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_generator(config, spec), build_discriminator(config, spec)


def build_generator(config: Config, spec: ImageSpec) -> Normalized[Generator]:
    """G for these images, with initial weights from torch's global generator."""
    G: Generator = build("generator", config.generator, spec)
    return normalized(G, config.generator, (torch.zeros(2, G.z_dim), _labels(spec)), role="generator")


def build_discriminator(config: Config, spec: ImageSpec) -> Normalized[nn.Module]:
    """D for these images, with the buffers that the regulariser and the augmentation need, and initial weights from torch's global generator."""
    norm = activation_norm(config.discriminator.normalization)
    network: nn.Module = build("discriminator", config.discriminator, spec, norm)
    example = (torch.zeros(2, *spec.shape), _labels(spec))
    if config.discriminator.normalization in ("instance", "group"):  # a norm with a single value to normalise raises its error now
        with torch.no_grad():
            network(*example)
    D = normalized(network, config.discriminator, example, role="discriminator")
    regularizer: Regularizer | None = build("regularizer", config.regularizer)
    if regularizer:
        regularizer.prepare(D)
    augment: Augmentation | None = build("augment", config.augment, spec, config.batch)
    if augment:
        augment.prepare(D)
    return D


def _labels(spec: ImageSpec) -> Tensor | None:
    """Two labels, or None for images without classes."""
    return torch.zeros(2, dtype=torch.int64) if spec.n_classes else None
