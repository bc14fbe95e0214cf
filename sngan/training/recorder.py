"""What the first rank does besides training: logs, samples, checkpoints and scores. Nothing here changes the networks."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Literal, Self

import torch

from sngan import distributed
from sngan.config import Config, Protocol
from sngan.data.images import Images, ImageSpec
from sngan.errors import DamagedError, DivergedError, Interrupted, UserError
from sngan.evaluation.copies import N_SAMPLES, warn_of_copies
from sngan.evaluation.score import Scorer
from sngan.generators.generator import Generator
from sngan.layers.normalized import Normalized, bake
from sngan.layers.singular_values import drift
from sngan.provenance import versions
from sngan.runs import checkpoint, earlier
from sngan.runs.folder import RunFolder
from sngan.runs.records import better, read_metrics
from sngan.runs.result import write_result
from sngan.runs.start import Start
from sngan.sampling.grids import grid
from sngan.sampling.rounding import resolved, rounding_for
from sngan.sampling.sampling import balanced_labels, batch_norm, latents, prepared, samples
from sngan.signals import StopRequest
from sngan.state import TrainState
from sngan.training.collapse import CollapseWatch
from sngan.training.engine import Choice
from sngan.training.log import History, RunLog, described

Role = Literal["quick", "full"]
Record = dict[str, Any]

log = logging.getLogger(__name__)

MOST_DRIFT = 0.05
"""The relative error of a sigma above which there is a warning."""

MOST_ROLLBACKS = 3
"""How often a run goes back to the same checkpoint."""

REMEDY = "start a new run with a smaller optimizer.lr, another loss or precision=fp32"
"""For a run that has diverged."""

N_SHOWN = 100
"""Samples in a grid, ten a row."""


class Recorder:
    """Writes the files of a run into its folder, and its messages to the terminal."""

    def __init__(
        self,
        config: Config,
        spec: ImageSpec,
        run: RunFolder,
        scorer: Scorer | None,
        state: TrainState,
        stop: StopRequest,
        images: Images,
        *,
        engine: Choice,
        begun: Start | None = None,
    ):
        self.config, self.spec, self.run, self.scorer, self.state, self.stop = config, spec, run, scorer, state, stop
        quick, full = (asked and resolved(asked, config.data) for asked in (config.quick, config.protocol))
        self._protocols: dict[Role, Protocol | None] = {"quick": quick, "full": full}
        self.device = next(state.G.parameters()).device
        self._first_step = state.step
        self._scored: dict[str, Record] = {}
        with self._writing():
            self._begin(engine, begun)
        if begun:
            self.log.say("\n".join([f"begins with {begun.record['checkpoint']}", *(f"  {line}" for line in begun.left)]))
        if engine.reason:
            self.log.say(f"engine {engine.kind}: {engine.reason}")
        if config.sample_every:
            self.log.say(f"newest samples: {self.log.latest}")
        self.history = History()
        self._watch = CollapseWatch(images)
        self._lagging: tuple[int, set[str]] = (state.step, set())
        self._warned_of_sigma = False

    def _begin(self, engine: Choice, begun: Start | None) -> None:
        config, run, state = self.config, self.run, self.state
        began = {"from_step": state.step, "device": str(self.device), "ranks": distributed.world_size(), "engine": engine.kind}
        run.begin({**began, "versions": versions(), **({"init": begun.record} if begun else {})})
        self.log = RunLog(
            run.path,
            step=state.step,
            steps=config.steps,
            images_per_step=config.d_steps * config.batch,
            configs=run.configs(),
        )

    def stepped(self, stats: dict[str, torch.Tensor]) -> None:
        """Records a finished step."""
        self.history.append(stats)
        self.log.advance()

    def scalars(self, rates: dict[str, float]) -> None:
        """Logs the means since the last log, and the learning rates, by name."""
        self.check_finite()
        estimates = {
            f"{network}/{name}": sigma for network, net in self._networks().items() for name, sigma in net.sigmas().items()
        }
        values = torch.stack(list(estimates.values())).tolist() if estimates else []
        sigmas = dict(zip(estimates, values, strict=True))
        with self._writing():
            self.log.scalars(self.state.step, {**self.history.means(), **rates}, sigmas=sigmas)
        self.history.clear()

    def check_finite(self) -> None:
        """Raises `DivergedError` that names the step and the statistic, if one since the last log was NaN or infinite."""
        broken = self.history.first_broken()
        if broken is None:
            return
        step, name = self.state.step - self.history.steps + broken[0] + 1, broken[1]
        weight = self.state.not_finite()
        also = f", and by step {self.state.step} {weight} holds such values" if weight else ""
        raise DivergedError(f"{name} became NaN or infinite at step {step}{also}; {self._last_good()}\n{REMEDY}")

    def roll_back(self, error: DivergedError) -> int:
        """Goes back to the newest checkpoint and says how often this run has done so; raises the error if that did not help before."""
        good = checkpoint.newest_whole(self.run.checkpoints)
        if good is None or self.run.rollbacks().count(good.step) >= MOST_ROLLBACKS:
            raise error
        broken = self.state.step
        checkpoint.restore(self.state, good)
        self._first_step = good.step
        self.history.clear()
        with self._writing():
            n = self.run.note_rollback(good.step)
            self.log.go_back(good.step)
        log.warning(f"step {broken}: {str(error).partition(';')[0]}; back to step {good.step} with other latents (on_nan=rollback)")
        return n

    def _networks(self) -> dict[str, Normalized[Any]]:
        return {"D": self.state.D, "G": self.state.G}

    def check_sigmas(self) -> None:
        """Warns, once a session, of layers in which power iteration is far from the exact sigma: the normalised weight is then too large.

        They are so at two saves in succession: at the first one it is usual, as weights move fast at the beginning.
        """
        if self._warned_of_sigma or self.state.step == self._lagging[0]:
            return
        ratios = {f"{network}/{name}": ratio for network, net in self._networks().items() for name, ratio in drift(net).items()}
        off = {name for name, ratio in ratios.items() if abs(ratio - 1.0) > MOST_DRIFT}
        persistent = [f"{name} {ratios[name]:.2f}" for name in ratios if name in off & self._lagging[1]]
        if persistent:
            self._warned_of_sigma = True
            log.warning(
                f"step {self.state.step}: sigma by power iteration lags behind its exact value in {', '.join(persistent)} (the ratio), as at "
                "the save before; a smaller optimizer.lr or, for spectral norm, power_iterations=2 helps"
            )
        self._lagging = (self.state.step, off)

    def save(self) -> None:
        """Saves the state, unless this step is saved already, and removes the checkpoints beyond those that `keep` asks for.

        Raises `DivergedError` if a loss or a weight is not finite, `UserError` if the disk cannot be written; the checkpoints stay as they are.
        """
        self.check_finite()
        broken = self.state.not_finite()
        if broken:
            raise DivergedError(
                f"{broken} holds NaN or infinity after step {self.state.step}, which is not saved; {self._last_good()}\n{REMEDY}"
            )
        self.check_sigmas()
        with self._writing():
            self.run.seconds()
            self.log.flush()
            checkpoint.save(self.state, self.config, self.spec, self.run.checkpoints)
            checkpoint.prune(self.run.checkpoints, self.config.keep, self.best_step())

    def samples(self) -> None:
        """Writes a grid of samples from latents that stay the same during the run; labels go 0, 1, … down the rows.

        A session that begins at this step keeps the grid of the session before it.
        """
        if self.state.step == self._first_step and self.log.picture(self.state.step).exists():
            return
        G, _ = prepared(bake(self.state.G_ema), self.config, "ema")
        z = latents(N_SHOWN, G.z_dim, seed=self.config.seed)
        y = balanced_labels(N_SHOWN, self.spec.n_classes)
        y = None if y is None else y.sort().values
        images = torch.cat(list(samples(G, z, y, rounding=rounding_for(self.config.data))))
        self._watch(self.state.step, images)
        with self._writing():
            self.log.image(self.state.step, grid(images, columns=10))

    def quick_score(self) -> None:
        """Scores the state by `config.quick`, at most once for each step, and saves a checkpoint if it is the best so far."""
        self.check_finite()
        if not self._is_recorded("quick", self.state.step):
            self._score(bake(self.state.G_ema), "quick", self.state.step)
        if self.best_step() == self.state.step:
            self.save()

    def best_step(self) -> int | None:
        """The step of the best quick score so far, None without scores."""
        best = self.best_quick()
        return best["step"] if best else None

    def best_quick(self) -> Record | None:
        """The record of the best quick score so far, by the protocol's first metric; None without scores."""
        best: Record | None = None
        for line in self._records("quick"):
            name, value = next(iter(line["scores"].items()))
            if best is None or better(name, value, best["scores"][name]):
                best = line
        return best

    def full_scores(self) -> dict[str, dict[str, float]]:
        """Scores the last checkpoint and the one with the best quick score by `config.protocol`, each once.

        Returns the scores of 'last' and 'best'; {} if a stop was asked for.
        """
        saved = checkpoint.steps_saved(self.run.checkpoints)
        best = self.best_step()
        chosen = {"last": self.state.step, "best": best if best in saved and best is not None else self.state.step}
        asked = [step for step in sorted(set(chosen.values())) if not self._is_recorded("full", step)]
        protocol = self._protocols["full"]
        if asked and protocol is not None:
            self.log.say(f"scoring step {' and '.join(map(str, asked))}: {protocol.draws * protocol.n} samples")
        for step in asked:  # in order: TensorBoard drops what comes after a larger step
            try:
                opened = checkpoint.open_checkpoint(saved[step])
                G = checkpoint.load_generator(opened).to(self.device)
            except DamagedError as error:
                log.warning(f"{error.what}; the last checkpoint stands for the best")
                chosen["best"] = self.state.step
            else:
                self._score(G, "full", step, generator=opened.sha256[checkpoint.GENERATORS["ema"]])
                if step == chosen["best"] and not self.stop.signum:
                    self._look_for_copies(G)
        scored = {line["step"]: line for line in self._records("full")}
        if set(chosen.values()) <= scored.keys():
            self._scored = {which: scored[step] for which, step in chosen.items()}
        return {which: record["scores"] for which, record in self._scored.items()}

    def _look_for_copies(self, G: Generator) -> None:
        """Warns where samples are copies of training images."""
        assert self.scorer is not None
        G, _ = prepared(G, self.config, "ema")
        z, y = latents(N_SAMPLES, G.z_dim, seed=self.config.seed), balanced_labels(N_SAMPLES, self.spec.n_classes)
        warn_of_copies(self.scorer, torch.cat(list(samples(G, z, y, rounding=rounding_for(self.config.data)))))

    def say_goodbye(self, scores: dict[str, dict[str, float]]) -> None:
        """Says how the run ended, and where its files are."""
        step, steps, folder = self.state.step, self.config.steps, self.run.path
        if step < steps:
            self.log.say(f"stopped after step {step} of {steps}, which is saved; the same command goes on from there")
            return
        if self.config.protocol and not scores:
            self.log.say(f"stopped after all {steps} steps, which are saved, and before the full score; the same command takes it")
            return
        by_step: dict[int, list[str]] = {}
        for name, record in self._scored.items():
            by_step.setdefault(record["step"], []).append(name)
        for at, which in by_step.items():
            self.log.say(described(f"{' and '.join(which)} checkpoint, step {at}", scores[which[0]]))
        baseline = self._records("full")[-1].get("floor") if scores else None
        if baseline:
            self.log.say(described(f"{baseline['n']} real {baseline['split']} images", baseline["scores"]))
        plain = re.fullmatch(r"[\w./+-]+", str(folder))
        argument = f"run={folder}" if plain else f"'run=\"{folder}\"'"
        self.log.say(
            f"done: {steps} steps in {folder}\n"
            f"  samples      {self.log.latest if self.log.latest.exists() else folder / 'samples'}\n"
            f"  curves       tensorboard --logdir {shlex.quote(str(folder))}\n"
            f"  checkpoints  {self.run.checkpoints}\n"
            f"  more images  sngan sample {argument}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.log.close()
        with suppress(*((OSError, UserError) if error else ())):  # the error of a full disk is already on its way
            write_result(
                self.run.path,
                error,
                step=self.state.step,
                steps=self.config.steps,
                seconds=self.run.seconds(),
                scores=self._scored,
                quick=self.best_quick(),
                config=self.config.model_dump(mode="json"),
                device=str(self.device),
            )

    def _score(self, G: Generator, role: Role, step: int, **known: str) -> None:
        """Scores G and records it with `known`, what else is known of G; records nothing if a stop is asked for during scoring."""
        protocol = self._protocols[role]
        assert self.scorer is not None and protocol is not None
        try:
            with self.stop.at_once():
                G, measured = prepared(G, self.config, "ema")
                scored = self.scorer.score(G, protocol)
                if role == "full":
                    scored["floor"] = self.scorer.baseline(protocol)
        except Interrupted:
            return
        subject = {"by": "train", "role": role, "step": step, "weights": "ema", "batch_norm": measured, **known}
        with self._writing():
            self.log.scores(step, {**subject, **scored})
        if role == "quick":  # the full ones are said at the end
            self.log.say(described(f"step {step}", scored["scores"]))

    def _is_recorded(self, role: Role, step: int) -> bool:
        return any(line["step"] == step for line in self._records(role))

    def _records(self, role: Role) -> list[Record]:
        """This run's own scores that were made with the present protocol and settings."""
        how = self._how(role)
        lines = (earlier.record(line) for line in read_metrics(self.run.path / "metrics.jsonl") if line.get("role") == role)
        return [line for line in lines if all(line.get(key) == value for key, value in how.items())]

    def _how(self, role: Role) -> dict[str, Any]:
        """The settings that two comparable scores share."""
        protocol = self._protocols[role]
        if self.scorer is None or protocol is None:
            return {}
        return {"weights": "ema", "batch_norm": batch_norm(self.config, "ema"), **self.scorer.provenance(protocol)}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Gives `UserError` for a run folder that cannot be written, because the disk is full say."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"step {self.state.step} cannot be written to {self.run.path} ({error.strerror}); {self._last_good()}\n"
                "make room, or give the folder back its rights; the same command goes on from there"
            ) from None

    def _last_good(self) -> str:
        good = checkpoint.latest(self.run.checkpoints)
        return f"the last good checkpoint is {good}" if good else "there is no checkpoint before it"
