import multiprocessing
import os
import select
import signal
from multiprocessing.connection import Connection

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sngan import config
from sngan.data.batches import Batches, flip, to_float
from sngan.data.images import Images, ImageSpec, TensorImages
from sngan.randomness import generator

N, SPEC = 20, ImageSpec(resolution=8, channels=3, n_classes=10)
CPU = torch.device("cpu")


class Decoded(Images):
    """Images that are not in memory, as far as `Batches` knows; image i has the grey level i everywhere but in its left column."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.full((3, 8, 8), index, dtype=torch.uint8)
        image[:, :, 0] = 255
        return image, index % 10


def in_memory() -> TensorImages:
    pixels, labels = zip(*(Decoded()[i] for i in range(N)), strict=True)
    return TensorImages(torch.stack(pixels), torch.tensor(labels))


def batches(images: Images, *, batch: int = 8, seed: int = 0, rank: int = 0, world: int = 1, **data: object) -> Batches:
    values = {"name": "test", "dequantize": True, "flip": False, "resident_mb": 100.0, "workers": 0} | data
    return Batches(images, SPEC, batch=batch, d_steps=2, seed=seed, data=config.Data(**values), device=CPU, rank=rank, world=world)


def same(a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_step_is_d_steps_batches_of_floats_and_their_labels():
    x, y = batches(in_memory())(0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((2, 8, 3, 8, 8), torch.float32, (2, 8), torch.int64)


def test_labels_belong_to_their_images():
    x, y = batches(in_memory(), dequantize=False)(3)
    grey = ((x[:, :, 0, 0, -1] + 1) * 127.5).round().long()
    assert torch.equal(grey % 10, y)


@pytest.mark.parametrize(
    ("images", "data"),
    [
        (Decoded(), {"workers": 0}),
        (Decoded(), {"workers": 2}),
        (Decoded(), {"workers": 0, "resident_mb": 0.0}),
        (Decoded(), {"workers": 2, "resident_mb": 0.0}),
        (in_memory(), {"resident_mb": 0.0}),
    ],
    ids=["read at once", "read at once by workers", "streamed", "streamed by workers", "gathered on the host"],
)
def test_pixels_do_not_depend_on_where_the_images_live(images, data):
    reference = batches(in_memory(), flip=True)
    with batches(images, flip=True, **data) as tried:
        assert all(same(tried(step), reference(step)) for step in range(6))


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device: values, and sizes that depend on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket not in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal), func
        return func(*args, **(kwargs or {}))


def test_a_step_with_resident_images_does_not_wait_for_the_device():
    resident = batches(in_memory(), flip=True)
    with NoWaiting():
        resident(0)
        resident(1)


def test_a_stream_may_begin_anywhere_and_go_back():
    reference = batches(in_memory())
    with batches(Decoded(), resident_mb=0.0) as streamed:
        assert all(same(streamed(step), reference(step)) for step in (5, 6, 2, 3, 3, 9))


def test_the_ranks_share_the_images_of_one_process():
    whole, _ = batches(in_memory(), dequantize=False)(4)
    shares = [batches(in_memory(), dequantize=False, rank=rank, world=4)(4)[0] for rank in range(4)]
    assert torch.equal(torch.cat(shares, dim=1), whole)


def test_each_rank_and_each_step_has_noise_of_its_own():
    one_image = TensorImages(in_memory().pixels[:1])
    noises = [batches(one_image, rank=rank, world=2)(step)[0] for rank in range(2) for step in range(2)]
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 4


def test_the_global_random_state_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    with batches(Decoded(), resident_mb=0.0, flip=True) as streamed:
        streamed(0)
    batches(Decoded(), flip=True)(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_closing_ends_the_workers_and_a_later_step_starts_new_ones():
    with batches(Decoded(), resident_mb=0.0, workers=2) as streamed:
        first = streamed(0)
        assert len(multiprocessing.active_children()) == 2
        streamed.close()
        assert not multiprocessing.active_children()
        assert same(streamed(0), first)
    assert not multiprocessing.active_children()


def test_reading_all_images_leaves_no_worker():
    batches(Decoded(), workers=2)
    assert not multiprocessing.active_children()


def test_an_interrupt_from_the_keyboard_leaves_the_workers_at_work():
    reference = batches(in_memory())
    with batches(Decoded(), resident_mb=0.0, workers=2) as streamed:
        streamed(0)
        for worker in multiprocessing.active_children():
            assert worker.pid
            os.kill(worker.pid, signal.SIGINT)
        assert all(same(streamed(step), reference(step)) for step in range(1, 12))


def read_on(connection: Connection) -> None:
    """A run that waits for ever, after it has told the workers it started."""
    with batches(Decoded(), resident_mb=0.0, workers=2) as streamed:
        streamed(0)
        connection.send([worker.pid for worker in multiprocessing.active_children()])
        connection.recv()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for another's process")
def test_a_run_that_is_killed_leaves_no_worker():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    run = context.Process(target=read_on, args=(theirs,))
    run.start()
    workers = [os.pidfd_open(pid) for pid in ours.recv()]
    run.kill()
    run.join()
    for worker in workers:
        assert select.select([worker], [], [], 20)[0], "still there after 20 s"
        os.close(worker)


def test_dequantised_images_stay_within_their_grey_level():
    pixels = torch.arange(256, dtype=torch.uint8).expand(4, 3, 16, 256)
    levels = (to_float(pixels, generator("cpu", 0)) + 1) * 128
    noise = levels - pixels
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.mean().item() == pytest.approx(0.5, abs=5 / (12 * noise.numel()) ** 0.5)
    assert noise.std().item() == pytest.approx(12**-0.5, rel=0.01)


def test_images_without_noise_reach_both_ends_of_the_range():
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8), None).tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_flipping_mirrors_about_half_of_the_images_whole():
    pixels = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(1, 1, 2, 3, 4).expand(10, 100, 2, 3, 4)
    flipped = flip(pixels, generator("cpu", 0))
    mirrored = (flipped == pixels.flip(-1)).flatten(2).all(-1)
    untouched = (flipped == pixels).flatten(2).all(-1)
    assert (mirrored ^ untouched).all()
    assert 400 < mirrored.sum() < 600
