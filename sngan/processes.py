"""What differs between operating systems: whether a process exists, how it is asked to end, how a file is flushed to the disk."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process of this machine has this number."""
    if sys.platform == "win32":  # there, signal 0 is Ctrl-C
        import ctypes

        synchronize, timeout = 0x00100000, 0x00000102  # of the Windows API: an access right, and what a wait gives that ran out
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == timeout)
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def ask_to_end(pid: int) -> None:
    """Sends SIGTERM to a process that may be gone: it saves and ends. On Windows it ends at once, as there is no such request."""
    with suppress(OSError):
        os.kill(pid, signal.SIGTERM)


def flush(path: Path) -> None:
    """Waits until the disk holds a file, or a folder's list of files; Windows keeps that list itself, and does not let it be opened."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
