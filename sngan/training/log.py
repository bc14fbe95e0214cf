"""The log of a run: scalars, pictures and scores for files, TensorBoard and the terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sngan.files import append_line, refuse_link, replace, write_lines
from sngan.processes import flush, open_regular
from sngan.runs.records import read_metrics, read_scalars
from sngan.runs.run import grids
from sngan.sampling.grids import write_png
from sngan.training.board import Board


class History:
    """The statistics of the steps since the last reading, summed on the device: one synchronisation per log, not per step."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all steps."""
        self.steps = 0
        self._names: list[str] = []
        self._sum: Tensor | None = None
        self._broken: Tensor | None = None

    def append(self, stats: dict[str, Tensor]) -> None:
        """Adds one step's scalar tensors."""
        row = torch.stack([value.float() for value in stats.values()])  # [statistics]
        if self._sum is None or self._broken is None:
            self._names, self._sum, self._broken = list(stats), torch.zeros_like(row), torch.full_like(row, torch.inf)
        self._sum = self._sum + row
        # for each statistic the index of the first step in which it was not finite
        self._broken = torch.where(row.isfinite(), self._broken, self._broken.clamp(max=float(self.steps)))
        self.steps += 1

    def means(self) -> dict[str, float]:
        """The mean of each statistic; {} without steps."""
        if self._sum is None:
            return {}
        return dict(zip(self._names, (self._sum / self.steps).tolist(), strict=True))

    def first_broken(self) -> tuple[int, str] | None:
        """The index of the first step since the last reading with NaN or infinity, and in which statistic; None if all are finite."""
        if self._broken is None:
            return None
        step, name = min(zip(self._broken.tolist(), self._names, strict=True), key=lambda found: found[0])
        return None if math.isinf(step) else (int(step), name)


class RunLog:
    """Writes `scalars.jsonl`, `metrics.jsonl`, `samples/` and TensorBoard events in a run folder, and the progress to the terminal.

    Opened at `step`, it drops what a killed session wrote after its last checkpoint, as that is about to be written again, and derives
    TensorBoard's events anew from what stays; `configs` are those of the run, each with the step it holds from. On a terminal it shows a
    progress bar; elsewhere it prints a plain line for each call of `scalars`.
    """

    def __init__(
        self, folder: Path, *, step: int, steps: int, images_per_step: int, configs: Iterable[tuple[int, dict[str, Any]]] = ()
    ):
        self.folder, self._configs = folder, list(configs)
        refuse_link(folder / "samples")
        (folder / "samples").mkdir(exist_ok=True)
        self.board = self._board_until(step)
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        self._steps, self._images_per_step = steps, images_per_step
        self._since = (time.monotonic(), step)

    def go_back(self, step: int) -> None:
        """Drops what came after a step, to which the run has gone back."""
        self.board.close()
        self.board = self._board_until(step)
        self._bar.n = step
        self._bar.refresh()
        self._since = (time.monotonic(), step)

    def _board_until(self, step: int) -> Board:
        """Drops what came after a step; a new board shows what stays."""
        scalars = _forget_after(self.folder / "scalars.jsonl", read_scalars, step)
        scores = _forget_after(self.folder / "metrics.jsonl", read_metrics, step)
        pictures = grids(self.folder / "samples")
        board = Board(self.folder)  # not before, or a damaged line would leave its file open
        for since, config in self._configs:
            board.describe(config, since)
        for line in scalars:
            _show_scalars(board, line)
        for line in sorted(scores, key=lambda line: line["step"]):
            _show_scores(board, line)
        for since, picture in pictures.items():
            if since > step:
                picture.unlink()
            else:
                board.image(since, picture, at=picture.stat().st_mtime)
        board.supersede()
        self._show_newest()
        return board

    def advance(self) -> None:
        """Counts a finished step on the progress bar."""
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float], *, sigmas: dict[str, float]) -> None:
        """Records scalars by name, with the speed since the last call, and sigma by layer where it is tracked."""
        now, (then, previous) = time.monotonic(), self._since
        speed = (step - previous) / max(now - then, 1e-9)
        self._since = (now, step)
        values = {**values, "images_per_s": speed * self._images_per_step}
        line = {"step": step, "time": round(time.time(), 3), **values, "sigma": sigmas}
        append_line(self.folder / "scalars.jsonl", line)
        _show_scalars(self.board, line)
        shown = {name: f"{values[name]:.3f}" for name in ("D_loss", "G_loss") if name in values} | {
            "img/s": f"{values['images_per_s']:.0f}"
        }
        self._bar.set_postfix(shown)
        if self._bar.disable:
            left = (self._steps - step) / max(speed, 1e-9)
            print(
                f"step {step}/{self._steps}  " + "  ".join(f"{k} {v}" for k, v in shown.items()) + f"  {_clock(left)} left",
                flush=True,
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time inside the block from the speed: it is not spent on training."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._since = (self._since[0] + time.monotonic() - start, self._since[1])

    def image(self, step: int, grid: Tensor) -> None:
        """Records a grid of samples, uint8 [C, H, W]."""
        write_png(grid, self.picture(step))
        self._show_newest()
        self.board.image(step, self.picture(step), at=None)
        self.board.flush()

    def picture(self, step: int) -> Path:
        """Where the grid of a step is."""
        return self.folder / "samples" / f"step-{step:08d}.png"

    @property
    def latest(self) -> Path:
        """A copy of the newest grid, whose name stays the same: what a viewer of pictures is opened on."""
        return self.folder / "samples" / "latest.png"

    def _show_newest(self) -> None:
        pictures = grids(self.folder / "samples")
        if not pictures:
            self.latest.unlink(missing_ok=True)
            return
        try:
            with open_regular(list(pictures.values())[-1]) as file:
                content = file.read()
        except OSError:  # a link that a stranger has put there
            return
        with suppress(PermissionError):  # open in a viewer, on Windows
            replace(self.latest, content, flushed=False)

    def scores(self, step: int, record: dict[str, Any]) -> None:
        """Records a score with its protocol."""
        line = {"step": step, "time": round(time.time(), 3), **record}
        append_line(self.folder / "metrics.jsonl", line)
        _show_scores(self.board, line)
        self.board.flush()

    def flush(self) -> None:
        """Returns when the disk holds every line: a checkpoint must not outlive what led to it."""
        for name in ("scalars.jsonl", "metrics.jsonl"):
            with suppress(FileNotFoundError):
                flush(self.folder / name)

    def say(self, message: str) -> None:
        """Prints a line beside the progress bar."""
        self._bar.write(message, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Closes the progress bar and the event file."""
        self._bar.close()
        self.board.close()


def described(what: str, scores: dict[str, float]) -> str:
    """Scores of something, each number with its full name on a line of its own: two would not fit the width of a terminal."""
    return f"{what}: " + ("\n" + " " * len(f"{what}: ")).join(f"{name} {value:.4g}" for name, value in scores.items())


def _show_scalars(board: Board, line: dict[str, Any]) -> None:
    values = {name: value for name, value in line.items() if name not in ("step", "time", "sigma")}
    board.scalars(line["step"], {"train": values, "sigma": line.get("sigma", {})}, at=line.get("time"))


def _show_scores(board: Board, line: dict[str, Any]) -> None:
    if line.get("role"):  # of this run's own
        board.scalars(line["step"], {line["role"]: line["scores"]}, at=line.get("time"))


def _forget_after(path: Path, read: Callable[[Path], list[dict[str, Any]]], step: int) -> list[dict[str, Any]]:
    """Drops the lines after a step, and gives those that stay."""
    lines = read(path)
    # what `sngan evaluate` added belongs to a checkpoint and stays
    kept = [line for line in lines if line["step"] <= step or line.get("by") == "evaluate"]
    if len(kept) < len(lines):
        write_lines(path, kept)
    return kept


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
