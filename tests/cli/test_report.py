"""`sngan report` as a user meets it."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from sngan.__main__ import main
from sngan.cli.report import is_path
from sngan.files import read_json, read_lines

Capture = pytest.CaptureFixture[str]

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """A page's elements: what runs, what is shown, where its links go."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.text = ""
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, content in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "href" and tag == "a":
                self.links.append(content or "")
            if name == "src":
                self.images.append(content or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def runs(sweep: Path) -> Path:
    """A copy of the sweep, by a relative path."""
    return Path(shutil.copytree(sweep, "runs"))


def report(*words: str) -> int:
    return main(["report", *words, "device=cpu"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing given; name runs, or folders of them"),
        (["nowhere"], "nowhere: no such folder; give the folder of a run"),
        (["empty"], "empty holds no run; a run is a folder with config.json and run.json"),
        (["empty", "out=empty"], "empty holds no run"),
        (["run", "out=run"], "out=run cannot be written (it is a folder)"),
        (["run", "out=run/config.json/page.html"], "out=run/config.json/page.html cannot be written"),
        (["run", "formt=csv"], "unknown key formt; did you mean format?"),
        (["run", "format=pdf"], "format=pdf: input should be 'html', 'markdown' or 'csv'"),
        (["run", "neighbours=-1"], "neighbours=-1: input should be greater than or equal to 0"),
        (["broken"], "broken/config.json cannot be read as JSON"),
        (["run", "--colour"], "unknown flag --colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_two_lines_with_exit_code_2(words: list[str], said: str, capsys: Capture) -> None:
    for name, config in (("run", "{}"), ("broken", "{")):
        Path(name).mkdir()
        for file in ("config.json", "run.json"):
            Path(name, file).write_text(config)
    Path("empty").mkdir()
    assert report(*words) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert len(out.err.strip().splitlines()) <= 2
    assert out.out == ""
    assert not list(Path().rglob("*report*"))


def test_a_word_is_a_path_unless_it_sets_a_key() -> None:
    Path("loss=bce").mkdir()
    assert [is_path(word) for word in ("runs/a", "out=a.html", "loss=bce", "loss=hinge")] == [True, False, True, False]


def test_a_page_about_one_run_has_every_part(runs: Path, capsys: Capture) -> None:
    folder = runs / "loss-hinge" / "seed0"
    assert report(str(folder)) == 0
    assert capsys.readouterr().out == f"1 run in {folder / 'report.html'}\n"
    page = Page(folder / "report.html")
    last = [line for line in read_lines(folder / "metrics.jsonl") if line.get("role") == "full"][-1]
    for name, score in last["scores"].items():
        assert name in page.text
        assert f"{score:.4g}"[:4] in page.text
    for title in (
        "Losses",
        "Mean logits",
        "Sigma of each layer of D",
        "Learning rate",
        "Averaged beside raw weights",
        "Is it memorising?",
    ):
        assert title in page.text
    assert f"metrics.jsonl, line {len(read_lines(folder / 'metrics.jsonl'))}" in page.text
    assert "sngan train experiment=shapes" in page.text
    assert "protocol small: 32 samples of seed 0 against 64 train images of shapes" in page.text
    assert "of 64 training images of shapes" in page.text
    assert re.search(r"Health: (fine|look|wrong)", page.text)
    # 3 frames, the final grid, averaged and raw, 2 x 6 samples with 3 neighbours each
    assert len(page.images) == 3 + 1 + 2 + 2 * 6 * 4


def test_a_page_stands_alone_and_its_links_lead_to_the_run(runs: Path) -> None:
    assert report("runs", "out=pages/all.html") == 0
    page = Page(Path("pages/all.html"))
    assert all(address.startswith("data:image/") for address in page.images)
    assert page.tags.count("script") == 1
    assert not {"link", "iframe", "object", "base"} & set(page.tags) - {"link"}
    assert "https://" not in page.source
    assert "http://" not in page.source
    outside = [link for link in page.links if not link.startswith("#")]
    assert len(outside) > 8
    assert all((Path("pages") / unquote(link)).exists() for link in outside)


def test_a_page_about_several_runs_says_which_is_better(runs: Path, capsys: Capture) -> None:
    assert report(str(runs), "out=all.html") == 0
    assert capsys.readouterr().out == "4 runs in all.html\n"
    page = Page(Path("all.html"))
    assert "4 runs, 2 settings" in page.text
    assert re.search(r"loss=\w+ is ahead of loss=\w+ by", page.text)
    assert "2 and 2 seeds" in page.text
    assert "from the first, 95 % interval" in page.text
    assert len(page.images) == 4


def test_the_means_are_those_of_the_records(runs: Path) -> None:
    assert report(str(runs), "out=all.md") == 0
    text = Path("all.md").read_text()
    scores = []
    for seed in (0, 1):
        records = read_lines(runs / "loss-bce" / f"seed{seed}" / "metrics.jsonl")
        full = [line for line in records if line.get("role") == "full" and line["step"] == 6][-1]
        scores.append(full["scores"]["fd_32_shapes-train_small_resnet"])
    mean = (scores[0] + scores[1]) / 2
    row = next(line for line in text.splitlines() if line.startswith("| loss=bce "))
    shown, _, deviation = row.split("|")[2].strip().partition(" ± ")
    assert float(shown) == pytest.approx(mean, abs=0.01 * mean)
    assert float(deviation) == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5, rel=0.06)
    assert row.split("|")[3].strip() == "2"


def test_csv_has_a_line_for_each_recorded_score(runs: Path) -> None:
    assert report(str(runs), "out=all.csv") == 0
    with Path("all.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    records = [(run, line) for run in sorted(runs.glob("*/*")) for line in read_lines(run / "metrics.jsonl")]
    assert len(lines) == sum(len(line["scores"]) for _, line in records)
    assert {line["loss"] for line in lines} == {"bce", "hinge"}
    assert {float(line["value"]) for line in lines} == {score for _, line in records for score in line["scores"].values()}
    assert lines[0]["record"] == "runs/loss-bce/seed0/metrics.jsonl, line 1"


def test_the_name_of_the_file_decides_its_format_unless_it_is_given(runs: Path) -> None:
    for words, begins in (
        (["out=a.md"], "# 4 runs"),
        (["out=a.csv"], "run,status"),
        (["out=a.txt"], "<!doctype html>"),
        (["out=b.csv", "format=markdown"], "# 4 runs"),
    ):
        assert report("runs", *words) == 0
        assert Path(words[0].removeprefix("out=")).read_text().startswith(begins)
    assert report("runs", "format=csv") == 0
    assert Path("runs/report.csv").exists()


def test_several_paths_make_one_report_here(runs: Path) -> None:
    assert report("runs/loss-bce", "runs/loss-hinge/seed1", "runs/loss-bce/seed0", "paths=[runs/loss-hinge]") == 0
    assert "4 runs, 2 settings" in Page(Path("report.html")).text


def test_nearest_images_can_be_left_out(runs: Path) -> None:
    folder = runs / "loss-bce" / "seed1"
    assert report(str(folder), "neighbours=0") == 0
    page = Page(folder / "report.html")
    assert "left out, as neighbours=0 asks for" in page.text
    assert len(page.images) == 3 + 1 + 2
    assert not list(Path(os.environ["SNGAN_CACHE"]).glob("features-*"))


def test_a_run_without_data_checkpoint_or_end_is_still_reported(runs: Path, capsys: Capture) -> None:
    folder = runs / "loss-bce" / "seed1"
    (folder / "result.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "generator_raw.safetensors").write_bytes(b"cut short")
    assert report(str(folder)) == 0
    page = Page(folder / "report.html")
    assert "unfinished" in page.text
    assert (
        "Averaged beside raw weights, and the nearest training images: none of the checkpoints in runs/loss-bce/seed1" in page.text
    )
    assert capsys.readouterr().err.count("is damaged") == 2
    shutil.rmtree(folder / "checkpoints")
    shutil.rmtree(folder / "samples")
    for name in ("scalars.jsonl", "metrics.jsonl"):
        (folder / name).unlink()
    (folder / "config.json").write_text(json.dumps({**config, "loss": {"name": "of another version"}, "old_key": 1}))
    assert report(str(folder)) == 0
    page = Page(folder / "report.html")
    assert {"No score is recorded.", "No scalar is recorded.", "No grid of samples is recorded."} <= set(page.text.splitlines())
    assert "sngan train experiment=shapes" in page.text
    assert capsys.readouterr().err == ""


def test_data_that_is_gone_costs_the_nearest_images_alone(runs: Path) -> None:
    folder = runs / "loss-bce" / "seed1"
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        config["data"] = {"name": "image_folder", "path": "gone", "test_path": None, "resolution": 32, "on_error": "stop"} | {
            key: config["data"][key] for key in ("dequantize", "flip", "resident_mb", "workers")
        }
        path.write_text(json.dumps(config))
        manifest = path.with_name("checkpoint.json")
        if manifest.exists():
            from sngan.provenance import sha256_of

            content = read_json(manifest)
            content["sha256"]["config.json"] = sha256_of(path)
            manifest.write_text(json.dumps(content))
    assert report(str(folder)) == 0
    page = Page(folder / "report.html")
    assert "Nearest training images: data.path=gone" in page.text
    assert "Averaged beside raw weights" in page.text


def test_a_failed_job_is_shown_with_its_error_and_a_damaged_run_is_named(runs: Path, capsys: Capture) -> None:
    failed = runs / "lr--1" / "seed0"
    failed.mkdir(parents=True)
    config = json.loads((runs / "loss-bce" / "seed0" / "config.json").read_text())
    config["optimizer"]["lr"] = -1
    end = {"status": "failed", "error": "optimizer.lr=-1: input should be greater than 0", "step": 0, "seconds": 0.0, "scores": {}}
    (failed / "result.json").write_text(json.dumps({**end, "config": config, "device": None}))
    (runs / "loss-hinge" / "seed1" / "run.json").write_text("{")
    assert report("runs", "out=all.html") == 0
    out = capsys.readouterr().out
    assert "left out: runs/loss-hinge/seed1/run.json cannot be read" in out
    assert "4 runs in all.html" in out
    page = Page(Path("all.html"))
    assert "optimizer.lr=-1: input should be greater than 0" in page.text
    assert "left out: runs/loss-hinge/seed1/run.json cannot be read" in page.text
    assert "1 failed" in page.text


@pytest.fixture
def hostile(runs: Path) -> Path:
    """Runs of a stranger: markup in the folder's name, in configs, in the error, in names of scores and scalars, and in sessions."""
    name = HOSTILE.replace("/", "∕")
    for i, folder in enumerate([runs / "loss-bce" / "seed0", runs / "loss-bce" / "seed1"]):
        config = json.loads((folder / "config.json").read_text())
        config |= {"name": HOSTILE, f"key{HOSTILE}": HOSTILE + str(i), "seed": HOSTILE}
        (folder / "config.json").write_text(json.dumps(config))
        session = {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
        (folder / "run.json").write_text(json.dumps({"sessions": [session]}))
        line = read_lines(folder / "metrics.jsonl")[-1]
        line |= {
            "scores": {HOSTILE: 1.0 + i},
            "by": HOSTILE,
            "role": "full",
            "protocol": {"name": HOSTILE, "seed": HOSTILE},
            "floor": None,
        }
        line |= {"deviations": {HOSTILE: 0.5}, "extractor": {"label": HOSTILE, "sha256": HOSTILE}}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "step": 3}) + "\n")
        scalars = [{"step": step, HOSTILE: step, "sigma": {HOSTILE: 1.0}, "text": HOSTILE} for step in (1, 2)]
        (folder / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in scalars))
        end = {"status": HOSTILE, "error": HOSTILE, "step": 6, "seconds": 1.0, "scores": {}, "config": {}}
        (folder / "result.json").write_text(json.dumps(end))
        folder.rename(folder.with_name(f"{i}{name}"))
    shutil.move(runs / "loss-bce", f"javascript:alert(3){name}")
    return Path(f"javascript:alert(3){name}")


@pytest.mark.parametrize("several", [False, True])
def test_text_of_a_stranger_is_shown_and_never_run(hostile: Path, several: bool) -> None:
    path = hostile if several else next(hostile.iterdir())
    assert report(str(path), "out=page.html") == 0
    page = Page(Path("page.html"))
    assert page.tags.count("script") == 1
    assert page.handlers == []
    assert all(address.startswith("data:image/") for address in page.images)
    assert HOSTILE in page.text
    assert not [link for link in page.links if ":" in link]
    assert html.escape("<script>alert(1)") in page.source
    assert all((Path() / unquote(link)).exists() for link in page.links if not link.startswith("#"))


def test_text_of_a_stranger_is_only_text_in_markdown_and_csv(hostile: Path) -> None:
    assert report(str(hostile), "out=page.md") == 0
    text = Path("page.md").read_text()
    assert r"\<script\>" in text
    assert not re.search(r"(?<!\\)<", text)
    (folder,) = [path for path in hostile.iterdir() if path.name.startswith("0")]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "formula": "=1+1", "seed": "=2"}))
    assert report(str(hostile), "out=page.csv") == 0
    with Path("page.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["formula"] for line in lines} == {"'=1+1", "–"}
    assert {line["seed"] for line in lines} == {"'=2", HOSTILE}


def test_the_final_grid_is_the_file_itself(runs: Path) -> None:
    import base64
    import io

    folder = runs / "loss-bce" / "seed1"
    assert report(str(folder), "neighbours=0") == 0
    (final,) = [address for address in Page(folder / "report.html").images if address.startswith("data:image/png")][:1]
    with (
        Image.open(io.BytesIO(base64.b64decode(final.partition(",")[2]))) as shown,
        Image.open(folder / "samples" / "step-00000006.png") as written,
    ):
        assert shown.tobytes() == written.tobytes()
