"""A class's row, as it is written and compiled."""

from __future__ import annotations

import torch

from conftest import needs_a_compiler
from sngan.layers.lookup import ClassEmbedding, rows


@needs_a_compiler
def test_compiled_rows_and_their_gradient_are_those_of_the_table() -> None:
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([4, 0, 4, 2])
    weights = torch.randn(4, 3, dtype=torch.float64)
    compiled = torch.compile(rows, fullgraph=True)
    assert torch.equal(compiled(table, y), table[y])
    got, expected = (torch.autograd.grad((look(table, y) * weights).sum(), table)[0] for look in (compiled, lambda t, y: t[y]))
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)


def test_the_embedding_of_a_class_is_torchs() -> None:
    embedding = ClassEmbedding(5, 3)
    y = torch.tensor([4, 0, 4])
    assert torch.equal(embedding(y), torch.nn.functional.embedding(y, embedding.weight))
