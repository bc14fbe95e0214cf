"""`sngan import`: a checkpoint of another project as one of ours."""

from __future__ import annotations

from omegaconf import DictConfig

from sngan.cli.compose import compose, to_dict, typed
from sngan.cli.jobs import run
from sngan.cli.report import paths_and_words
from sngan.imports.request import Import


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code. Words without KEY= are the project and its files."""
    paths, words = paths_and_words(argv)
    return run("import", lambda cfg: _import(cfg, paths), words)


def _import(cfg: DictConfig, paths: list[str]) -> None:
    values = to_dict(cfg)
    request = typed(Import, {**values, "rival": paths[0] if paths else values["rival"], "files": [*paths[1:], *values["files"]]})
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.imports.imports import find, write

    found = find(request)
    out = write(found, compose(found.overrides()))
    print(
        f"{out}: {' and '.join(found.networks)} for {found.spec.channels} x {found.spec.size} px, {found.spec.n_classes or 'no'} classes"
    )
