"""`sngan COMMAND --help`: what a user can find out without a manual."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sngan.__main__ import COMMANDS, main
from sngan.cli.help import HEIGHT, WIDTH, Manual, notes
from sngan.keys import flat

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_a_screen(command: str, capsys: Capture) -> None:
    out = said(capsys, command, "--help")
    assert f"usage: sngan {command}" in out
    assert f"  sngan {command} " in out, "an example"
    assert ("license=null" if command == "import" else "device=auto") in out, "a key with its default"
    assert len(out.splitlines()) <= HEIGHT
    assert max(map(len, out.splitlines())) <= WIDTH


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_every_command_has_a_meaning(command: str) -> None:
    manual = Manual.of(command, [], [])
    for key in flat(manual.values):
        if not key.endswith(".name") and key not in manual.chosen:
            assert manual._about_key(key), key


@pytest.mark.parametrize("command", COMMANDS)
def test_every_choice_of_every_group_has_a_meaning(command: str) -> None:
    manual = Manual.of(command, [], [])
    for group in manual.chosen:
        for choice in manual._choices(group):
            assert manual._about_choice(group, choice), f"{group}={choice}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_all_shows_every_key_with_its_value(command: str, capsys: Capture) -> None:
    out = said(capsys, command, "--help", "all")
    manual = Manual.of(command, [], [])
    assert all(f"  {key}=" in out for key in flat(manual.values) if not key.endswith(".name") and key not in manual.chosen)
    assert max(map(len, out.splitlines())) <= WIDTH


def test_only_groups_of_the_command_are_offered(capsys: Capture) -> None:
    assert "truncation" not in said(capsys, "train", "--help")
    assert "truncation" in said(capsys, "sample", "--help")
    assert "wgan_gp" not in said(capsys, "sample", "--help")


def test_help_of_a_key_is_its_value_and_its_comment(capsys: Capture) -> None:
    assert said(capsys, "train", "--help", "keep.last") == "  keep.last=2  the last ones, beside the best; keep.last=5\n"
    assert said(capsys, "train", "--help", "quick.n") == "  quick.n=2000  quick.n=1000: how many samples\n"


def test_help_of_a_section_shows_its_keys(capsys: Capture) -> None:
    first, *rows = said(capsys, "train", "--help", "optimizer").splitlines()
    assert first == "optimizer: Adam, the same for G and D but for what they have of their own"
    keys = ["lr", "betas", "decay", "decay_from", "g.lr", "g.betas", "d.lr", "d.betas"]
    assert [row.split("=")[0].strip() for row in rows] == [f"optimizer.{key}" for key in keys]


def test_help_of_a_group_shows_its_choices_and_the_keys_of_the_one_that_is_chosen(capsys: Capture) -> None:
    out = said(capsys, "train", "--help", "loss", "loss=bce")
    assert "  hinge " in out
    assert "  bce* " in out
    assert "loss.saturating=false  loss.saturating=true" in out
    assert "loss.saturating" not in said(capsys, "train", "loss", "--help")


def test_help_shows_values_as_the_overrides_beside_it_make_them(capsys: Capture) -> None:
    out = said(capsys, "train", "experiment=cifar10_cnn", "optimizer.lr=3e-4", "--help", "optimizer")
    assert "optimizer.lr=0.0003" in out
    assert "optimizer.betas=[0.5,0.999]" in out


def test_a_key_that_must_be_given_is_said_to_be_needed(capsys: Capture) -> None:
    assert said(capsys, "train", "data=npz", "--help", "data.path").startswith("  data.path=…  needed: ")


def test_help_knows_ones_own_choices(capsys: Capture) -> None:
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/soft.yaml").write_text("# My own loss.\nname: bce\nsaturating: true # loss.saturating=false: as it was\n")
    out = said(capsys, "train", "--help", "--config-dir", "mine", "loss", "loss=soft")
    assert re.search(r"  soft\* +My own loss\.", out)
    assert "loss.saturating=true  loss.saturating=false: as it was" in out


def test_help_beside_the_paths_of_a_report(capsys: Capture) -> None:
    assert said(capsys, "report", "runs/shapes", "--help") == said(capsys, "report", "-h")


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("optimzer", "did you mean optimizer"),
        ("lr", "did you mean optimizer.lr, optimizer.g.lr, optimizer.d.lr?"),
        ("discriminater", "did you mean discriminator"),
        (
            "data.path",
            "with data=huggingface or data=image_folder or data=npz or data=webdataset there is: sngan train data=huggingface --help data.path",
        ),
        ("qqqq", "sngan train --help all shows them all"),
    ],
)
def test_a_key_that_does_not_exist_is_answered_with_the_nearest(key: str, answer: str, capsys: Capture) -> None:
    assert main(["train", "--help", key]) == 2
    out = capsys.readouterr()
    assert not out.out
    assert answer in out.err
    assert len(out.err.splitlines()) == 1


def test_help_does_not_load_torch() -> None:
    program = "import sys; from sngan.__main__ import main; main(['train', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)


def test_a_wrong_key_of_any_command_does_not_load_torch() -> None:
    program = (
        "import sys; from sngan.__main__ import main; from sngan.cli.commands import COMMANDS\n"
        "for command in COMMANDS: print(command, main([command, 'stepps=3']), 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [f"{command} 2 False" for command in COMMANDS]


def test_comments_are_read_from_beside_a_key_or_from_above_its_paragraph() -> None:
    Path("example.yaml").write_text(
        "# @package _global_\n# About\n# the file.\ndefaults:\n  - loss: hinge # of D\n\n"
        "section: # a section\n  a: [1, 2] # of a\n  b: 3\n\n# above\nc: 1\nd: 'x' # of d\n\ne: 2\n"
    )
    read = notes(Path("example.yaml"))
    assert read.header == "About the file."
    said = {key: comment for key, comment in read.keys.items() if comment}
    assert said == {"defaults.loss": "of D", "section": "a section", "section.a": "of a", "c": "above", "d": "of d"}
