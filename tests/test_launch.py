from __future__ import annotations

import pytest

from sngan.launch import Launch, first_host, launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "here"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "41234567",
}


def test_a_process_of_its_own_is_no_rank() -> None:
    assert launch({}) is None
    assert launch({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}) is None
    job_of_eight_tasks_outside_of_srun = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}
    assert launch(job_of_eight_tasks_outside_of_srun) is None


def test_a_rank_of_torchrun() -> None:
    assert launch({**SRUN, **TORCHRUN}) == Launch(3, 4, 1, "here", "env://")
    again = launch({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"})
    assert again is not None
    assert again.attempt == 2


def test_a_rank_of_srun() -> None:
    assert launch(SRUN) == Launch(5, 8, 1, "gpu07", "tcp://gpu07:34567")
    assert launch({**SRUN, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}) == launch(SRUN)


def test_a_task_of_slurm_that_sees_one_gpu_uses_it() -> None:
    place = launch({**SRUN, "CUDA_VISIBLE_DEVICES": "1"})
    assert place is not None
    assert place.local_rank == 0


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("a1", "a1"), ("a1,b2", "a1"), ("a[1-3,7],b2", "a1"), ("node[001-004]", "node001"), ("a[5,7]-ib.site", "a5-ib.site"), ("x-1,x-[2-3]", "x-1"),
    ],
)  # fmt: skip
def test_the_first_host_of_slurms_short_form(names: str, first: str) -> None:
    assert first_host(names) == first
