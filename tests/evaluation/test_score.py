"""Scores of a generator and of images: what they are made of, and that taking one changes nothing."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sngan import Config, build, registry
from sngan.config import Component, Protocol
from sngan.data.image_folder import ImageFolder
from sngan.data.images import ImageSpec, Source, TensorImages
from sngan.data.npz import Npz
from sngan.data.shapes import Shapes
from sngan.errors import UserError
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.extractors.small_resnet import SHIPPED, SHIPPED_SHA256, SmallResNet, small_resnet
from sngan.evaluation.score import Scorer
from sngan.generators.generator import Generator
from sngan.networks import build_networks
from sngan.provenance import versions
from sngan.sampling.rounding import FORMULAS
from sngan.sampling.sampling import balanced_labels

CPU = torch.device("cpu")
ALL = ("kid", "precision_recall", "fid", "is")


def protocol(**changes: object) -> Protocol:
    small = {
        "name": "small", "n": 20, "draws": 1, "reference": "train", "n_reference": None, "metrics": ALL, "splits": 2,
        "n_precision_recall": 16, "rounding": "nearest", "seed": 1,
    }  # fmt: skip
    return Protocol.model_validate({**small, **changes})


def scorer(source: Source | None = None, *, extractor: str = "small_resnet", weights: Path | None = None) -> Scorer:
    component = Component.model_validate({"name": extractor, "weights": weights and str(weights)})
    source = source or Shapes(n_train=40, n_test=30, seed=0, max_angle=360)
    return Scorer(component, source, CPU, options={"name": source.name}, workers=0)


@pytest.fixture
def G(tiny: Callable[..., Config]) -> Generator:
    return build_networks(tiny(), ImageSpec(32, 3, 0))[0].network.eval()


@pytest.fixture
def conditional(tiny: Callable[..., Config]) -> Generator:
    config = tiny(
        "conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet",
        "discriminator.widths=[8,8,8]", "discriminator.downsample=[true,true,false]",
    )  # fmt: skip
    return build_networks(config, ImageSpec(32, 3, 10))[0].network.eval()


@contextmanager
def watched(kind: type[nn.Module]) -> Iterator[list[tuple[object, ...]]]:
    """What networks of this kind are called with, wherever they are."""
    calls: list[tuple[object, ...]] = []

    def note(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if isinstance(module, kind):
            calls.append(inputs)

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        hook.remove()


def test_a_record_says_how_the_score_was_taken(G: Generator) -> None:
    record = scorer().score(G, protocol(n_reference=30, metrics=["fid"]))
    assert record.keys() == {
        "scores", "deviations", "protocol", "reference", "extractor", "rounding", "device", "versions", "seconds",
    }  # fmt: skip
    assert list(record["scores"]) == ["fd_20_shapes-train30_small_resnet"]
    assert record["protocol"] == protocol(n_reference=30, metrics=["fid"]).model_dump(mode="json")
    content = Shapes(n_train=40, n_test=1, seed=0, max_angle=360).load("train").sha256()
    expected = {"data": "shapes", "options": {"name": "shapes"}, "split": "train", "n": 30, "sha256": content}
    assert record["reference"] == expected
    assert record["extractor"] == {"label": "small_resnet", "sha256": SHIPPED_SHA256}
    assert (record["rounding"], record["device"], record["versions"]) == (FORMULAS["nearest"], "cpu", versions())
    assert record["seconds"] > 0


def test_all_metrics_share_one_pass_over_the_samples_and_one_over_the_real_images(G: Generator) -> None:
    with watched(SmallResNet) as calls:
        scorer().score(G, protocol())
    assert [len(images) for (images,) in calls] == [20, 32, 8]  # of real images at most 32 at once


def test_real_images_are_looked_at_once_for_several_scores(G: Generator) -> None:
    scores = scorer()
    with watched(SmallResNet) as calls:
        scores.score(G, protocol())
        scores.score(G, protocol(seed=2))
        scorer().score(G, protocol(seed=3))
    assert [len(images) for (images,) in calls] == [20, 32, 8, 20, 20]


def test_two_scores_agree_to_the_last_digit(G: Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = scorer().score(G, protocol())
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "empty"))
    second = scorer().score(G, protocol())
    assert first["scores"] == second["scores"]
    assert first["deviations"] == second["deviations"]


def test_the_batch_size_does_not_matter(G: Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = scorer().score(G, protocol())
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("sngan.sampling.fitting.BATCH", 7)
    with watched(SmallResNet) as calls:
        parts = scorer().score(G, protocol())
    assert max(len(images) for (images,) in calls) == 7
    assert parts["scores"] == pytest.approx(whole["scores"], rel=1e-4)


def test_another_seed_makes_other_samples(G: Generator) -> None:
    scores = scorer()
    first, second = (scores.score(G, protocol(seed=seed))["scores"] for seed in (1, 2))
    assert first.keys() == second.keys()
    assert first["fd_20_shapes-train_small_resnet"] != second["fd_20_shapes-train_small_resnet"]


def test_a_conditional_generator_is_scored_with_balanced_labels_in_each_draw(conditional: Generator) -> None:
    with watched(type(conditional)) as calls:
        record = scorer().score(conditional, protocol(n=15, draws=2))
    y = torch.cat([labels for _, labels in calls[1:]])  # after the trial of one
    assert torch.equal(y, balanced_labels(15, 10).repeat(2))
    assert all(np.isfinite(value) for value in record["scores"].values())


def test_the_draws_give_mean_and_deviation() -> None:
    scores = scorer()
    images = Shapes(n_train=1, n_test=60, seed=3, max_angle=360).load("test")
    singles = [scores.score_images(TensorImages(part), protocol()) for part in images.pixels.split(20)]
    together = scores.score_images(images, protocol(draws=3))
    assert len(together["scores"]) == 5
    for name, one in zip(together["scores"], singles[0]["scores"], strict=True):
        assert name == one.replace("_16_", "_3x16_").replace("_20_", "_3x20_")
        values = [single["scores"][one] for single in singles]
        assert together["scores"][name] == pytest.approx(np.mean(values), rel=1e-5)
        assert together["deviations"][name] == pytest.approx(np.std(values), rel=1e-2)


def test_of_a_single_draw_only_the_scores_that_have_a_deviation_show_one(G: Generator) -> None:
    record = scorer().score(G, protocol())
    assert list(record["deviations"]) == ["kd_20_shapes-train_small_resnet", "classifier_score_20_small_resnet"]


def test_precision_and_recall_look_at_the_first_images_as_many_as_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    precision_recall, pairs = fidelity.precision_recall, []

    def watched(samples: Tensor, reference: Tensor, **options: int) -> tuple[float, float]:
        pairs.append((samples, reference))
        return precision_recall(samples, reference, **options)

    monkeypatch.setattr(fidelity, "precision_recall", watched)
    images = Shapes(n_train=1, n_test=30, seed=3, max_angle=360).load("test")
    few = scorer().score_images(TensorImages(images.pixels[:16]), protocol(n=16, n_reference=16, metrics=["precision_recall"]))
    many = scorer().score_images(images, protocol(n=30, metrics=["precision_recall"]))
    assert list(few["scores"]) == ["precision_16_shapes-train16_small_resnet", "recall_16_shapes-train16_small_resnet"]
    assert few["scores"].keys() == many["scores"].keys()
    for first, second in zip(*pairs, strict=True):
        assert len(second) == 16
        torch.testing.assert_close(second, first)


def test_images_without_an_own_choice_of_n_are_the_first_ones() -> None:
    images = Shapes(n_train=1, n_test=30, seed=3, max_angle=360).load("test")
    first = TensorImages(images.pixels[:20])
    assert scorer().score_images(images, protocol())["scores"] == scorer().score_images(first, protocol())["scores"]


def test_a_score_leaves_everything_as_it_was(conditional: Generator) -> None:
    def surroundings() -> dict[str, object]:
        return {
            "torch": torch.get_rng_state().tolist(),
            "numpy": str(np.random.get_state()),
            "python": random.getstate(),
            "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled()),
            "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
            "grad": torch.is_grad_enabled(),
            "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
            "default": torch.get_default_dtype(),
            "modes": [module.training for module in conditional.modules()],
            "weights": {name: tensor.numpy().tobytes() for name, tensor in conditional.state_dict().items()},
            "grads": [parameter.grad for parameter in conditional.parameters()],
        }

    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            before = surroundings()
            scores = scorer()
            scores.trial("train")
            record = scores.score(conditional, protocol())
            scores.baseline(protocol())
            assert surroundings() == before
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    assert record["scores"] == scorer().score(conditional, protocol())["scores"], "and is float32 whatever surrounds it"


def test_the_baseline_is_the_score_of_as_many_real_images_of_the_other_split() -> None:
    scores = scorer()
    baseline = scores.baseline(protocol(draws=3))
    alone = scores.score_images(scores.images("test"), protocol())
    assert baseline is not None
    assert (baseline["split"], baseline["n"]) == ("test", 20)
    assert baseline["scores"] == pytest.approx(alone["scores"], rel=1e-5)
    assert baseline["deviations"].keys() == alone["deviations"].keys()


def test_the_baseline_of_a_score_against_the_test_images_is_of_training_images_and_of_all_there_are() -> None:
    baseline = scorer().baseline(protocol(reference="test", n=100))
    assert baseline is not None
    assert (baseline["split"], baseline["n"]) == ("train", 40)
    assert "fd_40_shapes-test_small_resnet" in baseline["scores"]


def test_there_is_no_baseline_without_a_second_split() -> None:
    np.savez("plain.npz", images=np.zeros((8, 32, 32, 3), np.uint8))
    source = Npz.at(Path("plain.npz"))
    assert scorer(source).baseline(protocol()) is None


def test_there_is_no_baseline_of_fewer_images_than_the_metrics_need() -> None:
    assert scorer(Shapes(n_train=40, n_test=3, seed=0, max_angle=360)).baseline(protocol()) is None


def test_test_images_that_cannot_be_read_cost_the_baseline_alone_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("train", "test"):
        Path(folder).mkdir()
        for i in range(6):
            Image.effect_noise((32, 32), 40 + i).save(f"{folder}/{i}.png")
    Path("test/3.png").write_bytes(b"no picture")
    form = {"resolution": 32, "channels": 3, "fit": "crop", "range": None}
    source = ImageFolder(path=Path("train"), test_path=Path("test"), on_error="stop", cache=False, **form)
    with caplog.at_level(logging.WARNING):
        assert scorer(source).baseline(protocol(n=5)) is None
    assert "3.png" in caplog.text


def test_the_trial_shows_the_extractor_eight_images() -> None:
    with watched(SmallResNet) as calls:
        scorer().trial("train")
    assert [len(images) for (images,) in calls] == [8]


def test_an_extractor_that_sees_nan_is_refused_by_the_trial(tmp_path: Path) -> None:
    tensors = load_file(SHIPPED)
    tensors["layer1.0.bn1.weight"] = torch.full_like(tensors["layer1.0.bn1.weight"], 3e38)
    save_file(tensors, tmp_path / "blind.safetensors")
    with pytest.raises(UserError, match="extractor=blind gives NaN or infinity for images of shapes"):
        scorer(weights=tmp_path / "blind.safetensors").trial("train")


def test_an_extractor_that_cannot_look_at_the_images_is_refused_by_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            seen = nn.functional.conv2d(x.float(), torch.zeros(4, 3, 64, 64))
            return seen.flatten(1), seen.flatten(1)

    def picky(*, weights: Path | None) -> Extractor:
        return Extractor(label="picky", weights=Path(), sha256="0", distance="fd", network=lambda path: Picky())

    assert small_resnet(weights=None).label == "small_resnet"  # so that the built-in ones are registered first
    monkeypatch.setitem(registry._builders, "extractor", {**registry._builders["extractor"], "picky": picky})
    with pytest.raises(UserError, match=r"extractor=picky cannot extract features of images of shapes: .*[Kk]ernel size"):
        scorer(extractor="picky").trial("train")


def test_a_training_network_is_not_scored(G: Generator) -> None:
    with pytest.raises(AssertionError, match="evaluation mode"):
        scorer().score(G.train(), protocol())


def test_one_draw_in_one_split_has_no_deviation(tiny: Callable[..., Config]) -> None:
    config = tiny("protocol.splits=1", "protocol.metrics=[fid,is]")
    source = build("data", config.data)
    scorer = Scorer(config.extractor, source, torch.device("cpu"), options={}, workers=0)
    assert scorer.score_images(source.load("test"), config.protocol.model_copy(update={"n": 16}))["deviations"] == {}
