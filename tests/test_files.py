"""Small files as a stranger may leave them, and links and pipes in the place of files."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sngan import UserError
from sngan.files import (
    DEEPEST,
    MOST_JSON,
    append_line,
    check_writable,
    lock,
    read_json,
    read_lines,
    read_object,
    remove,
    replace,
    write_json,
)


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """A read that blocks ends the test."""
    signal.alarm(20)
    yield
    signal.alarm(0)


DAMAGED = {
    "no UTF-8": b'{"step": 1, "by": "\xff"}\n',
    "cut short": b'{"step": 1\n',
    "nothing": b"\n",
    "another type": b"[1]\n",
    "no step": b'{"by": "train"}\n',
    "a step in words": b'{"step": "1"}\n',
    "a step that is true": b'{"step": true}\n',
    "a step that is not whole": b'{"step": 1.5}\n',
    "a step before the first": b'{"step": -1}\n',
    "a step beyond int64": b'{"step": 9223372036854775808}\n',
    "a number of many digits": b'{"step": ' + b"9" * 10_000 + b"}\n",
    "half a character": b'{"step": 1, "by": "\\ud800"}\n',
    "too deep for Python": b'{"step": 1, "by": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "too deep for us": b'{"step": 1, "by": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}\n",
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named(line: bytes) -> None:
    Path("lines.jsonl").write_bytes(b'{"step": 0}\n' + line)
    with pytest.raises(UserError, match=r"^lines.jsonl, line 2, is not a record of a step; mend or remove the line$"):
        read_lines(Path("lines.jsonl"))


def test_what_is_deep_enough_for_a_config_is_read() -> None:
    content = {"step": 1, "by": [[[["\u2028", "é"]]]]}
    append_line(Path("lines.jsonl"), content)
    assert read_lines(Path("lines.jsonl")) == [content]


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000, b'"\\udfff"', b" " * MOST_JSON + b"1"], ids=range(5))
def test_json_that_is_none_of_ours_is_told_in_a_line(content: bytes) -> None:
    Path("a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^a.json cannot be read as JSON \(.*\); it is damaged, or not a file of sngan$"):
        read_json(Path("a.json"))


@pytest.mark.parametrize("content", ["[]", "1", '"a"', "true"])
def test_an_object_is_no_other_type(content: str) -> None:
    Path("a.json").write_text(content)
    with pytest.raises(UserError, match="holds no JSON object"):
        read_object(Path("a.json"))
    assert read_object(Path("nowhere.json")) is None


def fifo(path: Path) -> None:
    os.mkfifo(path)


def to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_victim(path: Path) -> None:
    Path("victim").write_text('{"step": 1}\n')
    path.symlink_to(Path("victim").absolute())


@pytest.mark.parametrize("place", [fifo, to_zero, to_victim, Path.mkdir])
def test_only_regular_files_are_read_added_to_and_locked(place: Callable[[Path], None]) -> None:
    path = Path("placed")
    place(path)
    for read in (read_json, read_lines):
        with pytest.raises(UserError, match=r"^placed cannot be read .*(link|regular|folder)"):
            read(path)
    with pytest.raises(OSError, match=r"link|regular|folder"):
        append_line(path, {"step": 2})
    with pytest.raises(OSError, match=r"link|regular|folder"):
        lock(path)
    if Path("victim").exists():
        assert Path("victim").read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("name", ["a.json", ".partial-a.json"])
def test_writing_replaces_a_link_and_never_what_it_leads_to(name: str) -> None:
    to_victim(Path(name))
    check_writable(Path("a.json"))
    replace(Path("a.json"), "new")
    assert Path("victim").read_text() == '{"step": 1}\n'
    assert not Path("a.json").is_symlink()
    assert Path("a.json").read_text() == "new"
    assert not Path(".partial-a.json").exists()


def test_removing_a_link_leaves_what_it_leads_to() -> None:
    Path("victim").mkdir()
    Path("victim/kept").write_text("")
    Path("link").symlink_to("victim")
    remove(Path("link"))
    assert Path("victim/kept").exists()
    assert not Path("link").is_symlink()
    remove(Path("victim"))
    assert not Path("victim").exists()


def test_what_is_written_has_the_rights_of_other_new_files() -> None:
    Path("other").touch()
    replace(Path("a.json"), json.dumps({}))
    append_line(Path("lines.jsonl"), {"step": 1})
    assert {path.stat().st_mode for path in Path().iterdir()} == {Path("other").stat().st_mode}


def test_a_line_after_one_that_was_cut_short_takes_its_place() -> None:
    append_line(Path("a.jsonl"), {"step": 1})
    append_line(Path("a.jsonl"), {"step": 2, "text": "x" * 100})
    os.truncate("a.jsonl", Path("a.jsonl").stat().st_size - 50)
    append_line(Path("a.jsonl"), {"step": 3})
    assert read_lines(Path("a.jsonl")) == [{"step": 1}, {"step": 3}]


def test_a_digit_that_has_changed_is_found() -> None:
    append_line(Path("a.jsonl"), {"step": 1, "D_loss": 1.25})
    write_json(Path("a.json"), {"seconds": 1.25}, sealed=True)
    assert read_json(Path("a.json")) == {"seconds": 1.25}
    for name in ("a.jsonl", "a.json"):
        Path(name).write_text(Path(name).read_text().replace("1.25", "1.75"))
    with pytest.raises(UserError, match=r"a\.jsonl, line 1, is not a record of a step"):
        read_lines(Path("a.jsonl"))
    with pytest.raises(UserError, match=r"a\.json cannot be read as JSON \(it has been changed since it was written\)"):
        read_json(Path("a.json"))


def test_lines_without_a_checksum_are_read_as_well() -> None:
    Path("a.jsonl").write_text('{"step": 1}\n')
    assert read_lines(Path("a.jsonl")) == [{"step": 1}]
