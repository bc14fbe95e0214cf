"""`sngan evaluate` as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from conftest import finished_run
from sngan.__main__ import main
from sngan.cli.evaluate import steps_table
from sngan.evaluation import fidelity
from sngan.files import read_lines

Capture = pytest.CaptureFixture[str]

SMALL = ["protocol=quick", "protocol.splits=2", "n=16", "device=cpu"]
SHAPES = ["data=shapes", "data.n_train=64", "data.n_test=16", "extractor=small_resnet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run of three checkpoints, without scores."""
    return finished_run(tmp_path_factory.mktemp("trained"), "protocol=none", "sample_every=0", "keep.last=9")


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, "run"))


def evaluate(*words: str) -> int:
    return main(["evaluate", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=a", "checkpoint=b"], "run and checkpoint given; give one of run=DIR, "),
        (["run=a", "real=test"], "run and real given; give one of run=DIR, "),
        (["samples=a", "all=true"], "all=true is for the checkpoints of a run; give run=DIR"),
        (["samples=a", "weights=raw", "protocol=quick", *SHAPES], "weights=raw chooses between the generators of a checkpoint"),
        (["checkpoint=a", "all=true"], "all=true is for the checkpoints of a run; give run=DIR"),
        (["run=a", "against=b", "data=shapes"], "against= and data= both name reference images; give one of them"),
        (["run=a", "runs=b"], "unknown key runs; did you mean run?"),
        (["real=valid", *SHAPES], "real=valid: input should be 'train' or 'test'"),
        (["real=test"], "real=test needs a data set; give data=cifar10, or another"),
        (["real=test", "data=shapes"], "real=test: no run says how to score these; give protocol=standard"),
        (["real=test", *SHAPES, "protocol=quick", "n=20"], "real=test holds 16 images, too few for 1 draws of n=20; use fewer"),
        (["samples=a", "protocol=quick"], "samples=a: no run says how to score these"),
        (["samples=a", "protocol=quick", *SHAPES], "samples=a: no such folder"),
        (["samples=a.npz", "protocol=quick", *SHAPES], "samples=a.npz: no such file"),
        (["run=a", "protocol=best"], "protocol=best: no such choice; did you mean test? allowed: none, paper, quick, small, "),
        (
            ["run=a", "protocol=quick", "protocol.metrics=[fidd]"],
            "fidd: input should be 'fid', 'is', 'kid', 'precision_recall' or 'recognised'",
        ),
        (["run=a", "protocol=quick", "protocol.metrics=[]"], "protocol.metrics=[]"),
        (["run=a", "protocol=quick", "protocol.draws=0"], "protocol.draws=0: input should be greater than or equal to 1"),
        (["run=a", "format=xml"], "format=xml: input should be 'table' or 'json'"),
        (["run=a", "n=1"], "n=1: input should be greater than or equal to 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_two_lines_with_exit_code_2(words: list[str], said: str, capsys: Capture) -> None:
    assert evaluate(*words) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.startswith("sngan: ")
    assert len(out.err.strip().splitlines()) <= 2
    assert out.out == ""
    assert not any(Path().iterdir()), "nothing is left behind"


def test_a_run_that_is_never_scored_says_no_protocol(run: Path, capsys: Capture) -> None:
    assert evaluate(f"run={run}") == 2
    assert "trained with protocol=none; give protocol=standard or protocol=quick" in capsys.readouterr().err


def test_the_table_shows_the_scores_under_their_full_names_beside_those_of_real_images(run: Path, capsys: Capture) -> None:
    metrics = "protocol.metrics=[fid,is,kid,precision_recall]"
    assert evaluate(f"run={run}", *SMALL, metrics) == 0
    lines = capsys.readouterr().out.splitlines()
    record = read_lines(run / "metrics.jsonl")[-1]
    assert lines[0] == "step 6, ema weights, batch norm recalibrated over 2 batches of 8"
    for title, scores, where in (("", record["scores"], 1), ("real-data baseline, 16 test images", record["floor"]["scores"], 6)):
        assert len(scores) == 5
        assert title in lines[where]
        for name, value in scores.items():
            assert any(line.split()[:2] == [name, f"{value:.6g}"] for line in lines[where : where + 6])
    spreads = [line for line in lines[1:6] if "±" in line]
    assert [line.split()[0].partition("_16")[0] for line in spreads] == ["classifier_score", "kd"]
    assert spreads[0].endswith("over 2 splits")
    assert spreads[1].endswith("over random subsets")
    assert "16 samples of seed 1, rounding inverse; reference: 64 train images of shapes, sha256 " in lines[-2]
    assert "extractor: small_resnet, sha256 59d86b12c1491436…" in lines[-1]


def test_several_draws_show_their_deviation(run: Path, capsys: Capture) -> None:
    assert evaluate(f"run={run}", *SMALL, "protocol.draws=3", "n=8") == 0
    out = capsys.readouterr().out
    assert out.count("over 3 draws") == 2
    assert "fd_3x8_shapes-train_small_resnet" in out
    assert "3 x 8 samples of seed 1, rounding inverse; " in out


@pytest.mark.parametrize("words", [["run=run", "all=true"], ["run=run"], ["real=test", *SHAPES]], ids=" ".join)
def test_json_is_the_records_alone(run: Path, words: list[str], capfd: Capture) -> None:
    assert evaluate(*words, *SMALL, "format=json") == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record.get("step") for record in records] == (
        [2, 4, 6] if "all=true" in words else [6] if "run=run" in words else [None]
    )
    assert all(record["scores"] for record in records)
    if "run=run" in words:
        assert records == read_lines(run / "metrics.jsonl")


def test_all_checkpoints_give_a_table_with_the_best_marked_and_a_curve(run: Path, capsys: Capture) -> None:
    assert evaluate(f"run={run}", "all=true", *SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    records = read_lines(run / "metrics.jsonl")
    assert [line.split()[0] for line in lines[:4]] == ["step", "2", "4", "6"]
    assert lines[0].split()[1:] == list(records[0]["scores"])
    distances = [record["scores"]["fd_16_shapes-train_small_resnet"] for record in records]
    assert [line.split()[1].endswith("*") for line in lines[1:4]] == [value == min(distances) for value in distances]
    assert lines[-2].startswith("real-data baseline, 16 test images: fd_16_shapes-train_small_resnet ")
    path = Path(lines[-1].removeprefix("curve: "))
    assert path == run / "scores-quick-ema.png"
    with Image.open(path) as curve:
        assert curve.size[0] > 600


def test_of_equal_scores_the_earlier_one_is_marked_best_and_of_scores_the_largest() -> None:
    def record(step: int, distance: float, score: float) -> dict[str, object]:
        return {"step": step, "scores": {"fid_x": distance, "is_x": score}, "weights": "ema", "batch_norm": "b"}

    lines = steps_table([record(1, 5.0, 1.0), record(2, 3.0, 2.0), record(3, 3.0, 9.0)]).splitlines()
    assert [line.split() for line in lines[1:4]] == [["1", "5", "1"], ["2", "3*", "2"], ["3", "3", "9*"]]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_scored_and_the_same_command_does_the_rest(
    run: Path, signum: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    inception_score, calls = fidelity.inception_score, []

    def interrupted(*args: object, **kwargs: object) -> tuple[float, float]:
        calls.append(args)
        if len(calls) == 3:  # the first checkpoint, its real-data baseline, the second checkpoint; the others are scored in earnest
            os.kill(os.getpid(), signum)
            raise AssertionError("the signal should have ended the score")
        return inception_score(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(fidelity, "inception_score", interrupted)
        assert evaluate(f"run={run}", "all=true", *SMALL) == 128 + signum
    assert "interrupted by SIG" in capsys.readouterr().err
    first = read_lines(run / "metrics.jsonl")
    assert [line["step"] for line in first] == [2]
    assert not list(run.glob("*.png"))
    assert evaluate(f"run={run}", "all=true", *SMALL) == 0
    assert read_lines(run / "metrics.jsonl")[:1] == first
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [2, 4, 6]


def test_samples_are_scored_against_another_folder(run: Path, capsys: Capture) -> None:
    for seed in (1, 2):
        assert main(["sample", f"run={run}", "n=16", f"seed={seed}", f"out=s{seed}", "device=cpu"]) == 0
    capsys.readouterr()
    assert evaluate("samples=s1", "against=s2", "protocol=quick", "protocol.splits=2", "extractor=small_resnet", "device=cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "images of s1"
    assert lines[1].split()[0] == "fd_16_s2-train_small_resnet"
    assert "16 images; reference: 16 train images of s2" in lines[-2], "the grid is none of them"


def test_two_ranks_give_exactly_the_records_of_one_process_and_share_the_work(run: Path) -> None:
    here = Path(__file__).parents[1]
    # 600 samples: batches of 250, 250 and 100, as on one process
    words = ["run=run", "all=true", "protocol=quick", "n=600", "device=cpu"]
    assert evaluate(*words) == 0
    alone = read_lines(run / "metrics.jsonl")
    # the second checkpoint is scored already when the ranks begin
    (run / "metrics.jsonl").write_text(json.dumps(alone[1]) + "\n")
    (run / "scores-quick-ema.png").unlink()
    script = str(here / "two_ranks_evaluate.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, *words, "format=json"]
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1", "SNGAN_CACHE": str(Path("empty").absolute())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    records = sorted((line for line in said if "scores" in line), key=lambda record: record["step"])
    assert [{**record, "seconds": 0} for record in records] == [{**record, "seconds": 0} for record in alone]
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [4, 2, 6]
    assert (run / "scores-quick-ema.png").exists()
    seen = {line["rank"]: line["images"] for line in said if "rank" in line}
    # of two checkpoints; and the reference and the real test images, by rank 0 alone
    assert seen == {0: 2 * (250 + 100) + 64 + 16, 1: 2 * 250}


@pytest.mark.skipif("SNGAN_SHARED" not in os.environ, reason="needs CIFAR-10 and a public ResNet-20 in SNGAN_SHARED")
def test_real_images_score_what_is_known_of_them(capsys: Capture) -> None:
    shared = Path(os.environ["SNGAN_SHARED"])
    subprocess.run([sys.executable, shared / "data" / "unpack.py", "cifar10.npz"], check=True)
    weights = shared / "extractors" / "cifar10_resnet20.safetensors"
    words = ["data=npz", "data.path=cifar10.npz", "extractor=small_resnet", f"extractor.weights={weights}", "protocol=standard"]

    def scores(*more: str) -> dict[str, float]:
        assert evaluate(*words, "format=json", "device=cpu", *more) == 0
        return json.loads(capsys.readouterr().out)["scores"]

    known = scores("real=test", "n=10000", "protocol.metrics=[is]")
    assert known["classifier_score_10k_cifar10_resnet20"] == pytest.approx(9.22, abs=5e-3)
    # by He et al.'s network and scipy's square root, in a few lines that share nothing with these
    some = scores("real=train", "protocol.reference=test", "n=5000", "protocol.metrics=[fid]")
    assert some["fd_5k_cifar10-test_cifar10_resnet20"] == pytest.approx(0.05183, abs=5e-6)
