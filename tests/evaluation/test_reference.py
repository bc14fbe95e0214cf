"""Real images are looked at once, and again when anything about them or about the one who looks has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sngan.config import Component, Protocol
from sngan.data.npz import Npz
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.extractors.small_resnet import SHIPPED
from sngan.evaluation.fidelity import Features
from sngan.evaluation.reference import Reference
from sngan.evaluation.score import Scorer
from sngan.processes import cache_folder

EXTRACTOR = Extractor(label="net", weights=Path("w.safetensors"), sha256="f00", distance="fd", network=lambda path: None)
OTHER = Extractor(label="net", weights=Path("w.safetensors"), sha256="ba4", distance="fd", network=lambda path: None)
CPU = torch.device("cpu")


class Look:
    """Features of 20 imagined images, how often they were looked at, and which; a look at an image in `fails` is interrupted."""

    def __init__(self, seed: int = 0, fails: int | None = None) -> None:
        self.times = 0
        self.fails = fails
        self.seen: list[int] = []
        random = torch.Generator().manual_seed(seed)
        self.all = Features(torch.randn(20, 6, generator=random), torch.randn(20, 3, generator=random))

    def __call__(self, parts: list[range]) -> Iterator[Features]:
        self.times += 1
        for rows in parts:
            if self.fails in rows:
                raise KeyboardInterrupt
            self.seen += rows
            yield Features(*(tensor[rows.start : rows.stop] for tensor in vars(self.all).values()))


def reference(look: Look, *, content: str = "c0ffee", n: int = 20, extractor: Extractor = EXTRACTOR) -> Reference:
    return Reference(content, n, extractor, CPU, look)


def test_features_are_looked_at_once_for_all_runs() -> None:
    look = Look()
    first, again = reference(look), reference(look)
    expected = look.all
    for seen in (first.features(), first.features(), again.features()):
        assert torch.equal(seen.features, expected.features)
        assert torch.equal(seen.logits, expected.logits)
    assert look.times == 1


@pytest.mark.parametrize("change", [{"content": "bad"}, {"n": 10}, {"extractor": OTHER}])
def test_other_images_another_number_of_them_or_other_weights_are_looked_at_anew(change: dict[str, Any]) -> None:
    before, after = Look(), Look(seed=1)
    reference(before).statistics()
    reference(before).features()
    changed = reference(after, **change)
    expected = after.all.features[: change.get("n", 20)]
    assert torch.equal(changed.features().features, expected)
    assert np.array_equal(changed.statistics()["mu"], fidelity.statistics(expected)["mu"])


def test_statistics_from_the_cache_are_those_of_the_features_bit_for_bit() -> None:
    look, expected = Look(), fidelity.statistics(Look().all.features)
    expected["root"] = fidelity.square_root(expected["sigma"])
    for _ in range(2):
        found = reference(look).statistics()
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found)
    assert look.times == 1


def test_the_root_from_the_cache_changes_no_distance() -> None:
    samples, real = fidelity.statistics(Look(seed=1).all.features), fidelity.statistics(Look().all.features)
    for _ in range(2):
        assert fidelity.frechet_distance(samples, reference(Look()).statistics()) == fidelity.frechet_distance(samples, real)


def test_features_serve_for_statistics_too() -> None:
    look = Look()
    seen = reference(look)
    seen.features()
    seen.statistics()
    assert look.times == 1


def test_for_a_distance_alone_no_features_are_kept() -> None:
    reference(Look()).statistics()
    assert [path.name.partition("-")[0] for path in cache_folder().iterdir()] == ["moments"]


@pytest.fixture
def parts_of_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sngan.evaluation.reference.PART", 6)


@pytest.mark.usefixtures("parts_of_6")
@pytest.mark.parametrize("what", ["features", "statistics"])
def test_an_interrupted_look_goes_on_where_it_was(what: str) -> None:
    interrupted, rest = Look(fails=13), Look()
    with pytest.raises(KeyboardInterrupt):
        getattr(reference(interrupted), what)()
    found = reference(rest)
    if what == "features":
        assert torch.equal(found.features().features, rest.all.features)
        assert torch.equal(found.features().logits, rest.all.logits)
    else:
        assert np.array_equal(found.statistics()["sigma"], fidelity.statistics(rest.all.features)["sigma"])
    assert (interrupted.seen, rest.seen) == (list(range(12)), list(range(12, 20)))
    assert len(list(cache_folder().iterdir())) == 1  # no part is kept beside the whole


@pytest.mark.usefixtures("parts_of_6")
def test_a_damaged_part_is_looked_at_anew() -> None:
    with pytest.raises(KeyboardInterrupt):
        reference(Look(fails=13)).features()
    first = min(cache_folder().glob("features-0-*"))
    first.write_bytes(first.read_bytes()[:-1])
    rest = Look()
    assert torch.equal(reference(rest).features().features, rest.all.features)
    assert rest.seen == list(range(20))


@pytest.mark.usefixtures("parts_of_6")
def test_parts_of_other_images_do_not_count() -> None:
    with pytest.raises(KeyboardInterrupt):
        reference(Look(fails=13)).features()
    other = Look(seed=1)
    assert torch.equal(reference(other, content="bad").features().features, other.all.features)


def scores_with(weights: Path, images: Path) -> dict[str, float]:
    """Of the images' test split against their training split, by a scorer of its own."""
    source = Npz.at(images)
    extractor = Component.model_validate({"name": "small_resnet", "weights": str(weights)})
    protocol = Protocol(
        name="p",
        n=10,
        draws=1,
        reference="train",
        n_reference=None,
        metrics=("fid", "kid"),
        splits=2,
        n_precision_recall=10,
        rounding="nearest",
        seed=0,
    )
    scorer = Scorer(extractor, source, CPU, options={}, workers=0)
    return scorer.score_images(scorer.images("test"), protocol)["scores"]


@pytest.mark.parametrize("changed", ["weights", "images"])
def test_a_file_that_changes_under_the_same_name_is_never_scored_from_the_cache(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, images = tmp_path / "net.safetensors", tmp_path / "images.npz"
    random = np.random.default_rng(0)
    test = random.integers(0, 255, (10, 8, 8, 3), np.uint8)
    tensors = load_file(SHIPPED)

    def write(scale: float, level: int) -> None:
        save_file({**tensors, "bn1.weight": scale * tensors["bn1.weight"]}, weights)
        train = np.random.default_rng(1).integers(0, level, (12, 8, 8, 3), np.uint8)
        np.savez(images, train_images=train, test_images=test)

    write(1.0, 100)
    before = scores_with(weights, images)
    write(*{"weights": (2.0, 100), "images": (1.0, 200)}[changed])
    after = scores_with(weights, images)
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "empty"))
    assert after == scores_with(weights, images)
    assert after != before
