"""What the tests share: a run that takes seconds, and one thread of the game's real parts."""

from __future__ import annotations

import copy
import gc
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sngan import Config, UserError, compose
from sngan.__main__ import main
from sngan.cli.compose import composed as composed_by_hydra
from sngan.cli.compose import train_config
from sngan.training import engine

CONFIGS = Path(__file__).parents[1] / "configs"

TINY = [
    "steps=6",
    "batch=8",
    "g_batch=8",
    "generator.widths=[16,8,8,8]",
    "discriminator=cnn",
    "discriminator.widths=[8,8,8]",
    "optimizer.decay=none",
    "data.n_train=64",
    "data.n_test=16",
    "ema.recalibrate=2",
    "log_every=1",
    "sample_every=0",
    "save_every=2",
    "evaluate_every=3",
    "quick.n=32",
    "protocol.n=32",
    "device=cpu",
]
"""The default experiment, shrunk until a run takes a second."""

SHALLOW = ["generator.widths=[8,8]", "discriminator.widths=[8]"]
"""Few layers of each kind, for what is compiled: each has kernels of its own, and a kernel takes a second."""


needs_a_compiler = pytest.mark.skipif(engine.why_not("compile", torch.device("cpu")) is not None, reason="needs a C++ compiler")


def pytest_collection_finish() -> None:
    """Half a million objects of modules live as long as the tests: the garbage collector need not look through them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def _with_no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of fixtures that live longer than a test."""
    os.environ["SNGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _with_a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _with_the_same_random_numbers() -> None:
    torch.manual_seed(0)


@cache
def composed(*overrides: str) -> Config:
    """`compose(overrides)`, for which Hydra needs as long as a tiny run trains: it makes each choice of groups once, and values are put in here."""
    chosen = tuple(word for word in overrides if _chooses(word))
    values = [word for word in overrides if not _chooses(word)]
    try:
        cfg = copy.deepcopy(_of_choices(chosen))
        for value in OverridesParser.create().parse_overrides(values):
            OmegaConf.update(cfg, value.key_or_group, value.value())
    except (HydraException, OmegaConfBaseException, UserError):
        return compose(overrides)  # which says what is wrong
    return train_config(cfg, overrides)


def _chooses(word: str) -> bool:
    """Whether an override chooses a file of a group, as `loss=bce` does."""
    return (CONFIGS / re.split("[=@]", word)[0]).is_dir()


@cache
def _of_choices(chosen: tuple[str, ...]) -> DictConfig:
    return composed_by_hydra("train", chosen)


def finished_run(folder: Path, *overrides: str) -> Path:
    """A tiny run with grids of samples, trained by the command line in a folder that outlives a test."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", *TINY, "sample_every=3", "run_dir=run", *overrides]) == 0
    finally:
        os.chdir(before)
    return folder / "run"


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Within it no file gets longer than so many bytes, as on a disk that fills while it is written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test in a pytest of its own: torch's convolutions that once fail for want of memory fail in their process for good."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        if "SNGAN_TESTED_ALONE" in os.environ:
            return test(**fixtures)
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | {
            "SNGAN_TESTED_ALONE": "1"
        }
        words = [sys.executable, "-m", "pytest", name]
        done = subprocess.run(words, cwd=CONFIGS.parent, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    return run


@contextmanager
def little_memory(size: int) -> Iterator[None]:
    """Within it this process gets no more than so many further bytes; for a test that runs `alone`."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def events(run: Path) -> Any:
    """All TensorBoard events of a run, as TensorBoard keeps them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def event_steps(run: Path) -> dict[str, list[int]]:
    """The steps of the events of each tag."""
    read = events(run)
    look = {"scalars": read.Scalars, "images": read.Images, "tensors": read.Tensors}
    return {tag: [event.step for event in look[kind](tag)] for kind in look for tag in read.Tags()[kind]}


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiny runs, two losses by two seeds, in a folder that is not to be changed."""
    folder = tmp_path_factory.mktemp("sweep")
    for words in (["loss=hinge", "seed=0"], ["loss=hinge", "seed=1"], ["loss=bce", "seed=0"], ["loss=bce", "seed=1"]):
        path = folder / words[0].replace("=", "-") / words[1].replace("=", "")
        assert main(["train", *TINY, "sample_every=3", *words, f"run_dir={path}"]) == 0
    return folder


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """`tiny("loss=bce", …)`: the config of a run that takes a second, with overrides."""
    return lambda *overrides: composed(*TINY, *overrides)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the files of `tmp_path` are served by this process, for what is downloaded."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
