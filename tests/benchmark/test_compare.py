from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from conftest import SHALLOW, TINY
from sngan import compose
from sngan.__main__ import main
from sngan.benchmark.variants import Variant, ladder, recommended
from sngan.cli.hydra_app import configs
from sngan.training import engine

SMALL = [*TINY[:-1], "device=cpu", "rounds=2", "data.workers=0"]
CPU = torch.device("cpu")


def records(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[dict]:
    assert main(["benchmark", *SMALL, "format=json", *overrides]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_variant_is_an_object_with_its_ratio_to_the_textbook(capsys: pytest.CaptureFixture[str]) -> None:
    found = records(capsys, "variants=[textbook,norm_once,resampling]")
    assert [record["name"] for record in found] == ["textbook", "norm_once", "resampling"]
    assert found[0]["ratio"] == 1.0
    for record in found:
        assert record["ratio"] == pytest.approx(found[0]["seconds"] / record["seconds"])
        assert record["images_per_s"] == pytest.approx(record["setting"]["batch"] / record["seconds"])
        assert record["flops"] > 0
        assert record["memory_mb"] > 0
        assert 0 < record["of_peak"] < 1.5
        assert record["spectral_norm_share"] > 0
        assert record["kernels"] > 50
    assert found[2]["kernels"] < found[0]["kernels"]


def test_the_record_says_how_it_was_made() -> None:
    assert main(["benchmark", *SMALL, "variants=[one_forward]", "out=record.json"]) == 0
    record = json.loads(Path("record.json").read_text())
    assert record["command"].startswith("sngan benchmark steps=6 ")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["rounds"] == 2
    assert record["setting"]["batch"] == 8
    assert [variant["name"] for variant in record["variants"]] == ["one_forward"]


def test_without_the_textbook_there_is_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert [record["ratio"] for record in records(capsys, "variants=[one_forward]")] == [None]


def test_a_table_says_how_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *SMALL, "variants=[textbook,frozen_D]"]) == 0
    out = capsys.readouterr().out
    assert "ratio" in out
    assert "frozen_D" in out
    assert "medians of 2 rounds in turn" in out
    assert "batch 8, g_batch 8, d_steps 1" in out


def test_every_row_of_table_2_is_timed_beside_a_step_without_a_constraint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *SMALL[:-2], "rounds=1", "data.workers=0", "variants=constraints", "out=record.json"]) == 0
    record = json.loads(Path("record.json").read_text())
    found = {variant["name"]: variant for variant in record["variants"]}
    assert list(found) == ["none", *sorted(path.stem for path in (configs() / "constraint").glob("*.yaml"))]
    assert found["none"]["ratios"] == [1.0, 1.0]
    for name, variant in found.items():
        assert 0 < variant["ratios"][0] <= variant["ratio"] <= variant["ratios"][1]
        if name != "none":
            config = compose([f"constraint={name}"])
            assert (variant["normalization"], variant["regularizer"], variant["weight_clip"], variant["loss"]) == (
                config.discriminator.normalization, config.regularizer.name, config.weight_clip, config.loss.name,
            )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(found) + 1]] == list(found)
    assert "batch 8, g_batch 8, d_steps 1" in lines[-2]


@pytest.mark.skipif(engine.why_not("compile", CPU) is not None, reason="needs a C++ compiler")
def test_compiled_variants_are_timed_too(capsys: pytest.CaptureFixture[str]) -> None:
    torch._dynamo.reset()
    found = records(capsys, *SHALLOW, "variants=[resampling,bf16,bf16_compile]")
    assert [(record["engine"], record["precision"]) for record in found] == [
        ("eager", "fp32"),
        ("eager", "bf16"),
        ("compile", "bf16"),
    ]
    assert found[2]["flops"] == found[0]["flops"]
    assert found[2]["kernels"] is None


def test_compiled_networks_are_recommended_only_where_they_pay() -> None:
    def record(seconds: float, engine: str, precision: str = "fp32") -> dict[str, object]:
        return {"seconds": seconds, "engine": engine, "precision": precision}

    ladder = [record(0.5, "eager"), record(2.0, "eager"), record(3.0, "compile"), record(1.2, "eager", "bf16")]
    assert recommended(ladder) == {"fp32": "eager", "bf16": "eager"}, "the first is another loop, which is not to be had"
    assert recommended([*ladder, record(1.1, "compile", "bf16")]) == {"fp32": "eager", "bf16": "compile"}


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_variant_has_all_that_those_before_it_have(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine, "why_not", lambda part, device: None
    )  # the list alone is looked at; what can run here is timed above
    variants = ladder(torch.device(kind))
    for before, after in itertools.pairwise(variants):
        flags = {name for name in Variant.__dataclass_fields__ if getattr(before, name) is True}
        assert all(getattr(after, name) for name in flags)
        assert before != after
    assert (variants[-1].precision, variants[-1].engine) == ("bf16", "compile" if kind == "cpu" else "compiled_graph")
    assert variants[-1].grouped == (kind == "cuda")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["variants=[warp_drive]"], "variants=warp_drive: no variant of this device has this name"),
        (["discriminator.normalization=none"], "textbook loop has the paper's spectral norm"),
        (["regularizer=r1"], "no regularizer, weight_clip or g_orthogonal"),
        (["rounds=0"], "rounds=0"),
        (["batch=65"], "batch=65: the textbook's loader needs as many images, and there are 64"),
        (["out=nowhere/record.json"], "out=nowhere/record.json: there is no folder nowhere"),
        (["variants=constraints", "constraint=wgan_gp"], "constraint=wgan_gp: variants=constraints times every row"),
        (["variants=constraints", "discriminator.normalization=none"], "which sets discriminator.normalization; leave it out"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_timed(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *SMALL, *words]) == 2
    assert message in capsys.readouterr().err
