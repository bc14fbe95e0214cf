"""Every random number is a function of integers that say where it is used; no generator is carried from step to step.

So nothing depends on what else has used random numbers, and a resumed run needs no state of generators.
"""

from __future__ import annotations

import hashlib

import torch

# what a number is drawn for; a value once given keeps its meaning, or old runs could not be repeated
ORDER = 0
DEQUANTIZE = 1
FLIP = 2
LATENT = 3
LABEL = 4
SAMPLE = 5
RECALIBRATE = 6
INTERPOLATE = 7
AUGMENT = 8


def generator(device: torch.device | str, *key: int) -> torch.Generator:
    """A fresh generator on the device, seeded by the key, usually (seed, stream, rank, step) with one of the streams above.

    The generator's seed is 63 bits of BLAKE2b over the key written in decimal, so that neighbouring keys give unrelated numbers.
    Torch's CPU generator uses only 32 of them: in a run of millions of keys some pairs share their numbers, which is harmless.
    """
    text = " ".join(f"{part:d}" for part in key)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
