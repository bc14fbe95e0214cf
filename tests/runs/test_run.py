"""Run folders as a report reads and groups them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sngan import UserError
from sngan.report.comparable import measures, titles, value
from sngan.report.ranking import rows, verdict
from sngan.report.settings import as_text, differing, settings
from sngan.runs.records import Record
from sngan.runs.run import Run, find_runs, read_run

FD = "fd_5k_a-train_b"


def record(step: int = 10, score: float = 1.0, *, role: str = "full", name: str = FD, **more: Any) -> Record:
    return Record(step=step, role=role, weights="ema", scores={name: score}, **more)


def run(seed: int, *records: Record, step: int = 10, best: int | None = None, path: str | None = None, **config: Any) -> Run:
    return Run(
        path=Path(path or f"runs/{config}/seed{seed}"),
        config={"seed": seed, "steps": 10, **config},
        status="finished",
        error=None,
        step=step,
        seconds=None,
        sessions=[],
        scalars=[],
        records=records,
        grids={},
        best_step=best,
    )


def test_every_run_below_is_found_once_and_in_the_order_of_numbers() -> None:
    for name in ("a/seed10", "a/seed2", "b"):
        Path(name, "checkpoints/step-00000001").mkdir(parents=True)
        for file in (
            "config.json",
            "run.json",
            "checkpoints/step-00000001/config.json",
            "checkpoints/step-00000001/checkpoint.json",
        ):
            Path(name, file).write_text("{}")
    Path("c").mkdir()
    Path("c/config.json").write_text("{}")  # of another program
    Path("failed").mkdir()
    Path("failed/result.json").write_text("{}")
    found = find_runs([Path("."), Path("a"), Path("a/seed2").absolute()])
    assert [str(path) for path in found] == ["a/seed2", "a/seed10", "b", "failed"]


@pytest.mark.parametrize(("path", "said"), [("nowhere", "nowhere: no such folder"), (".", "holds no run")])
def test_a_path_without_runs_is_told(path: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_runs([Path(path)])


def test_a_trained_run_is_read_whole(sweep: Path) -> None:
    found = read_run(sweep / "loss-hinge" / "seed1")
    assert (found.seed, found.step, found.steps, found.is_complete) == (1, 6, 6, True)
    assert [line["step"] for line in found.scalars] == [1, 2, 3, 4, 5, 6]
    assert list(found.grids) == [0, 3, 6]
    last = found.last_full()
    assert last
    assert (last.step, last.place) == (6, f"metrics.jsonl, line {len(found.records)}" if last.line else "")
    quick = {r.step: r.scores for r in found.records if r.role == "quick"}
    assert quick.keys() == {3, 6}
    assert found.best_step == min(quick, key=lambda step: next(iter(quick[step].values())))


def test_a_result_says_how_it_ended(sweep: Path) -> None:
    folder = Path(shutil.copytree(sweep / "loss-hinge" / "seed1", "run"))
    (folder / "result.json").write_text(
        json.dumps({"status": "failed", "error": "it broke", "step": 4, "steps": 6, "seconds": 12.5, "scores": {}, "device": None})
    )
    found = read_run(folder)
    assert (found.status, found.error, found.seconds) == ("failed", "it broke", 12.5)
    (folder / "result.json").unlink()
    assert read_run(folder).status == "unfinished"


def test_a_result_alone_is_a_run() -> None:
    line = {"step": 7, "scores": {FD: 3.0}, "weights": "ema", "role": "full"}
    scores = {"last": line, "best": {**line, "step": 5}}
    Path("result.json").write_text(
        json.dumps({"status": "finished", "step": 7, "scores": scores, "config": {"seed": 3, "steps": 7}})
    )
    found = read_run(Path())
    assert (found.seed, found.best_step, [r.place for r in found.records]) == (3, 5, ["result.json", "result.json"])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[1]"),
        ("config.json", "{"),
        ("run.json", '{"sessions": 3}'),
        ("run.json", "[]"),
        ("result.json", "{}"),
        ("metrics.jsonl", '{"step": 1, "scores": "high"}\n'),
        ("metrics.jsonl", '{"step": "one", "scores": {}}\n'),
        ("scalars.jsonl", "not JSON\n"),
    ],
)
def test_a_damaged_file_is_named(file: str, content: str) -> None:
    for name in ("config.json", "run.json"):
        Path(name).write_text("{}")
    Path(file).write_text(content)
    with pytest.raises(UserError, match=file):
        read_run(Path())


def test_runs_that_differ_by_seed_and_intervals_alone_are_one_setting() -> None:
    runs = [run(0, lr=1, save_every=5), run(1, lr=1, save_every=7), run(0, lr=2), run(1, lr=2)]
    found = settings(runs)
    assert [(s.label, s.options, len(s.runs)) for s in found] == [("lr=1", {"lr": "1"}, 2), ("lr=2", {"lr": "2"}, 2)]


def test_a_component_goes_by_its_name_and_its_own_options_go_without_saying() -> None:
    configs = [as_text({"loss": {"name": "bce", "saturating": False}}), as_text({"loss": {"name": "hinge"}})]
    assert differing(configs) == ["loss.name"]
    configs.append(as_text({"loss": {"name": "bce", "saturating": True}}))
    assert differing(configs) == ["loss.name", "loss.saturating"]


def test_many_differing_keys_leave_the_name_to_the_folder() -> None:
    runs = [run(0, path=f"runs/{i}/seed0", a=i, b=i, c=i, d=i) for i in range(2)]
    assert [s.label for s in settings(runs)] == ["0", "1"]
    again = [run(0, path=f"{i}/same/seed0", a=i, b=i, c=i, d=i) for i in range(2)]
    assert [s.label for s in settings(again)] == ["same", "1/same/seed0"]


def test_scores_of_one_name_that_were_taken_otherwise_are_kept_apart() -> None:
    runs = [run(0, record(protocol={"seed": 0})), run(1, record(protocol={"seed": 1})), run(2, record(protocol={"seed": 1}))]
    found = titles(measures(runs))
    assert list(found.values()) == [f"{FD}, protocol.seed 0", f"{FD}, protocol.seed 1"]
    second = list(found)[1]
    assert [bool(value(r, second, "last")) for r in runs] == [False, True, True]


def test_quick_scores_stand_in_only_where_there_are_no_others() -> None:
    quick = record(role="quick", name="fd_2k_a-train_b")
    assert [m.name for m in measures([run(0, quick), run(1, quick, record())])] == [FD]
    assert [m.name for m in measures([run(0, quick)])] == ["fd_2k_a-train_b"]


def test_last_and_best_are_what_they_say() -> None:
    one = run(0, record(5, 3.0), record(10, 4.0), record(10, 4.5), best=5)
    (measure,) = measures([one])
    assert [value(one, measure, which).number for which in ("last", "best")] == [4.5, 3.0]  # type: ignore[arg-type, union-attr]


def test_a_mean_counts_each_seed_of_a_complete_run_once() -> None:
    runs = [
        run(0, record(score=1.0)),
        run(0, record(score=9.0), path="copy"),
        run(1, record(score=3.0)),
        run(2, record(5, 100.0), step=5),
        run(3),
        run(4, record(score=float("nan"))),
    ]
    (row,) = rows(settings(runs), measures(runs)[0], "last")
    assert row.spread
    assert (row.spread.n, row.spread.mean) == (2, 2.0)


@pytest.mark.parametrize(("name", "first"), [(FD, "lr=1"), ("is_5k_inception", "lr=2"), ("precision_5k_a-train_b", "lr=2")])
def test_the_better_setting_comes_first(name: str, first: str) -> None:
    runs = [run(seed, record(score=10.0 * lr + seed, name=name), lr=lr) for lr in (1, 2) for seed in (0, 1, 2)]
    placed = rows(settings([*runs, run(0, lr=3)]), measures(runs)[0], "last")
    assert placed[0].setting.label == first
    assert placed[-1].setting.label == "lr=3", "what has no score comes last"
    assert placed[1].to_best is not None
    assert abs(placed[1].to_best.mean) == 10.0


def test_the_verdict_says_how_sure_it_is() -> None:
    def said(*scores: list[float]) -> str:
        runs = [run(seed, record(score=s), lr=lr) for lr, group in enumerate(scores) for seed, s in enumerate(group)]
        return verdict(rows(settings(runs), measures(runs)[0], "last"))

    assert "lr=0 is ahead of lr=1 by 10.00; by" in said([1.0, 1.1, 0.9], [11.0, 11.1, 10.9])
    assert "holds 0: not clear with 3 and 3 seeds" in said([1.0, 2.0, 9.0], [2.0, 3.0, 9.0])
    assert "too few to say how much of it is chance" in said([1.0], [2.0])
    assert said([1.0, 2.0]) == ""
