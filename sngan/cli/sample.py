"""`sngan sample`: writes samples of a checkpoint as pictures and films."""

from __future__ import annotations

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.jobs import run
from sngan.sampling.request import Sample


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("sample", _sample, argv)


def _sample(cfg: DictConfig) -> None:
    request = typed(Sample, to_dict(cfg))
    from sngan.sampling.sample import sample

    print(sample(request))
