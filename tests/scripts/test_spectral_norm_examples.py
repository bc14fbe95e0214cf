from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import spectral_norm_examples as examples


def norm(W: Tensor) -> float:
    return torch.linalg.matrix_norm(W.detach().flatten(1), 2).item()


def test_a_transformer_learns_the_norms_of_its_weights() -> None:
    network = examples.transformer()
    for layer in network.layers:
        gamma = layer.self_attn.parametrizations.in_proj_weight[0].gamma
        for block, scale in zip(layer.self_attn.in_proj_weight.chunk(3), gamma, strict=True):
            assert norm(block) == pytest.approx(abs(scale.item()), rel=0.05)
        assert norm(layer.linear1.weight) == pytest.approx(layer.linear1.parametrizations.weight[0].gamma.item(), rel=0.05)


def test_no_layer_of_a_capped_u_net_stretches_by_more_than_its_cap() -> None:
    network = examples.diffusion()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("original"):
                parameter.mul_(100.0)  # far above the cap
    layer = network.down
    for _ in range(30):
        network(torch.zeros(2, 3, 8, 8), torch.zeros(2))
        with torch.no_grad():
            layer.parametrizations.weight.original.mul_(1.0)
    basis = torch.eye(16 * 64).view(-1, 16, 8, 8)
    dense = (layer(basis) - layer.bias.view(1, -1, 1, 1)).flatten(1)
    assert norm(dense) == pytest.approx(2.0, rel=0.02)


def test_layers_of_ones_own_are_normalised_and_train_with_a_penalty() -> None:
    network = examples.stylegan_like_discriminator()
    for layer in network:
        if isinstance(layer, examples.ScaledLayer | nn.Linear):
            assert norm(layer.weight) == pytest.approx(1.0, rel=0.1)


def test_one_layer_of_an_actor_critic_is_normalised() -> None:
    network = examples.actor_critic()
    assert norm(network.body[2].weight) == pytest.approx(1.0, rel=2e-3)
    assert norm(network.policy.weight) != pytest.approx(1.0, rel=1e-2)
