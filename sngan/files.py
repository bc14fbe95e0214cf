"""Small files: JSON that is read with the user's errors, replaced as a whole, appended to by the line; and locks between processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sngan.errors import DamagedError, UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock


def replace(path: Path, content: str | bytes) -> None:
    """Replaces the file as a whole, so that a kill leaves the old or the new one."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)


def check_writable(path: Path) -> None:
    """Raises `OSError` where `replace` could not write a file, and leaves nothing."""
    if path.is_dir():
        raise IsADirectoryError(None, "it is a folder")
    partial = path.with_name(f".partial-{path.name}")
    partial.touch()
    partial.unlink()


def write_json(path: Path, content: Any) -> None:
    """Replaces a JSON file."""
    replace(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file's content, None where there is no file; `DamagedError` if it is cut short."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read as JSON ({error})", "it is cut short or not a file of sngan") from None


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Adds one JSON line in a single write."""
    with path.open("a") as file:
        file.write(json.dumps(content) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a .jsonl file; a last line that a kill cut short is left out. `UserError` for one that is damaged."""
    if not path.exists():
        return []
    lines = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if line.endswith("\n"):
            try:
                lines.append(json.loads(line))
                lines[-1]["step"]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path}, line {number}, is not a record of a step; mend or remove the line") from None
    return lines


def lock(path: Path) -> BaseFileLock | None:
    """Locks a file, which is made if need be, until `release()` or the end of this process; None, at once, if another holds it.

    The system forgets the lock of a process that has ended, however it ended; the file itself says nothing. Raises `OSError` where the
    file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, thread_local=False)  # released by whichever thread closes what it guards
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
