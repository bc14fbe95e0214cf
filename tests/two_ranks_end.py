"""What test_watch.py starts: `sngan train` of two ranks, in which one of them comes to its end in the fourth step.

By torchrun it is one of the ranks. Started alone it is what starts them, as srun does, for several such ends: it forks, because importing
takes most of the time of a test.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import torch

from conftest import TINY
from sngan import UserError, watch
from sngan.__main__ import main
from sngan.launch import launch
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.step import Game, Inputs

WORDS = ["train", *TINY, "protocol=none", "run_dir=run"]


def train(how: str) -> int:
    """This rank's exit code."""
    place, step = launch(), engine.train_step
    assert place is not None
    if how == "away":
        watch.GRACE_S = 1.0

    def ending(state: TrainState, game: Game, inputs: Inputs) -> dict[str, torch.Tensor]:
        match (how, place.rank, state.step):
            case ("killed", 1, 3 | 5) if state.step == 3 + 2 * int(os.environ["TORCHELASTIC_RESTART_COUNT"]):
                os.kill(os.getpid(), signal.SIGKILL)
            case ("away", 1, 3):
                os.kill(os.getpid(), signal.SIGKILL)
            case ("raises", 1, 3):
                raise ValueError("broken")
            case ("refuses", 1, 3):
                raise UserError("data.path: a picture is not there any more")
            case ("differs", 1, 3):
                with torch.no_grad():
                    next(state.D.parameters()).add_(1e-6)
            case ("away", 0, 3):
                time.sleep(60)
            case ("stopped", 1, 3):
                os.kill(os.getpid(), signal.SIGINT)
        return step(state, game, inputs)

    engine.train_step = ending
    return main([*WORDS, f"steps={6 if how == 'killed' else 1000}"])


def free_port() -> int:
    """One that a job of Slurm may use."""
    while True:
        port = 20_000 + secrets.randbelow(20_000)
        with suppress(OSError), socket.create_server(("", port)):
            return port


def fork(how: str) -> dict[str, object]:
    """Two ranks in a folder of that name: their exit codes, what they wrote, and how long they took."""
    Path(how).mkdir()
    port = free_port()
    ranks = []
    for rank in ("0", "1"):
        process = os.fork()
        if not process:
            os.chdir(how)
            os.environ |= {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_STEP_NUM_TASKS": "2"}
            os.environ |= {"SLURM_STEP_NODELIST": "localhost,other[1-2]", "SLURM_JOB_ID": str(port - 20_000)}
            os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            code = 1
            try:
                code = train(how)
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        ranks.append(process)
    start = time.time()
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ranks]
    return {"codes": codes, "errors": Path(how, "errors").read_text(), "seconds": time.time() - start}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if launch():
        sys.exit(train(sys.argv[1]))
    import tensorboard.compat  # noqa: F401  what a run imports late
    import torch._dynamo

    Path("ends.json").write_text(json.dumps({how: fork(how) for how in sys.argv[1:]}))
