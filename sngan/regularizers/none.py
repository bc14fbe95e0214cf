"""No regulariser."""

from __future__ import annotations

from sngan.registry import register


@register("regularizer", "none")
def none() -> None:
    """Adds nothing to the loss of D."""
