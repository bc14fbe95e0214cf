"""Whether a run may use its folder, on the disk that is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sngan import Config, UserError, train
from sngan.runs.folder import RunFolder
from sngan.training import engine

Tiny = Callable[..., Config]


@pytest.mark.parametrize(
    ("overrides", "saved", "n"),
    [
        (["keep.last=2", "keep.every=0"], 0, 4),  # the last two, the best, and the one that is being written
        (["keep.last=1", "keep.every=0"], 0, 3),
        (["keep.last=2", "keep.every=4", "steps=9"], 0, 6),  # and those of steps 4 and 8
        (["keep.last=2", "keep.every=3", "steps=9"], 0, 7),
        (["keep.last=2", "keep.every=0"], 3, 1),
    ],
)
def test_the_disk_must_have_room_for_what_is_to_come(tiny: Tiny, overrides: list[str], saved: int, n: int) -> None:
    config = tiny("run_dir=run", "resume=force", *overrides)
    for step in range(saved):
        folder = Path(f"run/checkpoints/step-{step:08d}")
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text("{}")
    with RunFolder(config.model_copy(update={"run_dir": Path("other")})) as run:
        run.checkpoints = Path("run/checkpoints")
        free = shutil.disk_usage(".").free
        run.check_space(int(0.95 * free / n))
        with pytest.raises(
            UserError, match=rf"^run_dir=other: {n} checkpoints of \d+ MB are to come and \d+ MB are free; make room"
        ):
            run.check_space(int(1.05 * free / n))


def test_a_run_that_the_disk_cannot_hold_is_refused_and_leaves_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "train_step", lambda *_: pytest.fail("the run began"))  # a witness: else it would go on for weeks
    with pytest.raises(UserError, match=r"1000000004 checkpoints of 1 MB are to come"):
        train(tiny("run_dir=some/run", "protocol=none", "steps=1000000000", "keep.every=1", "keep.last=2"))
    assert not Path("some").exists()


def test_a_folder_whose_config_is_lost_is_that_of_its_newest_checkpoint(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    Path("run/config.json").unlink()
    with pytest.raises(UserError, match=r"loss\.name: \"hinge\" -> \"bce\""):
        RunFolder(tiny("run_dir=run", "protocol=none", "loss=bce"))


@pytest.mark.parametrize("name", ["samples", "checkpoints"])
def test_a_file_in_the_place_of_a_folder_is_named(tiny: Tiny, name: str) -> None:
    Path("run").mkdir()
    Path("run", name).write_text("")
    with pytest.raises(UserError, match=rf"run_dir=run cannot be written \({name} is a file\)"):
        RunFolder(tiny("run_dir=run"))
    assert [path.name for path in Path("run").iterdir()] == [name]


def test_scores_of_another_kind_may_be_asked_for_of_the_same_run(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    for words in (
        ["protocol@quick=none"],
        ["quick.n=16"],
        ["protocol.n=16"],
        ["extractor=inception"],
        ["engine=eager"],
        ["keep.last=9"],
    ):
        RunFolder(tiny("run_dir=run", *words)).close()
