"""What TensorBoard shows of a run, and of a folder of runs as one board: curves, pictures, the config, and scores beside hyperparameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from sngan.runs.folder import FREE

LAYOUT = {
    "game": {
        "mean logits of real and fake": ["Multiline", ["train/real_logits", "train/fake_logits"]],
        "losses": ["Multiline", ["train/D_loss", "train/G_loss"]],
        "quick Fréchet distance": ["Multiline", ["quick/(fid|fd)_.*"]],
    },
    "weights": {"sigma of each layer": ["Multiline", ["sigma/.*"]]},
}
"""The charts of the tab Custom Scalars, and the curves that share each of them."""


class Board:
    """Writes TensorBoard events in a run folder. Opened at `step`, it makes TensorBoard drop what a killed session wrote after that step.

    Scores and pictures are written to the disk at once, scalars by `flush`.
    """

    def __init__(self, folder: Path, *, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def describe(self, config: dict[str, Any], step: int) -> None:
        """Shows the config as text and the keys that change what is trained as hyperparameters, and lays out the charts."""
        from torch.utils.tensorboard.summary import hparams

        self._writer.add_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", step)
        self._writer.add_custom_scalars(LAYOUT)
        _, start, _ = hparams(dict(flat(config)), {})
        # only the start is written, not the experiment before it: TensorBoard then shows the keys first that differ between runs
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(start)
        self.flush()

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        """Adds points of curves `group/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def image(self, step: int, grid: Tensor) -> None:
        """Adds a picture, uint8 [C, H, W]."""
        self._writer.add_image("samples", grid, step)
        self.flush()

    def flush(self) -> None:
        """Writes everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | float]]:
    """The keys of a config that change what is trained, as `optimizer.lr`, with values that are numbers or text."""
    for name, value in config.items():
        key = prefix + name
        if key in FREE or value is None:
            continue
        if isinstance(value, dict):
            yield from flat(value, f"{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, value
        else:
            yield key, value if isinstance(value, str) else json.dumps(value)
