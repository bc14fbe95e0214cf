from __future__ import annotations

import pytest

from sngan.runs.records import better


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("fid_50k_cifar10-train_inception", True), ("fd_5k_x-train_small_resnet", True), ("kid_50k_c-train_inception", True),
        ("kd_5k_x-train_small_resnet", True), ("is_50k_inception", False), ("classifier_score_5k_small_resnet", False),
        ("precision_10k_c-train10k_inception", False), ("recall_10k_c-train10k_inception", False),
    ],
)  # fmt: skip
def test_distances_are_better_smaller_and_the_others_larger(name: str, smaller: bool) -> None:
    assert better(name, 1.0, 2.0) == smaller
    assert better(name, 2.0, 1.0) != smaller
    assert not better(name, 1.0, 1.0)
