from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sngan.data.shapes import Shapes
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.small_resnet import small_resnet


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_resnet(weights=None).load("cpu")


@pytest.fixture(scope="module")
def shapes() -> Tensor:
    return Shapes(n_train=150, n_test=1, seed=0).load("train").pixels


class Pixels(Dataset):
    """Images as torch-fidelity takes them."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


def normal(n: int, size: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


def test_scores_equal_torch_fidelitys_own(network: nn.Module, shapes: Tensor) -> None:
    from torch_fidelity import KEY_METRIC_FID, KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, calculate_metrics

    first, second = shapes[:80], shapes[80:].flip(3)
    theirs = calculate_metrics(
        input1=Pixels(first),
        input2=Pixels(second),
        feature_extractor=network.name,
        fid=True,
        isc=True,
        isc_splits=4,
        batch_size=16,
        cuda=False,
        save_cpu_ram=True,
        verbose=False,
    )
    ours = [fidelity.extract(images.split(25), network, "cpu") for images in (first, second)]
    distance = fidelity.frechet_distance(*(fidelity.statistics(seen.features) for seen in ours))
    mean, deviation = fidelity.inception_score(ours[0].logits, splits=4)
    assert distance == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-6)
    assert mean == pytest.approx(theirs[KEY_METRIC_ISC_MEAN], rel=1e-6)
    assert deviation == pytest.approx(theirs[KEY_METRIC_ISC_STD], rel=1e-6)


def test_a_set_is_at_distance_zero_from_itself() -> None:
    stats = fidelity.statistics(normal(500, 8))
    assert fidelity.frechet_distance(stats, stats) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_moved_and_scaled_features_is_the_formulas() -> None:
    x = normal(500, 8)
    moved, scaled = fidelity.statistics(x + 2), fidelity.statistics(3 * (x - x.mean(0)) + x.mean(0))
    stats = fidelity.statistics(x)
    assert fidelity.frechet_distance(stats, moved) == pytest.approx(8 * 2**2, rel=1e-4)
    assert fidelity.frechet_distance(stats, scaled) == pytest.approx((3 - 1) ** 2 * x.var(0).sum().item(), rel=1e-4)


def test_fewer_samples_than_features_have_a_distance() -> None:
    few, many = (fidelity.statistics(normal(n, 32, seed=n)) for n in (10, 1000))
    assert fidelity.frechet_distance(few, many) > 0


def test_logits_without_an_opinion_score_one() -> None:
    assert fidelity.inception_score(torch.zeros(40, 10), splits=4) == pytest.approx((1.0, 0.0))


def test_certain_and_balanced_logits_score_the_number_of_classes() -> None:
    logits = 1e3 * torch.eye(10).repeat(20, 1)
    mean, _ = fidelity.inception_score(logits, splits=1)
    assert mean == pytest.approx(10)


def test_another_seed_shuffles_the_samples_into_other_parts() -> None:
    logits = normal(100, 10)
    mean, other = (fidelity.inception_score(logits, splits=5, seed=seed)[0] for seed in (2020, 0))
    assert mean != other


def test_features_do_not_depend_on_the_batches(network: nn.Module, shapes: Tensor) -> None:
    whole, parts = (fidelity.extract(shapes[:20].split(size), network, "cpu") for size in (20, 7))
    torch.testing.assert_close(parts.features, whole.features)
    torch.testing.assert_close(parts.logits, whole.logits)


def test_one_channel_is_seen_as_grey(network: nn.Module, shapes: Tensor) -> None:
    grey = shapes[:5, :1]
    one, three = (fidelity.extract([images], network, "cpu") for images in (grey, grey.repeat(1, 3, 1, 1)))
    assert torch.equal(one.features, three.features)


def test_no_gradient_is_kept(shapes: Tensor) -> None:
    class Learning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = x.float().mean((2, 3)) @ self.weight
            return h, h

    seen = fidelity.extract([shapes[:3]], Learning(), "cpu")
    assert not seen.features.requires_grad


def test_the_pass_is_strict_float32_and_the_images_are_made_as_the_program_chose(network: nn.Module, shapes: Tensor) -> None:
    chosen = []

    def images() -> Iterator[Tensor]:
        chosen.append(torch.is_autocast_enabled("cpu"))
        yield shapes[:5]

    strict = fidelity.extract([shapes[:5]], network, "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = fidelity.extract(images(), network, "cpu")
    assert seen.features.dtype == torch.float32
    assert torch.equal(seen.features, strict.features)
    assert chosen == [True]
