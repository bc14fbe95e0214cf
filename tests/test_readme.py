"""The README's blocks run as they stand, one after the other, shrunk by overrides that come last."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rival_networks import (
    N,
    State,
    collections_resnet_discriminator,
    collections_resnet_generator,
    fidelity_generator,
    mimicry_discriminator,
    mimicry_generator,
    studiogan_generator,
)

import sngan
from sngan import registry
from sngan.__main__ import main

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")

NOT_RUN = {
    "make ": "sets up an environment",
    "tensorboard ": "serves until it is ended",
    "sngan watch ": "serves until it is ended",
    "eval ": "is for the shell",
    "torchrun ": "starts processes, one for each GPU",
    "srun ": "needs Slurm",
    "python scripts/": "trains for hours; has tests of its own",
}
"""How lines begin that are no command of sngan, and why they are not run."""

ONLY_COMPOSED = {
    "experiment=cifar10": "downloads CIFAR-10, or wants a GPU",
    "experiment=table2": "needs CIFAR-10",
    "data=cifar10": "needs CIFAR-10",
    "extractor=inception": "downloads Inception's weights",
    "protocol=paper": "takes 50,000 samples, on a run that is only composed",
    "hydra/launcher=submitit_slurm": "needs Slurm",
    "device=cuda": "needs a GPU",
}
"""Words of commands that are not run, and why; those of training are composed."""

SHRUNK = [
    "steps=1",
    "batch=4",
    "g_batch=4",
    "ema.recalibrate=1",
    "log_every=1",
    "sample_every=1",
    "save_every=1",
    "device=cpu",
]
SCORED = ["evaluate_every=1", "quick.n=16", "protocol.n=16"]
NOT_SCORED = ["evaluate_every=0", "protocol=none", "log_every=0", "sample_every=0", "save_every=0"]
SMALL = {
    "shapes": ["data.n_train=16", "data.n_test=8"],
    "cnn": ["generator.widths=[16,8,8,8]", "discriminator=cnn", "discriminator.widths=[8,8,8]"],
    "resnet": ["generator.widths=[8,8,8,8]", "discriminator.widths=[8,8,8,8]"],
}


def commands() -> list[tuple[str, str]]:
    """Kind and text of all there is to do, in order: `sngan` and other lines, `python` and `yaml` blocks."""
    found = []
    for language, text in BLOCK.findall(README.read_text(encoding="utf-8")):
        found += [(language, text)] if language else [("line", line) for line in text.splitlines() if line.strip()]
    return found


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def is_run(words: list[str]) -> bool:
    return not any(word.startswith(start) for word in words for start in ONLY_COMPOSED)


def shrunk(words: list[str]) -> list[str]:
    """A command with the overrides that make it take a second; its run folder is named as without them."""
    command, *given = words
    if command == "benchmark":
        return [*words, *SHRUNK[1:3], *SMALL["cnn"], "variants=[textbook,norm_once]", "rounds=1", "device=cpu"]
    if command == "report":
        return [*words, "neighbours=0"] if len(given) == 1 else words
    if command == "doctor":
        return [*words, "n=8", *(["features=false"] if "features=false" not in given else [])]
    if command == "inspect":
        return words if "n=0" in given else [*words, "n=16"]
    if command == "evaluate":
        return [*words, "n=16"]
    if command in ("export", "import"):
        return words
    if command == "sample":
        small = {".mp4": "mode.seconds=0.1", "found": "mode.steps=2"}
        return [*words, *(word for of, word in small.items() if of in words[-1])]
    networks = "resnet" if "generator=resnet" in given else "cnn"
    parts = [word for word in SMALL[networks] if not ("discriminator=mine" in given and word.startswith("discriminator"))]
    taken = {word.partition("=")[0] for word in given}
    search = {"sweep=search", "hydra/sweeper=optuna"} & set(given)
    looked_at = not given or "run_dir" in taken or search
    extra = [
        *SHRUNK,
        *(SCORED if looked_at else NOT_SCORED),
        *parts,
        *(SMALL["shapes"] if not any(word.startswith(("data=", "experiment=few_shot")) for word in given) else []),
    ]
    if "engine" in taken:
        extra.append("engine=eager")  # compiling alone takes minutes
    if "-m" in given:
        limits = {"hydra/launcher=joblib": "hydra.launcher.n_jobs=1", "sweep=search": "hydra.sweeper.n_trials=1"}
        limits["hydra/sweeper=optuna"] = "hydra.sweeper.n_trials=1"
        extra += [limit for word, limit in limits.items() if word in given]
        return [*words, *extra, "seed=0"]
    if not any(word.startswith("run_dir=") for word in given) and not {"--help", "--cfg"} & set(given):
        plain = [word for word in given if not word.startswith("--config-dir") and word != "my_configs"]
        extra.append(f"run_dir={folder(plain)}" if plain == given else f"run_dir=runs/own/{given[-1].replace('=', '-')}")
    return [*words, *extra]


def folder(overrides: list[str]) -> Path:
    return sngan.compose(overrides).run_dir


def networks_of_others() -> None:
    """The files that the README imports."""
    z, x = torch.randn(N, 8), torch.rand(N, 3, 32, 32)
    mimicry, mimicry_D, studiogan, collections, collections_D, fidelity = (State() for _ in range(6))
    mimicry_generator(mimicry, z, None, side=4, widths=(8, 8, 8, 8))
    mimicry_discriminator(mimicry_D, x, None, widths=(8, 8, 8, 8), halve=(True, True, False, False))
    studiogan_generator(studiogan, z, None, widths=(8, 8, 8, 8))
    collections_resnet_generator(collections, z)
    collections_resnet_discriminator(collections_D, x)
    fidelity_generator(fidelity, z)
    torch.save({"model_state_dict": mimicry.tensors}, "netG_100000_steps.pth")
    torch.save({"model_state_dict": mimicry_D.tensors}, "netD_100000_steps.pth")
    torch.save({"state_dict": studiogan.tensors}, "G_ema.pth")
    torch.save({"net_G": collections.tensors, "net_D": collections_D.tensors}, "model.pt")
    torch.save(fidelity.tensors, "generator.pth")


def code_of(words: list[str]) -> object:
    """The exit code; `--help` leaves by itself."""
    try:
        return main(words)
    except SystemExit as left:
        return left.code or 0


def one_job(words: list[str]) -> list[str]:
    """The first job of a sweep, as a command of its own."""
    said = [word for word in words if word != "-m" and not word.startswith("hydra")]
    choices = [re.sub(r"=range\(\d+\)$", "=0", word) for word in said]
    return [word if "[" in word else word.split(",")[0] for word in choices]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # of scores of eight images
def test_every_block_runs_as_it_stands_one_after_the_other(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(f"pictures/{i}.png")
    np.savez("images.npz", images=rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    networks_of_others()

    for group in registry.PACKAGES:
        registry.names(group)
    # what the README registers is forgotten at the end
    monkeypatch.setattr(registry, "_builders", {group: dict(builders) for group, builders in registry._builders.items()})
    compose = sngan.compose
    monkeypatch.setattr(
        importlib.import_module("sngan.api.train"),
        "compose",
        lambda words: compose([*words, *shrunk(["train", *words])[1 + len(words) :]]),
    )
    n_run = 0
    for kind, text in commands():
        named = re.match(r"(?:# @package \S+\n)?# (\S+\.(?:py|yaml))\n", text)
        if named:
            path = Path(named[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif kind == "python":
            exec(compile(text, str(README), "exec"), {})
        elif text.startswith("sngan ") and not text.startswith("sngan watch "):
            words = words_of(text)[1:]
            if is_run(words):
                assert code_of(shrunk(words)) == 0, (text, capsys.readouterr().err)
                n_run += 1
            elif words[0] == "train":
                assert code_of([*one_job(words), "--cfg", "job"]) == 0, (text, capsys.readouterr().err)
        else:
            assert any(text.startswith(start) for start in NOT_RUN), f"{text}: is it run? if not, say in NOT_RUN why"
        capsys.readouterr()
    assert n_run > 30
    for name in ("my_losses", "my_networks"):
        sys.modules.pop(name, None)


def test_every_exception_is_needed() -> None:
    lines = [text for kind, text in commands() if kind == "line"]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in lines), start
    words = [word for line in lines if line.startswith("sngan ") for word in words_of(line)]
    for start in ONLY_COMPOSED:
        assert any(word.startswith(start) for word in words), start


def test_links_of_the_readme_lead_to_files_and_headings() -> None:
    text = README.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in re.findall(r"(?m)^#+ .*$", text)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (README.parent / target).exists(), target
