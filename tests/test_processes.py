import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sngan.files import lock
from sngan.processes import ask_to_end, flush, is_running

HOLD = (
    "import sys; from pathlib import Path; from sngan.files import lock\n"
    "held = lock(Path(sys.argv[1])); print(held is not None, flush=True); sys.stdin.read()"
)


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that tries to lock a file, and holds it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        assert lock(path) is None
        other.communicate()
    held = lock(path)
    assert held is not None
    with holder(path) as other:
        assert other.communicate()[0] == "False\n"
    held.release()


def test_a_process_that_is_killed_leaves_a_lock_file_that_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as other:
        assert other.stdout
        other.stdout.readline()
        other.kill()
        other.communicate()
    assert path.exists()
    held = lock(path)
    assert held is not None
    held.release()


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    assert held is not None
    assert lock(tmp_path / "lock") is None
    held.release()
    again = lock(tmp_path / "lock")
    assert again is not None
    again.release()


def test_a_lock_that_cannot_be_made_is_an_error_of_the_system_and_no_other_holder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file"):
        lock(tmp_path / "file" / "lock")


def test_a_process_is_running_until_it_has_ended() -> None:
    assert is_running(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert is_running(other.pid)
        other.communicate()
    assert not is_running(other.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no request to end")
def test_a_process_is_asked_to_end_and_one_that_is_gone_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        ask_to_end(other.pid)
        assert other.wait() == -signal.SIGTERM
    ask_to_end(other.pid)


def test_files_and_folders_are_flushed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    flush(tmp_path / "file")
    flush(tmp_path)
    with pytest.raises(FileNotFoundError):
        flush(tmp_path / "nothing")
