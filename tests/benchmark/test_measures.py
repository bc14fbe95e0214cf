from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sngan import Config
from sngan.benchmark.measures import flops, kernel_calls, norm_seconds, peak_flops, peak_memory
from sngan.benchmark.textbook import with_torch_spectral_norm
from sngan.benchmark.variants import Contender, Variant
from sngan.data.images import ImageSpec, TensorImages
from sngan.layers.normalized import Normalized
from sngan.networks import build_networks

CPU = torch.device("cpu")


def contender(config: Config) -> Contender:
    images = TensorImages(torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8))
    variant = Variant(norm_once=True, one_forward=True, frozen=True, resident=True)
    return Contender(variant, config, ImageSpec(32, 3, 0), images, CPU)


def test_flops_of_a_few_images_tell_those_of_all(tiny: Callable[..., Config]) -> None:
    counted = contender(tiny("batch=6", "g_batch=10"))
    inputs = counted.inputs()
    with FlopCounterMode(display=False) as counter:
        counted.train_step(inputs)
    assert flops(counted.train_step, inputs) == pytest.approx(counter.get_total_flops())


def test_kernel_calls_are_the_operations_that_compute() -> None:
    x = torch.randn(4, 4)
    assert kernel_calls(lambda: (x @ x).t().relu(), CPU, compiled=False) == 2
    assert kernel_calls(lambda: None, CPU, compiled=True) is None


def test_peak_memory_is_what_was_held_at_once() -> None:
    def two_at_once() -> None:
        for _ in range(3):
            a = torch.empty(250_000)  # 1 MB
            b = torch.empty(250_000)
            del a, b

    assert peak_memory(two_at_once, CPU) == pytest.approx(2.0, rel=0.05)


def test_the_peak_is_more_than_a_small_product_reaches() -> None:
    assert peak_flops("fp32", CPU) > 1e9


@pytest.mark.parametrize("whose", ["ours", "torch's"])
def test_the_time_of_spectral_norm_grows_with_the_discriminator_updates(tiny: Callable[..., Config], whose: str) -> None:
    _, D = build_networks(tiny(), ImageSpec(32, 3, 0))
    if whose != "ours":
        _, plain = build_networks(tiny("discriminator.normalization=none"), ImageSpec(32, 3, 0))
        D = Normalized[nn.Module](with_torch_spectral_norm(plain.network))
    assert 0 < norm_seconds(D, CPU, d_steps=1) < norm_seconds(D, CPU, d_steps=100)
