import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

SCRIPTS = Path(__file__).parents[2] / "scripts"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large_work() -> dict[str, Any]:
    """The script's functions."""
    return runpy.run_path(str(SCRIPTS / "large_work.py"))


@pytest.fixture(scope="module")
def growth() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPTS / "measure_large_work.py"))


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["large_work.py", *arguments])
    runpy.run_path(str(SCRIPTS / "large_work.py"), run_name="__main__")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the script needs Linux")
def test_a_measurement_is_added_to_the_records_with_what_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "records.json"
    out.write_text('[{"what": "something earlier"}]')
    run("--quick", "--only", "pictures 100", "--out", str(out), monkeypatch=monkeypatch)
    earlier, record = json.loads(out.read_text())
    assert earlier == {"what": "something earlier"}
    assert (record["what"], record["size"], record["setting"]["resolution"]) == ("pictures", 100, 32)
    assert record["command"].startswith("python scripts/large_work.py --quick --only 'pictures 100'")
    assert {"date", "commit", "device", "versions"} <= set(record)
    assert record["peak_mb"] >= record["start_mb"] > 0
    assert record["worker_peak_mb"] > 0
    assert record["images_per_s"] > 0


def test_what_is_recorded_is_passed_over_and_what_another_code_or_machine_gave_is_not(tmp_path: Path, large_work) -> None:
    out, made_by = tmp_path / "records.json", {"commit": "abc", "device": "an abacus"}
    assert not large_work["is_recorded"](out, "batch", 64, made_by)
    out.write_text(json.dumps([{"what": "batch", "size": 64, **made_by, "seconds": 1.0}]))
    assert large_work["is_recorded"](out, "batch", 64, made_by)
    assert not large_work["is_recorded"](out, "batch", 128, made_by)
    assert not large_work["is_recorded"](out, "batch", 64, made_by | {"commit": "def"})
    assert not large_work["is_recorded"](out, "batch", 64, made_by | {"device": "a slide rule"})


@pytest.mark.parametrize("commit", ["abc+", None])
def test_code_that_no_commit_names_is_always_measured(tmp_path: Path, large_work, commit: str | None) -> None:
    out, made_by = tmp_path / "records.json", {"commit": commit, "device": "an abacus"}
    out.write_text(json.dumps([{"what": "batch", "size": 64, **made_by}]))
    assert not large_work["is_recorded"](out, "batch", 64, made_by)


def test_the_pictures_that_are_written_are_a_labelled_data_set(tmp_path: Path, large_work) -> None:
    from sngan.data.image_folder import ImageFolder

    large_work["write_pictures"](tmp_path, 25)
    source = ImageFolder(
        path=tmp_path, test_path=None, resolution=32, channels=3, fit="crop", range=None, on_error="stop", cache=False
    )
    assert (len(source.load("train")), source.spec.n_classes) == (25, 10)


def test_twice_the_batch_has_twice_the_operations(growth) -> None:
    small, large = (growth["step"](batch=batch, resolution=32, device=CPU) for batch in (2, 4))
    assert large["gflop"] == pytest.approx(2 * small["gflop"], abs=0.1)
    assert small["kept_mb"] < large["kept_mb"] <= 2 * small["kept_mb"]  # W / sigma is kept once


def test_what_forward_keeps_is_counted_once_and_released_by_backward(growth) -> None:
    linear = nn.Linear(10, 10, bias=False)
    x = torch.randn(8, 10)
    with growth["kept_for_backward"](linear) as kept:
        h = linear(x)  # keeps x; the weight is the network's own
        (h.exp() * h).sum().backward()  # keep exp(h), which both need, and h
    assert kept == {"now": 0, "most": 4 * 3 * 80}


def test_a_pattern_that_matches_nothing_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SystemExit, match=r"error: --only=batch: no such measurement; there are batch 64, batch 128, .*, pictures 200000$"
    ):
        run("--only", "batch", monkeypatch=monkeypatch)


def test_a_folder_that_is_not_there_is_told_before_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="its folder does not exist"):
        run("--out", str(tmp_path / "nowhere" / "out.json"), monkeypatch=monkeypatch)
