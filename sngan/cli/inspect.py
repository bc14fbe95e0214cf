"""`sngan inspect`: inspects a checkpoint's weights."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.jobs import run
from sngan.inspection.request import Inspect


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("inspect", _inspect, argv)


def _inspect(cfg: DictConfig) -> None:
    request = typed(Inspect, to_dict(cfg))
    from sngan.inspection.inspect import inspect

    record = inspect(request)
    print(json.dumps(record) if request.format == "json" else table(record))


def table(record: dict[str, Any]) -> str:
    """The result of `inspect` as text: a line for each layer, then D's Lipschitz constant, and where the plot is."""
    lines = [
        f"{record['checkpoint']}, step {record['step']}",
        "",
        f"discriminator {record['discriminator']}, {_norm(record)}, regularizer {record['regularizer']}",
        *_rows(record["layers"]),
    ]
    generator = record["generator"]
    if generator:
        title = f"generator {generator['name']}, {_norm(generator)}, {generator['weights']} weights"
        lines += ["", title, *_rows(generator["layers"])]
    lines += [
        "",
        "sigma: of the parameter W, by power iteration; exact: by decomposition, and the ratio of the two;",
        "used: sigma_1 of the weight that the network runs with; as map: the norm of the layer with this weight,",
        "for a convolution on maps of the size it sees; rank: the stable rank |.|_F^2 / sigma_1^2 of this weight",
        "",
        "Lipschitz constant of D, |D(x) - D(x')| / |x - x'|",
        f"  at most   {_number(record['lipschitz_bound'])}   {record['lipschitz_bound_note'] or 'by the norms of its layers'}",
        f"  at least  {_number(record['lipschitz_found'])}   {record['lipschitz_found_note'] or _pairs(record['pairs'])}",
    ]
    if record["plot"]:
        lines += ["", f"singular values: {record['plot']}"]
    return "\n".join(lines)


def _norm(network: dict[str, Any]) -> str:
    """The norm of a network's weights, and of what it is."""
    is_map = network["norm_of"] == "map"
    return f"normalization {network['normalization']}" + (" of convolutions as maps" if is_map else "")


def _rows(layers: list[dict[str, Any]]) -> list[str]:
    """The layers' values under their names, in columns."""
    names = ["layer", *(layer["name"] for layer in layers)]
    shapes = ["weight", *("x".join(map(str, layer["shape"])) for layer in layers)]
    columns = [names, shapes]
    for title, key in (
        ("sigma", "sigma"),
        ("exact", "sigma_exact"),
        ("ratio", "ratio"),
        ("used", "used"),
        ("as map", "operator_norm"),
        ("rank", "stable_rank"),
    ):
        columns.append([title, *(_number(layer[key]) for layer in layers)])
    widths = [max(map(len, column)) for column in columns]
    return [
        "  "
        + "  ".join(
            f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in zip(*columns, strict=True)
    ]


def _number(value: float | None) -> str:
    """Five significant digits, zeros kept so that columns line up; '-' for a missing value."""
    return "-" if value is None else f"{value:#.5g}"


def _pairs(pairs: dict[str, Any]) -> str:
    labels = f", largest over {pairs['labels']} labels" if pairs["labels"] else ""
    return (
        f"between pairs of {pairs['n']} {pairs['split']} images of {pairs['data']} and {pairs['n']} samples "
        f"({pairs['weights']}, seed {pairs['seed']}){labels}"
    )
