"""`sngan evaluate`: scores a checkpoint."""

from __future__ import annotations

from omegaconf import DictConfig

from sngan.cli.compose import takes_no_score, to_dict, typed
from sngan.cli.hydra_app import run
from sngan.config import Evaluate
from sngan.errors import UserError
from sngan.evaluation.evaluate import evaluate


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("evaluate", _evaluate, argv)


def _evaluate(cfg: DictConfig) -> None:
    values = to_dict(cfg)
    if takes_no_score(values.get("protocol")):
        raise UserError("protocol=none takes no score; give protocol=standard or protocol=quick, or leave it out")
    record = evaluate(typed(Evaluate, values))
    print(table(record))


def table(record: dict) -> str:
    """A score record as text: each score under its full name, and how it was taken."""
    reference, extractor, protocol = record["reference"], record["extractor"], record["protocol"]
    width = max(map(len, record["scores"]))
    rows = []
    for name, value in record["scores"].items():
        deviation = record["deviations"].get(name)
        rows.append(
            f"  {name:<{width}}  {value:.6g}"
            + ("" if deviation is None else f" ± {deviation:.2g} over {protocol['splits']} splits")
        )
    return "\n".join(
        [
            f"step {record['step']}, {record['weights']} weights, batch norm {record['batch_norm']}",
            *rows,
            f"  {protocol['n']} samples of seed {protocol['seed']}; reference: {reference['n']} {reference['split']} images of {reference['data']}",
            f"  extractor: {extractor['label']}, sha256 {extractor['sha256'][:16]}…; {record['seconds']:.0f} s on {record['device']}",
        ]
    )
