"""What differs between operating systems: whether a process runs and how it is asked to end, how files are opened and flushed, how output
is dropped, how large the memory is, where results are kept."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO


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


def to_nowhere(descriptor: int) -> None:
    """Sends what is written to a descriptor from now on to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


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


def open_regular(path: Path, *, append: bool = False, follow: bool = False) -> IO[bytes]:
    """Opens a regular file, to read it or, made if need be, to append to it; a link only with `follow`.

    Nothing else is opened, because a pipe may block and a device may never end. Raises `OSError`.
    """
    with suppress(FileNotFoundError):
        _check_regular(path.stat() if follow else path.lstat(), path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if append else os.O_RDONLY
    # the file may have been exchanged since, where the system can tell
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    descriptor = os.open(path, flags, 0o666)
    try:
        _check_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "ab" if append else "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a link, and links are not followed here", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file", str(path))


def memory() -> int | None:
    """The bytes of this machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def cache_folder() -> Path:
    """Where results are kept between runs, `SNGAN_CACHE` or the platform's cache folder of the user; it need not exist."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SNGAN_CACHE") or user_cache_path("sngan"))
