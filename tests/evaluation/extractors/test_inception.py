from __future__ import annotations

import gc
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3

from conftest import needs_a_compiler
from sngan import Config
from sngan.config import Component
from sngan.errors import UserError
from sngan.evaluation import fidelity
from sngan.evaluation.extractors import inception as module
from sngan.evaluation.extractors.extractor import Extractor
from sngan.provenance import sha256_of
from sngan.registry import build
from sngan.training.loop import train


def extractor(weights: Path | None = None, *, compile: bool | Literal["auto"] = False) -> Extractor:
    path = None if weights is None else str(weights)
    return build("extractor", Component(name="inception", weights=path, compile=compile))


def images(n: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights of the network, with normal activations and batch norms that do something; without batch norm's counters."""
    random = torch.Generator().manual_seed(0)

    def fill(name: str, shape: torch.Size) -> Tensor:
        if len(shape) > 1:
            return torch.randn(shape, generator=random) * (2 / shape[1:].numel()) ** 0.5
        numbers = torch.rand(shape, generator=random)
        return numbers + 0.5 if name.endswith(("running_var", "bn.weight")) else numbers - 0.5

    empty = module._skeleton().state_dict()
    return {name: fill(name, tensor.shape) for name, tensor in empty.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def weights(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub would keep the published weights, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    return tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture
def published(cache: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is downloaded from a server in this process, by torch.hub as from the one of the published weights."""
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", f"{url}/{cache.name}")
    return tmp_path / cache.name


def test_the_network_is_torch_fidelitys_and_scores_images(weights: Path) -> None:
    from torch_fidelity import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights))
    seen = fidelity.extract(images(4).split(2), extractor(weights).load("cpu"), "cpu")
    assert seen.features.shape == (4, 2048)
    assert seen.logits.shape == (4, 1008)
    for ours, expected in zip((seen.features, seen.logits), theirs(images(4)), strict=True):
        torch.testing.assert_close(ours, expected)


@needs_a_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiling_changes_nothing_but_rounding(weights: Path) -> None:
    plain, compiled = (fidelity.extract([images(2)], extractor(weights).load("cpu", compiled=c), "cpu") for c in (False, True))
    torch.testing.assert_close(plain.features, compiled.features, rtol=1e-4, atol=1e-5)


def test_a_run_is_scored_with_it_from_end_to_end(weights: Path, tiny: Callable[..., Config]) -> None:
    """Random weights in the published format, on few images: preflight, samples, reference, real-data baseline, every metric."""
    config = tiny(
        "extractor=inception", f"extractor.weights={weights}", "evaluate_every=0", "steps=2", "run_dir=run", "data.n_train=10",
        "data.n_test=8", "protocol.n=10", "protocol.splits=2", "protocol.metrics=[fid,is,kid,precision_recall]",
    )  # fmt: skip
    scores = train(config)["last"]
    assert scores.keys() == {
        "fd_10_shapes-train_random", "classifier_score_10_random", "kd_10_shapes-train_random", "precision_10_shapes-train_random",
        "recall_10_shapes-train_random",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in scores.values())


def test_weights_that_are_not_the_published_ones_give_no_fid(weights: Path) -> None:
    random = extractor(weights)
    assert (random.label, random.distance, random.sha256) == ("random", "fd", sha256_of(weights))


def test_the_published_weights_are_known_by_their_hash(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PUBLISHED_SHA256", sha256_of(weights)[:8])
    published = extractor(weights)
    assert (published.label, published.distance) == ("inception", "fid")


def test_null_downloads_once_into_the_cache(weights: Path, cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PUBLISHED_SHA256", sha256_of(weights)[:8])
    published.write_bytes(weights.read_bytes())
    assert extractor().weights == cache
    published.unlink()  # a second download would fail
    assert extractor().label == "inception"


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # torch.hub leaves a broken connection to the collector
@pytest.mark.parametrize("fault", ["not found", "invalid hash value", "refused", "timed out"])
def test_without_a_network_the_error_says_what_to_do(
    fault: str, cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # which takes a connection, and never says a word
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/{cache.name}"
        if fault == "invalid hash value":
            published.write_bytes(b"something else")
        if fault == "refused":
            silent.close()
        if fault in ("refused", "timed out"):
            monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", address)
            monkeypatch.setattr("sngan.evaluation.extractors.extractor.TIMEOUT_S", 0.2)
        with pytest.raises(UserError) as error:
            extractor()
    message = str(error.value)
    del error
    gc.collect()
    assert message.count("\n") == 1
    needed = ("http://127.0.0.1", str(cache), "extractor.weights=FILE", "extractor=small_resnet", "protocol=none", fault)
    assert [part for part in needed if part.lower() not in message.lower()] == []
    assert list(cache.parent.iterdir()) == []


def test_the_published_weights_are_those_of_torch_fidelity() -> None:
    assert feature_extractor_inceptionv3.URL_INCEPTION_V3.startswith("https://github.com/")
    assert module.PUBLISHED_SHA256 in feature_extractor_inceptionv3.URL_INCEPTION_V3


def test_a_damaged_file_in_the_cache_is_refused(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"half a download")
    with pytest.raises(UserError, match="is damaged: its sha256 does not begin with 6726825d; delete it and start again"):
        extractor()


def test_a_pickle_that_asks_for_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"Conv2d_1a_3x3.conv.weight": Code()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"extractor\.weights=.*code\.pth is cut short or something else"):
        extractor(tmp_path / "code.pth")
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"extractor\.weights=.*nowhere: No such file"):
        extractor(tmp_path / "nowhere")


def test_a_file_that_is_cut_short_is_told(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "half.pth").write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(UserError, match=r"extractor\.weights=.*half\.pth is cut short"):
        extractor(tmp_path / "half.pth")


@pytest.mark.parametrize("content", [{"fc.bias": torch.ones(3)}, [torch.ones(3)], {"epoch": 3}])
def test_tensors_of_another_network_are_told(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"extractor\.weights=.*other\.pth is (not torch-fidelity's Inception|.* something else)"):
        extractor(tmp_path / "other.pth")


def test_weights_that_are_a_pipe_are_refused_at_once() -> None:
    os.mkfifo("pipe.pth")
    with pytest.raises(UserError, match=r"extractor\.weights=pipe\.pth: it is no regular file"):
        build("extractor", Component(name="inception", weights="pipe.pth", compile=False))
