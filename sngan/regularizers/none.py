"""No regulariser."""

from __future__ import annotations

from sngan.registry import register


@register("regularizer", "none")
def none() -> None:
    """The loss of D alone."""
