from __future__ import annotations

from pathlib import Path

import pytest

from sngan.config import Protocol
from sngan.errors import UserError
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.protocol import check_protocol, score_names

QUICK = {
    "name": "quick", "n": 5000, "draws": 1, "reference": "train", "n_reference": None, "metrics": ["fid", "is"], "splits": 10,
    "n_precision_recall": 10_000, "rounding": "auto", "seed": 1,
}  # fmt: skip
INCEPTION = Extractor(label="inception", weights=Path("w.pth"), sha256="6726825d", distance="fid", network=lambda path: None)
SMALL = Extractor(label="small_resnet", weights=Path("w.safetensors"), sha256="0", distance="fd", network=lambda path: None)


def protocol(**changes: object) -> Protocol:
    return Protocol.model_validate({**QUICK, **changes})


def names(extractor: Extractor, **changes: object) -> list[str]:
    return list(score_names(protocol(**changes), reference="cifar10", n_available=50_000, extractor=extractor).values())


def test_inception_scores_have_the_fields_names() -> None:
    assert names(INCEPTION, n=50_000) == ["fid_50k_cifar10-train_inception", "is_50k_inception"]


def test_other_networks_give_neither_fid_nor_inception_score() -> None:
    assert names(SMALL) == ["fd_5k_cifar10-train_small_resnet", "classifier_score_5k_small_resnet"]


def test_part_of_the_reference_is_in_the_name() -> None:
    assert names(INCEPTION, reference="test", n_reference=10_000)[0] == "fid_5k_cifar10-test10k_inception"


def test_several_draws_are_in_the_name() -> None:
    assert names(INCEPTION, draws=10, reference="test", n_reference=10_000) == [
        "fid_10x5k_cifar10-test10k_inception",
        "is_10x5k_inception",
    ]


def test_precision_and_recall_say_how_many_images_they_look_at() -> None:
    given = {"metrics": ["kid", "precision_recall"], "n": 50_000}
    assert names(INCEPTION, **given) == [
        "kid_50k_cifar10-train_inception",
        "precision_10k_cifar10-train10k_inception",
        "recall_10k_cifar10-train10k_inception",
    ]
    assert names(SMALL, **given)[0] == "kd_50k_cifar10-train_small_resnet"
    assert names(SMALL, **{**given, "n": 2000, "n_reference": 3000})[1] == "precision_2k_cifar10-train3k_small_resnet"


def test_what_is_recognised_has_no_reference_in_its_name_and_needs_no_real_image() -> None:
    assert names(SMALL, metrics=["recognised"]) == ["recognised_5k_small_resnet"]
    check_protocol(protocol(metrics=["is", "recognised"]), n_available=1, key="protocol")


def test_too_few_images_for_precision_and_recall_are_refused() -> None:
    with pytest.raises(UserError, match=r"protocol\.metrics: precision and recall look at 3 neighbours"):
        check_protocol(protocol(n=3, metrics=["precision_recall"]), n_available=100, key="protocol")


@pytest.mark.parametrize(("n", "count"), [(50_000, "50k"), (1000, "1k"), (2500, "2500"), (64, "64")])
def test_counts_are_short_where_they_are_round(n: int, count: str) -> None:
    assert names(INCEPTION, n=n, metrics=["is"]) == [f"is_{count}_inception"]


def test_only_the_metrics_asked_for_are_named() -> None:
    assert list(score_names(protocol(metrics=["is"]), reference="shapes", n_available=100, extractor=SMALL)) == ["is"]


@pytest.mark.parametrize(("n_reference", "n_available"), [(300, 200), (None, 1)])
def test_a_reference_with_too_few_images_is_refused(n_reference: int | None, n_available: int) -> None:
    with pytest.raises(UserError, match=rf"quick\.n_reference=.*{n_available} train images"):
        check_protocol(protocol(n_reference=n_reference), n_available=n_available, key="quick")


def test_more_splits_than_samples_are_refused() -> None:
    with pytest.raises(UserError, match=r"protocol\.splits=10: .*protocol\.n=9"):
        check_protocol(protocol(n=9), n_available=100, key="protocol")


def test_more_samples_than_fit_into_memory_are_refused() -> None:
    check_protocol(protocol(n=1000, draws=1000), n_available=100, key="protocol")
    with pytest.raises(UserError, match=r"protocol\.draws=1000 of protocol\.n=1001 are more than 1000000 samples"):
        check_protocol(protocol(n=1001, draws=1000), n_available=100, key="protocol")


def test_what_a_metric_does_not_use_is_not_checked() -> None:
    check_protocol(protocol(n=9, metrics=["fid"]), n_available=100, key="protocol")
    check_protocol(protocol(n_reference=300, metrics=["is"]), n_available=200, key="protocol")


def test_the_quick_protocol_shares_no_samples_with_the_standard_one() -> None:
    from omegaconf import OmegaConf

    folder = Path(__file__).parents[2] / "configs" / "protocol"
    quick, standard = (OmegaConf.load(folder / f"{name}.yaml") for name in ("quick", "standard"))
    assert quick.seed != standard.seed
