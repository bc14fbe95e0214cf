"""`inspect` from Python: what the record says is so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import TINY
from sngan import compose
from sngan.errors import UserError
from sngan.files import read_json, write_json
from sngan.inspection.inspect import inspect
from sngan.inspection.request import Inspect
from sngan.layers.linear_maps import matrix
from sngan.provenance import sha256_of
from sngan.runs.checkpoint import find, load_discriminator, load_generator
from sngan.training.loop import train

QUIET = ["steps=2", "protocol=none", "evaluate_every=0", "sample_every=0", "save_every=2", "run_dir=run"]
RESNETS = [
    "generator=resnet",
    "generator.widths=[8,8,8,8]",
    "discriminator=resnet",
    "discriminator.widths=[8,8,8]",
    "discriminator.downsample=[true,true,false]",
]
CHOICES = {
    "cnn": [],
    "cnn_none": ["discriminator.normalization=none"],
    "cnn_weight": ["discriminator.normalization=weight"],
    "cnn_learned": ["discriminator.scale=learned"],
    "dcgan": ["discriminator=dcgan", "discriminator.width=4"],
    "resnet": RESNETS,
    "resnet_none": [*RESNETS, "discriminator.normalization=none"],
    "resnet_conditional": [*RESNETS, "conditional=true"],
}


def ask(**other: object) -> Inspect:
    """A request for the checkpoint in `run` that plots nothing."""
    given = {
        "run": Path("run"),
        "checkpoint": None,
        "weights": "ema",
        "n": 16,
        "seed": 0,
        "data": None,
        "format": "table",
        "plot": "none",
        "device": "cpu",
        "plugins": (),
    }
    return Inspect.model_validate({**given, **other})


def run(*overrides: str) -> None:
    """Trains a moment, in `run`. The tiny run's discriminator is left out where there is another."""
    others = any(word.startswith("discriminator=") for word in overrides)
    train(compose([word for word in TINY if not (others and word.startswith("discriminator"))] + QUIET + list(overrides)))


@pytest.mark.parametrize("choice", CHOICES)
def test_no_pair_of_images_is_steeper_than_the_bound(choice: str) -> None:
    run(*CHOICES[choice])
    record = inspect(ask())
    assert 0 < record["lipschitz_found"] <= record["lipschitz_bound"]
    assert record["lipschitz_bound_note"] is record["lipschitz_found_note"] is None
    assert (record["pairs"]["labels"] is not None) == ("conditional" in choice)


def test_the_layers_are_what_a_decomposition_says() -> None:
    run()
    record = inspect(ask(n=0))
    D = load_discriminator(find(Path("run"), None))
    weights = D.normalize(update=False)
    assert [layer["name"] for layer in record["layers"]] == list(D.layers())
    for layer in record["layers"]:
        module = D.layers()[layer["name"]]
        W, used = matrix(module, module.weight), matrix(module, weights[f"{layer['name']}.weight"])
        values = torch.linalg.svdvals(used.detach().double())
        assert layer["shape"] == list(module.weight.shape)
        assert layer["sigma"] == pytest.approx(D.sigmas()[layer["name"]].item())
        assert layer["sigma_exact"] == pytest.approx(torch.linalg.svdvals(W.detach().double())[0].item())
        assert layer["ratio"] == pytest.approx(layer["sigma"] / layer["sigma_exact"])
        assert layer["singular_values"] == pytest.approx(values.tolist())
        assert layer["used"] == pytest.approx(1 / layer["ratio"], rel=1e-5)
        assert layer["stable_rank"] == pytest.approx((used.norm() ** 2 / values[0] ** 2).item(), rel=1e-5)
        assert layer["used"] <= layer["operator_norm"] * (1 + 1e-6), "the map contains the matrix, one window of it"


@pytest.mark.parametrize(("normalization", "name"), [("batch", "BatchNorm2d"), ("layer", "GroupNorm")])
def test_what_cannot_be_said_has_a_reason(normalization: str, name: str) -> None:
    run(f"discriminator.normalization={normalization}")
    record = inspect(ask())
    assert record["lipschitz_bound"] is None
    assert record["lipschitz_bound_note"].startswith(name)
    if normalization == "batch":
        assert record["lipschitz_found"] is None
        assert record["lipschitz_found_note"] == "with batch normalisation D is not a function of one image"
    else:
        assert record["lipschitz_found"] > 0


def test_sigma_is_what_is_followed() -> None:
    run("discriminator.normalization=none")
    assert all(layer["sigma"] is None and layer["ratio"] is None for layer in inspect(ask(n=0))["layers"])
    run("discriminator.normalization=none", "regularizer=spectral_regularization", "run_dir=followed")
    for layer in inspect(ask(run=Path("followed"), n=0))["layers"]:
        assert layer["ratio"] == pytest.approx(1.0, abs=0.1)
        assert layer["used"] == pytest.approx(layer["sigma_exact"])


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_a_normalised_generator_is_looked_at_with_the_weights_asked_for(weights: str) -> None:
    run("generator.normalization=spectral")
    record = inspect(ask(n=0, weights=weights))["generator"]
    used = load_generator(find(Path("run"), None), weights=weights)
    for layer in record["layers"]:
        module = used.get_submodule(layer["name"])
        assert layer["used"] == pytest.approx(torch.linalg.matrix_norm(matrix(module, module.weight), 2).item(), rel=1e-4)
        assert layer["used"] == pytest.approx(1.0, abs=0.1)
        assert layer["operator_norm"] > 0
    run("generator.normalization=none", "run_dir=plain")
    assert inspect(ask(run=Path("plain"), n=0))["generator"] is None


def test_the_samples_are_those_of_the_weights_and_the_seed() -> None:
    run()
    found = [
        inspect(ask(n=4, seed=seed, weights=w))["lipschitz_found"] for seed, w in ((0, "ema"), (0, "ema"), (1, "ema"), (0, "raw"))
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_more_pairs_are_never_less_steep() -> None:
    run()
    found = [inspect(ask(n=n))["lipschitz_found"] for n in (2, 8, 32)]
    assert found == sorted(found)


def test_without_pairs_no_data_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr("sngan.data.shapes.Shapes.load", lambda *_: pytest.fail("data was read"))  # a witness
    record = inspect(ask(n=0))
    assert record["lipschitz_found"] is record["pairs"] is None
    assert record["lipschitz_bound"] > 0


def test_looking_leaves_the_random_numbers_alone() -> None:
    run()
    before = torch.get_rng_state()
    inspect(ask())
    assert torch.equal(before, torch.get_rng_state())


def test_the_plot_is_a_picture_beside_the_checkpoints() -> None:
    run("generator.normalization=spectral")
    before = set(Path("run").iterdir())
    record = inspect(ask(n=0, plot=None))
    assert set(Path("run").iterdir()) - before == {Path("run/singular_values-step-00000002.png")} == {Path(record["plot"])}
    with Image.open(record["plot"]) as image:
        assert min(image.size) > 500


def test_the_plot_of_a_checkpoint_that_stands_alone_is_in_it() -> None:
    run()
    Path("run/checkpoints/step-00000002").rename("alone")
    record = inspect(ask(run=None, checkpoint=Path("alone"), n=0, plot=None))
    assert Path(record["plot"]).parent == Path("alone")
    assert Path(record["plot"]).is_file()


def test_fewer_images_than_asked_for_are_refused() -> None:
    run()
    with pytest.raises(UserError, match="n=65: shapes has 64 training images; use n=64, or n=0"):
        inspect(ask(n=65))


def test_weights_that_are_not_finite_are_refused() -> None:
    run("discriminator.normalization=none")
    folder = Path("run/checkpoints/step-00000002")
    tensors = load_file(folder / "discriminator.safetensors")
    tensors["linear.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "discriminator.safetensors")
    manifest = read_json(folder / "checkpoint.json")
    manifest["sha256"]["discriminator.safetensors"] = sha256_of(folder / "discriminator.safetensors")
    write_json(folder / "checkpoint.json", manifest)
    with pytest.raises(UserError, match=r"linear.weight holds NaN or infinity"):
        inspect(ask(n=0, plot=None))
    assert not list(Path("run").glob("*.png"))
