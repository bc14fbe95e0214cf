"""`evaluate` from Python: of checkpoints, of samples that lie somewhere, of real images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY, composed
from sngan import train
from sngan.config import Component
from sngan.data.shapes import Shapes
from sngan.errors import UserError
from sngan.evaluation import fidelity
from sngan.evaluation.evaluate import Record, evaluate
from sngan.evaluation.request import Evaluate
from sngan.files import read_lines
from sngan.runs.checkpoint import find
from sngan.sampling.grids import write_png
from sngan.sampling.request import Sample
from sngan.sampling.sample import sample

UNSCORED = ["protocol=none", "sample_every=0", "keep.last=9"]
RESNETS = [
    "conditional=true",
    "generator=resnet",
    "generator.widths=[8,8,8,8]",
    "discriminator=resnet",
    "discriminator.widths=[8,8,8]",
    "discriminator.downsample=[true,true,false]",
    "steps=2",
]
PROTOCOL = {
    "name": "small", "n": 24, "draws": 1, "reference": "train", "n_reference": None, "metrics": ["fid", "is", "kid", "precision_recall"],
    "splits": 2, "n_precision_recall": 16, "rounding": "auto", "seed": 3,
}  # fmt: skip
SHAPES = {
    "name": "shapes", "n_train": 64, "n_test": 16, "seed": 0, "max_angle": 360, "dequantize": True, "flip": False, "resident_mb": 1.0, "workers": 0
}  # fmt: skip
EXTRACTOR = {"name": "small_resnet", "weights": None}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `plain`, of three checkpoints, and `conditional`, none of them scored."""
    folder = tmp_path_factory.mktemp("runs")
    train(composed(*TINY, *UNSCORED, f"run_dir={folder}/plain"))
    train(composed(*TINY, *UNSCORED, *RESNETS, f"run_dir={folder}/conditional"))
    return folder


@pytest.fixture
def run(runs: Path) -> Path:
    """A copy of the plain run."""
    return Path(shutil.copytree(runs / "plain", "run"))


def ask(**given: object) -> Evaluate:
    """A request by a small protocol of all metrics."""
    nothing = dict.fromkeys(("run", "checkpoint", "samples", "real", "n", "data", "against", "extractor"))
    rest = {"all": False, "weights": "ema", "protocol": PROTOCOL, "format": "table", "device": "cpu", "plugins": ()}
    return Evaluate.model_validate({**nothing, **rest, **given})


def one(**given: object) -> Record:
    (record,) = evaluate(ask(**given))
    return record


def timeless(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with each pass of an extractor, which is made."""
    extract = fidelity.extract
    seen: list[None] = []

    def watched(*args: object) -> fidelity.Features:
        seen.append(None)
        return extract(*args)

    monkeypatch.setattr(fidelity, "extract", watched)
    return seen


@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_the_pictures_that_sample_writes_score_as_the_checkpoint_does(runs: Path, name: str) -> None:
    run = Path(shutil.copytree(runs / name, "run"))
    sample(
        Sample(
            run=run,
            checkpoint=None,
            weights="ema",
            mode=Component(name="images"),
            n=24,
            seed=PROTOCOL["seed"],
            label=None,
            out=Path("s"),
            device="cpu",
            plugins=(),
        )
    )
    made, written = one(run=run), one(samples="s", data=SHAPES, extractor=EXTRACTOR)
    assert made["scores"] == written["scores"]
    assert made["deviations"] == written["deviations"]
    assert made["floor"] == written["floor"]
    assert made["reference"] == written["reference"]
    assert written["samples"] == "s"


def test_an_archive_of_samples_scores_as_a_folder_of_them_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    np.savez("s.npz", images=pixels)
    Path("s").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(f"s/{i:05d}.png")
    first, second = (one(samples=name, data=SHAPES, extractor=EXTRACTOR) for name in ("s", "s.npz"))
    assert first["scores"] == second["scores"]


def test_all_samples_are_scored_unless_n_says_how_many() -> None:
    np.savez("s.npz", images=np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8))
    given = {"samples": "s.npz", "data": SHAPES, "extractor": EXTRACTOR}
    assert one(**given)["protocol"]["n"] == 24
    assert one(**given, protocol={**PROTOCOL, "draws": 3})["protocol"]["n"] == 8
    assert "fd_10_shapes-train_small_resnet" in one(**given, n=10)["scores"]
    with pytest.raises(UserError, match=r"samples=s\.npz holds 24 images, too few for 3 draws of n=9"):
        one(**given, n=9, protocol={**PROTOCOL, "draws": 3})


def test_grey_samples_are_compared_with_grey_images_however_they_are_written() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 1), np.uint8)
    np.savez("real.npz", train_images=grey)
    np.savez("s.npz", images=grey[:24] // 2)
    Path("s").mkdir()
    for i, image in enumerate(grey[:24] // 2):
        write_png(torch.from_numpy(image).permute(2, 0, 1), Path(f"s/{i:05d}.png"))
    first, second = (one(samples=name, against="real.npz", extractor=EXTRACTOR) for name in ("s", "s.npz"))
    assert first["scores"] == second["scores"]


def test_a_folder_and_an_archive_to_compare_with_are_as_good_as_the_data_set(run: Path) -> None:
    images = Shapes(n_train=64, n_test=1, seed=0, max_angle=360).load("train").pixels
    np.savez("shapes.npz", images=images.permute(0, 2, 3, 1).numpy())
    Path("shapes").mkdir()
    for i, image in enumerate(images):
        write_png(image, Path(f"shapes/{i:05d}.png"))
    own = one(run=run)
    assert own["floor"] is not None
    for path in ("shapes.npz", "shapes"):
        against = one(run=run, against=path)
        assert against["scores"] == own["scores"]
        assert against["reference"]["options"]["path"] == path
        assert against["floor"] is None, "there is no other split"


def test_all_gives_a_record_of_each_checkpoint_in_order(run: Path) -> None:
    records = list(evaluate(ask(run=run, all=True)))
    assert [record["step"] for record in records] == [2, 4, 6]
    assert len({record["scores"]["fd_24_shapes-train_small_resnet"] for record in records}) == 3
    assert read_lines(run / "metrics.jsonl") == records
    latest = one(run=run)
    assert timeless(latest) == timeless(records[-1])
    assert timeless(one(checkpoint=run / "checkpoints" / "step-00000004")) == timeless(records[1])


def test_what_is_scored_already_is_not_scored_again(run: Path, passes: list[None]) -> None:
    first = list(evaluate(ask(run=run, all=True)))
    n_passes = len(passes)
    assert list(evaluate(ask(run=run, all=True))) == first
    assert len(passes) == n_passes
    assert len(read_lines(run / "metrics.jsonl")) == 3


def test_an_interrupted_evaluation_goes_on_where_it_was(run: Path) -> None:
    interrupted: Iterator[Record] = evaluate(ask(run=run, all=True))
    first = next(interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    records = list(evaluate(ask(run=run, all=True)))
    assert records[0] == first, "seconds among it"
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [2, 4, 6]


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "raw"},
        {"n": 20},
        {"protocol": {**PROTOCOL, "seed": 4}},
        {"protocol": {**PROTOCOL, "metrics": ["fid"]}},
        {"data": {**SHAPES, "seed": 1}},
    ],
)
def test_a_score_taken_in_another_way_does_not_count(run: Path, other: dict[str, object]) -> None:
    list(evaluate(ask(run=run, all=True)))
    changed = list(evaluate(ask(run=run, all=True, **other)))
    assert len(read_lines(run / "metrics.jsonl")) == 6
    assert read_lines(run / "metrics.jsonl")[3:] == changed


def test_other_weights_at_the_same_step_do_not_count_as_scored(run: Path) -> None:
    before = list(evaluate(ask(run=run, all=True)))
    shutil.rmtree(run / "checkpoints")
    train(composed(*TINY, *UNSCORED, "seed=1", "run_dir=run", "resume=force"))
    after = list(evaluate(ask(run=run, all=True)))
    for old, new in zip(before, after, strict=True):
        assert old["step"] == new["step"]
        assert old["generator"] != new["generator"]
        assert old["scores"] != new["scores"]


def test_the_runs_own_scores_count_as_scored() -> None:
    config = composed(*TINY, "run_dir=run", "keep.last=9", "evaluate_every=0")
    train(config)
    protocol = config.protocol.model_dump(mode="json") if config.protocol else None
    (full,) = [line for line in read_lines(Path("run/metrics.jsonl")) if line.get("role") == "full"]
    records = list(evaluate(ask(run="run", all=True, protocol=protocol)))
    assert [record["by"] for record in records] == ["evaluate", "evaluate", "train"]
    assert records[-1] == full
    assert full["floor"]["scores"] == records[0]["floor"]["scores"]


def test_raw_and_averaged_weights_score_differently_and_say_which_they_are(run: Path) -> None:
    ema, raw = one(run=run), one(run=run, weights="raw")
    assert ema["scores"] != raw["scores"]
    saved = find(run, None).sha256
    assert (ema["generator"], raw["generator"]) == (saved["generator.safetensors"], saved["generator_raw.safetensors"])
    assert (ema["weights"], ema["batch_norm"]) == ("ema", "recalibrated over 2 batches of 8")
    assert (raw["weights"], raw["batch_norm"]) == ("raw", "running statistics")


def test_a_checkpoint_that_stands_alone_keeps_its_scores_itself(run: Path) -> None:
    alone = Path(shutil.copytree(run / "checkpoints" / "step-00000004", "alone"))
    record = one(checkpoint=alone)
    assert read_lines(alone / "metrics.jsonl") == [record]
    assert timeless(record) == timeless(one(checkpoint=run / "checkpoints" / "step-00000004"))
    find(None, alone).config()  # and is a whole checkpoint still


def test_real_images_of_the_other_split_score_what_is_shown_as_the_baseline(run: Path) -> None:
    real = one(real="test", data=SHAPES, extractor=EXTRACTOR)
    baseline = one(run=run)["floor"]
    assert (real["real"], real["protocol"]["n"]) == ("test", 16)
    assert real["scores"] == pytest.approx(baseline["scores"], rel=1e-5)
    assert real["floor"] is None, "it is the baseline itself"


def test_real_images_of_the_reference_are_at_no_distance_from_it() -> None:
    protocol = {**PROTOCOL, "n": 64, "metrics": ["fid", "precision_recall"]}
    record = one(real="train", data=SHAPES, extractor=EXTRACTOR, protocol=protocol)
    distance, precision, recall = record["scores"].values()
    assert distance == pytest.approx(0, abs=1e-4)
    assert (precision, recall) == (1.0, 1.0)
    assert record["floor"]["split"] == "test"


def test_images_of_another_size_are_refused(run: Path) -> None:
    np.savez("small.npz", images=np.zeros((30, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"against=small\.npz has images of 16 px, those to be scored have 32"):
        one(run=run, against="small.npz")
    with pytest.raises(UserError, match=r"data=shapes has images of 32 px, those to be scored have 16"):
        one(samples="small.npz", data=SHAPES, extractor=EXTRACTOR)


def test_a_folder_has_no_test_images_to_compare_with(run: Path) -> None:
    Image.new("L", (32, 32)).save("a.png")
    with pytest.raises(
        UserError, match=r"against=\. has no test images, which protocol=small compares with; use protocol\.reference=train"
    ):
        one(run=run, against=".", protocol={**PROTOCOL, "reference": "test"})


def test_nothing_is_recorded_of_what_cannot_be_scored(run: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.splits=30"):
        one(run=run, protocol={**PROTOCOL, "splits": 30})
    weights = run / "checkpoints" / "step-00000006" / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="step-00000006 is damaged"):
        one(checkpoint=weights.parent)
    assert read_lines(run / "metrics.jsonl") == []


def test_a_damaged_line_among_the_scores_is_named(run: Path) -> None:
    (run / "metrics.jsonl").write_text('["no record"]\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 1, is not a record"):
        list(evaluate(ask(run=run, all=True)))
