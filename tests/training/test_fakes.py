from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sngan import Config
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.training import fakes as module
from sngan.training.fakes import fakes

KINDS = {
    "cnn": [],
    "cnn_feature_norm": ["generator.first_norm=feature"],
    "conditional_resnet": ["conditional=true", "generator=resnet", "generator.widths=[8,8,8]", "discriminator=resnet"],
    "spectral": ["generator.normalization=spectral"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_batches_together_are_the_batches_one_after_the_other(
    tiny: Callable[..., Config], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (
        tiny(*KINDS[kind])
        if kind != "conditional_resnet"
        else tiny(*KINDS[kind], "discriminator.widths=[8,8]", "discriminator.downsample=[true,true]")
    )
    n_classes = 10 if config.conditional else 0
    G, _ = build_networks(config, ImageSpec(32, 3, n_classes))
    G = G.double()
    for name, p in G.named_parameters():
        if name.endswith(("gamma", "beta")):
            nn.init.normal_(p)  # they begin alike for all classes
    z, y = torch.randn(3, 4, 128, dtype=torch.float64), torch.arange(12).view(3, 4) % 10 if n_classes else None
    weights, other = G.normalize(update=False), copy.deepcopy(G)
    expected = fakes(other, weights, z, y)
    calls = []
    monkeypatch.setattr(module, "TOGETHER_ON", frozenset({"cpu"}))  # the form of GPUs, which runs here as it is
    G.register_forward_hook(lambda *_: calls.append(1))
    for got, wanted in zip(fakes(G, weights, z, y), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert len(calls) == 1
    for name, value in G.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reason", ["a foreign batch norm", "an iteration per forward"])
def test_batches_go_one_after_the_other_where_together_would_be_another_function(
    tiny: Callable[..., Config], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_ON", frozenset({"cpu"}))
    foreign = reason == "a foreign batch norm"
    config = tiny() if foreign else tiny("generator.normalization=spectral", "generator.iterate_per=forward")
    G, _ = build_networks(config, ImageSpec(32, 3, 0))
    if foreign:
        G.network.deconvs[1] = nn.BatchNorm2d(8)
    calls = []
    G.register_forward_hook(lambda *_: calls.append(1))
    fakes(G, G.normalize(update=False) if foreign else None, torch.randn(3, 4, 128), None)
    assert len(calls) == 3


def test_fakes_have_no_graph(tiny: Callable[..., Config]) -> None:
    G, _ = build_networks(tiny(), ImageSpec(32, 3, 0))
    assert not any(x.requires_grad for x in fakes(G, {}, torch.randn(2, 4, 128), None))
