from __future__ import annotations

from collections.abc import Iterator

import numpy as np
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
    return Shapes(n_train=150, n_test=1, seed=0, max_angle=360).load("train").pixels


class Pixels(Dataset):
    """Images as torch-fidelity takes them."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


@pytest.fixture(scope="module")
def extractor_name(network: nn.Module) -> str:
    """The same network as torch-fidelity knows it."""
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor

    class SmallResNetFeatures(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: object):
            super().__init__(name, features_list)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            outputs = dict(zip(self.get_provided_features_list(), network(images), strict=True))
            return tuple(outputs[name] for name in self.features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    register_feature_extractor("small-resnet", SmallResNetFeatures)
    return "small-resnet"


def normal(n: int, size: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


def test_scores_equal_torch_fidelitys_own(network: nn.Module, extractor_name: str, shapes: Tensor) -> None:
    from torch_fidelity import KEY_METRIC_FID, KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, calculate_metrics

    first, second = shapes[:80], shapes[80:].flip(3)
    theirs = calculate_metrics(
        input1=Pixels(first),
        input2=Pixels(second),
        feature_extractor=extractor_name,
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


def test_statistics_and_inception_score_are_torch_fidelitys_bit_for_bit() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics
    from torch_fidelity.metric_isc import isc_features_to_metric

    features, logits = normal(103, 8) + 1, 3 * normal(103, 10, seed=1)
    ours, theirs = fidelity.statistics(features), fid_features_to_statistics(features)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in theirs)
    for splits in (1, 7):
        assert fidelity.inception_score(logits, splits=splits) == tuple(isc_features_to_metric(logits, splits=splits).values())


def torch_fidelitys(first: fidelity.Statistics, second: fidelity.Statistics) -> float:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]


PAIRS = [(500, 400, 8), (900, 700, 128), (40, 60, 64), (20, 500, 64), (2, 2, 64), (100, 2000, 256)]
"""N, M, F; in most of them a covariance is singular."""


@pytest.fixture(params=PAIRS, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[fidelity.Statistics, fidelity.Statistics]:
    """Statistics of features whose scales differ by four orders of magnitude."""
    N, M, F = request.param
    first = normal(N, F) * torch.logspace(0, -4, F)
    return fidelity.statistics(first), fidelity.statistics(1.1 * normal(M, F, seed=1) * torch.logspace(0, -4, F) + 0.1)


Pair = tuple[fidelity.Statistics, fidelity.Statistics]


def test_the_distance_equals_torch_fidelitys(pair: Pair) -> None:
    assert fidelity.frechet_distance(*pair) == pytest.approx(torch_fidelitys(*pair), rel=1e-6)


def test_the_distance_is_symmetric(pair: Pair) -> None:
    first, second = pair
    assert fidelity.frechet_distance(first, second) == pytest.approx(fidelity.frechet_distance(second, first), rel=1e-8)


def test_a_set_is_at_distance_zero_from_itself_also_where_its_covariance_is_singular(pair: Pair) -> None:
    for stats in pair:
        assert abs(fidelity.frechet_distance(stats, stats)) < 1e-6 * stats["sigma"].trace()


def test_the_distance_of_sets_in_different_planes_is_the_formulas() -> None:
    """The covariances' product is 0, and so is its root, whatever rounding makes of it."""
    x = torch.zeros(50, 64)
    x[:, :10], y = normal(50, 10), torch.zeros(80, 64)
    y[:, 30:] = normal(80, 34, seed=1)
    first, second = fidelity.statistics(x), fidelity.statistics(y)
    mean = ((x.double().mean(0) - y.double().mean(0)) ** 2).sum().item()
    expected = mean + first["sigma"].trace() + second["sigma"].trace()
    assert fidelity.frechet_distance(first, second) == pytest.approx(expected, rel=1e-7)


def test_the_root_of_a_covariance_squares_to_it_and_has_no_nan(pair: Pair) -> None:
    for stats in pair:
        root = fidelity.square_root(stats["sigma"])
        np.testing.assert_allclose(root @ root, stats["sigma"], atol=1e-13 * stats["sigma"].trace())
        np.testing.assert_allclose(root, root.T, atol=1e-12)


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


def test_parts_of_a_single_sample_score_one_each() -> None:
    assert fidelity.inception_score(normal(4, 10), splits=4) == pytest.approx((1.0, 0.0), abs=1e-6)


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


def test_kernel_distance_and_precision_and_recall_equal_torch_fidelitys_own(
    network: nn.Module, extractor_name: str, shapes: Tensor
) -> None:
    from torch_fidelity import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, KEY_METRIC_PRECISION, KEY_METRIC_RECALL, calculate_metrics

    first, second = shapes[:80], shapes[80:].flip(3)
    theirs = calculate_metrics(
        input1=Pixels(first),
        input2=Pixels(second),
        feature_extractor=extractor_name,
        kid=True,
        kid_subset_size=70,
        prc=True,
        batch_size=16,
        cuda=False,
        save_cpu_ram=True,
        verbose=False,
    )
    ours = [fidelity.extract(images.split(25), network, "cpu").features for images in (first, second)]
    mean, deviation = fidelity.kernel_distance(*ours)
    assert mean == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-6)
    assert deviation == pytest.approx(theirs[KEY_METRIC_KID_STD], rel=1e-6)
    precision, recall = fidelity.precision_recall(*ours, neighbours=3)
    assert (precision, recall) == (theirs[KEY_METRIC_PRECISION], theirs[KEY_METRIC_RECALL])
    assert 0 < precision < 1
    assert precision != recall


def test_subsets_of_the_kernel_distance_are_torch_fidelitys_where_there_are_enough_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    first, second = normal(1200, 2), normal(1100, 2, seed=1) + 0.5
    monkeypatch.setattr(fidelity, "KID_SUBSETS", 3)  # fewer, for time
    theirs = kid_features_to_metric(first, second, kid_subsets=3, verbose=False)
    assert fidelity.kernel_distance(first, second) == pytest.approx((theirs[KEY_METRIC_KID_MEAN], theirs[KEY_METRIC_KID_STD]))


def test_the_kernel_distance_of_one_distribution_is_about_zero_and_of_moved_features_is_not() -> None:
    first, second = normal(400, 8), normal(600, 8, seed=1)
    same, deviation = fidelity.kernel_distance(first, second)
    assert abs(same) < 3 * deviation
    assert fidelity.kernel_distance(first, second + 1)[0] > 10 * deviation


def test_the_kernel_distance_of_whole_sets_is_the_formulas() -> None:
    """Binkowski et al. 2018, eq. 4: the U-statistic of k(x, y) = (x.y / F + 1)^3; subsets of all there is are in no way random."""
    x, y = normal(30, 4).double(), normal(30, 4, seed=1).double() + 0.5
    within = [((a @ a.T / 4 + 1) ** 3).fill_diagonal_(0).sum().item() / (30 * 29) for a in (x, y)]
    across = ((x @ y.T / 4 + 1) ** 3).mean().item()
    mean, deviation = fidelity.kernel_distance(x, y)
    assert mean == pytest.approx(sum(within) - 2 * across, rel=1e-6)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_samples_that_are_real_images_have_full_precision_and_recall() -> None:
    x = normal(50, 4)
    assert fidelity.precision_recall(x, x.clone(), neighbours=3) == (1.0, 1.0)


def test_samples_far_from_all_real_images_have_none() -> None:
    x = normal(50, 4)
    assert fidelity.precision_recall(x + 100, x, neighbours=3) == (0.0, 0.0)


def test_samples_of_one_mode_of_two_are_precise_and_recall_half() -> None:
    modes = torch.cat([normal(60, 2), normal(60, 2) + 100])
    assert fidelity.precision_recall(modes[:60].clone(), modes, neighbours=3) == (1.0, 0.5)


def brute_force(samples: Tensor, reference: Tensor, neighbours: int) -> tuple[float, float]:
    """Precision and recall from differences in float64, which lose nothing."""

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return (a.double()[:, None] - b.double()[None]).square().sum(-1).sqrt()

    def covered(x: Tensor, centres: Tensor) -> float:
        radii = distances(centres, centres).sort(1).values[:, neighbours]
        return (distances(x, centres) <= radii).any(1).double().mean().item()

    return covered(samples, reference), covered(reference, samples)


def torch_fidelitys_precision_recall(samples: Tensor, reference: Tensor) -> tuple[float, float]:
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(samples, reference, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=True, verbose=False)
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


def test_precision_and_recall_are_exact_where_float32_is_not() -> None:
    """Far from the origin float32 loses distances beside the norms whose difference they are."""
    samples, real = normal(200, 16) + 300, 1.2 * normal(250, 16, seed=1) + 300
    exact = pytest.approx(brute_force(samples, real, 3), abs=1e-6)
    assert fidelity.precision_recall(samples, real, neighbours=3) == exact
    assert torch_fidelitys_precision_recall(samples, real) != exact


def test_precision_and_recall_equal_torch_fidelitys_where_float32_will_do() -> None:
    samples, real = normal(200, 4), 1.2 * normal(250, 4, seed=1)
    found = fidelity.precision_recall(samples, real, neighbours=3)
    assert found == torch_fidelitys_precision_recall(samples, real)
    assert found == pytest.approx(brute_force(samples, real, 3), abs=1e-6)


def test_precision_and_recall_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, real = normal(70, 4), normal(90, 4, seed=1)
    whole = fidelity.precision_recall(samples, real, neighbours=3)
    monkeypatch.setattr(fidelity, "BLOCK", 40)
    assert fidelity.precision_recall(samples, real, neighbours=3) == whole


def test_a_sample_is_recognised_where_one_class_has_nine_tenths() -> None:
    p = torch.tensor([[0.91, 0.09, 0.0], [0.5, 0.5, 0.0], [0.89, 0.1, 0.01], [0.0, 0.05, 0.95]], dtype=torch.float64)
    assert fidelity.recognised(p.log().clamp(min=-1e9)) == 0.5
