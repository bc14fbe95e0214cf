"""What TensorBoard shows of a run, and of a folder of runs as one board: curves, pictures, the config, and scores beside hyperparameters."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from sngan.config import FREE
from sngan.keys import flat, is_among
from sngan.processes import open_regular

LAYOUT = {
    "game": {
        "mean logits of real and fake": ["Multiline", ["train/real_logits", "train/fake_logits"]],
        "losses": ["Multiline", ["train/D_loss", "train/G_loss"]],
        "quick Fréchet distance": ["Multiline", ["quick/(fid|fd)_.*"]],
    },
    "weights": {"sigma of each layer": ["Multiline", ["sigma/.*"]]},
}
"""The charts of the tab Custom Scalars, and the curves that share each of them."""


QUEUE = 1000
"""Events that wait to be written."""


class Board:
    """Writes TensorBoard events in a run folder, anew in each session: they are derived from the run's other files.

    What those hold of earlier sessions is to be written first, and `supersede` then removes the events of the sessions before. A session
    that was killed at any moment so leaves nothing twice and nothing out. Scores and pictures are on the disk at once, scalars in time.
    """

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._older = list(folder.glob("events.out.tfevents.*"))
        # a TensorBoard that is open forgets what it has read of the run; and a line does not wait for the one ten before it
        self._writer = SummaryWriter(str(folder), purge_step=0, max_queue=QUEUE)
        self._writer.add_custom_scalars(LAYOUT)

    def supersede(self) -> None:
        """Removes the events of the sessions before this one."""
        self.flush()
        for file in self._older:
            with suppress(OSError):  # read by a TensorBoard on Windows
                file.unlink()

    def describe(self, config: dict[str, Any], step: int) -> None:
        """Shows the config that holds from a step on as text, and the keys that change what is trained as hyperparameters."""
        from torch.utils.tensorboard.summary import hparams

        self._writer.add_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", step)
        _, start, _ = hparams(hyperparameters(config), {})
        # only the start is written, not the experiment before it: TensorBoard then shows the keys first that differ between runs
        self._events().add_summary(start)

    def scalars(self, step: int, groups: dict[str, dict[str, float]], *, at: float | None) -> None:
        """Adds a point to each of the curves `group/name`, taken at a time in seconds since 1970; None: now."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [
            Summary.Value(tag=f"{group}/{name}", simple_value=value)
            for group, values in groups.items()
            for name, value in values.items()
            if isinstance(value, int | float)  # a file may hold what is no number
        ]
        self._events().add_summary(Summary(value=points), step, at)

    def image(self, step: int, picture: Path, *, at: float | None) -> None:
        """Adds a picture, the PNG as it is on the disk; one that is a link or damaged is passed over."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        try:
            with open_regular(picture) as file:
                encoded = file.read()
            with Image.open(io.BytesIO(encoded), formats=["PNG"]) as opened:
                width, height = opened.size
        except Exception:  # decoders raise almost anything on bytes that they do not expect
            return
        content = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=encoded)
        self._events().add_summary(Summary(value=[Summary.Value(tag="samples", image=content)]), step, at)

    def flush(self) -> None:
        """Writes everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _events(self) -> Any:
        """The writer of whole events; SummaryWriter's own methods write one value an event."""
        assert self._writer.file_writer is not None
        return self._writer.file_writer


def hyperparameters(config: dict[str, Any]) -> dict[str, str | float]:
    """The keys of a config that change what is trained, with values that are numbers or text."""
    values = {key: value for key, value in flat(config).items() if value is not None and not is_among(key, FREE)}
    return {key: json.dumps(value) if isinstance(value, bool | list | dict) else value for key, value in values.items()}
