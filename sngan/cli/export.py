"""`sngan export`: writes a checkpoint's generator for other programs."""

from __future__ import annotations

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.jobs import run
from sngan.export.request import Export


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("export", _export, argv)


def _export(cfg: DictConfig) -> None:
    request = typed(Export, to_dict(cfg))
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.export.export import export

    path, compared = export(request)
    print(f"{path}: its images of {compared.n} latents differ from the generator's by at most {compared.largest:.2g}")
