"""`data=shapes`: ten kinds of shape in a bright colour on a dark ground, 32x32 RGB, drawn from a seed.

The data set that needs no download. A shape is drawn without grey levels at four times the size, and averaged down.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from sngan.cache import Tensors, remembered
from sngan.data.images import Images, ImageSpec, Source, Split, TensorImages
from sngan.provenance import sha256_of, versions
from sngan.registry import register

Count = Annotated[int, Field(ge=1, le=1_000_000)]
"""All images are in memory: 3 GB of them."""

Inside = Callable[[Tensor, Tensor], Tensor]

RESOLUTION = 32
SIZE = (3, RESOLUTION, RESOLUTION)
OVERSAMPLING = 4
CHUNK = 64  # images drawn at once: 4 MB a coordinate, which the processor's cache holds
DRAWS = 11  # random numbers an image


def _within(n: int, apothem: float, *, at_least: int) -> Inside:
    """Whether a point lies in at least so many of the half-planes that bound a regular n-gon about the origin."""
    normals = [(math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n)) for k in range(n)]

    def inside(x: Tensor, y: Tensor) -> Tensor:
        count = torch.zeros(x.shape, dtype=torch.uint8)
        for a, b in normals:
            count += a * x + b * y < apothem
        return count >= at_least

    return inside


# label -> whether a point (x, y) of the plane is inside; every kind lies in the unit disc
KINDS: dict[str, Inside] = {
    "disc": lambda x, y: x * x + y * y < 0.81,
    "triangle": _within(3, math.cos(math.pi / 3), at_least=3),
    "square": _within(4, math.cos(math.pi / 4), at_least=4),
    "pentagon": _within(5, math.cos(math.pi / 5), at_least=5),
    "star": _within(5, math.cos(2 * math.pi / 5), at_least=4),  # a pentagram: a tip is outside one line
    "ring": lambda x, y: (x * x + y * y - 0.65).abs() < 0.35,
    "cross": lambda x, y: (torch.maximum(x.abs(), y.abs()) < 0.95) & (torch.minimum(x.abs(), y.abs()) < 0.28),
    "bar": lambda x, y: (x.abs() < 0.96) & (y.abs() < 0.26),
    "crescent": lambda x, y: (x * x + y * y < 1.0) & ((x - 0.55) ** 2 + y * y > 0.81),
    "half_disc": lambda x, y: (y > -0.4) & (x * x + (y + 0.4) ** 2 < 0.84),
}


@register("data", "shapes")
class Shapes(Source):
    """The embedded data set. Image i of a split is a function of (seed, max_angle, split, i) alone, however many there are."""

    name = "shapes"
    spec = ImageSpec(resolution=RESOLUTION, channels=3, n_classes=len(KINDS))

    def __init__(
        self,
        *,
        n_train: Count,
        n_test: Count,
        seed: Annotated[int, Field(ge=0, lt=2**63)],
        max_angle: Annotated[float, Field(ge=0, le=360)],
    ):
        """Args:
        max_angle: In degrees. Each shape is turned by an angle that is uniform in [0, max_angle).
        """
        self.size: dict[Split, int] = {"train": n_train, "test": n_test}
        self.seed, self.max_angle = seed, max_angle

    def count(self, split: Split) -> int:
        return self.size[split]

    def load(self, split: Split) -> Images:
        """The split, drawn once and then kept in the user's cache: 20,000 images take five seconds."""
        n, number = self.size[split], list(self.size).index(split)
        random = _uniforms(n, key=(self.seed, number))
        labels = (random[:, 0] * len(KINDS)).long()

        def draw() -> Tensors:
            pixels = torch.empty(n, *SIZE, dtype=torch.uint8)
            chunks = list(zip(pixels.split(CHUNK), labels.split(CHUNK), random[:, 1:].split(CHUNK), strict=True))
            with _one_thread():
                for out, y, r in tqdm(chunks, f"drawing {self.name} ({split})", delay=2, leave=False, disable=None):
                    out.copy_(_draw(y, r, max_angle=self.max_angle))
            return {"pixels": pixels}

        def fits(found: Tensors) -> bool:
            return {name: (p.dtype, tuple(p.shape)) for name, p in found.items()} == {"pixels": (torch.uint8, (n, *SIZE))}

        made_from = {"seed": self.seed, "max_angle": self.max_angle, "split": number, "n": n, **_drawn_by()}
        return TensorImages(remembered(self.name, made_from, draw, fits=fits, quiet=True)["pixels"], labels)


def _drawn_by() -> dict[str, str]:
    """What else decides the pixels, to the last grey level: this file, torch, and the instructions of the processor that it uses."""
    software = {"code": sha256_of(Path(__file__)), **{name: versions()[name] for name in ("torch", "numpy")}}
    return {**software, "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within it torch computes on one thread: where a core is taken by another program, two wait for each other ten times as long."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)


def _uniforms(n: int, *, key: tuple[int, int]) -> Tensor:
    """[N, DRAWS] in [0, 1); a counter-based generator fills it row by row, so a row does not depend on N."""
    raw = np.random.Philox(key=np.array(key, dtype=np.uint64)).random_raw((n, DRAWS))
    return torch.from_numpy((raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))


def _draw(y: Tensor, r: Tensor, *, max_angle: float) -> Tensor:
    """Labels [N], random numbers [N, DRAWS - 1] and degrees -> uint8 [N, 3, H, W] in 0..255."""
    radius = 10.0 + 3.0 * r[:, 0]  # in pixels
    centre = (r[:, 1:3] - 0.5) * (RESOLUTION / 2 - radius[:, None])  # [N, 2], half as far as would keep the shape whole
    angle = math.radians(max_angle) * r[:, 3]
    cos, sin = angle.cos() / radius, angle.sin() / radius

    # the points of the fine grid in each shape's own frame: moved, turned, scaled to the unit disc
    points = (torch.arange(RESOLUTION * OVERSAMPLING) + 0.5) / OVERSAMPLING - RESOLUTION / 2
    across, down = points - centre[:, :1], points - centre[:, 1:]  # [N, H * 4] each
    x = (cos[:, None] * across)[:, None, :] + (sin[:, None] * down)[:, :, None]  # [N, H * 4, W * 4]
    z = (cos[:, None] * down)[:, :, None] - (sin[:, None] * across)[:, None, :]
    fine = torch.empty_like(x)
    for label, inside in enumerate(KINDS.values()):
        rows = y == label
        fine[rows] = inside(x[rows], z[rows]).float()
    cover = F.avg_pool2d(fine[:, None], OVERSAMPLING)  # [N, 1, H, W]

    bright = _rgb(hue=r[:, 4], saturation=0.5 + 0.5 * r[:, 5], value=0.8 + 0.2 * r[:, 6])
    dark = _rgb(hue=r[:, 7], saturation=r[:, 8], value=0.05 + 0.25 * r[:, 9])
    image = dark[:, :, None, None].lerp(bright[:, :, None, None], cover)
    return (image * 255).round().to(torch.uint8)


def _rgb(*, hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """[N] each, in [0, 1] -> [N, 3] in [0, 1]."""
    k = (hue[:, None] * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))
