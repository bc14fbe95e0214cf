from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.linear_maps import Convolution, Matrices
from sngan.layers.spectral_norm import Bound, converge, sigma

CONVOLUTIONS = {
    "plain": (lambda: nn.Conv2d(3, 4, 3), (5, 6)),
    "padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), (5, 4)),
    "strided": (lambda: nn.Conv2d(2, 4, 4, stride=2, padding=1), (6, 7)),
    "dilated": (lambda: nn.Conv2d(2, 3, 3, dilation=2, padding=2), (5, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 4)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), (4, 4)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (4, 5)),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), (3, 4)),
    "transposed_with_output_padding": (lambda: nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 4)),
    "transposed_in_groups": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (3, 3)),
    "of_sequences": (lambda: nn.Conv1d(3, 4, 5, stride=2, padding=2), (9,)),
    "transposed_of_sequences": (lambda: nn.ConvTranspose1d(3, 4, 5, stride=2), (5,)),
    "of_volumes": (lambda: nn.Conv3d(2, 3, 2, padding=1), (3, 2, 3)),
}


def dense(layer: nn.Module, size: tuple[int, ...]) -> Tensor:
    """The layer without its bias as a matrix, a column for each number of its input [in, *size]."""
    layer.bias = None
    inputs = layer.in_channels * torch.Size(size).numel()
    return layer(torch.eye(inputs, dtype=torch.float64).view(inputs, layer.in_channels, *size)).detach().flatten(1).T


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_its_dense_matrix(kind: str) -> None:
    """What it makes of an input, its adjoint, the gradient by its weight, and its norm by power iteration."""
    make, size = CONVOLUTIONS[kind]
    layer = make().double()
    A, M, W = Convolution.of(layer, size), dense(layer, size), layer.weight.detach()
    u, v = A.start(W)
    assert u.numel(), v.numel() == M.shape
    torch.testing.assert_close(torch.linalg.vector_norm(u).item(), 1.0)
    v = torch.randn_like(v)
    torch.testing.assert_close(A.forward(W, v).flatten(), M @ v.flatten())
    torch.testing.assert_close(A.adjoint(W, u).flatten(), M.T @ u.flatten())
    bound = Bound(W, u, v, A)
    converge(bound, 1e-7, most=20_000)
    torch.testing.assert_close(sigma(bound), torch.linalg.svdvals(M)[0], rtol=1e-9, atol=0)


MATRICES = {
    "convolution": (Matrices(), (4, 3, 2, 3)),
    "channels_last": (Matrices(channels_last=True), (4, 3, 2, 3)),
    "transposed": (Matrices(dim=1), (4, 3, 2, 3)),
    "transposed_channels_last": (Matrices(dim=1, channels_last=True), (4, 3, 2, 3)),
    "of_the_last_dimension": (Matrices(dim=2), (4, 3, 5)),
    "linear": (Matrices(), (5, 7)),
    "blocks": (Matrices(blocks=3), (6, 4)),
    "groups": (Matrices(blocks=2), (6, 2, 3, 3)),
    "transposed_groups": (Matrices(dim=1, blocks=2), (6, 2, 3, 3)),
    "transposed_groups_channels_last": (Matrices(dim=1, blocks=2, channels_last=True), (6, 2, 3, 3)),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_matrices_act_as_written(kind: str) -> None:
    A, shape = MATRICES[kind]
    W = torch.randn(shape, dtype=torch.float64)
    M = A.matrix(W)
    assert torch.equal(A.unmatrix(M, W.shape), W)
    blocks = W.chunk(A.blocks)
    for block, part in zip(M if A.blocks > 1 else [M], blocks, strict=True):
        expected = torch.linalg.svdvals(part.movedim(A.dim, 0).flatten(1))
        torch.testing.assert_close(torch.linalg.svdvals(block), expected)
    u, v = A.start(W)
    v = torch.randn_like(v)
    torch.testing.assert_close(A.inner(u, A.forward(W, v)), A.inner(A.adjoint(W, u), v))
    (gradient,) = torch.autograd.grad(A.inner(u, A.forward(W.requires_grad_(), v)).sum(), W)
    U, V = A.factors(u, v, W.shape)
    torch.testing.assert_close(U * V, A.split(gradient))


def test_the_groups_of_a_grouped_convolution_are_the_blocks_of_its_dense_matrix() -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2).double()
    M = dense(layer, (3, 3))
    torch.testing.assert_close(
        Matrices(blocks=2).matrix(layer.weight.detach()).flatten(1), torch.stack([M[:3, :18], M[3:, 18:]]).flatten(1)
    )


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), "not padding_mode=circular"),
        (nn.Conv2d(2, 3, 4, padding="same"), "give the padding in numbers"),
    ],
)
def test_other_padding_is_refused(layer: nn.Module, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Convolution.of(layer, (4, 4))
