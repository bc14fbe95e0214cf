"""The command line as a user meets it: what it prints, its exit codes, and what it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import TINY, finished_run
from sngan import __version__
from sngan.__main__ import COMMANDS, main
from sngan.cli.commands import LESS
from sngan.files import read_lines

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    return finished_run(tmp_path_factory.mktemp("trained"), "evaluate_every=0")


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_help_names_every_command(capsys: Capture) -> None:
    assert main(["--help"]) == main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


def test_version(capsys: Capture) -> None:
    for words in (["--version"], ["train", "--version"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"sngan {__version__}\n"


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "sngan", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sngan {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "unknown command trian; did you mean train?"),
        (["train", "optimizer.lrr=1"], "unknown key optimizer.lrr; did you mean optimizer.lr?"),
        (["train", "lr=1e-4"], "unknown key lr; did you mean optimizer.lr?"),
        (["train", "lossy=hinge"], "unknown key lossy; did you mean loss?"),
        (["train", "data=npz", "data.pth=x"], "unknown key data.pth; did you mean data.path?"),
        (["train", "loss=hing"], "loss=hing: no such choice; did you mean hinge? allowed: bce, hinge, least_squares, "),
        (["train", "experiment=cifar"], "experiment=cifar: no such choice"),
        (["train", "loss.name=hing"], "loss.name=hing: no such loss; did you mean hinge?"),
        (["train", "steps=many"], "steps=many: input should be a valid integer"),
        (["train", "optimizer.lr=-1"], "optimizer.lr=-1: input should be greater than 0"),
        (["train", "precision=fp16"], "precision=fp16: input should be 'auto', 'fp32', 'tf32' or 'bf16'"),
        (["train", "words without sense"], "not an override; write KEY=VALUE"),
        (["train", "--colour"], "unknown flag --colour"),
        (["train", "--config-name", "mine"], "--config-name: a command has one config: choose within it by experiment=NAME"),
        (["train", "--config-name=mine"], "--config-name=mine: a command has one config"),
        (["evaluate", "-cn", "mine"], "-cn: a command has one config"),
        (["train", "--config-path", "mine"], "--config-path: add a folder of your own YAML files by --config-dir DIR"),
        (["train", "steps=1", "--version"], "--version: sngan --version prints it"),
        (["train", "hydra.run.dir=foo"], "hydra.run.dir=foo: Hydra writes no files here; run_dir=DIR is the folder of a run"),
        (["sample", "hydra.output_subdir=foo"], "out=… what another command writes"),
        (["train", "-m", "seed=0,1", "hydra.sweep.dir=foo"], "hydra.sweep.dir=foo: Hydra writes no files here"),
        (["train", "--cfg", "everything"], "--cfg everything: needs one of job, hydra, all"),
        (["train", "--config-dir"], "--config-dir : needs a value"),
        (["train", "-m", "loss=hinge,bce", "steppes=1"], "unknown key steppes; did you mean steps?"),
        (["train", "-m", "experiment=shapes,adam_settings"], "adam_settings is a sweep itself and would lose its rows"),
        (["train", "-m", "loss=hing,bce"], "loss=hing: no such choice"),
        (["train", "sweep=search"], "sweep=search is for sweeps: add -m"),
        (["train", "hydra/launcher=joblib"], "hydra/launcher=joblib is for sweeps: add -m"),
        (["train", "-m", "hydra/launcher=job"], "hydra/launcher=job: no such choice; did you mean joblib?"),
        (["train", "-m", "hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs: no such key of this launcher"),
        (["train", "-m", "seed=interval(0,1)"], "interval(…) is for a search: add hydra/sweeper=optuna"),
        (["train", "-m", "hydra/sweeper=optuna", "seed=1"], "nothing to search over"),
        (["train", "-m", "sweep=search", "protocol=none"], "looks for the best quick score, and with protocol=none there is none"),
        (
            ["train", "-m", "sweep=search", "evaluate_every=0"],
            "looks for the best quick score, and with evaluate_every=0 there is none",
        ),
        (["train", "-m", "sweep=search", "hydra.sweeper.n_trials=many"], "hydra.sweeper.n_trials=many: input should be a whole"),
        (["train", "device=cuda:x"], "device=cuda:x: input should be auto, cpu, cuda, cuda:N for the GPU of that number, or mps"),
        (["train", "protocol=null"], "a group takes the name of a choice"),
        (["train", "~run_dir"], "run_dir: this key cannot be removed"),
        (["train", "~plugins"], "plugins is missing"),
        (["train", "plugins=[1]"], "plugins"),
        (["train", "seed=99999999999999999999999"], "seed=99999999999999999999999"),
        (["train", "name=../up"], "name=../up"),
        (["train", "name=''"], "name="),
        (["train", "run_dir=" + "x" * 300], "cannot be written"),
        (
            ["train", "discriminator.normalization=spectrl"],
            "discriminator.normalization=spectrl: input should be 'spectral', 'weight', ",
        ),
        (
            ["train", "generator.normalization=batch"],
            "generator.normalization=batch: input should be 'none', 'spectral', 'weight' or 'bjorck'",
        ),
        (["train", "regularizer=gp"], "regularizer=gp: no such choice"),
        (["train", "regularizer.weight=1"], "unknown key regularizer.weight"),
        (["train", "regularizer=r1", "regularizer.weight=-1"], "regularizer.weight=-1: input should be greater than 0"),
        (["train", "constraint=wgan"], "constraint=wgan: no such choice; did you mean wgan_gp?"),
        (["train", "adam=G"], "adam=G: no such choice"),
        (["train", "weight_clip=0.01"], "weight_clip=0.01 with discriminator.normalization=spectral"),
        (["train", "weight_clip=0", "discriminator.normalization=none"], "weight_clip=0: input should be greater than 0"),
        (["train", "discriminator.scale=0"], "discriminator.scale=0: input should be a number greater than 0, or learned"),
        (["train", "discriminator.scale=free"], "discriminator.scale=free: input should be a number greater than 0, or learned"),
        (["train", "discriminator.exclude=[conv]"], "discriminator.exclude=conv: no layer has this name; the layers are convs.0, "),
        (["train", "discriminator.power_iterations=0"], "discriminator.power_iterations=0: input should be greater than 0"),
        (["train", "g_batch=1"], "g_batch=1: input should be greater than or equal to 2"),
        (["train", "precision=tf32", "device=cpu"], "precision=tf32 needs an NVIDIA GPU"),
        (
            ["train", "extractor=inception", "quick.splits=500", "quick.n=100"],
            "quick.splits=500: there are only quick.n=100 samples",
        ),
        (["evaluate", "run=nowhere", "protocol=none"], "protocol=none takes no score"),
        (["evaluate", "run=nowhere", "extractor.weights=x"], "choose one with extractor=… first"),
        (["-sc", "install=powershell"], "-sc takes install=SHELL"),
        (["train", "--config-dir", "nowhere"], "nowhere' not found"),
        (["train", "data=npz"], "data.path is needed"),
        (["train", "data=npz", "data.path=nowhere.npz"], "data.path=nowhere.npz: no such file"),
        (["train", "data=image_folder", "data.path=nowhere", "data.resolution=32"], "data.path=nowhere"),
        (["train", "data=cifar10"], "data.download=true"),
        (["train", "plugins=[no_such_module]"], "plugins=no_such_module"),
        (["train", "generator.widths=[8,8,8,8,8,8,8]"], "must be a multiple of 64, not 32"),
        (
            ["train", "discriminator.labels=concat"],
            "discriminator.labels=concat does nothing with conditional=false; use conditional=true",
        ),
        (["train", "run_dir=/dev/null/run"], "run_dir=/dev/null/run cannot be written"),
        (["train", "quick.splits=5000"], "quick.splits=5000"),
        (["evaluate"], "nothing given; give one of run=DIR, checkpoint=DIR, samples=PATH and real=SPLIT"),
        (["evaluate", "run=nowhere"], "run=nowhere: no such folder"),
        (["sample", "checkpoint=nowhere"], "checkpoint=nowhere: no checkpoint there"),
        (["sample", "run=nowhere", "n=10000000000"], "n=10000000000: input should be less than or equal to 1000000"),
        (["sample", "run=nowhere", "n=0"], "n=0: input should be greater than or equal to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_two_lines_with_exit_code_2(words: list[str], said: str, capsys: Capture) -> None:
    assert main(words) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.startswith("sngan: ")
    assert len(out.err.strip().splitlines()) <= 2
    assert "Traceback" not in out.err
    assert not any(Path().iterdir()), "nothing is left behind"


def test_no_cuda_where_it_was_asked_for(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # also on a machine that has one
    assert main(["train", "device=cuda"]) == 2
    assert "device=cuda: this machine or this build of torch has none" in capsys.readouterr().err


def test_labels_missing_for_a_conditional_run(capsys: Capture) -> None:
    np.savez("plain.npz", images=np.zeros((8, 32, 32, 3), np.uint8))
    assert main(["train", "data=npz", "data.path=plain.npz", "conditional=true", "generator=resnet", "discriminator=resnet"]) == 2
    assert "conditional=true needs labels" in capsys.readouterr().err


def test_images_of_a_size_that_the_network_cannot_make(capsys: Capture) -> None:
    np.savez("odd.npz", images=np.zeros((8, 30, 30, 3), np.uint8))
    assert main(["train", "data=npz", "data.path=odd.npz"]) == 2
    assert "the resolution must be a multiple of 8, not 30" in capsys.readouterr().err


def test_a_checkpoint_of_another_kind(capsys: Capture) -> None:
    Path("other").mkdir()
    Path("other/checkpoint.json").write_text('{"format": "another-program", "step": 3}')
    assert main(["sample", "checkpoint=other"]) == 2
    assert "has format another-program" in capsys.readouterr().err
    Path("other/checkpoint.json").write_text('{"format": "sngan-ch')
    assert main(["sample", "checkpoint=other"]) == 2
    assert "other/checkpoint.json cannot be read as JSON" in capsys.readouterr().err


def test_a_checkpoint_that_is_cut_short(trained: Path, capsys: Capture) -> None:
    import shutil

    shutil.copytree(trained, "copy")
    file = Path("copy/checkpoints/step-00000006/generator.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    assert main(["sample", "checkpoint=copy/checkpoints/step-00000006"]) == 2
    assert "step-00000006 is damaged: generator.safetensors is missing, cut short or changed" in capsys.readouterr().err
    assert not Path("samples").exists()


def test_sample_writes_pictures_and_a_grid(trained: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={trained}", "n=5", "seed=3", "out=pictures"]) == 0
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
        "00003.png",
        "00004.png",
        "grid.png",
    ]
    assert pixels("pictures/00000.png").shape == (32, 32, 3)
    assert "5 images in pictures, the first of them in pictures/grid.png" in capsys.readouterr().out


def test_image_i_depends_on_seed_and_i_alone(trained: Path) -> None:
    for n, seed, out in ((3, 1, "few"), (300, 1, "many"), (3, 2, "others")):
        assert main(["sample", f"run={trained}", f"n={n}", f"seed={seed}", f"out={out}"]) == 0
    pictures = {out: pixels(f"{out}/00002.png") for out in ("few", "many", "others")}
    assert abs(pictures["few"] - pictures["many"]).max() <= 1
    assert (pictures["few"] != pictures["others"]).any()


def test_raw_weights_are_other_weights(trained: Path) -> None:
    for weights in ("ema", "raw"):
        assert main(["sample", f"run={trained}", "n=2", f"weights={weights}", f"out={weights}"]) == 0
    assert Path("ema/00000.png").read_bytes() != Path("raw/00000.png").read_bytes()


def test_label_is_for_conditional_runs(trained: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={trained}", "label=3"]) == 2
    assert "label=3: this run is unconditional" in capsys.readouterr().err


def test_evaluate_prints_a_table_and_appends_the_record(trained: Path, capsys: Capture) -> None:
    before = read_lines(trained / "metrics.jsonl")
    assert main(["evaluate", f"run={trained}", "n=24", "protocol=quick", "weights=raw"]) == 0
    out = capsys.readouterr().out
    assert "fd_24_shapes-train_small_resnet" in out
    assert "24 samples of seed 1, rounding inverse; reference: 64 train images of shapes" in out
    after = read_lines(trained / "metrics.jsonl")
    assert after[:-1] == before
    assert (after[-1]["by"], after[-1]["weights"], after[-1]["batch_norm"]) == ("evaluate", "raw", "running statistics")


def test_evaluate_by_default_repeats_the_runs_own_score(trained: Path) -> None:
    full = next(line for line in read_lines(trained / "metrics.jsonl") if line.get("role") == "full")
    assert main(["evaluate", f"run={trained}"]) == 0
    assert read_lines(trained / "metrics.jsonl")[-1]["scores"] == full["scores"]


def test_overrides_and_flags_come_in_any_order(capsys: Capture) -> None:
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/soft.yaml").write_text("name: bce\nsaturating: true\n")
    main(["train", "loss=soft", "--cfg", "job", "steps=3", "--config-dir", "mine", "-p", "loss"])
    assert capsys.readouterr().out.splitlines()[1:] == ["name: bce", "saturating: true"]


def test_a_typo_beside_ones_own_choice_and_a_file_that_is_not_yaml(capsys: Capture) -> None:
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/soft.yaml").write_text("name: bce\nsaturating: true\n")
    Path("mine/loss/broken.yaml").write_text("name: [bce\n")
    assert main(["train", "--config-dir=mine", "loss=soft", "stepps=3"]) == 2
    assert "unknown key stepps; did you mean steps?" in capsys.readouterr().err
    assert main(["train", "--config-dir=mine", "loss=broken"]) == 2
    err = capsys.readouterr().err
    assert "not YAML" in err
    assert len(err.strip().splitlines()) == 1


def test_a_plugin_beside_the_command_is_found_and_its_faults_are_told(capsys: Capture) -> None:
    Path("broken_plugin_of_a_test.py").write_text("this is no Python\n")
    assert main(["train", "plugins=[broken_plugin_of_a_test]"]) == 2
    err = capsys.readouterr().err
    assert "plugins=broken_plugin_of_a_test: SyntaxError" in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_with_a_plugins_loss_can_be_sampled_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from sngan import registry

    monkeypatch.setitem(registry._builders, "loss", dict(registry._builders["loss"]))
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/test_plugin_loss.yaml").write_text("name: test_plugin_loss\n")
    Path("plugin_of_a_test.py").write_text(
        "from sngan import register\nfrom sngan.losses.hinge import hinge\n\n"
        "@register('loss', 'test_plugin_loss')\ndef mine():\n    return hinge()\n"
    )
    words = ["plugins=[plugin_of_a_test]", "--config-dir", "mine", "loss=test_plugin_loss", "protocol=none", "run_dir=run"]
    assert main(["train", *TINY, *words]) == 0
    registry._builders["loss"].pop("test_plugin_loss")
    assert main(["sample", "run=run", "n=1"]) == 0


def test_pictures_of_a_larger_set_are_not_mixed_with_new_ones(trained: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={trained}", "n=4", "out=pictures"]) == 0
    assert main(["sample", f"run={trained}", "n=2", "out=pictures"]) == 2
    assert "out=pictures holds other pictures (00002.png" in capsys.readouterr().err


def test_the_run_folder_is_named_from_the_config(capsys: Capture) -> None:
    words = [
        w for w in TINY if not w.startswith(("discriminator", "generator", "data", "batch", "g_batch", "ema", "optim", "steps"))
    ]
    assert main(["train", *words, "protocol=none", "steps=1", "batch=4", "g_batch=4", "data.n_train=16", "seed=5"]) == 0
    assert [str(path) for path in Path("runs/shapes").glob("*/*")] == [
        "runs/shapes/batch-4+data.n_train-16+g_batch-4+steps-1/seed5"
    ]


def complete(line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert main(["-sc", "query=bash"]) == 0
    return capsys.readouterr().out.split()


def test_completion_knows_commands_groups_and_keys(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete("sngan ", capsys, monkeypatch) == list(COMMANDS)
    assert complete("sngan tr", capsys, monkeypatch) == ["train"]
    assert {"loss=", "optimizer.", "steps="} <= set(complete("sngan train ", capsys, monkeypatch))
    assert complete("sngan train loss=", capsys, monkeypatch) == [
        f"loss={name}" for name in ("bce", "hinge", "least_squares", "relativistic_average", "relativistic_pair", "wasserstein")
    ]
    assert complete("sngan train loss=bce optimizer.l", capsys, monkeypatch) == ["optimizer.lr="]
    assert "checkpoint=" in complete("sngan evaluate ch", capsys, monkeypatch)


def test_completion_installs(capsys: Capture) -> None:
    assert main(["-sc", "install=bash"]) == 0
    assert "sngan" in capsys.readouterr().out


def test_each_command_says_what_needs_less_memory() -> None:
    assert LESS.keys() == COMMANDS.keys()
