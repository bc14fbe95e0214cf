"""Reading images that are not in memory, with worker processes that decode ahead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from sngan.data.images import Images, ImageSpec, TensorImages
from sngan.errors import UserError

CHUNK = 32
"""Images in one task of a worker when a whole data set is read: enough to make up for the cost of sending them, in little shared memory."""


def read(images: Images, batches: Iterable[list[int]], *, workers: int) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The images of each list of indices, in order: uint8 [N, C, H, W] in 0..255 and labels int64 [N], on the host.

    The workers start with the first batch, read some batches ahead, and end with the generator: at its end, or when it is closed.
    """
    loader = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        multiprocessing_context=worker_context(images) if workers else None,
        worker_init_fn=live_as_long_as_the_run,
        generator=torch.Generator(),  # otherwise the loader draws a number from the global one
    )
    try:
        with without_main(images):
            batches_read = iter(loader)
        yield from batches_read
    except UserError as error:
        # the frames in its traceback hold the loader, whose workers are to end now
        error.with_traceback(None)
        # what comes from a worker has the worker's traceback as its text, with the message at the end
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None


def read_all(images: Images, spec: ImageSpec, *, workers: int) -> TensorImages:
    """All images in memory; a progress bar shows past two seconds."""
    n = len(images)
    pixels = torch.empty(n, *spec.shape, dtype=torch.uint8)
    labels = torch.empty(n, dtype=torch.int64)
    chunks = [list(range(start, min(start + CHUNK, n))) for start in range(0, n, CHUNK)]
    with tqdm(total=n, desc="reading images", unit="image", delay=2, disable=None) as bar:
        for chunk, (x, y) in zip(chunks, read(images, chunks, workers=workers), strict=True):
            pixels[chunk[0] : chunk[-1] + 1] = x
            labels[chunk[0] : chunk[-1] + 1] = y
            bar.update(len(chunk))
    return TensorImages(pixels, labels)


def worker_context(images: Images | None = None) -> multiprocessing.context.BaseContext:
    """How workers start: from a clean server process, which inherits neither CUDA nor the locks of our threads, as a fork would.

    The server imports torch once, then forks in milliseconds; it serves all runs of this process and ends with it. Where there is
    none (Windows), each worker is a fresh interpreter. Images whose class is of a script or notebook are known to a fork alone.
    """
    methods = multiprocessing.get_all_start_methods()
    if "fork" in methods and _is_of_main(images):
        return multiprocessing.get_context("fork")
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sngan.data.images"])
    return context


@contextmanager
def without_main(images: Images | None = None) -> Iterator[None]:
    """Inside, workers start without the script of this process, which they would run again unless it guards its main part."""
    if _is_of_main(images):
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _is_of_main(images: Images | None) -> bool:
    return type(images).__module__ == "__main__"


def live_as_long_as_the_run(_worker: int = 0) -> None:
    """Makes this process, a worker, ignore SIGINT and SIGTERM, and end when the main process ends."""
    # Ctrl-C reaches the workers too, but the main process may need further batches before it stops
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler sends it to all processes at once; the main one ends its workers
    # a main process that is killed cannot end them; torch's own watch is for direct children, which a server's are not
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
