"""`sngan doctor`: whether a run is healthy."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.jobs import run
from sngan.cli.report import paths_and_words
from sngan.doctor.checks import shown
from sngan.doctor.request import Doctor
from sngan.errors import UserError

WIDTH = 100


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code, which is 0 whatever is found. A word without KEY= is the run."""
    paths, words = paths_and_words(argv)
    return run("doctor", lambda cfg: _doctor(cfg, paths), words)


def _doctor(cfg: DictConfig, paths: list[str]) -> None:
    values = to_dict(cfg)
    if len(paths) + (values["run"] is not None) > 1:
        raise UserError(f"{' '.join(paths)}: one run at a time; name it once: sngan doctor RUN")
    if paths:
        values["run"] = paths[0]
    request = typed(Doctor, values)
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.doctor.doctor import doctor

    record = doctor(request)
    print(json.dumps(record) if request.format == "json" else table(record))


def table(record: dict[str, Any]) -> str:
    """The record as text: a line for each check, and below it what to change or why it is not measured."""
    found = record["findings"]
    width = max(len(one["title"]) for one in found)
    lines = [f"{record['run']}, step {record['step']}: {record['verdict']}", ""]
    lines.append(f"  {'':<{width}}  {'found':>8}  {'usual':>14}")
    for one in found:
        low, high = (shown(value, one) for value in one["usual"])
        usual = low if low == high else f"{low} to {high}"
        lines.append(f"  {one['title']:<{width}}  {shown(one['value'], one):>8}  {usual:>14}  {one['verdict']}")
        if one["why"]:
            lines += textwrap.wrap(one["why"], WIDTH, initial_indent="      ", subsequent_indent="      ")
    if record["n"]:
        lines += ["", f"  {record['n']} samples, seed {record['seed']}; features of {record['extractor'] or 'no extractor'}"]
    return "\n".join(lines)
