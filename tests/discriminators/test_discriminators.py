"""Parameter counts as published, shapes, the Lipschitz bound, and projection."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.discriminators.resnet import ResNetDiscriminator
from sngan.errors import UserError
from sngan.layers.normalization import activation_norm
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import build

PAPER = [64, 64, 128, 128, 256, 256, 512]
AUTHOR = [64, 128, 128, 256, 256, 512, 512]
RESNET = {"widths": None, "downsample": None, "hidden": "input", "head_bias": None}


def make(name: str, resolution: int = 32, n_classes: int = 0, normalization: str = "none", **options: object) -> nn.Module:
    return build(
        "discriminator", Component(name=name, **options), ImageSpec(resolution, 3, n_classes), activation_norm(normalization)
    )


def count(D: nn.Module) -> int:
    return sum(p.numel() for p in D.parameters())


@pytest.mark.parametrize(
    ("resolution", "widths", "n"),
    [(32, PAPER, 2_935_873), (32, AUTHOR, 5_860_865), (48, PAPER, 2_946_113), (48, AUTHOR, 5_871_105)],
)
def test_cnn_has_the_published_number_of_parameters(resolution: int, widths: list[int], n: int) -> None:
    assert count(make("cnn", resolution, widths=widths, slope=0.1)) == n


@pytest.mark.parametrize(
    ("resolution", "n_classes", "options", "n"),
    [
        (32, 0, {}, 1_053_824),
        (32, 0, {"head_bias": True}, 1_053_825),
        (32, 10, {}, 1_055_104),
        (32, 10, {"head_bias": True}, 1_055_105),
        (48, 0, {}, 10_141_441),
        (48, 0, {"hidden": "output"}, 19_542_721),
        (64, 0, {}, 10_141_441),
        (128, 0, {}, 29_017_857),
        (128, 1000, {}, 30_041_857),
    ],
)
def test_resnet_has_the_published_number_of_parameters(resolution: int, n_classes: int, options: dict[str, object], n: int) -> None:
    assert count(make("resnet", resolution, n_classes, **(RESNET | options))) == n


SMALL = {
    "cnn": {"widths": [8, 8, 8], "slope": 0.1},
    "dcgan": {"width": 8, "slope": 0.2},
    "resnet": {**RESNET, "widths": [8, 8, 8], "downsample": [True, False, True]},
}


@pytest.mark.parametrize("name", SMALL)
def test_every_layer_with_weights_is_normalised(name: str) -> None:
    D = SpectralNorm(make(name, **SMALL[name]))
    weights = {key for key, p in D.network.named_parameters() if p.dim() > 1}
    assert D.normalize(update=False).keys() == weights


NORMS = ["none", "layer", "instance", "group", "batch"]


@pytest.mark.parametrize("normalization", NORMS)
@pytest.mark.parametrize("name", SMALL)
def test_gives_one_logit_an_image(name: str, normalization: str) -> None:
    assert make(name, **SMALL[name], normalization=normalization)(torch.randn(5, 3, 32, 32)).shape == (5,)


@pytest.mark.parametrize("normalization", NORMS[:-1])
@pytest.mark.parametrize("name", SMALL)
def test_logits_are_those_of_each_image_alone(name: str, normalization: str) -> None:
    """No batch statistics: real and fake may share a forward."""
    D = make(name, **SMALL[name], normalization=normalization)
    assert not Normalized(D).uses_batch_statistics
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(D(x), torch.cat([D(x[:1]), D(x[1:])]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_batch_norm_mixes_the_images_of_a_batch_in_either_mode(name: str) -> None:
    D = Normalized(make(name, **SMALL[name], normalization="batch"))
    assert D.uses_batch_statistics
    x = torch.randn(4, 3, 32, 32)
    assert not torch.allclose(D(x)[:2], D(x[:2]), rtol=1e-2)
    assert torch.equal(D.train()(x), D.eval()(x))
    assert not list(D.buffers())


@pytest.mark.parametrize(
    ("name", "options", "n"), [("cnn", {"widths": PAPER, "slope": 0.1}, 6), ("dcgan", SMALL["dcgan"], 2), ("resnet", RESNET, 6)]
)
def test_activations_are_normalised_before_every_nonlinearity_but_those_next_to_the_image(name: str, options: dict, n: int) -> None:
    D = make(name, **options, normalization="layer")
    assert sum(isinstance(module, nn.GroupNorm) for module in D.modules()) == n


def test_the_embedding_starts_as_the_other_layers_do() -> None:
    """Glorot uniform, with the classes and the features as its two sides."""
    E = make("resnet", 32, 1000, **RESNET).embedding.weight
    assert E.abs().max().item() == pytest.approx((6 / sum(E.shape)) ** 0.5, rel=1e-3)


def test_projection_adds_the_inner_product_with_the_labels_embedding() -> None:
    D = SpectralNorm(make("resnet", 32, 4, **SMALL["resnet"])).eval()
    weights = D.normalize(update=False)
    x = torch.randn(2, 3, 32, 32)
    network = D.network
    h = torch.func.functional_call(
        network.blocks, {k.removeprefix("blocks."): w for k, w in weights.items() if k.startswith("blocks.")}, (x,)
    )
    h = h.relu().sum((2, 3))
    E = weights["embedding.weight"]
    logits = D(x, torch.tensor([0, 3]))
    difference = D(x, torch.tensor([1, 1])) - logits
    torch.testing.assert_close(difference, ((E[1] - E[[0, 3]]) * h).sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: make("cnn", 30, widths=[8, 8, 8, 8, 8], slope=0.1), "multiple of 4, not 30"),
        (lambda: make("dcgan", 48, width=8, slope=0.2), "made for 32 px images, not 48"),
        (lambda: make("resnet", 96, **RESNET), "published for 32, 48, 64, 128 px, not 96"),
        (lambda: make("resnet", 32, **(RESNET | {"widths": [8, 8]})), "one entry a block"),
        (lambda: make("cnn", 32, 10, widths=[8], slope=0.1), "discriminator=resnet"),
        (lambda: make("dcgan", 32, 10, width=8, slope=0.1), "discriminator=resnet"),
        (lambda: make("cnn", widths=[8], slope=-0.1), r"discriminator\.slope=-0.1"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_way_out(make_it: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_it()


@pytest.mark.parametrize(
    ("name", "n_classes", "head"),
    [("cnn", 0, "linear"), ("dcgan", 0, "convs.8"), ("resnet", 0, "linear"), ("resnet", 10, "linear")],
)
def test_logits_are_float32_of_the_features_under_autocast(name: str, n_classes: int, head: str) -> None:
    D = make(name, n_classes=n_classes, **(RESNET if name == "resnet" else SMALL[name]))
    layer, seen = D.get_submodule(head), []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    y = torch.arange(4) if n_classes else None
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = D(torch.rand(4, 3, 32, 32) * 2 - 1, y)
        h = seen[0].double().flatten(1)
    expected = h @ layer.weight.double().flatten(1).T.squeeze(1) + (0.0 if layer.bias is None else layer.bias.double())
    if y is not None:
        assert isinstance(D, ResNetDiscriminator)
        expected = expected + (D.embedding.weight[y].double() * h).sum(1)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "n_classes"), [("cnn", 0), ("dcgan", 0), ("resnet", 0), ("resnet", 10)])
def test_logits_of_a_float64_network_are_float64(name: str, n_classes: int) -> None:
    D = make(name, n_classes=n_classes, **(RESNET if name == "resnet" else SMALL[name])).double()
    with torch.no_grad():
        logits = D(torch.rand(4, 3, 32, 32, dtype=torch.float64), torch.arange(4) if n_classes else None)
    assert logits.dtype == torch.float64
    assert not torch.equal(logits, logits.float().double()), "they have been float32 on the way"


def test_features_of_the_resnet_are_summed_in_float32_under_autocast() -> None:
    D, maps = make("resnet", **RESNET), []
    D.get_submodule("blocks").register_forward_hook(lambda *args: maps.append(args[2]))
    D.get_submodule("linear").register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        D(torch.rand(2, 3, 32, 32))
    assert maps[0].dtype == torch.bfloat16
    torch.testing.assert_close(maps[1].double(), maps[0].double().relu().sum((2, 3)), rtol=1e-5, atol=1e-5)
