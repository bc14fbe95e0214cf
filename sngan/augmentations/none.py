"""No augmentation."""

from __future__ import annotations

from sngan.data.images import ImageSpec
from sngan.registry import register


@register("augment", "none")
def none(spec: ImageSpec, batch: int) -> None:
    """D sees images as they are."""
