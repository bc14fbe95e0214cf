"""The small files of a run, read as a stranger's and written so that no link is followed; and locks between processes.

What is read is a regular file, no link, of a limited size, UTF-8, and JSON of limited depth; anything else is a `UserError`. What is
written goes to a new file that then takes the place of the old one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sngan.errors import DamagedError, UserError
from sngan.processes import flush, open_regular

if TYPE_CHECKING:
    from filelock import BaseFileLock

MOST_JSON, MOST_LINES = 2**24, 2**28
"""Bytes of a JSON file, and of a file of JSON lines: those of a long run have some 1 kB a line."""

SEAL = "crc32"
"""The key of a checksum, which is written and read here and seen nowhere else. It finds faults of a disk, and hinders nobody on purpose."""

DEEPEST = 32
"""Lists and objects inside each other in JSON; a config has four."""

MOST_STEPS = 2**63
"""Steps fit an int64."""


def replace(path: Path, content: str | bytes, *, flushed: bool = True) -> None:
    """Replaces the file as a whole, so that a kill leaves the old or the new one. A link in its place is replaced, not followed.

    Unless it is `flushed`, which takes milliseconds, this is not promised for the end of the whole machine.
    """
    with _partial(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    if flushed:
        flush(_name_of_partial(path))  # else the new name could reach the disk before the content
    _name_of_partial(path).replace(path)


def check_writable(path: Path) -> None:
    """Raises `OSError` where `replace` could not write a file, and leaves nothing."""
    if path.is_dir():
        raise IsADirectoryError(None, "it is a folder")
    _partial(path).close()
    _name_of_partial(path).unlink()


def _partial(path: Path) -> IO[bytes]:
    """A new file: what lay there, left by a kill or placed by a stranger, is removed and not written to."""
    _name_of_partial(path).unlink(missing_ok=True)
    return _name_of_partial(path).open("xb")


def _name_of_partial(path: Path) -> Path:
    return path.with_name(f".partial-{path.name}")


def write_json(path: Path, content: Any, *, sealed: bool = False) -> None:
    """Replaces a JSON file; with `sealed` an object gets a checksum, by which a reader sees that it was changed."""
    replace(path, json.dumps(_sealed(content) if sealed else content, indent=2) + "\n")


def read_text(path: Path) -> str | None:
    """A small text file, None where there is none. Raises `OSError`, and `ValueError` for what is no UTF-8."""
    try:
        return _content(path, MOST_JSON).decode()
    except FileNotFoundError:
        return None


def read_json(path: Path) -> Any:
    """A JSON file's content, None where there is no file; `DamagedError` if it is cut short, changed or otherwise none of ours."""
    try:
        return _parsed(_content(path, MOST_JSON))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read as JSON ({said(error)})", "it is damaged, or not a file of sngan") from None


def read_object(path: Path) -> dict[str, Any] | None:
    """Like `read_json`, of a file that holds an object."""
    found = read_json(path)
    if found is None or isinstance(found, dict):
        return found
    raise DamagedError(f"{path} holds no JSON object", "it is not a file of sngan")


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Adds one JSON line with its checksum, after the last complete one. Raises `OSError`, also for a link."""
    _cut_incomplete(path)
    with open_regular(path, append=True) as file:
        file.write((json.dumps(_sealed(content)) + "\n").encode())


def _cut_incomplete(path: Path) -> None:
    """Removes a last line that a kill has cut short: the next one would be written onto it."""
    with suppress(FileNotFoundError), open_regular(path) as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            os.truncate(path, file.read().rfind(b"\n") + 1)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a .jsonl file; a last line that a kill cut short is left out. `UserError` for one that is damaged.

    Each is an object with a `step`, a whole number from 0 on.
    """
    try:
        *complete, _ = _content(path, MOST_LINES).split(b"\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({said(error)}); remove it") from None
    lines = []
    for number, line in enumerate(complete, start=1):
        try:
            found = _parsed(line)
            if not isinstance(found, dict) or type(found.get("step")) is not int or not 0 <= found["step"] < MOST_STEPS:
                raise ValueError("no object with a step")
        except ValueError:
            raise UserError(f"{path}, line {number}, is not a record of a step; mend or remove the line") from None
        lines.append(found)
    return lines


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Replaces a file of JSON lines."""
    replace(path, "".join(json.dumps(_sealed(line)) + "\n" for line in lines))


def refuse_link(folder: Path) -> None:
    """Raises `UserError` if a folder inside a run is a link: it could lead anywhere."""
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, and links in a run folder are not followed; put the folder itself there")


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, if it is there; what a link leads to stays. Raises `OSError`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(path: Path) -> BaseFileLock | None:
    """Locks a file, which is made if need be, until `release()` or the end of this process; None, at once, if another holds it.

    The system forgets the lock of a process that has ended, however it ended; the file itself says nothing. Raises `OSError` where the
    file cannot be made, or is a link.
    """
    from filelock import FileLock, Timeout

    open_regular(path, append=True).close()
    lock = FileLock(path, timeout=0, thread_local=False)  # released by whichever thread closes what it guards
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def said(error: Exception) -> str:
    """An error's reason, without the path that a message names already."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _content(path: Path, most: int) -> bytes:
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most >> 20} MB")
    return content


def _parsed(content: bytes) -> Any:
    """JSON in UTF-8 without lone surrogates, at most `DEEPEST` deep. Raises `ValueError`."""
    text = content.decode()
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is too deep") from None
    if re.search(r"[0-9]{300}", text):
        raise ValueError("it has a number of hundreds of digits")
    if "\\u" in text:
        json.dumps(found, ensure_ascii=False).encode()
    if text.count("[") + text.count("{") > DEEPEST and _depth(found) > DEEPEST:
        raise ValueError("it is too deep")
    if isinstance(found, dict) and (seal := found.pop(SEAL, None)) is not None and seal != _checksum(found):
        raise ValueError("it has been changed since it was written")
    return found


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, SEAL: _checksum(content)}


def _checksum(content: dict[str, Any]) -> str:
    """CRC-32 of the content as the most compact JSON, in hexadecimal."""
    return f"{zlib.crc32(json.dumps(content, separators=(',', ':')).encode()):08x}"


def _depth(found: Any) -> int:
    depth, level = 0, [found]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth
