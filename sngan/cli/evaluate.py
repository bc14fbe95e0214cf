"""`sngan evaluate`: scores checkpoints, samples or real images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sngan.cli.compose import takes_no_score, to_dict, typed
from sngan.cli.jobs import run
from sngan.errors import Interrupted, UserError
from sngan.evaluation.request import Evaluate
from sngan.runs.records import better

Record = dict[str, Any]


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    try:
        return run("evaluate", _evaluate, argv)
    except Interrupted as stop:
        print(f"sngan: interrupted by {stop}; the scores taken so far are recorded", file=sys.stderr)
        return 128 + stop.signum


def evaluate_request(cfg: DictConfig) -> Evaluate:
    """The request that the composed config makes."""
    values = to_dict(cfg)
    if takes_no_score(values.get("protocol")):
        raise UserError("protocol=none takes no score; give protocol=standard or protocol=quick, or leave it out")
    return typed(Evaluate, values)


def _evaluate(cfg: DictConfig) -> None:
    request = evaluate_request(cfg)
    from sngan.evaluation.evaluate import evaluate
    from sngan.signals import StopRequest

    records = []
    with StopRequest() as stop, stop.at_once():
        for record in evaluate(request):
            records.append(record)
            if request.format == "json":
                print(json.dumps(record), flush=True)
            elif not request.all:
                print(table(record), flush=True)
    if request.all and records:
        path = _curve(records, request)
        if request.format == "table":
            print(steps_table(records))
            print(f"curve: {path}")


def table(record: Record) -> str:
    """A score record as text: each score under its full name, and how it was measured."""
    reference, extractor, protocol = record["reference"], record["extractor"], record["protocol"]
    if "step" in record:
        lines = [f"step {record['step']}, {record['weights']} weights, batch norm {record['batch_norm']}"]
        made = f"{_times(protocol)} samples of seed {protocol['seed']}, rounding {protocol['rounding']}"
    else:
        lines = [f"images of {record['samples']}" if "samples" in record else f"real {record['real']} images"]
        made = f"{_times(protocol)} images"
    lines += _rows(record["scores"], record["deviations"], protocol)
    baseline = record.get("floor")
    if baseline:
        lines.append(f"real-data baseline, {baseline['n']} {baseline['split']} images")
        lines += _rows(baseline["scores"], baseline["deviations"], {**protocol, "draws": 1})
    lines += [
        f"  {made}; reference: {reference['n']} {reference['split']} images of {reference['data']}, sha256 {reference['sha256'][:16]}…",
        f"  extractor: {extractor['label']}, sha256 {extractor['sha256'][:16]}…; {record['seconds']:.0f} s on {record['device']}",
    ]
    return "\n".join(lines)


def steps_table(records: list[Record]) -> str:
    """The scores of a run's checkpoints, one line each; the best value of each score is marked."""
    names = [name for name in records[0]["scores"] if all(name in record["scores"] for record in records)]
    best = _best_steps(records)
    widths = [max(len(name), 12) for name in names]
    lines = [f"{'step':>9}  " + "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))]
    for record in records:
        cells = [f"{record['scores'][name]:.6g}{'*' if best[name] == record['step'] else ' '}" for name in names]
        lines.append(f"{record['step']:>9}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    lines.append(f"* best; {records[0]['weights']} weights, batch norm {records[0]['batch_norm']}")
    baseline = records[-1].get("floor")
    if baseline:
        lines.append(
            f"real-data baseline, {baseline['n']} {baseline['split']} images: "
            + "  ".join(f"{k} {v:.6g}" for k, v in baseline["scores"].items())
        )
    return "\n".join(lines)


def _best_steps(records: list[Record]) -> dict[str, int]:
    """The step of the best of each score, the earlier one of equals."""
    best = {name: records[0] for name in records[0]["scores"]}
    for record in records[1:]:
        for name in best.keys() & record["scores"].keys():
            if better(name, record["scores"][name], best[name]["scores"][name]):
                best[name] = record
    return {name: record["step"] for name, record in best.items()}


def _rows(scores: dict[str, float], deviations: dict[str, float], protocol: dict[str, Any]) -> list[str]:
    width = max(map(len, scores))
    rows = []
    for name, value in scores.items():
        spread = f" ± {deviations[name]:.2g} over {_parts(name, protocol)}" if name in deviations else ""
        rows.append(f"  {name:<{width}}  {value:.6g}{spread}")
    return rows


def _parts(name: str, protocol: dict[str, Any]) -> str:
    """The parts over which a deviation is taken."""
    if protocol["draws"] > 1:
        return f"{protocol['draws']} draws"
    return "random subsets" if name.startswith(("kid_", "kd_")) else f"{protocol['splits']} splits"


def _times(protocol: dict[str, Any]) -> str:
    return f"{protocol['draws']} x {protocol['n']}" if protocol["draws"] > 1 else str(protocol["n"])


def _curve(records: list[Record], request: Evaluate) -> Path:
    """Draws the scores against the steps, in the run's folder.

    The real-data baseline is drawn if it is of as many images; fewer images have larger distances, which do not compare.
    """
    assert request.run is not None
    path = request.run / f"scores-{records[0]['protocol']['name']}-{request.weights}.png"
    from sngan.inspection.plot import write_curves

    names = [name for name in records[0]["scores"] if all(name in record["scores"] for record in records)]
    baseline = records[-1].get("floor")
    real = {}
    if baseline and baseline["n"] == records[-1]["protocol"]["n"]:
        paired = zip(records[-1]["scores"], baseline["scores"].values(), strict=False)
        real = {name: value for name, value in paired if name in names}
    curves = {name: [(record["step"], record["scores"][name]) for record in records] for name in names}
    try:
        write_curves(curves, path, best=_best_steps(records), real=real)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None
    return path
