"""The interface of every project whose checkpoints are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from sngan.errors import UserError
from sngan.imports.translation import State, Translated


class Rival(ABC):
    """A project, and how its networks become ours."""

    url: ClassVar[str]
    experiment: ClassVar[str]
    """The experiment whose config surrounds its networks."""

    @abstractmethod
    def networks(self, content: Mapping[str, Any], resolution: int | None) -> list[Translated]:
        """The networks in a file; `resolution` is what the user or another file says. Raises `UserError` for what is not expressible."""

    @staticmethod
    def step(content: Mapping[str, Any]) -> int | None:
        """The training step that the file names."""
        for key in ("global_step", "step"):
            if isinstance(content.get(key), int):
                return max(0, int(content[key]))
        return None


def state_of(content: Mapping[str, Any], key: str) -> State:
    """The tensors under a key of a checkpoint, or of a file that holds them alone."""
    found = content.get(key, content)
    if not isinstance(found, Mapping):
        raise UserError(f"{key} in it is a {type(found).__name__}, not a state dict")
    return {str(name).removeprefix("module."): t for name, t in found.items() if isinstance(t, Tensor)}
