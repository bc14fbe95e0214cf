"""A sweep: the outcomes of its jobs and a request to stop, shared in files because jobs may run in other processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sngan.cli.hydra_app import call_hydra, readable_errors
from sngan.cli.sweeps.gpus import claimed_gpu
from sngan.cli.sweeps.outcomes import Outcome, summary
from sngan.cli.sweeps.output import Prefixed
from sngan.errors import Interrupted, UserError
from sngan.files import read_json, read_text, write_json
from sngan.launch import is_first, launch
from sngan.processes import ask_to_end
from sngan.runs.folder import TRACEBACK
from sngan.runs.result import ending, write_failure
from sngan.signals import ECHO, StopRequest

Task = Callable[[DictConfig], Any]
Folder = Callable[[DictConfig], Path]

HOME = Path("runs/.sweep")


class Sweep:
    """The state that the processes of a sweep share, in a folder of small files. It is pickled for processes that run jobs."""

    def __init__(self, command: str, words: list[str], task: Task, folder_of: Folder | None):
        self.command, self.words, self.task, self.folder_of = command, words, task, folder_of
        try:
            HOME.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(dir=HOME)).absolute()
        except OSError as error:
            raise UserError(
                f"a sweep keeps notes in {HOME}, which cannot be written ({error.strerror}); start it in another folder"
            ) from None
        self.parent = socket.gethostname(), os.getpid()
        self.on_cluster = any(word.startswith("hydra/launcher=") and "slurm" in word for word in words)

    def __call__(self, cfg: DictConfig) -> Outcome:
        """Runs a job and records its outcome. An error ends this job and not the others."""
        here = (socket.gethostname(), os.getpid()) == self.parent
        hydra = HydraConfig.get()
        outcome = Outcome(
            hydra.job.num, list(hydra.overrides.task), "running", self._folder_of(cfg), host=socket.gethostname(), pid=os.getpid()
        )
        if self.stopped():
            return self._note(replace(outcome, status="not begun"))
        self._note(outcome)
        try:
            with ExitStack() as stack:
                if not here:
                    stack.enter_context(_among_others(cfg, outcome.job, self.folder))
                stop = stack.enter_context(StopRequest())
                stack.enter_context(stop.at_once())
                stack.enter_context(readable_errors(self.command, self.words))
                value = self.task(cfg)
        except SystemExit:
            raise  # how submitit ends a process whose job is about to begin again elsewhere
        except BaseException as error:
            status, said = ending(error)
            outcome = self._note(replace(outcome, status=status, error=said))
            if outcome.status == "failed":
                self._tell(outcome, error, cfg)
            elif here:
                raise
            return outcome
        return self._note(replace(outcome, status="finished", value=value if isinstance(value, float) else None))

    def outcomes(self) -> list[Outcome]:
        """The outcomes of all jobs that began, in order."""
        found = [Outcome(**read_json(path)) for path in sorted(self.folder.glob("job-*.json"))]
        return [replace(each, status="killed") if each.status == "running" and each.is_gone() else each for each in found]

    def running(self) -> list[int]:
        """The other processes of this machine that run a job."""
        here = [outcome for outcome in self.outcomes() if outcome.status == "running" and outcome.host == socket.gethostname()]
        return [outcome.pid for outcome in here if outcome.pid != os.getpid()]

    def stop(self) -> None:
        """Prevents further jobs from beginning."""
        (self.folder / "stop").touch()

    def stopped(self) -> bool:
        """Whether further jobs are prevented from beginning."""
        return (self.folder / "stop").exists()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGINT and SIGTERM are passed on to jobs in other processes of this machine, which save and end.

        `Interrupted` is raised when they have ended; at once if there are none, or at a second signal.
        """
        told: list[tuple[int, float]] = []

        def receive(signum: int, frame: FrameType | None) -> None:
            if told and time.monotonic() - told[0][1] < ECHO:
                return
            running = self.running()
            if self.on_cluster:
                print("sngan: jobs on the cluster continue; squeue --me lists them, scancel ends them", file=sys.stderr)
            else:
                self.stop()
            if told or not running:
                raise Interrupted(signum)
            told.append((signum, time.monotonic()))
            print(f"sngan: running jobs ({len(running)}) save and end; the same signal again ends them at once", file=sys.stderr)
            for pid in running:
                ask_to_end(pid)

        before = {signum: signal.signal(signum, receive) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
        if told:
            raise Interrupted(told[0][0])

    def _note(self, outcome: Outcome) -> Outcome:
        if (socket.gethostname(), os.getpid()) != self.parent and not is_first():
            return outcome  # of a job of several ranks, which the first one notes
        self.folder.mkdir(parents=True, exist_ok=True)  # the parent may have gone, with a cluster's jobs still to begin
        write_json(self.folder / f"job-{outcome.job:05d}.json", asdict(outcome))
        return outcome

    def _tell(self, outcome: Outcome, error: BaseException, cfg: DictConfig) -> None:
        if not getattr(error, "said", False):
            print(f"sngan: job {outcome.job}: {outcome.error}", file=sys.stderr, flush=True)
        if is_first() and outcome.folder is not None:
            write_failure(Path(outcome.folder), error, OmegaConf.to_container(cfg))
        if not isinstance(error, UserError):
            kept = Path(outcome.folder or ".", TRACEBACK)
            if (read_text(kept) or "").endswith("".join(traceback.format_exception_only(error))):
                print(f"sngan: job {outcome.job}: an error in the program; the traceback is in {kept}", file=sys.stderr, flush=True)
            else:
                traceback.print_exception(error)

    def _folder_of(self, cfg: DictConfig) -> str | None:
        try:
            return str(self.folder_of(cfg)) if self.folder_of else None
        except Exception:  # the task itself reports what is wrong with the config
            return None


def run_sweep(command: str, words: list[str], task: Task, folder_of: Folder | None) -> int:
    """Runs all jobs of a sweep, prints their outcomes, and returns the exit code: 2 when one failed, 128 + its number for a signal."""
    sweep = Sweep(command, words, task, folder_of)

    def job(cfg: DictConfig) -> Outcome:
        return sweep(cfg)

    said, code = None, 0
    try:
        with sweep.listening():
            call_hydra(command, job, words)
    except Interrupted as stop:
        said, code = f"interrupted by {stop}; the same command goes on from there", 128 + stop.signum
    except BrokenProcessPool:
        said, code = "a process of the sweep was killed, perhaps for lack of memory; the same command goes on from there", 2
    except Exception as error:
        if "submitit" not in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts:
            raise
        said, code = f"submitit: {' '.join(str(error).split())[:200]}; logs of jobs that began are in {HOME / '.submitit'}", 2
    finally:
        outcomes = sweep.outcomes()
        if outcomes and is_first():
            # a command that prints results has nothing else on standard output
            print(summary(outcomes), file=sys.stdout if folder_of else sys.stderr, flush=True)
        _remove(sweep.folder)
    if said:
        print(f"sngan: {said}", file=sys.stderr)
    return code or (2 if any(outcome.status == "failed" for outcome in outcomes) else 0)


@contextmanager
def _among_others(cfg: DictConfig, job: int, folder: Path) -> Iterator[None]:
    """Inside the block, the job has its own GPU if there are several, and its lines on the terminal begin with its number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, between jobs: the parent passes it on
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(Prefixed(sys.stdout, f"[{job}] ")))
        stack.enter_context(redirect_stderr(Prefixed(sys.stderr, f"[{job}] ")))
        if cfg.get("device") in ("auto", "cuda") and torch.cuda.device_count() > 1 and launch() is None:
            cfg.device = f"cuda:{stack.enter_context(claimed_gpu(folder, torch.cuda.device_count()))}"
        yield


def _remove(folder: Path) -> None:
    """Removes the shared files and Hydra's notes on the sweep; logs of submitit stay."""
    shutil.rmtree(folder, ignore_errors=True)
    (HOME / "multirun.yaml").unlink(missing_ok=True)
    for empty in (HOME, HOME.parent):
        with suppress(OSError):
            empty.rmdir()
