"""What the first rank does beside the game: logs, samples, checkpoints and scores. Nothing here changes the networks."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch

from sngan.config import Config, Protocol
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.evaluation.pictures import grid
from sngan.evaluation.sampling import balanced_labels, latents, prepared, samples
from sngan.evaluation.score import Scorer, better
from sngan.generators.generator import Generator
from sngan.provenance import versions
from sngan.training import checkpoint
from sngan.training.log import History, RunLog, read_lines
from sngan.training.run_folder import RunFolder
from sngan.training.state import TrainState

N_SHOWN = 100
"""Samples in a grid, ten a row."""


class Recorder:
    """Writes what a run leaves behind into its folder, and tells the terminal."""

    def __init__(self, config: Config, spec: ImageSpec, run: RunFolder, scorer: Scorer | None, state: TrainState):
        self.config, self.spec, self.run, self.scorer, self.state = config, spec, run, scorer, state
        self.device = next(state.G.parameters()).device
        run.begin({"from_step": state.step, "device": str(self.device), "versions": versions()})
        self.log = RunLog(run.path, step=state.step, steps=config.steps, images_per_step=config.d_steps * config.batch)
        self.log.config(config.model_dump_json(indent=2))
        self.history = History()

    def stepped(self, stats: dict[str, torch.Tensor]) -> None:
        """Takes note of a finished step."""
        self.history.append(stats)
        self.log.advance()

    def scalars(self, lr: float) -> None:
        """Logs the means since the last log."""
        self.check_finite()
        sigma_max = torch.stack(list(self.state.D.sigmas().values())).max().item()
        self.log.scalars(self.state.step, {**self.history.means(), "sigma_max": sigma_max, "lr": lr})
        self.history.clear()

    def check_finite(self) -> None:
        """Raises `UserError` that names the step, if a loss since the last log was NaN or infinite."""
        broken = self.history.first_broken()
        if broken is None:
            return
        good = checkpoint.latest(self.run.checkpoints)
        raise UserError(
            f"a loss became NaN or infinite at step {self.state.step - self.history.steps + broken + 1}; "
            f"{f'the last good checkpoint is {good}' if good else 'there is no checkpoint before it'}\n"
            "start a new run with a smaller optimizer.lr, another loss or precision=fp32"
        )

    def save(self) -> None:
        """Saves the state, unless this step is saved already, and removes the checkpoints that `keep` does not ask for."""
        self.check_finite()
        checkpoint.save(self.state, self.config, self.spec, self.run.checkpoints)
        best = self.run.best()
        checkpoint.prune(self.run.checkpoints, self.config.keep, best["step"] if best else None)

    def samples(self) -> None:
        """Writes a grid of samples from latents that stay the same during the run; with labels a column is a class of ten."""
        z = latents(N_SHOWN, self.state.G.z_dim, seed=self.config.seed)
        y = balanced_labels(N_SHOWN, self.spec.n_classes)
        G, _ = prepared(self.state.G_ema, self.config, "ema")
        images = torch.cat(list(samples(G, z, y)))
        self.log.image(self.state.step, grid(images, columns=10))

    def quick_score(self) -> None:
        """Scores the state by `config.quick`, once a step; the checkpoint of the best so far is kept."""
        assert self.config.quick is not None
        if self._recorded("quick", self.state.step):
            return
        self.check_finite()
        scores = self._score(self.state.G_ema, self.config.quick, "quick", self.state.step)
        name, value = next(iter(scores.items()))
        best = self.run.best()
        if best is None or best["score"] != name or better(name, value, best["value"]):
            checkpoint.save(self.state, self.config, self.spec, self.run.checkpoints)
            self.run.write_best(self.state.step, name, value)

    def full_scores(self) -> dict[str, dict[str, float]]:
        """Scores the last checkpoint, and the one that the quick score found best, by `config.protocol`, each once: scores by 'last' and 'best'."""
        assert self.config.protocol is not None
        best, saved = self.run.best(), checkpoint.steps_saved(self.run.checkpoints)
        chosen = {"last": self.state.step, "best": best["step"] if best and best["step"] in saved else self.state.step}
        for step in dict.fromkeys(chosen.values()):
            if not self._recorded("full", step):
                G = checkpoint.load_generator(checkpoint.open_checkpoint(saved[step])).to(self.device)
                self._score(G, self.config.protocol, "full", step)
        return {which: self._recorded("full", step)["scores"] for which, step in chosen.items()}

    def say_goodbye(self, scores: dict[str, dict[str, float]]) -> None:
        """Says how the run ended, and where to look."""
        step, steps, folder = self.state.step, self.config.steps, self.run.path
        if step < steps:
            self.log.say(f"stopped after step {step} of {steps}, which is saved; the same command goes on from there")
            return
        for which, named in scores.items():
            self.log.say(f"{which} checkpoint: " + "  ".join(f"{name} {value:.4g}" for name, value in named.items()))
        self.log.say(
            f"done: {steps} steps in {folder}\n  samples      {folder}/samples\n  curves       tensorboard --logdir {folder}"
        )
        self.log.say(f"  checkpoints  {self.run.checkpoints}\n  more images  sngan sample run={folder}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.close()

    def _score(self, G: Generator, protocol: Protocol, role: Literal["quick", "full"], step: int) -> dict[str, float]:
        assert self.scorer is not None
        G, batch_norm = prepared(G, self.config, "ema")
        record = self.scorer.score(G, protocol)
        self.log.scores(step, {"by": "train", "role": role, "step": step, "weights": "ema", "batch_norm": batch_norm, **record})
        return record["scores"]

    def _recorded(self, role: str, step: int) -> dict[str, Any]:
        """The record of a score of this run's own; {} if it was not taken or the protocol has changed since."""
        protocol = {"quick": self.config.quick, "full": self.config.protocol}[role]
        assert protocol is not None and self.scorer is not None
        for line in read_lines(self.run.path / "metrics.jsonl"):
            same = line.get("role") == role and line["step"] == step
            if (
                same
                and line["protocol"] == protocol.model_dump(mode="json")
                and line["extractor"]["sha256"] == self.scorer.extractor.sha256
            ):
                return line
        return {}
