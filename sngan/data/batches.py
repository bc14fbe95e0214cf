"""Real images as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Self

import torch
from torch import Tensor

from sngan import config
from sngan.data.images import Images, ImageSpec, TensorImages
from sngan.data.order import Order
from sngan.data.reading import read, read_all
from sngan.randomness import DEQUANTIZE, FLIP, generator


class Batches:
    """`batches(step)` gives `x_real` float32 [d_steps, batch / world, C, H, W] in [-1, 1] and `y` int64 [d_steps, batch / world].

    Both are on `device` and depend on the images and (seed, rank, step) alone; `batch` is the sum over ranks. Images that fit
    `data.resident_mb` are put on the device once, as uint8 (with a progress bar past two seconds); a step then neither waits for
    the device nor touches a file. Other images in memory are gathered on the host. What is left is streamed by worker processes:
    there, steps should be asked for in sequence, since any other one restarts the stream. Close it, or use it in a `with`, to end
    the workers.
    """

    def __init__(
        self,
        images: Images,
        spec: ImageSpec,
        *,
        batch: int,
        d_steps: int,
        seed: int,
        data: config.Data,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ):
        if len(images) * math.prod(spec.shape) <= data.resident_mb * 1e6:
            if not isinstance(images, TensorImages):
                images = read_all(images, spec, workers=data.workers)
            images = TensorImages(images.pixels.to(device), images.labels.to(device))
        self._images = images
        self._shape = (d_steps, batch // world, *spec.shape)
        self._order = Order(len(images), batch=batch, d_steps=d_steps, seed=seed, rank=rank, world=world)
        self._data, self._device, self._seed, self._rank = data, device, seed, rank
        self._stream: Generator[tuple[Tensor, Tensor], None, None] | None = None
        self._next_step = 0

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        pixels, y = self._gather(self._images, step) if isinstance(self._images, TensorImages) else self._read(step)
        assert pixels.shape == self._shape, (pixels.shape, self._shape)
        if self._data.flip:
            pixels = flip(pixels, generator(self._device, self._seed, FLIP, self._rank, step))
        noise = generator(self._device, self._seed, DEQUANTIZE, self._rank, step) if self._data.dequantize else None
        return to_float(pixels, noise), y

    def close(self) -> None:
        """Ends the worker processes, if there are any; a later step starts new ones."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gather(self, images: TensorImages, step: int) -> tuple[Tensor, Tensor]:
        index = self._order(step)  # [d_steps, batch / world]
        flat = _send(index.flatten(), images.pixels.device)
        # index_select copies whole images: on a CPU 25 times as fast as pixels[flat]
        pixels, y = images.pixels.index_select(0, flat), images.labels.index_select(0, flat)
        return _send(pixels, self._device).unflatten(0, index.shape), _send(y, self._device).unflatten(0, index.shape)

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        if self._stream is None or step != self._next_step:
            self.close()
            self._stream = read(self._images, self._order.batches_from(step), workers=self._data.workers)
        self._next_step = step + 1
        pixels, y = zip(*(next(self._stream) for _ in range(self._shape[0])), strict=True)
        return _send(torch.stack(pixels), self._device), _send(torch.stack(y), self._device)


def to_float(pixels: Tensor, noise: torch.Generator | None) -> Tensor:
    """uint8 in 0..255 -> float32 in [-1, 1].

    With `noise`, a generator on the pixels' device: x / 128 - 1 + U[0, 1/128), so that the grey levels fill the range without gaps and
    floor((x + 1) * 128) gives each back. Without: x / 127.5 - 1. Source: author code.
    """
    if noise is None:
        return pixels.float().div_(127.5).sub_(1)
    # float32 has no number between the end of this range and -1 + 1 / 128, which uniform_ would now and then round up to: the next level
    end = -1 + 1 / 128 - 2**-24
    ground = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device).uniform_(-1, end, generator=noise)
    return ground.add_(pixels, alpha=1 / 128)


def flip(pixels: Tensor, coins: torch.Generator) -> Tensor:
    """Each image [..., C, H, W] mirrored left to right with probability one half."""
    heads = torch.rand(pixels.shape[:-3], generator=coins, device=pixels.device) < 0.5
    return torch.where(heads[..., None, None, None], pixels.flip(-1), pixels)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    # only from pinned memory does a copy to the device leave the host free to go on
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
