"""`sngan watch`: serves the report of runs that go on, until it is interrupted."""

from __future__ import annotations

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.jobs import run
from sngan.cli.report import command, paths_and_words
from sngan.report.request import Watch


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code. Words without KEY= are paths."""
    paths, words = paths_and_words(argv)
    return run("watch", lambda cfg: _watch(cfg, paths), words)


def _watch(cfg: DictConfig, paths: list[str]) -> None:
    values = to_dict(cfg)
    values["paths"] = [*paths, *values["paths"]]
    request = typed(Watch, values)
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.report.serve import Server

    with Server(request, command=command) as server:
        print(f"{server.address}  Ctrl-C ends it", flush=True)
        server.serve_forever()
