from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from sngan import UserError, build, compose
from sngan.config import Component
from sngan.training.loop import train


@pytest.fixture
def registry() -> Iterator[dict[str, Any]]:
    """torch-fidelity's registry with a network that needs no download, and one whose download fails."""
    from torch_fidelity import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Means(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            super().__init__(name, features_list)
            self.scale = nn.Parameter(torch.randn(3))

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (images.float().mean((2, 3)) * self.scale,)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("means",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "means"

    class Unreachable(Means):
        def __init__(self, *_: Any, **__: Any):
            raise URLError("no route to host")

    before = dict(FEATURE_EXTRACTORS_REGISTRY)
    FEATURE_EXTRACTORS_REGISTRY.update(means=Means, unreachable=Unreachable)
    yield FEATURE_EXTRACTORS_REGISTRY
    FEATURE_EXTRACTORS_REGISTRY.clear()
    FEATURE_EXTRACTORS_REGISTRY.update(before)


def extractor(network: str) -> Any:
    return build("extractor", Component(name="torch_fidelity", network=network))


def test_a_network_that_torch_fidelity_knows_gives_features_and_no_logits(registry: dict[str, Any]) -> None:
    means = extractor("means")
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    features, logits = means.load("cpu")(images)
    assert features.shape == (4, 3)
    assert logits.shape == (4, 0)
    assert (means.label, means.distance, means.classifies) == ("means", "fd", False)


def test_its_hash_is_that_of_its_tensors(registry: dict[str, Any]) -> None:
    torch.manual_seed(3)
    first, again = extractor("means").sha256, extractor("means").sha256
    torch.manual_seed(4)
    assert first == again  # drawn from the same state, which building leaves alone
    assert extractor("means").sha256 != first


def test_an_unknown_name_is_answered_with_the_nearest(registry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"extractor\.network=clip-vit-b-33: .*did you mean clip-vit-b-32\?"):
        extractor("clip-vit-b-33")


def test_the_networks_of_other_extractors_are_not_offered(registry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="knows no such network"):
        extractor("inception-v3-compat")


def test_a_download_that_fails_says_what_else_there_is(registry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"cannot be fetched .*no route to host.*\n.*extractor=small_resnet.*protocol=none"):
        extractor("unreachable")


def test_a_run_is_scored_with_it_where_no_classifier_is_needed(tiny: Any, registry: dict[str, Any]) -> None:
    chosen = ["extractor=torch_fidelity", "extractor.network=means", "run_dir=run"]
    with pytest.raises(UserError, match=r"protocol\.metrics holds is, but means is no classifier"):
        train(tiny(*chosen))
    scores = train(tiny(*chosen, "protocol.metrics=[fid,kid]", "quick.metrics=[fid]"))
    assert scores["last"].keys() == {"fd_32_shapes-train_means", "kd_32_shapes-train_means"}


def test_the_default_is_a_known_one() -> None:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    assert compose(["extractor=torch_fidelity"]).extractor.options["network"] in FEATURE_EXTRACTORS_REGISTRY
