import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str:
    """The exit code, or the error's message."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # as python puts it there for a script
    monkeypatch.setattr("sys.argv", ["readme_tables.py", *arguments])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"), run_name="__main__")
    return left.value.code or 0


def place(name: str, text: str = "") -> str:
    return f"before\n<!-- table {name} -->\n{text}<!-- /table -->\nafter\n"


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`fill(text, {"name.json": record, …}, …)`: what the script makes of a text and a folder of records."""

    def fill(text: str, records: dict[str, Any], *arguments: str) -> tuple[int | str, str]:
        for name, record in records.items():
            (tmp_path / name).write_text(json.dumps(record))
        (tmp_path / "text.md").write_text(text)
        code = run("--readme", str(tmp_path / "text.md"), "--results", str(tmp_path), *arguments, monkeypatch=monkeypatch)
        return code, (tmp_path / "text.md").read_text()

    return fill


def variant(name: str, **values: object) -> dict[str, object]:
    """An entry of a benchmark's record in which the rest was not measured."""
    keys = ("engine", "precision", "seconds", "images_per_s", "ratio", "kernels", "flops", "memory_mb", "of_peak")
    return {"name": name, "adds": f"adds {name}", **dict.fromkeys([*keys, "spectral_norm_share", "data_share"]), **values}


def benchmark(*variants: dict[str, object]) -> dict[str, object]:
    setting = {"generator": "cnn", "discriminator": "cnn", "data": "shapes", "batch": 8, "g_batch": 16, "d_steps": 1}
    made_by = {"date": "2026-01-02", "device": "an abacus", "versions": {"torch": "9.9"}}
    return {**made_by, "setting": setting, "rounds": 3, "variants": list(variants)}


def growth(what: str, size: int, *, device: str = "an abacus", seconds: float = 1.0) -> dict[str, object]:
    made_by = {"date": "2026-01-02", "device": device, "versions": {"torch": "9.9"}}
    numbers = {
        "gflop": 2000.0,
        "seconds": seconds,
        "n": 3,
        "start_mb": 100,
        "peak_mb": 250,
        "kept_mb": 80,
        "gradients_and_moments_mb": 20,
    }
    return {"what": what, "size": size, **made_by, **numbers}


def test_the_tables_of_the_readme_are_what_the_records_give(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--check", monkeypatch=monkeypatch) == 0


def test_a_check_names_the_table_that_differs_and_changes_nothing(fill, capsys) -> None:
    text = place("benchmark", "old\n")
    assert fill(text, {}, "--check") == (1, text)
    assert capsys.readouterr().err == "text.md is not what the records give: benchmark; run make tables\n"


def test_filling_twice_changes_nothing_more(fill) -> None:
    records = {"benchmark_a.json": benchmark(variant("one", seconds=1.0)), "large_work.json": [growth("batch", 64)]}
    _, once = fill(place("benchmark") + place("large_work"), records)
    assert fill(once, {})[1] == once
    assert fill(once, {}, "--check")[0] == 0


def test_what_stands_around_a_table_stays(fill) -> None:
    code, text = fill(place("benchmark", "| old |\n"), {})
    assert (code, text) == (0, place("benchmark", "Not measured yet.\n"))


def test_a_benchmark_shows_each_variant_and_only_what_was_measured(fill) -> None:
    record = benchmark(variant("one", seconds=21.4, ratio=1.0), variant("two", seconds=0.01234, ratio=2.5, of_peak=0.515))
    _, text = fill(place("benchmark"), {"benchmark_a.json": record})
    assert (
        "batch 8, 16 latents for G, 1 discriminator update a step; medians of 3 alternating rounds; an abacus, torch 9.9, 2026-01-02"
        in text
    )
    assert "| each adds | s a step | ratio | of the peak |\n|---|---|---|---|\n" in text
    assert "| adds one | 21.4 | 1.00x |  |\n| adds two | 0.0123 | 2.50x | 52 % |\n" in text


def test_a_table_may_be_of_one_benchmark(fill) -> None:
    records = {f"benchmark_{name}.json": benchmark(variant(name, seconds=1.0)) for name in ("a", "b")}
    _, text = fill(place("benchmark_b"), records)
    assert "adds b" in text
    assert "adds a" not in text


def test_what_a_constraint_costs_has_a_column_for_each_game(fill) -> None:
    rows = [
        {"name": "none", "seconds": 0.5, "ratio": 1.0, "ratios": [1.0, 1.0]},
        {"name": "wgan_gp", "seconds": 0.75, "ratio": 1.5, "ratios": [1.25, 1.625]},
    ]
    larger = benchmark(*rows) | {"setting": benchmark()["setting"] | {"discriminator": "resnet"}}
    assert "Not measured yet" in fill(place("constraints"), {})[1]
    records = {"constraints_a.json": benchmark(*rows), "constraints_b.json": larger}
    _, text = fill(place("constraints"), records)
    assert "| D's constraint | cnn, 0.5 s without | resnet, 0.5 s without |" in text
    assert "| wgan_gp | 1.50x (1.25 to 1.62) | 1.50x (1.25 to 1.62) |" in text
    assert (
        "G `cnn` and D `resnet` on `shapes`, batch 8, 16 latents for G, 1 discriminator update a step, 3 rounds, an abacus" in text
    )


def test_growth_is_shown_in_order_of_size_a_table_for_each_device(fill) -> None:
    records = [growth("batch", 128), growth("batch", 64), growth("batch", 64, device="a slide rule"), growth("resolution", 32)]
    _, text = fill(place("large_work"), {"large_work.json": records})
    first, second, third = (part.splitlines() for part in text.split("eager;")[1:] + text.split("the rest as above;")[1:])
    assert "an abacus" in first[0]
    assert [line.split(" | ")[0] for line in first if line.startswith("| ")] == ["| batch", "| 64", "| 128"]
    assert "| 64 | 2 | 1 (n = 3) | 2,000 | 100 | 150 | 1.50 |" in first
    assert "a slide rule" in second[0]
    assert "| 32 | 2 | 1 (n = 3) | 2,000 | 100 | 150 | 1.50 |" in third


def test_of_two_records_of_the_same_measurement_the_later_one_is_shown(fill) -> None:
    _, text = fill(place("large_work"), {"large_work.json": [growth("batch", 64), growth("batch", 64, seconds=5.0)]})
    assert "| 64 | 2 | 5 (n = 3) | 400 |" in text
    assert "2,000" not in text


def test_the_first_run_is_the_mean_over_its_seeds_at_the_last_step(fill) -> None:
    def run(seed: int, distances: dict[int, float]) -> dict[str, object]:
        scores = [{"role": "quick", "step": step, "scores": {"fd_2k_a": fd}} for step, fd in distances.items()]
        ends = [
            {"role": "full", "step": step, "scores": {"fd_5k_a": fd + 1, "recognised_5k_a": 0.75}} for step, fd in distances.items()
        ]
        return {"seed": seed, "seconds": 100 + 20 * seed, "records": scores + ends}

    sigma = {"weight": "convs.0", "mean": 0.99, "quantile_5": 0.951}
    runs = [run(0, {0: 50.0, 8: 2.0}), run(1, {0: 52.0, 8: 4.0})]
    record = {
        "date": "2026-01-02",
        "device": "an abacus",
        "versions": {"torch": "9.9"},
        "variants": {"the recipe": {"words": [], "sigma": sigma, "runs": runs}},
    }
    code, text = fill(place("default_run"), {"shapes_default.json": record})
    assert code == 0
    assert "| 0 | 51.00 ± 1.41 |\n| 8 | 3.00 ± 1.41 |" in text
    assert "| the recipe | 4.00 ± 1.41 | 0.75 ± 0.00 | 0.990, 0.951 | 110 ± 14 |" in text


def test_a_marker_that_names_no_table_is_told_what_there_is(fill) -> None:
    error, _ = fill(place("benchmak"), {})
    assert str(error).startswith(
        "error: <!-- table benchmak -->: no such table; did you mean benchmark? allowed: benchmark, constraints, default_run, "
    )


@pytest.mark.parametrize("text", ["<!-- table benchmark -->\n", "<!-- /table -->\n", place("benchmark") + "<!-- /table -->\n"])
def test_a_marker_without_its_other_half_is_an_error(fill, text: str) -> None:
    assert fill(text, {}) == (
        "error: a table's marker has no other half; a table stands between <!-- table NAME --> and <!-- /table -->",
        text,
    )
