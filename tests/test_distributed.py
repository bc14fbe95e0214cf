"""Two real processes, started by torchrun, over gloo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import TINY
from sngan import distributed
from sngan.__main__ import main
from sngan.files import read_json
from sngan.runs.checkpoint import latest, open_checkpoint
from sngan.training import engine


def torchrun(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Two ranks of a script beside this one."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    words = tuple(str(here / word) if word.endswith(".py") else word for word in words)
    return subprocess.run([*command, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun("two_ranks.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_gradients_are_averaged_and_weights_are_rank_0s(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    _, ranks = run_of_two
    assert len(ranks) == 2
    for said in ranks:
        assert said["gradients"] == [[0.5] * 6, [5.0] * 4]
        assert said["weight"] == [1.0] * 4
        assert said["first"] == "from 0"


def test_a_flag_of_any_rank_is_known_to_all(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    assert all(said["any"] is True for said in run_of_two[1])


def test_all_ranks_stop_at_the_same_step_when_one_is_asked(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    """They ask each other every 20 steps alone, because that makes them wait."""
    assert [said["stops"] for said in run_of_two[1]] == [[False, False, True, False, True]] * 2


def test_a_batch_that_cannot_be_split_is_refused(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    expected = "batch=5 cannot be split over 2 ranks; use a multiple of 2 (batch is the sum over ranks)"
    assert all(said["refused"] == expected for said in run_of_two[1])
    expected = "batch=6 cannot be split over 2 ranks of 2 micro-batches (accumulate=2); use a multiple of 4 from 8 on (batch is the sum over ranks)"
    assert all(said["refused_parts"] == expected for said in run_of_two[1])


@pytest.mark.skipif(engine.why_not("compile", torch.device("cpu")) is not None, reason="needs a C++ compiler")
def test_synchronised_batch_norm_is_not_compiled(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    expected = "engine=compile: sync_batch_norm waits for other ranks inside the networks, which is not compiled; use engine=eager, or auto"
    assert all(str(said["not_compiled"]).startswith(expected) for said in run_of_two[1])


def test_ranks_see_different_images_and_latents_and_end_with_the_same_weights(
    run_of_two: tuple[Path, list[dict[str, object]]],
) -> None:
    first, second = run_of_two[1]
    assert first["latents"] != second["latents"]
    assert first["reals"] != second["reals"]
    assert first["weights"] == second["weights"]
    assert first["networks"] == second["networks"]  # u, v and gamma among them


def test_no_number_of_a_step_is_given_to_both_ranks(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    first, second = (said["numbers"] for said in run_of_two[1])
    assert first.keys() == {"x_real", "y_real", "z_D", "y_D", "epsilon", "z_G", "y_G"}
    assert [name for name, digest in first.items() if digest == second[name]] == []


def test_spectral_norm_in_place_trains_under_distributed_data_parallel(
    run_of_two: tuple[Path, list[dict[str, object]]],
) -> None:
    """u and v are buffers, which are sent from rank 0 before each forward; weights, u and v end as those of one process."""
    assert all(float(str(said["in_place"])) < 1e-12 for said in run_of_two[1])


def test_two_ranks_leave_one_run(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    folder, _ = run_of_two
    path = latest(folder / "run" / "checkpoints")
    assert path is not None
    assert path.name == "step-00000006"
    assert len((folder / "run" / "scalars.jsonl").read_text().splitlines()) == 6


def test_a_rank_that_is_killed_ends_the_job_and_the_same_command_goes_on(
    run_of_two: tuple[Path, list[dict[str, object]]], tmp_path: Path
) -> None:
    """Twice: torchrun starts the ranks again after the first time, from the checkpoint of step 2, and ends the job after the second.

    Step 4 is then that of a run that was not interrupted, bit for bit. From there one process goes on alone.
    """
    done = torchrun("--max-restarts=1", "two_ranks_end.py", "killed")
    ended = time.time()
    checkpoints = tmp_path / "run" / "checkpoints"
    saved = checkpoints / "step-00000004"
    assert done.returncode != 0
    assert ended - saved.stat().st_mtime < 10
    lines = [line for line in done.stderr.splitlines() if line.startswith("sngan: ")]
    assert len(lines) == 2
    assert all(
        re.match(r"sngan: rank 1 on \S+ \(process \d+\) ended without a word: it was killed, or its machine", x) for x in lines
    )
    result = read_json(tmp_path / "run" / "result.json")
    assert (result["status"], result["step"]) == ("failed", 5)
    assert f"sngan: {result['error']}\n" in done.stderr
    whole = open_checkpoint(run_of_two[0] / "run" / "checkpoints" / "step-00000004")
    assert {name: digest for name, digest in open_checkpoint(saved).sha256.items() if name != "config.json"} == {
        name: digest for name, digest in whole.sha256.items() if name != "config.json"
    }
    assert main(["train", *TINY, "protocol=none", "run_dir=run"]) == 0
    sessions = read_json(tmp_path / "run" / "run.json")["sessions"]
    assert [(session["from_step"], session["ranks"]) for session in sessions] == [(0, 2), (2, 2), (4, 1)]
    assert (checkpoints / "step-00000006").is_dir()


def test_a_fingerprint_tells_tensors_apart() -> None:
    x = torch.randn(4, 3, 2, 2)
    for other in (x + 0, x.to(memory_format=torch.channels_last)):
        assert distributed.fingerprint(other) == distributed.fingerprint(x)
    for other in (torch.nextafter(x, x + 1), x.flip(0), x.double(), x.view(torch.int32)[:2]):
        assert distributed.fingerprint(other) != distributed.fingerprint(x)
    for bit in range(32):  # of one number alone
        other = x.clone()
        other.view(torch.int32)[1, 1, 1, 1] ^= torch.tensor(1 << bit if bit < 31 else -(2**31), dtype=torch.int32)
        assert distributed.fingerprint(other) != distributed.fingerprint(x)


def test_one_process_needs_no_group() -> None:
    gradients = [torch.ones(3)]
    distributed.average(gradients)
    assert torch.equal(gradients[0], torch.ones(3))
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.share(5, "batch") == 5
