"""Parameter counts as published, shapes, the Lipschitz bound, and projection."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.discriminators.discriminator import Discriminator, freeze
from sngan.discriminators.resnet import PUBLISHED, derived
from sngan.errors import UserError
from sngan.inspection.lipschitz import norm_on_maps
from sngan.layers.map_sizes import map_sizes
from sngan.layers.normalization import activation_norm
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import build

PAPER = [64, 64, 128, 128, 256, 256, 512]
AUTHOR = [64, 128, 128, 256, 256, 512, 512]
RESNET = {
    "widths": None,
    "downsample": None,
    "hidden": "input",
    "shortcut": "input",
    "head_bias": None,
    "attention": None,
    "init": "glorot",
}


def make(
    name: str, resolution: int | tuple[int, int] = 32, n_classes: int = 0, normalization: str = "none", **options: object
) -> nn.Module:
    options = {"labels": "projection", **options}
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
    D = SpectralNorm(make(name, n_classes=3, **SMALL[name] | ({"attention": 16} if name == "resnet" else {})))
    weights = {key for key, p in D.network.named_parameters() if p.dim() > 1}
    assert D.normalize(update=False).keys() == weights


@pytest.mark.parametrize("resolution", [16, 32, 48, 64, 128])
@pytest.mark.parametrize("name", ["cnn", "dcgan"])
def test_cnns_take_images_of_many_sizes(name: str, resolution: int) -> None:
    D = make(name, resolution, **SMALL[name])
    assert D(torch.randn(2, 3, resolution, resolution)).shape == (2,)
    if name == "dcgan":
        widths = [m.out_channels for m in D.modules() if isinstance(m, nn.Conv2d)]
        assert widths == [8 * 2**i for i in range(resolution.bit_length() - 3)] + [1], "F, 2F, 4F, …"
        assert D.convs[-1].kernel_size == ((6, 6) if resolution == 48 else (4, 4))


@pytest.mark.parametrize(
    ("resolution", "widths"),
    [
        (16, (64, 128, 256)), (28, (64, 128, 256)), (40, (64, 128, 256, 512)), (96, (64, 128, 256, 512, 1024)),
        (256, (64, 128, 256, 512, 1024, 1024, 1024)),
    ],
)  # fmt: skip
def test_resnets_of_other_sizes_follow_the_rule_of_the_one_for_128_px(resolution: int, widths: tuple[int, ...]) -> None:
    assert derived(resolution)[:2] == (widths, (True,) * (len(widths) - 1) + (False,))
    assert derived(128) == PUBLISHED[128]
    with torch.device("meta"):
        assert 4 <= make("resnet", resolution, **RESNET).last_map[0] <= 7


@pytest.mark.parametrize("name", SMALL)
def test_projection_is_the_inner_product_of_the_features_and_the_embedding(name: str) -> None:
    D = make(name, n_classes=4, **SMALL[name])
    x, seen = torch.randn(2, 3, 32, 32), []
    head = D.linear if hasattr(D, "linear") else D.convs[-1]
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    logits = D(x, torch.tensor([0, 3]))
    expected = head(seen[0].view_as(seen[0]) if name != "dcgan" else seen[0].view(2, -1, 4, 4)).flatten()
    torch.testing.assert_close(logits, expected + (D.embedding.weight[[0, 3]] * seen[0]).sum(1))


@pytest.mark.parametrize("name", SMALL)
def test_concat_shows_the_class_as_a_map_of_ones_beside_the_image(name: str) -> None:
    D = make(name, n_classes=4, **SMALL[name], labels="concat")
    first = next(m for m in D.modules() if isinstance(m, nn.Conv2d))
    x, seen = torch.randn(2, 3, 32, 32), []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert D(x, torch.tensor([0, 3])).shape == (2,)
    assert torch.equal(seen[0][:, :3], x)
    assert seen[0][:, 3:].mean((2, 3)).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert set(seen[0][:, 3:].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", SMALL)
def test_an_auxiliary_classifier_gives_the_cross_entropy_of_the_label_beside_the_logit(name: str) -> None:
    torch.manual_seed(0)
    D = make(name, n_classes=4, **SMALL[name], labels="auxiliary")
    x, seen = torch.randn(3, 3, 32, 32), []
    D.classifier.register_forward_hook(lambda *args: seen.append(args[2]))
    output = D(x, torch.tensor([2, 2, 0]))
    assert output.shape == (3, 2)
    torch.testing.assert_close(output[:, 1], -seen[0].log_softmax(1)[range(3), [2, 2, 0]])
    assert torch.equal(output[:, 0], D(x, torch.tensor([1, 3, 3]))[:, 0]), "the logit does not see the label"


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
        (lambda: make("dcgan", 36, width=8, slope=0.2), "down to 4, 5, 6 or 7 px, which 36 px does not come to"),
        (lambda: make("resnet", 36, **RESNET), "36 px is not 4, 5, 6 or 7 times 2, 4, 8, .*; give discriminator.widths"),
        (
            lambda: make("resnet", 32, **RESNET | {"attention": 32}),
            "attention=32: no block makes a map of this side; choose one of 16, 8",
        ),
        (lambda: make("resnet", 32, **(RESNET | {"widths": [8, 8]})), "one entry a block"),
        (lambda: make("cnn", widths=[8], slope=-0.1), r"discriminator\.slope=-0.1"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_way_out(make_it: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_it()


@pytest.mark.parametrize(
    ("name", "n_classes", "head"),
    [("cnn", 0, "linear"), ("dcgan", 0, "convs.8"), ("dcgan", 10, "convs.8"), ("resnet", 0, "linear"), ("resnet", 10, "linear")],
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
        assert isinstance(D, Discriminator)
        expected = expected + (D.embedding.weight[y].double() * h).sum(1)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "n_classes"), [("cnn", 10), ("dcgan", 0), ("dcgan", 10), ("resnet", 0), ("resnet", 10)])
def test_logits_of_a_float64_network_are_float64(name: str, n_classes: int) -> None:
    D = make(name, n_classes=n_classes, **(RESNET if name == "resnet" else SMALL[name])).double()
    with torch.no_grad():
        logits = D(torch.rand(4, 3, 32, 32, dtype=torch.float64), torch.arange(4) if n_classes else None)
    assert logits.dtype == torch.float64
    assert not torch.equal(logits, logits.float().double()), "they have been float32 on the way"


def test_features_of_the_resnet_are_summed_in_float32_under_autocast() -> None:
    D, maps = make("resnet", **RESNET), []
    D.get_submodule("blocks.3").register_forward_hook(lambda *args: maps.append(args[2]))
    D.get_submodule("linear").register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        D(torch.rand(2, 3, 32, 32))
    assert maps[0].dtype == torch.bfloat16
    torch.testing.assert_close(maps[1].double(), maps[0].double().relu().sum((2, 3)), rtol=1e-5, atol=1e-5)


RECTANGULAR = {
    "cnn": {"widths": [8, 8, 8], "slope": 0.1},
    "resnet": {**RESNET, "widths": [8, 8, 8], "downsample": [True, True, False]},
}


@pytest.mark.parametrize("name", RECTANGULAR)
def test_images_need_not_be_square(name: str) -> None:
    D = make(name, (8, 16), **RECTANGULAR[name]).double()
    assert D(torch.randn(2, 3, 8, 16, dtype=torch.float64)).shape == (2,)
    with pytest.raises(UserError, match=r"(?s)multiple of \d, not 7 x 16;.*data\.resolution=\[8,16\]"):
        make(name, (7, 16), **RECTANGULAR[name])


@pytest.mark.parametrize("name", RECTANGULAR)
def test_the_bound_holds_for_images_that_are_not_square(name: str) -> None:
    D = make(name, (8, 16), **RECTANGULAR[name]).double()
    sizes = map_sizes(D, torch.zeros(1, 3, 8, 16, dtype=torch.float64))
    layers = {key: layer for key, layer in D.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    bound = D.bound({key: norm_on_maps(layer, layer.weight, sizes.get(key)) for key, layer in layers.items()})
    x = torch.randn(64, 3, 8, 16, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(D(x).sum(), x)
    assert 0 < slope.flatten(1).norm(dim=1).max() <= bound


@pytest.mark.parametrize(
    ("name", "options", "n"),
    [
        ("cnn", {"widths": [4, 6, 8], "slope": 0.1}, 3),
        ("dcgan", {"width": 4, "slope": 0.2}, 3),
        ("resnet", {**RESNET, "widths": [4, 4], "downsample": [True, True]}, 2),
    ],
)
def test_frozen_blocks_are_those_nearest_to_the_image_and_never_the_head(name: str, options: dict[str, object], n: int) -> None:
    D = make(name, n_classes=2, normalization="layer", **options)
    freeze(D, n)
    trained = {name for name, p in D.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == ({"convs", "embedding"} if name == "dcgan" else {"linear", "embedding"})
    one = make(name, normalization="layer", **options)
    freeze(one, 1)
    frozen = {".".join(name.split(".")[:2]) for name, p in one.named_parameters() if not p.requires_grad}
    assert frozen == {"blocks.0" if name == "resnet" else "convs.0"}
    with pytest.raises(UserError, match=f"has {n} blocks"):
        freeze(D, n + 1)


def test_a_network_that_does_not_list_its_blocks_is_not_frozen() -> None:
    with pytest.raises(UserError, match="Linear has no method lowest_blocks"):
        freeze(nn.Linear(2, 1), 1)
