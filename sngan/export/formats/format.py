"""The interface of every format of `sngan export`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from sngan.export.module import ExportedModule

Inputs = tuple[Tensor] | tuple[Tensor, Tensor]
"""z, and y of a conditional generator."""


class Format(ABC):
    """A kind of file, and the program that runs it."""

    file: ClassVar[str]
    """The name of the file."""
    runtime: ClassVar[str]
    """Who runs it, for the card."""
    usage: ClassVar[str]
    """Python code that makes 16 images, for the card; `{y}` stands for the labels of a conditional generator."""
    takes_options: ClassVar[bool] = True
    """Whether truncation and rounding can be part of the file."""

    def check(self) -> None:  # noqa: B027, most formats need nothing else
        """Raises `UserError` if something is not installed that this format needs."""

    @abstractmethod
    def write(self, module: ExportedModule, inputs: Inputs, path: Path, known: dict[str, Any]) -> None:
        """Writes a file that takes any number of latents; `inputs` is an example of some, `known` what the card says."""

    @abstractmethod
    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        """The file as its own runtime runs it, on the CPU."""
