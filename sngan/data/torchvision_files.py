"""Data sets that torchvision downloads and checks."""

from __future__ import annotations

from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import Any

from sngan.data.images import Source
from sngan.errors import UserError


class TorchvisionFiles(Source):
    """A data set of torchvision's, whose folder is in `root`, or gets there with `download`; `title` is what messages call it."""

    title: str

    def __init__(self, *, root: Path, download: bool):
        self._root = root.expanduser()
        self._download = download
        missing = [] if download else [path for path in self._files() if not (self._root / path).is_file()]
        if missing:
            raise UserError(
                f"{self.title} is not in data.root={root} (no {self._root / missing[0]}); give its folder as data.root=…,\n"
                "let it be downloaded with data.download=true, or use a file of your own: data=npz data.path=…"
            )

    @abstractmethod
    def _dataset(self) -> Any:
        """torchvision's class."""

    def _files(self) -> list[Path]:
        """The files that torchvision reads, below `root`."""
        files = self._dataset()
        names = [name for name, _ in files.train_list + files.test_list]
        if hasattr(files, "meta"):
            names.append(files.meta["filename"])
        return [Path(files.base_folder, name) for name in names]

    def _open(self, **split: Any) -> Any:
        """Torchvision's data set of a split, downloaded if that is asked for; `UserError` if it is not whole."""
        try:
            return self._dataset()(str(self._root), **split, download=self._download)
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            # torchvision checks the sum of what it finds, so a second try replaces what a failed one has left
            if self._download:
                raise UserError(
                    f"{self.title} could not be downloaded to data.root={self._root}: {error};\n"
                    "try again, or use a file of your own: data=npz data.path=…"
                ) from None
            raise UserError(f"{self.title} in data.root={self._root} is damaged; data.download=true replaces it") from None
