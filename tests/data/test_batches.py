import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from sngan import config
from sngan.data.batches import Batches, flip, to_float
from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures
from sngan.data.images import Images, ImageSpec, TensorImages
from sngan.data.reading import read_all
from sngan.errors import UserError
from sngan.randomness import generator

N, SPEC = 20, ImageSpec(resolution=8, channels=3, n_classes=10)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Image i has the grey level i everywhere but in its left column."""
    root = tmp_path_factory.mktemp("pictures")
    for level in range(N):
        image = Image.new("L", (8, 8), level)
        image.paste(255, (0, 0, 1, 8))
        image.save(root / f"{level:02d}.png")
    return Pictures(root, [f"{level:02d}.png" for level in range(N)], [level % 10 for level in range(N)], Form(8))


@pytest.fixture(scope="module")
def in_memory(on_disk: Pictures) -> TensorImages:
    return read_all(on_disk, SPEC, workers=0)


def batches(images: Images, *, batch: int = 8, seed: int = 0, rank: int = 0, world: int = 1, **data: object) -> Batches:
    values = {"name": "test", "dequantize": True, "flip": False, "resident_mb": 100.0, "workers": 0} | data
    return Batches(images, SPEC, batch=batch, d_steps=2, seed=seed, data=config.Data(**values), device=CPU, rank=rank, world=world)


def same(a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_step_is_d_steps_batches_of_floats_and_their_labels(in_memory):
    x, y = batches(in_memory)(0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((2, 8, 3, 8, 8), torch.float32, (2, 8), torch.int64)


def test_labels_belong_to_their_images(in_memory):
    x, y = batches(in_memory, dequantize=False)(3)
    grey = ((x[:, :, 0, 0, -1] + 1) * 127.5).round().long()
    assert torch.equal(grey % 10, y)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("resident_mb", [0.0, 100.0], ids=["streamed", "read at once"])
def test_pixels_do_not_depend_on_where_the_images_live(on_disk, in_memory, resident_mb, workers):
    reference = batches(in_memory, flip=True)
    with batches(on_disk, flip=True, resident_mb=resident_mb, workers=workers) as tried:
        assert all(same(tried(step), reference(step)) for step in range(6))


def test_images_in_memory_that_do_not_fit_the_device_are_the_same(in_memory):
    reference, gathered = batches(in_memory, flip=True), batches(in_memory, flip=True, resident_mb=0.0)
    assert all(same(gathered(step), reference(step)) for step in range(6))


def test_images_are_read_once_where_they_fit_the_megabytes_they_may_take(on_disk, in_memory, tmp_path):
    """20 images of 3 x 8 x 8 bytes; of those that do not fit nothing is kept, so that a file that is gone is missed."""
    shutil.copytree(on_disk.root, tmp_path / "own")
    own = Pictures(tmp_path / "own", on_disk.files, on_disk.labels, Form(8))
    fits, large = batches(own, resident_mb=0.00384), batches(own, resident_mb=0.00383)
    shutil.rmtree(tmp_path / "own")
    assert same(fits(0), batches(in_memory)(0))
    with pytest.raises(UserError, match="cannot be read"):
        large(0)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device: values, and sizes that depend on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket not in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal), func
        return func(*args, **(kwargs or {}))


def test_a_step_with_resident_images_does_not_wait_for_the_device(in_memory):
    resident = batches(in_memory, flip=True)
    with NoWaiting():
        resident(0)
        resident(1)


def test_a_stream_may_begin_anywhere_and_go_back(on_disk, in_memory):
    reference = batches(in_memory)
    with batches(on_disk, resident_mb=0.0) as streamed:
        assert all(same(streamed(step), reference(step)) for step in (5, 6, 2, 3, 3, 9))


def test_the_ranks_share_the_images_of_one_process(in_memory):
    whole, _ = batches(in_memory, dequantize=False)(4)
    shares = [batches(in_memory, dequantize=False, rank=rank, world=4)(4)[0] for rank in range(4)]
    assert torch.equal(torch.cat(shares, dim=1), whole)


def test_each_rank_and_each_step_has_noise_of_its_own(in_memory):
    one_image = TensorImages(in_memory.pixels[:1])
    noises = [batches(one_image, rank=rank, world=2)(step)[0] for rank in range(2) for step in range(2)]
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 4


def test_each_rank_step_and_seed_flips_images_of_its_own(in_memory):
    one_image = TensorImages(in_memory.pixels[:1])  # which is not its own mirror image
    places = [(rank, step, seed) for rank in range(2) for step in range(2) for seed in range(2)]
    flips = set()
    for rank, step, seed in places:
        x, _ = batches(one_image, batch=64, dequantize=False, flip=True, rank=rank, world=2, seed=seed)(step)
        flips.add(tuple((x[..., 0, 0, 0] == 1).flatten().tolist()))  # the column of 255 is on the left
    assert len(flips) == len(places)
    assert all(0.2 < sum(heads) / len(heads) < 0.8 for heads in flips)


def test_the_global_random_state_is_neither_read_nor_moved(on_disk):
    before = torch.get_rng_state()
    with batches(on_disk, resident_mb=0.0, flip=True) as streamed:
        streamed(0)
    batches(on_disk, flip=True)(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_closing_ends_the_workers_and_a_later_step_starts_new_ones(on_disk):
    with batches(on_disk, resident_mb=0.0, workers=2) as streamed:
        first = streamed(0)
        assert len(multiprocessing.active_children()) == 2
        streamed.close()
        assert not multiprocessing.active_children()
        assert same(streamed(0), first)
    assert not multiprocessing.active_children()


def test_reading_all_images_leaves_no_worker(on_disk):
    batches(on_disk, workers=2)
    assert not multiprocessing.active_children()


def test_an_interrupt_from_the_keyboard_leaves_the_workers_at_work(on_disk, in_memory):
    reference = batches(in_memory)
    with batches(on_disk, resident_mb=0.0, workers=2) as streamed:
        streamed(0)
        for worker in multiprocessing.active_children():
            assert worker.pid
            os.kill(worker.pid, signal.SIGINT)
        assert all(same(streamed(step), reference(step)) for step in range(1, 12))


ENDLESS_RUN = """
import multiprocessing, sys
from pathlib import Path
from itertools import count
from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures
from sngan.data.reading import read

stream = read(Pictures(Path(sys.argv[1]), ["00.png"], [0], Form(8)), ([0] for _ in count()), workers=2)
next(stream), next(stream)
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for a process that is not its child")
def test_a_run_that_is_killed_leaves_no_worker(on_disk):
    command = [sys.executable, "-c", ENDLESS_RUN, str(on_disk.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        workers = [os.pidfd_open(int(pid)) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(workers) == 2
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
