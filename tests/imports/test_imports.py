"""Networks of other projects compute after the import what their own tables say."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rival_networks import (
    K,
    N,
    State,
    cnn_discriminator,
    collections_cnn_generator,
    collections_resnet_discriminator,
    collections_resnet_generator,
    fidelity_generator,
    mimicry_discriminator,
    mimicry_generator,
    studiogan_discriminator,
    studiogan_generator,
)
from torch import Tensor

import sngan
from sngan.__main__ import main
from sngan.errors import UserError
from sngan.imports.imports import find
from sngan.imports.request import Import, Rival
from sngan.provenance import sha256_of
from sngan.runs.checkpoint import load_discriminator, load_generator, open_checkpoint

OUT, FILE, FILE_D = Path("imported"), Path("a.pth"), Path("b.pth")
Z = 6


def inputs(side: int, *, conditional: bool, z_dim: int = Z) -> tuple[Tensor, Tensor, Tensor | None]:
    torch.manual_seed(1)
    return torch.randn(N, z_dim), torch.rand(N, 3, side, side) * 2 - 1, torch.arange(N) % K if conditional else None


def do_import(rival: str, *words: str) -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    assert main(["import", rival, *words, f"out={OUT}"]) == 0


def same(made: Tensor, expected: Tensor) -> None:
    assert made.shape == expected.shape
    assert expected.std() > 5e-4
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("side", "widths", "halve", "conditional", "sn"),
    [
        (32, (8, 8, 8, 8), (True, True, False, False), False, "torch"),
        (32, (8, 8, 8, 8), (True, True, False, False), True, "own"),
        (48, (16, 8, 6, 5), (True, True, True, True, False), False, "torch"),
        (64, (16, 16, 8, 6, 5), (True, True, True, True, True), False, "own"),
    ],
)
def test_mimicry(side: int, widths: tuple[int, ...], halve: tuple[bool, ...], conditional: bool, sn: str) -> None:
    z, x, y = inputs(side, conditional=conditional)
    G, D = State(), State()
    images = mimicry_generator(G, z, y, side=side // 2 ** (len(widths) - 1), widths=widths)
    logits = mimicry_discriminator(D, x, y, widths=[6, *widths[1:], *[9] * (len(halve) - len(widths))], halve=halve, sn=sn)
    for path, state in ((FILE, G), (FILE_D, D)):
        torch.save({"model_state_dict": state.tensors, "optimizer_state_dict": None, "global_step": 7}, path)
    do_import("mimicry", str(FILE), str(FILE_D))
    checkpoint = open_checkpoint(OUT)
    assert (checkpoint.step, checkpoint.spec.resolution, checkpoint.spec.n_classes) == (7, side, K if conditional else 0)
    same(load_generator(checkpoint)(z, y), images)
    same(load_discriminator(checkpoint)(x, y), logits)


@torch.no_grad()
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_studiogan(conditional: bool, big: bool) -> None:
    z, x, y = inputs(32, conditional=conditional, z_dim=8)
    G, D = State(1e-4), State()
    attention = 1 if big else -1
    images = studiogan_generator(G, z, y, widths=(8, 8, 8, 8), big=big, attention=attention, sn="torch" if big else None)
    logits = studiogan_discriminator(D, x, y, widths=(8, 8, 8, 8), halve=(True, True, False, False), attention=0 if big else -1)
    torch.save({"state_dict": G.tensors}, FILE)
    torch.save({"state_dict": D.tensors, "step": 9, "best_fid": torch.tensor(9.0).numpy().astype("float64")[()]}, FILE_D)
    do_import("studiogan", str(FILE), str(FILE_D), "license=mit")
    checkpoint = open_checkpoint(OUT)
    assert (checkpoint.step, checkpoint.config().generator.name) == (9, "biggan" if big else "resnet")
    same(load_generator(checkpoint)(z, y), images)
    same(load_discriminator(checkpoint)(x, y), logits)
    card = (OUT / "README.md").read_text()
    assert "license: mit" in card
    assert sha256_of(FILE) in card


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 48])
def test_cnns_of_gan_collections(side: int) -> None:
    z, x, _ = inputs(side, conditional=False)
    G, D = State(), State()
    images, logits = (
        collections_cnn_generator(G, z, side=side // 8),
        cnn_discriminator(D, x, [f"main.{2 * i}" for i in range(7)], "linear"),
    )
    torch.save({"net_G": G.tensors, "net_D": D.tensors, "optim_G": {}, "sched_G": {"last_epoch": 5}}, FILE)
    do_import("gan_collections", str(FILE))
    same(load_generator(open_checkpoint(OUT))(z), images)
    same(load_discriminator(OUT)(x), logits)


@torch.no_grad()
def test_resnets_of_gan_collections() -> None:
    z, x, _ = inputs(32, conditional=False)
    G, D = State(), State()
    images, logits = collections_resnet_generator(G, z), collections_resnet_discriminator(D, x)
    torch.save({"net_G": G.tensors, "net_D": D.tensors}, FILE)
    do_import("gan_collections", str(FILE))
    same(load_generator(open_checkpoint(OUT))(z), images)
    same(load_discriminator(OUT)(x), logits)


class Example(torch.nn.Module):
    """What torch-fidelity's example traces: it gives levels of 256 in evaluation mode."""

    def __init__(self, layers: list[torch.nn.Module]) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.model(z[:, :, None, None])
        return (255 * (images * 0.5 + 0.5)).to(torch.uint8)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # what the example itself writes
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_example_of_torch_fidelity_from_torchscript_and_from_a_state_dict() -> None:
    z, x, _ = inputs(32, conditional=False)
    G, D = State(), State()
    images, logits = fidelity_generator(G, z), cnn_discriminator(D, x, [f"conv{i + 1}" for i in range(7)], "fc")
    layers: list[torch.nn.Module] = [torch.nn.ConvTranspose2d(Z, 16, 4), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
    for c_in, c_out in ((16, 8), (8, 6), (6, 5)):
        layers += [torch.nn.ConvTranspose2d(c_in, c_out, 4, 2, 1), torch.nn.BatchNorm2d(c_out), torch.nn.ReLU()]
    network = Example([*layers, torch.nn.ConvTranspose2d(5, 3, 3, padding=1), torch.nn.Tanh()]).eval()
    network.load_state_dict(G.tensors)
    torch.jit.save(torch.jit.trace(network, z[:1]), str(FILE))
    torch.save(D.tensors, FILE_D)
    do_import("torch_fidelity", str(FILE), str(FILE_D))
    same(load_generator(open_checkpoint(OUT))(z), images)
    same(load_discriminator(OUT)(x), logits)


def imported_pair() -> None:
    z, x, _ = inputs(32, conditional=False)
    G, D = State(), State()
    collections_resnet_generator(G, z)
    collections_resnet_discriminator(D, x)
    torch.save({"net_G": G.tensors, "net_D": D.tensors}, FILE)
    do_import("gan_collections", str(FILE))


def test_the_other_commands_take_what_was_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported_pair()
    assert main(["sample", f"checkpoint={OUT}", "n=4", "out=samples", "device=cpu"]) == 0
    assert len(list(Path("samples").glob("*.png"))) >= 4
    assert main(["inspect", f"checkpoint={OUT}", "n=0", "plot=none", "device=cpu"]) == 0
    assert main(["export", f"checkpoint={OUT}", "format=weights", "out=plain", "device=cpu"]) == 0
    small = ["data=shapes", "data.n_train=16", "data.n_test=16", "protocol=small", "extractor=small_resnet", "n=16"]
    assert main(["evaluate", f"checkpoint={OUT}", *small, "device=cpu"]) == 0
    assert sngan.load_generator(OUT).sample(4).equal(sngan.load_generator("plain").sample(4))
    capsys.readouterr()


def spoiled(state: dict[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    others = {key: value for key, value in state.items() if key != name}
    return others if tensor is None else {**others, name: tensor}


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("block3.c1.weight", None, "nothing in it is blocks.1.conv1.weight"),
        ("block3.c1.bias", None, "nothing in it is blocks.1.conv1.bias of sngan's generator=resnet"),
        ("block3.c1.bias", torch.zeros(5), "block3.c1.bias has shape [5] as blocks.1.conv1.bias, where [8] is expected"),
        ("block3.extra.weight", torch.zeros(5), "block3.extra.weight is a tensor that sngan's networks have no place for"),
        ("b5.bias", torch.full((8,), torch.nan), "b5.bias holds NaN"),
        ("l1.weight", torch.zeros(100, Z), "linear.weight has 100 outputs, which make no square map of 8 channels"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    name: str, tensor: Tensor | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    G = State()
    mimicry_generator(G, torch.randn(N, Z), None, side=4, widths=(8, 8, 8, 8))
    torch.save({"model_state_dict": spoiled(G.tensors, name, tensor)}, FILE)
    assert main(["import", "mimicry", str(FILE), f"out={OUT}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(FILE) in error
    assert len(error.splitlines()) <= 2
    assert list(Path().glob("*imported*")) == []


def test_a_file_that_is_code_compressed_or_no_checkpoint_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(said: str) -> None:
        assert main(["import", "mimicry", str(FILE), f"out={OUT}"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) <= 2
        assert not Path("ran").exists()
        assert not OUT.exists()

    torch.save({"model_state_dict": {}, "evil": Evil()}, FILE)
    refused("holds more than tensors, numbers and text")
    FILE.write_bytes(pickle.dumps(Evil()))
    refused("a.pth")
    torch.save({"l1.weight": torch.zeros(4)}, FILE_D)
    with zipfile.ZipFile(FILE_D) as plain, zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in plain.namelist():
            archive.writestr(member, plain.read(member))
    refused("is compressed")
    torch.save({"l1.weight": torch.zeros(1).expand(10**9, 10)}, FILE)
    refused("larger than the file")
    torch.save(
        {f"{i}": torch.zeros(4000)[:] for i in range(2)} | {"model_state_dict": dict.fromkeys("abc", torch.zeros(9000))}, FILE
    )
    refused("larger than the file")
    torch.save({"l1.weight": torch.zeros(3, dtype=torch.complex64)}, FILE)
    refused("sparse, quantised or complex")
    torch.save({"model_state_dict": 3}, FILE)
    refused("model_state_dict in it is a int")
    itself: dict[str, Any] = {"l1.weight": torch.zeros(4, 4)}
    itself["model_state_dict"] = itself
    torch.save(itself, FILE)
    refused("a.pth")
    FILE.write_bytes(b"no file of torch")
    refused("a.pth")
    torch.save([1, 2], FILE)
    refused("holds a list")


@pytest.mark.parametrize("rival", ["mimicry", "studiogan"])
def test_a_tensor_of_any_shape_in_any_place_is_a_users_error(rival: Rival) -> None:
    G, D = State(), State()
    z, x, y = inputs(32, conditional=True, z_dim=8)
    if rival == "mimicry":
        mimicry_generator(G, z, y, side=4, widths=(8, 8, 8, 8))
        mimicry_discriminator(D, x, y, widths=(8, 8, 8, 8), halve=(True, True, False, False), sn="own")
    else:
        studiogan_generator(G, z, y, widths=(8, 8, 8, 8), attention=1, sn="torch")
        studiogan_discriminator(D, x, y, widths=(8, 8, 8, 8), halve=(True, True, False, False), attention=0)
    said = []
    for state in (G.tensors, D.tensors):
        for name in state:
            for shape in ((), (2, 3, 3, 5), (0,)):
                torch.save(spoiled(state, name, torch.zeros(shape)), FILE)
                request = Import(rival=rival, files=(FILE,), out=OUT, resolution=32, data=None, license=None)
                try:
                    find(request)  # what it does not see, `write` compares
                except UserError as error:
                    said.append(str(error))
    assert len(said) > 50
    assert all(len(message.splitlines()) <= 2 for message in said)


def test_pairs_must_agree_and_what_a_discriminator_leaves_open_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    G, D = State(), State()
    mimicry_generator(G, torch.randn(N, Z), None, side=4, widths=(8, 8, 8, 8))
    mimicry_discriminator(D, torch.rand(N, 3, 64, 64), None, widths=(8,) * 5, halve=(True,) * 5)
    torch.save(G.tensors, FILE)
    torch.save(D.tensors, FILE_D)
    shutil.copy(FILE, "again.pth")
    for words, said in (
        ([str(FILE_D)], "give resolution=48"),
        ([str(FILE), str(FILE_D)], "5 blocks, and a discriminator for 32 px has 4"),
        ([str(FILE), "again.pth"], "holds a generator, and so does"),
        ([str(FILE), "resolution=48"], "the network is for 32 px"),
        (["missing.pth"], "missing.pth cannot be read"),
        ([], "give a project"),
    ):
        assert main(["import", "mimicry", *words, f"out={OUT}"]) == 2
        assert said in capsys.readouterr().err
    do_import("mimicry", str(FILE_D), "resolution=64")
    capsys.readouterr()
    assert main(["sample", f"checkpoint={OUT}", "n=4"]) == 2
    assert "holds no generator.safetensors" in capsys.readouterr().err
