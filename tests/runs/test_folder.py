"""Whether a run may use its folder, on the disk that is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import composed
from sngan import Config, UserError, build, train
from sngan.data.images import game_spec
from sngan.files import read_json, write_json
from sngan.runs.folder import RunFolder
from sngan.runs.records import read_sessions
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


SMALLEST = [
    "run_dir=run", "protocol=none", "protocol@quick=none", "steps=2", "batch=2", "g_batch=2", "generator.widths=[4,4]", "discriminator=cnn",
    "discriminator.widths=[4,4]", "data.resolution=8", "log_every=0", "sample_every=0", "save_every=1", "ema.recalibrate=0", "device=cpu",
    "engine=eager",
]  # fmt: skip


def of_folder(*overrides: str) -> Config:
    return composed(*SMALLEST, "data=image_folder", "data.path=pictures", *overrides)


def draw(*names: str, colour: str = "red") -> None:
    for name in names:
        path = Path("pictures", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(path)


def go_on(*overrides: str) -> None:
    """What a training checks before it goes on."""
    config = of_folder(*overrides)
    source = build("data", config.data)
    with RunFolder(config) as run:
        run.check_data(source, game_spec(source.spec, conditional=False))


def test_a_run_goes_on_with_the_pictures_and_classes_that_it_began_with_alone() -> None:
    draw("a/1.png", "a/2.png", "b/3.png")
    train(of_folder())
    go_on()
    draw("b/4.png")
    other = r"(?s)data=image_folder has other pictures or classes than when the run began\n.*resume=force"
    with pytest.raises(UserError, match=other):
        go_on()
    go_on("resume=force")
    Path("pictures/b/4.png").unlink()
    Path("pictures/b").rename("pictures/c")
    with pytest.raises(UserError, match=other):
        go_on()
    Path("pictures/c").rename("pictures/b")
    Image.new("L", (8, 8)).save("pictures/a/1.png")
    go_on()
    for name in ("a/2.png", "b/3.png"):
        Image.new("L", (8, 8)).save(Path("pictures", name))
    with pytest.raises(UserError, match=r"images of 3 x 8 px, and data=image_folder now has 1 x 8 px;\n.*data\.channels"):
        go_on()


def test_a_run_of_an_earlier_version_goes_on_where_its_pictures_and_classes_are_those_of_now() -> None:
    draw("2/1.png", "10/1.png")
    train(of_folder())
    sessions = read_sessions(Path("run/run.json"))
    write_json(Path("run/run.json"), {"sessions": [{k: v for k, v in s.items() if k != "data"} for s in sessions]}, sealed=True)
    values = read_json(Path("run/config.json"))
    for key in ("channels", "fit", "range"):
        del values["data"][key]
    write_json(Path("run/config.json"), values)
    with pytest.raises(
        UserError, match=r"(?s)an earlier version .*numbers the classes 2, 10, …, and then 10, 2, …\n.*resume=force"
    ):
        go_on()
    Path("pictures/10").rename("pictures/3")
    go_on()
