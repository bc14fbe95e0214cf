"""sngan: training spectral-normalisation GANs (Miyato, Kataoka, Koyama & Yoshida, ICLR 2018).

The public names below are imported when they are first used, so that `import sngan` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sngan.api.run import Run as Run
    from sngan.api.train import train as train
    from sngan.cli.compose import compose as compose
    from sngan.config import Config as Config
    from sngan.data.images import ImageSpec as ImageSpec
    from sngan.data.own import OwnImages as OwnImages
    from sngan.errors import UserError as UserError
    from sngan.layers.in_place import remove_spectral_norm as remove_spectral_norm
    from sngan.layers.in_place import spectral_norm as spectral_norm
    from sngan.layers.normalized import bake as bake
    from sngan.layers.spectral_norm import SpectralNorm as SpectralNorm
    from sngan.registry import build as build
    from sngan.registry import register as register
    from sngan.runs.checkpoint import load_discriminator as load_discriminator
    from sngan.runs.checkpoint import open_checkpoint as open_checkpoint
    from sngan.sampling.trained import load_generator as load_generator

__version__ = "0.1.0"

_HOMES = {
    "Config": "sngan.config",
    "ImageSpec": "sngan.data.images",
    "OwnImages": "sngan.data.own",
    "Run": "sngan.api.run",
    "SpectralNorm": "sngan.layers.spectral_norm",
    "UserError": "sngan.errors",
    "bake": "sngan.layers.normalized",
    "build": "sngan.registry",
    "compose": "sngan.cli.compose",
    "load_discriminator": "sngan.runs.checkpoint",
    "load_generator": "sngan.sampling.trained",
    "open_checkpoint": "sngan.runs.checkpoint",
    "register": "sngan.registry",
    "remove_spectral_norm": "sngan.layers.in_place",
    "spectral_norm": "sngan.layers.in_place",
    "train": "sngan.api.train",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sngan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]
