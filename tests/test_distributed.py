"""Two real processes, started by torchrun, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sngan import distributed
from sngan.runs.checkpoint import latest


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("ranks")
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(here / "two_ranks.py")]
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
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


def test_two_ranks_leave_one_run(run_of_two: tuple[Path, list[dict[str, object]]]) -> None:
    folder, _ = run_of_two
    path = latest(folder / "run" / "checkpoints")
    assert path is not None
    assert path.name == "step-00000006"
    assert len((folder / "run" / "scalars.jsonl").read_text().splitlines()) == 6


def test_one_process_needs_no_group() -> None:
    gradients = [torch.ones(3)]
    distributed.average(gradients)
    assert torch.equal(gradients[0], torch.ones(3))
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.share(5, "batch") == 5
