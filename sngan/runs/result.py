"""`result.json`: how a run ended, for programs that read it."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from sngan.config import FREE, Config
from sngan.errors import Interrupted, UserError
from sngan.files import replace, write_json
from sngan.provenance import versions
from sngan.runs import earlier
from sngan.runs.checkpoint import steps_saved
from sngan.runs.folder import RESULT, TRACEBACK, differences
from sngan.runs.records import read_result

Result = dict[str, Any]
Status = Literal["finished", "interrupted", "failed"]

SCORED = {"protocol", "quick", "extractor"}
"""Keys that may change between sessions, after which a finished run still has to take other scores."""


def ending(error: BaseException | None) -> tuple[Status, str | None]:
    """The status of a run that ended this way and, for a failure, its message."""
    if error is None:
        return "finished", None
    if isinstance(error, Interrupted | KeyboardInterrupt | SystemExit):
        return "interrupted", None
    return "failed", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def write_result(folder: Path, error: BaseException | None, **what: Any) -> None:
    """Writes `result.json` and, for an error that is not the user's, `traceback.txt`.

    `what` is `step`, `steps`, `seconds` of all sessions, `scores` (records by 'last' and 'best'), `quick` (the best quick score's record,
    None without one), `config` and `device`.
    """
    status, said = ending(error)
    if status == "failed" and not isinstance(error, UserError):
        replace(folder / TRACEBACK, "".join(traceback.format_exception(error)))
    write_json(folder / RESULT, {"status": status, "error": said, **what, "versions": versions()}, sealed=True)


def write_failure(folder: Path, error: BaseException, config: Any) -> None:
    """The result of a job of a sweep that failed before its run began, unless the folder holds a run or belongs to another process."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - {RESULT, TRACEBACK}:
        return
    with suppress(OSError):  # it may be why the run could not begin
        folder.mkdir(parents=True, exist_ok=True)
        write_result(folder, error, step=0, steps=config["steps"], seconds=0.0, scores={}, quick=None, config=config, device=None)


def finished(config: Config) -> Result | None:
    """The result of the run that the config describes, if the run is finished and was trained and scored as the config asks; else None."""
    if config.resume == "never":
        return None
    try:
        result: Result | None = read_result(config.run_dir / RESULT)
    except UserError:
        return None  # the run reports what is wrong with the folder
    if not result or result["status"] != "finished" or config.steps not in steps_saved(config.run_dir / "checkpoints"):
        return None
    return (
        None
        if differences(earlier.config(result.get("config", {})), config.model_dump(mode="json"), free=FREE - SCORED)
        else result
    )
