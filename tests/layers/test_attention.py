"""Self-attention beside its formula, in loops."""

from __future__ import annotations

import pytest
import torch

from sngan.errors import UserError
from sngan.layers.attention import SelfAttention, place_of


def test_each_pixel_gets_the_mean_of_values_by_the_softmax_of_its_products_with_keys() -> None:
    layer = SelfAttention(16).double()
    torch.nn.init.constant_(layer.gamma, 0.5)
    h = torch.randn(2, 16, 4, 6).double()
    query, key, value = layer.query(h), *(torch.nn.functional.max_pool2d(part(h), 2) for part in (layer.key, layer.value))
    assert [part.shape[1:] for part in (query, key, value)] == [(2, 4, 6), (2, 2, 3), (8, 2, 3)]
    output = layer(h)
    for n, i, j in [(0, 0, 0), (1, 3, 5), (1, 2, 1)]:
        places = [(a, b) for a in range(2) for b in range(3)]
        weights = torch.stack([query[n, :, i, j] @ key[n, :, a, b] for a, b in places]).softmax(0)
        mixed = sum(w * value[n, :, a, b] for w, (a, b) in zip(weights, places, strict=True))
        expected = h[n, :, i, j] + 0.5 * layer.out.weight[:, :, 0, 0] @ mixed
        torch.testing.assert_close(output[n, :, i, j], expected)


def test_attention_begins_as_the_identity() -> None:
    h = torch.randn(1, 8, 4, 4)
    assert torch.equal(SelfAttention(8)(h), h)


def test_attention_has_second_derivatives() -> None:
    layer = SelfAttention(8).double()
    torch.nn.init.constant_(layer.gamma, 0.5)
    assert torch.autograd.gradgradcheck(layer, torch.randn(1, 8, 2, 4).double().requires_grad_())


def test_attention_is_placed_after_the_last_block_of_its_side() -> None:
    assert place_of(None, [16, 8, 8], key="k") is None
    assert place_of(8, [16, 8, 8], key="k") == 2
    with pytest.raises(UserError, match=r"k=3: .* choose one of 16, 8$"):
        place_of(3, [16, 8, 8, 3], key="k")
