"""`sngan.Run`: a run folder, for use from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from sngan.api.words import own_data, words_of
from sngan.cli import report as reporting
from sngan.cli.compose import composed, to_dict, typed
from sngan.cli.evaluate import evaluate_request
from sngan.config import Config, parse
from sngan.doctor.doctor import doctor
from sngan.doctor.request import Doctor
from sngan.errors import UserError
from sngan.evaluation.evaluate import evaluate
from sngan.export.export import export
from sngan.export.request import Export
from sngan.files import read_object
from sngan.inspection.inspect import inspect
from sngan.inspection.request import Inspect
from sngan.layers.normalized import Normalized
from sngan.processes import open_regular
from sngan.report.report import report
from sngan.report.request import Report
from sngan.runs import earlier, hub
from sngan.runs.checkpoint import MANIFEST, Checkpoint, load_discriminator, open_checkpoint
from sngan.runs.records import Record, read_result
from sngan.runs.run import read_run
from sngan.sampling.pictures import Pictures
from sngan.sampling.trained import TrainedGenerator, load_generator

Weights = Literal["ema", "raw"]


class Run:
    """A run folder, with its newest checkpoint, or a checkpoint of it, whose networks, samples and scores are then this one's.

    Everything is read when it is asked for, so that a run that goes on in another process shows what it has so far. The methods that take
    keys take those of the command of the same name, as Python values. Raises `UserError` for a folder that holds no run.
    """

    def __init__(self, path: str | Path):
        given = Path(path).expanduser()
        self._chosen = given if (given / MANIFEST).exists() else None
        self._G: tuple[Checkpoint, TrainedGenerator] | None = None
        self.path: Path = given.parent.parent if self._chosen else given
        if not (self.path / "config.json").exists():
            alone = "; sngan.load_generator opens a checkpoint without its run" if self._chosen else ""
            raise UserError(f"{self.path} holds no run (no config.json); give a folder such as runs/shapes/default/seed0{alone}")

    @property
    def config(self) -> Config:
        """The run's config; `model_copy` edits a copy, which `sngan.train` takes."""
        return parse(Config, earlier.config(read_object(self.path / "config.json") or {}), build_check=False)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that was given, or the newest whole one; `UserError` if there is none."""
        return open_checkpoint(self._chosen or self.path)

    @property
    def status(self) -> str:
        """finished, interrupted, failed; unfinished where no session has said how it ended."""
        return read_run(self.path).status

    @property
    def step(self) -> int:
        """How many training steps the run has done, or its checkpoint had."""
        return self.checkpoint.step if self._chosen else read_run(self.path).step

    @property
    def scalars(self) -> Sequence[dict[str, Any]]:
        """The log, a line each `log_every` steps: losses, logits, `sigma` by layer; as `pandas.DataFrame` takes it."""
        return read_run(self.path).scalars

    @property
    def records(self) -> Sequence[Record]:
        """Every score with its protocol, in the order in which they were taken."""
        return read_run(self.path).records

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The full scores at the end of training of the 'last' checkpoint and the 'best' by the quick score; {} if there are none."""
        found = read_result(self.path / "result.json") or {}
        return {which: dict(record["scores"]) for which, record in found.get("scores", {}).items()}

    def generator(self, *, weights: Weights = "ema") -> TrainedGenerator:
        """G as it is scored and shown, on the CPU in evaluation mode."""
        return load_generator(self.checkpoint, weights=weights)

    def discriminator(self) -> Normalized[nn.Module]:
        """D with its norm, on the CPU in evaluation mode."""
        return load_discriminator(self.checkpoint)

    def sample(
        self, n: int = 16, *, seed: int = 0, label: int | Sequence[int] | None = None, truncation: float | None = None
    ) -> Pictures:
        """Images uint8 [n, C, H, W] of the averaged generator, on the CPU, which a notebook shows; as `TrainedGenerator.sample`."""
        found = self.checkpoint
        if self._G is None or self._G[0] != found:  # batch-norm statistics are measured once
            self._G = found, load_generator(found)
        return self._G[1].sample(n, seed=seed, label=label, truncation=truncation)

    def evaluate(self, *words: str, **keys: Any) -> list[dict[str, Any]]:
        """Scores the checkpoint, or with `all=True` each of the run, and records it; gives the records, each with its protocol."""
        return list(evaluate(evaluate_request(composed("evaluate", self._words(words, keys)))))

    def inspect(self, *words: str, **keys: Any) -> dict[str, Any]:
        """The singular values of D's weights, and bounds of its Lipschitz constant; plots them where `plot` says."""
        return inspect(typed(Inspect, to_dict(composed("inspect", self._words(words, keys)))))

    def doctor(self, *words: str, **keys: Any) -> dict[str, Any]:
        """Whether the run is healthy: `findings`, each with its number, what is usual, a verdict and what to change."""
        return doctor(typed(Doctor, to_dict(composed("doctor", self._words(words, keys)))))

    def export(self, *words: str, **keys: Any) -> Path:
        """Writes the generator for other programs, with a card, and gives the path of the file: `format="onnx"`, `out="folder"`."""
        return export(typed(Export, to_dict(composed("export", self._words(words, keys))))).path

    def push(self, name: str, *, license: str | None = None, weights: Weights = "ema", private: bool = False) -> str:
        """Makes `user/name` on the Hugging Face Hub if need be, and uploads weights, config and card there; gives its address.

        No path of this machine is among them. `sngan.load_generator("hf://user/name")` loads the generator. Needs the extra hub, and a
        login by `hf auth login`.
        """
        hub.check(name)
        with tempfile.TemporaryDirectory() as folder:
            path = self.export(format="weights", license=license, weights=weights, out=Path(folder, "out"))
            return hub.upload(path.parent, name, private=private)

    def report(self, *words: str, **keys: Any) -> Path:
        """Writes the page of the run, or where `out` says, and gives its path."""
        cfg = composed("report", [*words, *words_of({**keys, "paths": [str(self.path)]})])
        return report(typed(Report, to_dict(cfg)), command=reporting.command).path

    def __repr__(self) -> str:
        found = read_run(self.path)
        record = found.last_full()
        scores = [f"{name}={value:.4g}" for name, value in record.scores.items()] if record else []
        return f"<sngan.Run {self.path}: {', '.join([found.status, f'step {found.step} of {found.steps}', *scores])}>"

    def _repr_png_(self) -> bytes | None:
        """The newest grid of samples."""
        pictures = read_run(self.path).grids
        if not pictures:
            return None
        with open_regular(pictures[max(pictures)]) as file:
            return file.read()

    def _words(self, words: Sequence[str], keys: dict[str, Any]) -> list[str]:
        """The words of a command on this run or checkpoint."""
        place = {"checkpoint": self._chosen} if self._chosen else {"run": self.path}
        return [*words, *words_of({**own_data(keys), **place})]
