"""`sngan report`: from run folders to one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from sngan import devices
from sngan.errors import UserError
from sngan.files import check_writable, replace
from sngan.report.comparison_page import several_page
from sngan.report.request import Report
from sngan.report.run_page import one_page
from sngan.report.samples import make
from sngan.report.tables import csv_table, markdown
from sngan.runs.run import Run, find_runs, read_run

Kind = Literal["html", "markdown", "csv"]
SUFFIXES: dict[Kind, str] = {"html": ".html", "markdown": ".md", "csv": ".csv"}


class Written(NamedTuple):
    """The result of a report."""

    path: Path
    n_runs: int
    left_out: list[str]
    """Runs that could not be read, each with the reason."""


def report(request: Report, *, command: Callable[[Mapping[str, Any]], str | None]) -> Written:
    """Writes the file that the request names, as a whole.

    `command` gives a command line that trains a config again, or None. Raises `UserError` where there is nothing to report, or the file
    cannot be written, before anything is computed.
    """
    if not request.paths:
        raise UserError("nothing given; name runs, or folders of them: sngan report runs/shapes")
    device = devices.resolve(request.device)
    kind = request.format or _kind(request.out)
    out = request.out or Path(request.paths[0] if len(request.paths) == 1 else ".") / f"report{SUFFIXES[kind]}"
    find_runs(request.paths)
    _check_out(out)
    page, n_runs, left_out = page_of(request, kind, out.parent, device, command=command)
    try:
        replace(out, page.encode(errors="replace"))  # a file name may hold what is no text
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); give another out=FILE") from None
    return Written(out, n_runs, left_out)


def page_of(
    request: Report, kind: Kind, home: Path, device: torch.device, *, command: Callable[[Mapping[str, Any]], str | None]
) -> tuple[str, int, list[str]]:
    """The page as it is to lie in the folder `home`, how many runs it is about, and why others are left out."""
    folders = find_runs(request.paths)
    runs, left_out = _read(folders)
    if kind == "csv":
        page = csv_table(runs, home)
    elif kind == "markdown":
        page = markdown(runs, home, left_out=left_out)
    elif len(folders) == 1:
        made = make(runs[0], device, n_shown=request.neighbours)
        page = one_page(runs[0], home, made=made, command=command(runs[0].config))
    else:
        page = several_page(runs, home, left_out=left_out)
    return page, len(runs), left_out


def _kind(out: Path | None) -> Kind:
    return next((kind for kind, suffix in SUFFIXES.items() if out and out.suffix.lower() == suffix), "html")


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs, and why others are left out; `UserError` if none is left."""
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            left_out.append(str(error))
    if not runs:
        raise UserError(left_out[0])
    return runs, left_out


def _check_out(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        check_writable(out)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); give another out=FILE") from None
