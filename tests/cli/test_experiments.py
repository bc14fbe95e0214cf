"""Every experiment that ships, composed as it is and run shrunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sngan import Config, build, compose
from sngan.__main__ import main
from sngan.cli.hydra_app import configs
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.runs.checkpoint import steps_saved
from sngan.training.combinations import check_combination
from sngan.training.loop import train

EXPERIMENTS = sorted(path.stem for path in (configs() / "experiment").glob("*.yaml"))

SHRINK = {
    "cnn": ["generator.widths=[16,8,8,8]", "discriminator.widths=[8,8,8]"],
    "dcgan": ["generator.widths=[16,8,8,8]", "discriminator.width=8"],
    "resnet": ["generator.widths=[8,8,8,8]", "discriminator.widths=[8,8,8,8]"],
}
"""Small widths, by the name of the discriminator."""


PICTURES = ["celeba64_resnet", "few_shot", "imagenet128_projection", "sagan64"]
"""Experiments on a folder of pictures of the user's."""


def composed(experiment: str, *overrides: str) -> Config:
    given = ["data.path=pictures"] if experiment in PICTURES else []
    return compose([f"experiment={experiment}", *given, *overrides])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_composes_under_its_own_name(experiment: str) -> None:
    config = composed(experiment)
    assert config.name == experiment
    assert config.run_dir.parts[:2] == ("runs", experiment)
    assert check_combination(config) == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_shrunk(experiment: str) -> None:
    config = composed(experiment)
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (40, 32, 32, 3), np.uint8), np.arange(40) % 10
    if experiment in PICTURES:
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = Path("pictures", str(label), f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    else:
        np.savez("pictures.npz", images=pixels, labels=labels)
    small = [
        "steps=2", "batch=4", "g_batch=4", "ema.recalibrate=1", "quick.n=20", "protocol.n=20", "quick.splits=2", "protocol.splits=2",
        "extractor=small_resnet", "evaluate_every=2", "sample_every=0", "save_every=1", "device=cpu",
    ]  # fmt: skip
    small += ["data.resolution=32", "data.workers=0"] if experiment in PICTURES else ["data=npz", "data.path=pictures.npz"]
    if config.discriminator.options.get("attention"):
        small.append("discriminator.attention=16")
    scores = train(composed(experiment, *small, *SHRINK[config.discriminator.name]))
    run = Path("runs", experiment)
    assert [step for path in run.glob("*/seed0/checkpoints") for step in steps_saved(path)][-1] == 2
    assert any(name.startswith("fd_20_pictures-train") for name in scores["last"])


def test_cifar10_experiments_are_the_published_settings() -> None:
    resnet, cnn = compose(["experiment=cifar10_resnet"]), compose(["experiment=cifar10_cnn"])
    assert (resnet.optimizer.lr, resnet.optimizer.betas, resnet.d_steps, resnet.batch, resnet.steps) == (
        2e-4,
        (0.0, 0.9),
        5,
        64,
        100_000,
    )
    assert (cnn.optimizer.lr, cnn.optimizer.betas, cnn.d_steps, cnn.loss.name) == (2e-4, (0.5, 0.999), 1, "bce")
    assert compose(["experiment=cifar10_resnet_conditional"]).conditional


def test_the_best_recipe_spells_out_that_of_the_resnet() -> None:
    best, resnet = composed("cifar10_best"), composed("cifar10_resnet")
    spelled = {"name", "run_dir", "generator", "discriminator"}
    assert best.model_dump(exclude=spelled) == resnet.model_dump(exclude=spelled)
    sizes = [[list(net.network.state_dict()) for net in build_networks(c, ImageSpec(32, 3, 0))] for c in (best, resnet)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("experiment", "spec", "G", "D"),
    [
        ("celeba64_resnet", ImageSpec(64, 3, 0), 12_220_675, 10_141_441),
        ("imagenet128_projection", ImageSpec(128, 3, 1000), 41_996_931, 30_041_857),
    ],
)
def test_experiments_on_pictures_have_the_published_networks(experiment: str, spec: ImageSpec, G: int, D: int) -> None:
    config = composed(experiment)
    with torch.device("meta"):
        networks = build("generator", config.generator, spec), build("discriminator", config.discriminator, spec, nn.Identity)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [G, D]


@pytest.mark.parametrize(("experiment", "G", "D"), [("stl10_resnet", 4_878_083, 10_141_441), ("stl10_cnn", 5_133_315, 2_946_113)])
def test_stl10_experiments_are_those_of_cifar10_with_the_networks_for_48_px(experiment: str, G: int, D: int) -> None:
    config, small = compose([f"experiment={experiment}"]), compose([f"experiment={experiment.replace('stl10', 'cifar10')}"])
    other = {"name", "run_dir", "data"}
    assert config.data.name == "stl10"
    assert config.model_dump(exclude=other) == small.model_dump(exclude=other)
    sizes = [sum(p.numel() for p in net.network.parameters()) for net in build_networks(config, ImageSpec(48, 3, 0))]
    assert sizes == [G, D]


def test_cifar100_is_trained_as_cifar10_is() -> None:
    hundred, ten = composed("cifar100_resnet_conditional"), composed("cifar10_resnet_conditional")
    other = {"name", "run_dir", "data"}
    assert hundred.data.name == "cifar100"
    assert hundred.model_dump(exclude=other) == ten.model_dump(exclude=other)


@pytest.mark.parametrize(
    "choice", ["discriminator=dcgan", "discriminator=resnet", "discriminator=cnn_author", "generator=resnet", "generator=cnn"]
)
def test_other_networks_can_be_chosen_beside_the_default(choice: str) -> None:
    assert compose([choice]).run_dir == Path(f"runs/shapes/{choice.replace('=', '-')}/seed0")


ROWS = {
    "weight_clipping": ("none", "none", "bce", 0.01),
    "gan_gp": ("none", "gradient_penalty", "bce", None),
    "wgan_gp": ("none", "gradient_penalty", "wasserstein", None),
    "batch_norm": ("batch", "none", "bce", None),
    "layer_norm": ("layer", "none", "bce", None),
    "weight_norm": ("weight", "none", "bce", None),
    "orthonormal": ("none", "orthonormal", "bce", None),
    "spectral_norm": ("spectral", "none", "bce", None),
    "spectral_norm_hinge": ("spectral", "none", "hinge", None),
}
"""Table 2, the standard CNN: normalisation of D, regulariser, loss, clipping."""


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_table_2_is_one_override_away(row: str) -> None:
    config = compose(["experiment=table2_cifar10_cnn", f"constraint={row}"])
    assert (config.discriminator.normalization, config.regularizer.name, config.loss.name, config.weight_clip) == ROWS[row]
    assert check_combination(config) == []


def test_resnet_rows_keep_the_hinge_loss() -> None:
    for row, regularizer in (("orthonormal", "orthonormal"), ("spectral_norm", "none")):
        config = compose(["experiment=table2_cifar10_resnet", f"constraint={row}"])
        assert (config.loss.name, config.discriminator.name, config.regularizer.name) == ("hinge", "resnet", regularizer)


TABLE_1 = {
    "A": (1e-4, 0.5, 0.9, 5), "B": (1e-4, 0.5, 0.999, 1), "C": (2e-4, 0.5, 0.999, 1),
    "D": (1e-3, 0.5, 0.9, 5), "E": (1e-3, 0.5, 0.999, 5), "F": (1e-3, 0.9, 0.999, 5),
}  # fmt: skip


@pytest.mark.parametrize("setting", TABLE_1)
def test_adam_settings_are_those_of_table_1(setting: str) -> None:
    config = compose(["experiment=adam_settings", f"adam={setting}"])
    assert (config.optimizer.lr, *config.optimizer.betas, config.d_steps) == TABLE_1[setting]


SWEEPS = {
    "table2_cifar10_cnn": list(ROWS),
    "table2_cifar10_resnet": ["orthonormal", "spectral_norm"],
    "adam_settings": list("ABCDEF"),
}


@pytest.mark.parametrize("experiment", SWEEPS)
def test_a_sweep_runs_every_row(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "data=shapes", "data.n_train=40", "data.n_test=8", "protocol=none", "steps=2", "batch=4", "g_batch=4", "ema.recalibrate=0",
        "sample_every=0", "device=cpu",
    ]  # fmt: skip
    network = compose([f"experiment={experiment}"]).discriminator.name
    assert main(["train", "-m", f"experiment={experiment}", *small, *SHRINK[network]]) == 0
    runs = list(Path("runs", experiment).glob("*/seed0"))
    assert len(runs) == len(SWEEPS[experiment])
    assert all(2 in steps_saved(run / "checkpoints") for run in runs)
    assert all(any(f"-{row}+" in str(run) or str(run).endswith(f"-{row}") for run in runs) for row in SWEEPS[experiment])
    assert "wasserstein" not in capsys.readouterr().err  # no row is warned of


@pytest.mark.parametrize("loss", ["hinge", "bce", "bce loss.saturating=true", "wasserstein"])
def test_every_loss_trains(loss: str, tiny: object) -> None:
    config = tiny(*f"loss={loss}".split(), "protocol=none", "run_dir=run")
    train(config)
    assert 6 in steps_saved(Path("run/checkpoints"))
