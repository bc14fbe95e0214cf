from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan.layers.residual import DiscriminatorBlock, FirstDiscriminatorBlock, GeneratorBlock


def test_generator_block_doubles_the_side() -> None:
    assert GeneratorBlock(4, 6)(torch.randn(2, 4, 5, 5)).shape == (2, 6, 10, 10)


def test_shortcut_of_a_discriminator_block_sees_x_itself_not_its_relu() -> None:
    block = DiscriminatorBlock(4, 4, c_hidden=4, downsample=False)
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_a_block_does_not_change_its_input() -> None:
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    for block in (
        DiscriminatorBlock(4, 4, c_hidden=4, downsample=True),
        FirstDiscriminatorBlock(4, 8, downsample=True),
        GeneratorBlock(4, 8),
    ):
        block(x)
        assert torch.equal(x, before)


def conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """The layer's convolution without its resampling."""
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.padding)


@pytest.mark.parametrize("side", [8, 16])
def test_the_blocks_are_those_of_the_paper_written_plainly(side: int) -> None:
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    G = GeneratorBlock(3, 8).double()
    up = F.interpolate(x, scale_factor=2)
    h = conv(F.interpolate(F.relu(G.norm1(x)), scale_factor=2), G.conv1)
    torch.testing.assert_close(G(x), conv(F.relu(G.norm2(h)), G.conv2) + conv(up, G.shortcut), rtol=1e-12, atol=1e-12)

    D = DiscriminatorBlock(3, 8, c_hidden=5, downsample=True).double()
    h = conv(F.relu(conv(F.relu(x), D.conv1)), D.conv2)
    torch.testing.assert_close(D(x), F.avg_pool2d(h, 2) + F.avg_pool2d(conv(x, D.shortcut), 2), rtol=1e-12, atol=1e-12)

    D = FirstDiscriminatorBlock(3, 8, downsample=True).double()
    h = conv(F.relu(conv(x, D.conv1)), D.conv2)
    torch.testing.assert_close(D(x), F.avg_pool2d(h, 2) + conv(F.avg_pool2d(x, 2), D.shortcut), rtol=1e-12, atol=1e-12)


def test_hidden_width_is_as_asked() -> None:
    block = DiscriminatorBlock(4, 8, c_hidden=5, downsample=True)
    assert block.conv1.weight.shape == (5, 4, 3, 3)
    assert block.conv2.weight.shape == (8, 5, 3, 3)


def test_conditional_batch_norm_scales_and_shifts_by_class() -> None:
    from sngan.layers.conditional import ConditionalBatchNorm2d

    norm = ConditionalBatchNorm2d(3, 2)
    with torch.no_grad():
        norm.gamma[1] = 2.0
        norm.beta[1] = 5.0
    h, y = torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
    plain = F.batch_norm(h, None, None, training=True, eps=2e-5)
    out = norm(h, y)
    torch.testing.assert_close(out[y == 0], plain[y == 0])
    torch.testing.assert_close(out[y == 1], 2 * plain[y == 1] + 5)
